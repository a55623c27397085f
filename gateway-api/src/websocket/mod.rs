//! WebSocket: one socket-like object, whatever the bytes travel over.
//!
//! A handler takes the socket and lives as long as the conversation. Over HTTP/1.1 (RFC 6455) or an HTTP/2 stream
//! (RFC 8441), on the core or on a thread: the program is the same.
//!
//! ```
//! use ringgate::{App, blocking, websocket::{DeflateConfig, WebSocket, websocket}};
//!
//! async fn echo(mut socket: WebSocket) {
//!     while let Some(Ok(message)) = socket.recv().await {
//!         if socket.send(message).await.is_err() {
//!             return;
//!         }
//!     }
//! }
//!
//! fn shout(mut socket: blocking::WebSocket) {
//!     while let Some(Ok(message)) = socket.next() {
//!         let loud = message.to_text().unwrap_or_default().to_uppercase();
//!         if socket.send(loud).is_err() {
//!             return;
//!         }
//!     }
//! }
//!
//! let app = App::new()
//!     .route("/echo", echo)
//!     .route("/shout", shout)
//!     .route("/small", websocket(echo).deflate(DeflateConfig::default()).subprotocols(["v2", "v1"]));
//! # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
//! # assert_eq!(client::converse(app, "/shout", &["hello", "you"]), ["HELLO", "YOU"]);
//! ```
//!
//! # Memory
//! A socket at rest holds less than a KiB, also one that compresses, unless a window is kept between messages
//! ([`DeflateConfig`] says what that takes). At most it holds a message that comes in pieces
//! ([`WebSocketLimits::message_bytes_max`], up to twice that while its memory grows), one more that waits to be received, and
//! of what it sends twice what [`WebSocketRoute::queue`] allows, and one message: whoever finds room has it for a whole one.

mod error;
pub(crate) mod hub;
mod message;
mod object;
mod options;
mod outgoing;
mod queue;
mod route;
pub(crate) mod socket;
pub(crate) mod state;
pub(crate) mod topic;
pub(crate) mod upgrade;

pub(crate) use self::outgoing::Cargo;
pub use self::{
    error::SocketError,
    message::{Message, MessageBytes, Text},
    object::{MessageWriter, Receiver, Receiving, Sender, Sending, WebSocket},
    options::{Origins, QueuePolicy},
    outgoing::{Outgoing, Prepared},
    route::{IntoSocketHandler, IsAsyncSocket, IsBlockingSocket, IsSocket, IsSocketRoute, WebSocketRoute, websocket},
    state::{CloseFrame, Piece},
    topic::{Subscription, Topic},
    upgrade::SocketOutcome,
};
pub use ringgate_protocols::{
    limits::WebSocketLimits,
    websocket::{close::CloseCode, error::Fault, message::Kind, negotiation::DeflateConfig},
};
