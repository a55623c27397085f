//! What the peer can do wrong, and what we can.

use crate::websocket::close::CloseCode;

/// The peer broke the protocol or a limit. The machine has stopped: it says the close code by
/// [`poll_output`](crate::websocket::connection::Connection::poll_output) and then the transport is to be closed.
///
/// It takes a word, as does an error that carries it: where a result may be a message or a byte, the message would be moved
/// in parts that begin behind that byte, and the processor waits for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u64)]
pub enum Fault {
    /// A client's frame without mask, or a server's with one (section 5.1).
    Mask,
    /// A reserved bit without negotiated meaning (section 5.2), or RSV1 on a control or continuation frame (RFC 7692
    /// section 6).
    ReservedBit,
    /// An opcode that is not defined (section 5.2).
    Opcode,
    /// A length not written in the shortest form, or beyond 63 bits (section 5.2).
    Length,
    /// A control frame in fragments or beyond 125 bytes (section 5.5).
    ControlFrame,
    /// A continuation without a message to continue (section 5.4).
    ContinuationWithoutStart,
    /// A new message while another is unfinished (section 5.4).
    MessageInsideMessage,
    /// A Close of one byte, or with a code that may not be on the wire (section 7.4).
    CloseBody,
    /// Text or close reason that is not UTF-8 (section 8.1).
    Utf8,
    /// Compressed data that cannot be inflated (RFC 7692 section 7.2.2).
    Deflate,
    /// A message beyond `message_bytes_max`.
    MessageTooBig,
    /// A message that inflates beyond `inflate_ratio_max`.
    InflateRatio,
    /// A message of more frames than `fragment_count_max`.
    TooManyFragments,
    /// More pings, unasked pongs or empty deflate blocks than `ping_tokens_max` allows.
    Flood,
    /// A message below `progress_bytes_per_s_min`.
    TooSlow,
    /// Nothing was heard within `pong_timeout_ms` of our ping.
    Unresponsive,
}

impl Fault {
    /// The code our Close carries, section 7.4.1.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Mask
            | Self::ReservedBit
            | Self::Opcode
            | Self::Length
            | Self::ControlFrame
            | Self::ContinuationWithoutStart
            | Self::MessageInsideMessage
            | Self::CloseBody => CloseCode::PROTOCOL,
            Self::Utf8 | Self::Deflate => CloseCode::INVALID_DATA,
            Self::MessageTooBig | Self::InflateRatio => CloseCode::TOO_BIG,
            Self::TooManyFragments | Self::Flood | Self::TooSlow => CloseCode::POLICY,
            // As python's websockets does: 1008 would blame a peer that may only have lost its network.
            Self::Unresponsive => CloseCode::INTERNAL,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebSocket peer at fault: {self:?} ({})", self.close_code().get())
    }
}

impl std::error::Error for Fault {}

/// We called the machine wrongly. Nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Misuse {
    /// The closing handshake has begun: nothing may follow a Close (section 5.5.1).
    Closing,
    /// A fragmented message is being sent; another may not begin inside it (section 5.4).
    MessageUnfinished,
    /// There is no fragmented message to continue.
    NoMessage,
    /// A control payload beyond 125 bytes, or a close reason beyond 123 (section 5.5).
    ControlTooLong,
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closing => "the WebSocket is closing",
            Self::MessageUnfinished => "a fragmented message is unfinished",
            Self::NoMessage => "no fragmented message was begun",
            Self::ControlTooLong => "a control frame carries at most 125 bytes",
        })
    }
}

impl std::error::Error for Misuse {}
