//! The blocking mirror: the same nouns and methods, "blocks" for "waits".
//!
//! A handler that takes [`Request`] runs on a thread of the gateway's crew and may block
//! for as long as it likes. Bodies are read with [`std::io::Read`] and written with [`std::io::Write`]; a [`WebSocket`] is
//! an iterator. What a message, a piece or a prepared message is does not depend on the world: those nouns are in
//! [`websocket`](crate::websocket).
//!
//! ```
//! use ringgate::{App, Response, blocking, post};
//! use std::io::Read;
//! fn lines(mut request: blocking::Request) -> std::io::Result<String> {
//!     let mut text = String::new();
//!     request.body_mut().read_to_string(&mut text)?;
//!     Ok(format!("{} lines\n", text.lines().count()))
//! }
//! let app = App::new().route("/lines", post(lines));
//! # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
//! # assert!(client::ask(app, "POST /lines HTTP/1.1", "one\ntwo").ends_with("2 lines\n"));
//! ```

mod body;
pub(crate) mod bridge;
mod core;
mod line;
mod request;
pub(crate) mod response;
pub(crate) mod run;
mod topic;
mod websocket;
pub(crate) mod writer;

pub use self::core::Core;
pub use body::Body;
pub use request::Request;
pub use topic::{Subscription, Topic};
pub use websocket::{MessageWriter, Receiver, Sender, WebSocket};
