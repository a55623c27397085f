//! One stream: its state, windows, and what waits to be sent on it.

use crate::http2::priority::Priority;
use crate::http2::state::State;
use crate::http2::stream_id::StreamId;
use crate::http2::window::{ReceiveWindow, SendWindow};

/// The application's handle on a stream. It outlives the stream harmlessly: verbs on a stream that is over answer
/// [`SendError::Gone`](crate::http2::error::SendError::Gone).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamKey {
    pub(crate) id: StreamId,
    pub(crate) slot: u16,
}

impl StreamKey {
    /// The stream with this number, if it lives in this slot.
    #[must_use]
    pub const fn new(id: StreamId, slot: usize) -> Self {
        Self { id, slot: slot as u16 }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn id(self) -> StreamId {
        self.id
    }

    /// A small number, unique among the streams that live now and reused later: an index for the driver's own tables.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

/// No neighbour in a queue.
pub(crate) const NOBODY: u16 = u16::MAX;

/// No `content-length` was given.
pub(crate) const LENGTH_UNKNOWN: u64 = u64::MAX;

/// A tunnel, which carries DATA of any length and nothing else (section 8.5).
pub(crate) const LENGTH_OF_TUNNEL: u64 = u64::MAX - 1;

/// How a stream was found that has bytes offered, since there were none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Not yet, or never waiting on the peer.
    Never,
    /// Waiting on the peer at an earlier check.
    Moving,
    /// Waiting on the peer.
    Waiting,
}

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) state: State,
    /// The application has not said `stream_done`; the slot stays, and counts, as long (F-01).
    pub(crate) handled: bool,
    /// The final response head was written.
    pub(crate) head_sent: bool,
    /// END_STREAM follows behind the offered bytes.
    pub(crate) end_offered: bool,
    pub(crate) queued: bool,
    pub(crate) priority: Priority,
    /// How the last check of what waits on the peer has found it.
    pub(crate) found: Found,
    /// Neighbours in the queue of its urgency, or the next free slot.
    pub(crate) previous: u16,
    pub(crate) next: u16,
    /// Delivered to the application and not released.
    pub(crate) held: u32,
    /// Body bytes the application has ready.
    pub(crate) offered: u64,
    /// What `content-length` still promises, or [`LENGTH_UNKNOWN`], or [`LENGTH_OF_TUNNEL`].
    pub(crate) expected: u64,
    pub(crate) send_window: SendWindow,
    pub(crate) receive_window: ReceiveWindow,
}

impl Stream {
    pub(crate) fn new(id: StreamId, state: State, receive_window: u32) -> Self {
        Self {
            id,
            state,
            handled: true,
            head_sent: false,
            end_offered: false,
            queued: false,
            priority: Priority::default(),
            previous: NOBODY,
            next: NOBODY,
            held: 0,
            offered: 0,
            expected: LENGTH_UNKNOWN,
            send_window: SendWindow::default(),
            receive_window: ReceiveWindow::new(receive_window),
            found: Found::Never,
        }
    }

    /// HEADERS are sent: a promised stream is reserved no longer (section 5.1).
    #[inline]
    pub(crate) const fn open_promised(&mut self) {
        if matches!(self.state, State::ReservedLocal) {
            self.state = State::HalfClosedRemote;
        }
    }

    /// The application has something to do with it yet: its handler runs, or bytes that it has offered have not gone out.
    #[inline]
    pub(crate) const fn concerns_application(&self) -> bool {
        self.handled || self.offered > 0
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_stream_is_small() {
        assert_eq!(size_of::<super::Stream>(), 48);
    }
}
