//! A handshake that was accepted, on its way from the handler's door to the driver.

use crate::{body::Body, websocket::socket::Socket};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// The conversation.
pub(crate) type Conversation = Pin<Box<dyn Converse>>;

/// A future with an outcome, as it is: an `async` block around it would hold it twice, and idle sockets are counted in
/// bytes.
pub(crate) trait Converse {
    /// Goes on; true when it failed.
    fn poll_on(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool>;
}

impl<F: Future<Output: SocketOutcome>> Converse for F {
    fn poll_on(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        self.poll(cx).map(|outcome| outcome.is_failure())
    }
}

/// What a conversation may come to: nothing, or a `Result` whose error closes a socket that is still open with 1011. (The
/// error itself is told to nobody: what is to be known of it, the handler says.)
///
/// ```
/// use ringgate::websocket::SocketOutcome;
/// assert!(!().is_failure() && !Ok::<(), ()>(()).is_failure() && Err::<(), _>("lost").is_failure());
/// ```
pub trait SocketOutcome {
    /// Whether it failed.
    fn is_failure(&self) -> bool;
}

impl SocketOutcome for () {
    fn is_failure(&self) -> bool {
        false
    }
}

impl<T, E> SocketOutcome for Result<T, E> {
    fn is_failure(&self) -> bool {
        self.is_err()
    }
}

/// What the response to an accepted handshake carries in place of a body. Dropped, there is no socket.
pub(crate) struct Upgrade {
    pub(crate) socket: Rc<Socket>,
    pub(crate) conversation: Conversation,
    /// What the peer sends, where it comes as the body of a request (HTTP/2).
    pub(crate) body: Body,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade")
    }
}
