//! WebSocket, RFC 6455, with permessage-deflate, RFC 7692, over HTTP/1.1 or an HTTP/2 stream, RFC 8441.
//!
//! [`handshake`] judges the request, [`connection::Connection`] is the machine behind it.

mod budget;
pub mod close;
pub mod connection;
pub mod deflate;
pub mod error;
pub mod event;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod message;
pub mod negotiation;
mod receive;
mod send;
pub mod state;
mod timer;
pub mod utf8;
