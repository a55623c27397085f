//! What the machine says: what came in, and what follows.

use crate::http::options::UpgradeOffer;
use crate::http1::close::CloseReason;
use crate::http1::framing::Body;
use crate::span::Span;

/// What one call of [`Connection::handle_input`](crate::http1::connection::Connection::handle_input) did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes at the start of the input that are done with. They are not given again.
    pub consumed: usize,
    /// What happened.
    pub event: Event,
}

/// What the input amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nothing more can be said before more bytes come. What was not consumed is given again, with more behind it.
    NeedInput,
    /// A request; its head is filled. If it has no body, no event follows for it.
    Request(RequestFacts),
    /// A piece of the request body, as a place in the input of this call.
    Body(Span),
    /// The trailers; they stand in the head's `fields`. Comes only if there are any.
    Trailers,
    /// The request body has ended.
    End,
    /// The request is whole, and the next one is not read before its response has ended.
    Busy,
    /// Nothing is read any more: see [`Connection::close_reason`](crate::http1::connection::Connection::close_reason), or the connection belongs to another protocol.
    Closed,
}

/// What a request says about its own message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestFacts {
    /// The body to come. With [`Body::None`] the request is whole.
    pub body: Body,
    /// The client wants the connection to persist (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// The client waits for 100 before it sends the body; see [`Connection::is_continue_due`](crate::http1::connection::Connection::is_continue_due).
    pub expect_continue: bool,
    /// The protocol that the client offers to switch to.
    pub upgrade: UpgradeOffer,
    /// The Upgrade offer of h2c names its settings in the Connection field, as it must.
    pub http2_settings: bool,
    /// The method is HEAD.
    pub is_head: bool,
    /// The client reads trailers (RFC 9110 section 6.5.1) in chunked responses.
    pub accepts_trailers: bool,
}

/// What follows the end of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// The next request may be read.
    KeepAlive,
    /// The rest of the request body is in the way: [`Connection::begin_drain`](crate::http1::connection::Connection::begin_drain).
    Drain,
    /// The connection is closed, in stages (RFC 9112 section 9.6).
    Close(CloseReason),
    /// The connection, and the input not consumed, belong to another protocol.
    Switch,
}

/// What becomes of the rest of a request body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drain {
    /// There is none; the next request may be read.
    Done,
    /// Go on calling [`Connection::handle_input`](crate::http1::connection::Connection::handle_input): it throws the body away and says [`Event::End`], or
    /// [`Event::Closed`] when it is too long.
    Reading,
    /// It is too long, or the client waits for an invitation to send it: close.
    Close(CloseReason),
}
