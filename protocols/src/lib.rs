//! The wire protocols of Ringgate as machines without a socket: bytes in, events out, bytes out.
//!
//! No machine here owns a socket, a clock, a thread or a task. Time and limits are arguments.
#![warn(missing_docs)]

pub mod http;
pub mod limits;
pub mod scan;
pub mod span;
pub mod websocket;
