//! The life of a stream as a table, RFC 9113 section 5.1, from the server's side.
//!
//! ```text
//!                  recv HEADERS                      send PUSH_PROMISE
//!          idle ----------------> open      idle ---------------------> reserved (local)
//!   recv END_STREAM |   | send END_STREAM                                  | send HEADERS
//!                   v   v                                                  v
//!  half-closed (remote) half-closed (local)                        half-closed (remote)
//!   send END_STREAM |   | recv END_STREAM
//!                   v   v
//!                  finished          recv RST_STREAM: cancelled       send RST_STREAM: reset
//! ```
//! "Closed" is three states here, since it matters how a stream was closed: what is still in flight behind our own
//! RST_STREAM is ignored, what follows the peer's END_STREAM or RST_STREAM is an error.

use crate::http2::reason::Reason;

/// Where a stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Never used.
    Idle,
    /// Promised by us, no response yet.
    ReservedLocal,
    /// Both sides may send.
    Open,
    /// We have sent END_STREAM.
    HalfClosedLocal,
    /// The peer has sent END_STREAM.
    HalfClosedRemote,
    /// Closed by END_STREAM in both directions.
    Finished,
    /// Closed by the peer's RST_STREAM.
    Cancelled,
    /// Closed by our RST_STREAM.
    Reset,
}

/// A frame that arrives on a stream. END_STREAM is part of it, since it decides the next state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// DATA without END_STREAM.
    Data,
    /// DATA with END_STREAM.
    DataEnd,
    /// HEADERS without END_STREAM.
    Headers,
    /// HEADERS with END_STREAM.
    HeadersEnd,
    /// PRIORITY of RFC 7540.
    Priority,
    /// RST_STREAM.
    RstStream,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// PUSH_PROMISE, which no client may send.
    PushPromise,
}

/// A frame that we send on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sending {
    /// HEADERS or DATA without END_STREAM.
    More,
    /// HEADERS or DATA with END_STREAM.
    End,
    /// RST_STREAM.
    RstStream,
    /// PUSH_PROMISE that reserves this stream.
    Promised,
}

/// What a received frame leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Legal; this is the state behind it.
    Next(State),
    /// Account for it (windows, field compression) and do nothing else.
    Ignore,
    /// RST_STREAM.
    StreamError(Reason),
    /// GOAWAY and close.
    ConnectionError(Reason),
}

/// The table for what arrives. Rows are the states of section 5.1, columns the frames.
#[must_use]
#[inline]
pub const fn receive(state: State, receipt: Receipt) -> Verdict {
    use Receipt as R;
    use State as S;
    use Verdict::{ConnectionError as Connection, Ignore, Next, StreamError as Stream};
    match (state, receipt) {
        // Section 8.4: "A client cannot push."
        (_, R::PushPromise) => Connection(Reason::PROTOCOL_ERROR),
        // Section 5.1, 6.3: PRIORITY may come in any state and, since RFC 9113, means nothing.
        (_, R::Priority) => Ignore,

        // idle: "Receiving any frame other than HEADERS or PRIORITY ... MUST be treated as a connection error of type
        // PROTOCOL_ERROR."
        (S::Idle, R::Headers) => Next(S::Open),
        (S::Idle, R::HeadersEnd) => Next(S::HalfClosedRemote),
        (S::Idle, _) => Connection(Reason::PROTOCOL_ERROR),

        // reserved (local): "Receiving any type of frame other than RST_STREAM, PRIORITY, or WINDOW_UPDATE on a stream
        // in this state MUST be treated as a connection error of type PROTOCOL_ERROR."
        (S::ReservedLocal, R::WindowUpdate) => Next(S::ReservedLocal),
        (S::ReservedLocal, R::RstStream) => Next(S::Cancelled),
        (S::ReservedLocal, _) => Connection(Reason::PROTOCOL_ERROR),

        // open
        (S::Open, R::Data | R::Headers | R::WindowUpdate) => Next(S::Open),
        (S::Open, R::DataEnd | R::HeadersEnd) => Next(S::HalfClosedRemote),
        (S::Open, R::RstStream) => Next(S::Cancelled),

        // half-closed (local): any frame may still come
        (S::HalfClosedLocal, R::Data | R::Headers | R::WindowUpdate) => Next(S::HalfClosedLocal),
        (S::HalfClosedLocal, R::DataEnd | R::HeadersEnd) => Next(S::Finished),
        (S::HalfClosedLocal, R::RstStream) => Next(S::Cancelled),

        // half-closed (remote): "If an endpoint receives additional frames, other than WINDOW_UPDATE, PRIORITY, or
        // RST_STREAM ... it MUST respond with a stream error of type STREAM_CLOSED."
        (S::HalfClosedRemote, R::WindowUpdate) => Next(S::HalfClosedRemote),
        (S::HalfClosedRemote, R::RstStream) => Next(S::Cancelled),
        (S::HalfClosedRemote, _) => Stream(Reason::STREAM_CLOSED),

        // closed: WINDOW_UPDATE and RST_STREAM may be late.
        (S::Finished | S::Cancelled | S::Reset, R::WindowUpdate | R::RstStream) => Ignore,
        // Behind our RST_STREAM anything may be in flight: "MUST ignore".
        (S::Reset, _) => Ignore,
        // Section 6.1: DATA in any other state is a stream error STREAM_CLOSED.
        (S::Finished | S::Cancelled, R::Data | R::DataEnd) => Stream(Reason::STREAM_CLOSED),
        // Behind the peer's RST_STREAM: "stream error of type STREAM_CLOSED".
        (S::Cancelled, R::Headers | R::HeadersEnd) => Stream(Reason::STREAM_CLOSED),
        // Behind the peer's END_STREAM: "connection error of type STREAM_CLOSED".
        (S::Finished, R::Headers | R::HeadersEnd) => Connection(Reason::STREAM_CLOSED),
    }
}

/// The table for what we send; `None` where we must not.
#[must_use]
#[inline]
pub const fn send(state: State, sending: Sending) -> Option<State> {
    use Sending as W;
    use State as S;
    match (state, sending) {
        (S::Idle, W::Promised) => Some(S::ReservedLocal),
        (S::ReservedLocal, W::More) => Some(S::HalfClosedRemote),
        (S::ReservedLocal, W::End) => Some(S::Finished),
        (S::Open, W::More) => Some(S::Open),
        (S::Open, W::End) => Some(S::HalfClosedLocal),
        (S::HalfClosedRemote, W::More) => Some(S::HalfClosedRemote),
        (S::HalfClosedRemote, W::End) => Some(S::Finished),
        (S::ReservedLocal | S::Open | S::HalfClosedLocal | S::HalfClosedRemote, W::RstStream) => Some(S::Reset),
        // A stream error on a closed stream (section 5.1) is answered once. It answers the frame that came too late,
        // not the RST_STREAM before it, which is never answered (section 5.4.2).
        (S::Finished | S::Cancelled, W::RstStream) => Some(S::Reset),
        _ => None,
    }
}

impl State {
    /// True when neither side may use the stream any more.
    #[must_use]
    #[inline]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Reset)
    }

    /// True while the peer may still send a body or trailers.
    #[must_use]
    #[inline]
    pub const fn is_receiving(self) -> bool {
        matches!(self, Self::Open | Self::HalfClosedLocal)
    }

    /// True while we may send a response or its body.
    #[must_use]
    #[inline]
    pub const fn is_sending(self) -> bool {
        matches!(self, Self::ReservedLocal | Self::Open | Self::HalfClosedRemote)
    }
}
