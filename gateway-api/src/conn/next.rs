//! What comes after a protocol on the same socket.

use crate::{request::Request, websocket::upgrade::Upgrade};
use ringgate_protocols::http2::upgrade::UpgradeSettings;
use ringgate_runtime::buffer::SendBuf;

/// What becomes of the socket when a driver is done with it.
pub(crate) enum Next {
    /// Closed in stages.
    Close,
    /// The peer has gone: there is nothing to close politely.
    Gone,
    /// A WebSocket from here on. The response that says so leaves with what the socket says first.
    Upgrade(Box<(Upgrade, SendBuf)>),
    /// HTTP/2 from here on, the upgraded request being its first.
    Http2(Box<Upgraded>),
}

/// A request that asked for HTTP/2 by `Upgrade: h2c`, and got it.
pub(crate) struct Upgraded {
    pub(crate) request: Request,
    pub(crate) settings: UpgradeSettings,
    /// Begins with the 101.
    pub(crate) buf: SendBuf,
}
