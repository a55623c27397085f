//! What went wrong, whose fault it is, and what follows on the wire.

use crate::http2::reason::Reason;

/// The peer broke the connection as a whole: GOAWAY with this reason has been queued, the machine is dead and ignores
/// all further input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionError {
    /// What GOAWAY says.
    pub reason: Reason,
    /// Why, for logs and counters.
    pub fault: Fault,
}

/// Which rule was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The connection does not begin with the client preface and SETTINGS (section 3.4).
    Preface,
    /// A frame longer than allowed, or of a length its type does not have (section 4.2).
    FrameSize,
    /// A frame on a stream where its type may not be (sections 6.1 to 6.10).
    WrongStream,
    /// A frame that the state of its stream forbids (section 5.1).
    State,
    /// A new stream with a number that is even, used or skipped (section 5.1.1).
    StreamOrder,
    /// Padding as long as the payload or longer (section 6.1).
    Padding,
    /// A setting with a value out of range (section 6.5.2).
    Setting,
    /// A window was overrun or made too large (section 6.9).
    FlowControl,
    /// The header block cannot be decoded (section 4.3).
    Compression,
    /// A header block was interrupted, or CONTINUATION came without one (section 6.10).
    HeaderBlock,
    /// A header block of too many frames or bytes, or a list far beyond the limit.
    HeaderFlood,
    /// PUSH_PROMISE from a client (section 8.4).
    Push,
    /// A PRIORITY_UPDATE that RFC 9218 section 7.1 forbids.
    Priority,
    /// The abuse budget is used up.
    Budget,
    /// More control frames wait to be sent than allowed.
    ControlQueue,
    /// A deadline passed: preface, first SETTINGS, end of a header block, acknowledgement.
    Timeout,
}

impl std::fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection error {} ({:?})", self.reason, self.fault)
    }
}

impl std::error::Error for ConnectionError {}

/// A stream error of the peer's making: RST_STREAM with this reason (section 5.4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StreamError {
    pub(crate) reason: Reason,
}

/// Why a verb of the application was not carried out. Nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// The stream is over: reset by one side, or complete. An ordinary race, not a mistake.
    Gone,
    /// The final response head was sent already, or an interim response after it.
    HeadSent,
    /// Body or trailers before the final response head.
    HeadMissing,
    /// 101 does not exist in HTTP/2, and an interim response is 1xx and never ends the stream (section 8.1, 8.6).
    Status,
    /// The end of the body was announced already, or trailers come while body bytes still wait.
    BodyPending,
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gone => "the stream is over",
            Self::HeadSent => "the final response head was already sent",
            Self::HeadMissing => "the final response head was not sent yet",
            Self::Status => "the status does not fit the verb",
            Self::BodyPending => "the body has ended, or is still being sent",
        })
    }
}

impl std::error::Error for SendError {}

/// Why a promise was refused; the application degrades to an interim response or a `link` field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushRefused {
    /// The client has set ENABLE_PUSH to 0, or pushing is off in our limits.
    Disabled,
    /// The client's MAX_CONCURRENT_STREAMS, or ours, is reached.
    TooMany,
    /// The parent stream cannot carry a promise any more, is itself pushed, or the connection is ending.
    Parent,
    /// Only GET and HEAD are promised: safe, cacheable, without a body (section 8.4).
    Method,
}
