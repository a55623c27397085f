//! HPACK, RFC 7541: header compression for HTTP/2, both directions.
//!
//! Field text is written exactly once, into a [`Text`](text::Text) that is reused from block to block; all bounds are
//! checked inside the decode loop. The work done is linear in the bytes received plus the bytes let through.

pub mod decode;
pub mod encode;
pub mod huffman;
pub mod integer;
pub mod kind;
pub mod tables;
pub mod text;
