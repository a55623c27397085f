//! The fields in which a client says how it wants to be treated: Connection, Expect, Upgrade, TE.

use crate::http::field::elements;

/// What the Connection fields of a request say (RFC 9110 section 7.6.1). Other options are of no use to a server:
/// they name fields that a proxy would remove, and framing is never up to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionOptions {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// `upgrade`.
    pub upgrade: bool,
    /// `HTTP2-Settings`.
    pub http2_settings: bool,
}

impl ConnectionOptions {
    /// Adds the options of one Connection field.
    pub fn add(&mut self, value: &[u8]) {
        for option in elements(value) {
            match option.len() {
                5 => self.close |= option.eq_ignore_ascii_case(b"close"),
                7 => self.upgrade |= option.eq_ignore_ascii_case(b"upgrade"),
                10 => self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive"),
                14 => self.http2_settings |= option.eq_ignore_ascii_case(b"http2-settings"),
                _ => {}
            }
        }
    }
}

/// What the Expect fields of a request ask for (RFC 9110 section 10.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expectation {
    /// There is no Expect field.
    #[default]
    None,
    /// One field, `100-continue`.
    Continue,
    /// Anything else: answered 417.
    Unknown,
}

impl Expectation {
    /// Adds one Expect field.
    pub fn add(&mut self, value: &[u8]) {
        *self = match self {
            Self::None if value.eq_ignore_ascii_case(b"100-continue") => Self::Continue,
            _ => Self::Unknown,
        };
    }
}

/// The protocol that a client offers to switch to (RFC 9110 section 7.8), as far as we know any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UpgradeOffer {
    /// No upgrade is offered, or not with the Connection option that makes it count.
    #[default]
    None,
    /// `websocket` is among the offers.
    WebSocket,
    /// `h2c` is among the offers, and `websocket` is not.
    H2c,
    /// Only protocols that we do not know.
    Other,
}

impl UpgradeOffer {
    /// Adds the offers of one Upgrade field.
    pub fn add(&mut self, value: &[u8]) {
        for offer in elements(value) {
            *self = if offer.eq_ignore_ascii_case(b"websocket") || *self == Self::WebSocket {
                Self::WebSocket
            } else if offer.eq_ignore_ascii_case(b"h2c") || *self == Self::H2c {
                Self::H2c
            } else {
                Self::Other
            };
        }
    }
}
