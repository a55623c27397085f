//! A handshake that was accepted, on its way from the handler's door to the driver.

use crate::{body::Body, websocket::socket::Socket};
use std::{fmt, future::Future, pin::Pin, rc::Rc};

/// The conversation: true when it failed.
pub(crate) type Conversation = Pin<Box<dyn Future<Output = bool>>>;

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
