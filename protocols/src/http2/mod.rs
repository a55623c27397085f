//! HTTP/2, RFC 9113, the server's side, as a machine without a socket.
//!
//! One frame, one file; stream states as a table ([`state`]); window arithmetic in [`window`]; one budget for all abuse
//! ([`budget`]). The machine itself is [`connection::Connection`].

pub mod budget;
pub mod connection;
pub mod error;
pub mod frame;
pub mod priority;
pub mod reason;
pub(crate) mod recurring;
pub mod repeat;
pub mod request;
pub mod settings;
pub mod state;
pub mod stream;
pub mod stream_id;
pub mod streams;
pub mod upgrade;
pub mod window;
