//! What the machine is given and what it tells.

use crate::limits::WebSocketLimits;
use crate::span::Span;
use crate::websocket::close::CloseCode;
use crate::websocket::deflate::Pool;
use crate::websocket::error::Fault;
use crate::websocket::message::{Kind, Payload};

/// What the machine borrows from its core while it works.
#[derive(Debug)]
pub struct Environment<'a> {
    /// The bounds of this connection.
    pub limits: &'a WebSocketLimits,
    /// The deflate contexts of the core.
    pub pool: &'a mut Pool,
    /// Where messages are inflated to. The machine only appends; the owner clears it when it likes.
    pub scratch: &'a mut Vec<u8>,
    /// The time, in milliseconds of a clock that never goes back.
    pub now_ms: u64,
}

/// The outcome of one call of [`handle_input`](crate::websocket::connection::Connection::handle_input).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes at the beginning of the input that are done with once the event is.
    pub consumed: usize,
    /// What they were.
    pub event: Event,
}

/// A whole message at the beginning of the input: see
/// [`take_message`](crate::websocket::connection::Connection::take_message).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whole {
    /// Text or binary.
    pub kind: Kind,
    /// All of it, in the input, unmasked in place; it ends where `consumed` does.
    pub payload: Span,
    /// Bytes at the beginning of the input that are done with once the message is.
    pub consumed: usize,
}

/// What was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nothing to report before more bytes come. What is not consumed, at most 138 bytes, comes again in front of them.
    NeedInput,
    /// A whole message.
    Message {
        /// Text or binary.
        kind: Kind,
        /// All of it.
        payload: Payload,
    },
    /// A part of a message of which more is to come or has been told. Parts are cut where the input was, not where the
    /// frames were (section 5.4: fragmentation has no meaning).
    Piece {
        /// Text or binary. A text may be cut inside a character; all that is told is valid so far.
        kind: Kind,
        /// The next bytes of the message; may be empty in the last piece.
        payload: Payload,
        /// The message begins here.
        first: bool,
        /// The message ends here.
        last: bool,
    },
    /// A ping; the machine answers it by [`poll_output`](crate::websocket::connection::Connection::poll_output).
    Ping(Span),
    /// A pong, asked for or not.
    Pong(Span),
    /// The peer's Close; nothing is received after it.
    Close {
        /// Its code, if it carries one (section 7.1.5).
        code: Option<CloseCode>,
        /// Its reason, valid UTF-8.
        reason: Span,
    },
}

/// What a timer led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// It was not yet time.
    Nothing,
    /// A ping or a Close was appended to the output.
    Wrote,
    /// The peer is given up; [`poll_output`](crate::websocket::connection::Connection::poll_output) has the Close.
    Fault(Fault),
    /// The peer did not answer our Close: close the transport now.
    Abandoned,
}
