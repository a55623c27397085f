//! HTTP/1.0 and HTTP/1.1, the server's side: RFC 9112.
//!
//! [`connection::Connection`] is the machine; everything else is what it says and what it is told.

pub mod close;
pub mod connection;
pub mod encode;
pub mod error;
pub mod event;
pub mod framing;

mod chunked;
mod head;
mod judge;
mod output;
mod state;
