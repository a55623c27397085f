//! A connection of the wire: two sides. What a side has yet to receive lies at that side, in segments that arrive at their
//! time. A FIN or a reset arrives behind them. Order within a connection is always kept.

use std::collections::VecDeque;
use std::task::Waker;

use crate::driver::sim::wire::Wire;
use crate::sys::address::Address;
use crate::time::Instant;

/// One end of a connection: its number and side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) connection: u32,
    pub(super) side: usize,
}

impl End {
    pub(super) const fn other(self) -> Self {
        Self { connection: self.connection, side: 1 - self.side }
    }
}

/// What a side has yet to receive, and what has become of it.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) inbound: VecDeque<(Instant, VecDeque<u8>)>,
    inbound_bytes: usize,
    window_bytes: usize,
    /// When the other side's FIN arrives.
    pub(super) finish: Option<Instant>,
    /// When a reset arrives.
    pub(super) reset: Option<Instant>,
    /// This side has sent its FIN.
    finished: bool,
    /// This side is closed.
    pub(super) closed: bool,
    pub(super) waker: Option<Waker>,
}

impl Side {
    pub(super) fn new(window_bytes: usize) -> Self {
        Self { window_bytes, ..Self::default() }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sides: [Side; 2],
    pub(super) addresses: [Option<Address>; 2],
}

/// What a side can receive now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    Nothing,
    Bytes(usize),
    Finished,
    Reset,
}

impl Wire {
    pub(super) fn address(&self, end: End) -> Option<Address> {
        self.connections.get(&end.connection)?.addresses[end.side].clone()
    }

    pub(super) fn peer_address(&self, end: End) -> Option<Address> {
        self.address(end.other())
    }

    pub(super) fn side(&self, end: End) -> Option<&Side> {
        self.connections.get(&end.connection).map(|connection| &connection.sides[end.side])
    }

    pub(super) fn side_mut(&mut self, end: End) -> Option<&mut Side> {
        self.connections.get_mut(&end.connection).map(|connection| &mut connection.sides[end.side])
    }

    /// What the end can receive now.
    pub(super) fn inbound(&self, end: End) -> Inbound {
        let Some(side) = self.side(end) else { return Inbound::Reset };
        let now = self.now();
        let bytes = side.inbound.iter().take_while(|(at, _)| *at <= now).map(|(_, bytes)| bytes.len()).sum();
        match bytes {
            1.. => Inbound::Bytes(bytes),
            0 if side.reset.is_some_and(|at| at <= now) => Inbound::Reset,
            0 if side.inbound.is_empty() && side.finish.is_some_and(|at| at <= now) => Inbound::Finished,
            0 => Inbound::Nothing,
        }
    }

    /// A reset has arrived at this end, whatever lies before it.
    pub(super) fn is_reset(&self, end: End) -> bool {
        self.side(end).is_none_or(|side| side.reset.is_some_and(|at| at <= self.now()))
    }

    /// This end has sent its FIN.
    pub(super) fn has_finished(&self, end: End) -> bool {
        self.side(end).is_none_or(|side| side.finished)
    }

    /// Bytes that this end has yet to receive, those under way included.
    pub(super) fn unreceived(&self, end: End) -> usize {
        self.side(end).map_or(0, |side| side.inbound_bytes)
    }

    /// Both directions of this end are over.
    pub(super) fn is_over(&self, end: End) -> bool {
        self.is_reset(end) || self.side(end).is_some_and(|side| side.finished && self.inbound(end) == Inbound::Finished)
    }

    /// Takes bytes that have arrived.
    pub(super) fn take(&mut self, end: End, target: &mut [u8]) -> usize {
        let now = self.now();
        let Some(side) = self.side_mut(end) else { return 0 };
        let mut taken = 0;
        while let Some((at, bytes)) = side.inbound.front_mut()
            && *at <= now
            && taken < target.len()
        {
            let count = bytes.len().min(target.len() - taken);
            for (byte, place) in bytes.drain(..count).zip(&mut target[taken..]) {
                *place = byte;
            }
            taken += count;
            if bytes.is_empty() {
                side.inbound.pop_front();
            }
        }
        side.inbound_bytes -= taken;
        taken
    }

    /// Bytes that the other end has room for. Where nobody reads any more the first bytes bring a reset, and while that
    /// is under way there is no room.
    pub(super) fn room(&self, end: End) -> usize {
        match self.side(end.other()) {
            Some(side) if !side.closed => side.window_bytes.saturating_sub(side.inbound_bytes),
            _ if self.side(end).is_some_and(|side| side.reset.is_some()) => 0,
            Some(side) => side.window_bytes.max(1),
            None => 0,
        }
    }

    pub(super) fn set_window(&mut self, end: End, bytes: usize) {
        if let Some(side) = self.side_mut(end) {
            side.window_bytes = bytes;
        }
    }

    /// Puts bytes on the wire, whatever the window. To an end that is closed: they come back as a reset.
    pub(super) fn put(&mut self, end: End, bytes: impl IntoIterator<Item = u8>) {
        let arrival = self.arrival();
        let Some(other) = self.side_mut(end.other()) else { return };
        if other.closed {
            if let Some(side) = self.side_mut(end)
                && side.reset.is_none()
            {
                side.reset = Some(arrival);
            }
            return;
        }
        let arrival = other.inbound.back().map_or(arrival, |(last, _)| arrival.max(*last));
        let bytes: VecDeque<u8> = bytes.into_iter().collect();
        other.inbound_bytes += bytes.len();
        if !bytes.is_empty() {
            other.inbound.push_back((arrival, bytes));
        }
    }

    /// FIN behind what was sent.
    pub(super) fn finish(&mut self, end: End) {
        let arrival = self.arrival();
        let Some(side) = self.side_mut(end) else { return };
        if std::mem::replace(&mut side.finished, true) {
            return;
        }
        if let Some(other) = self.side_mut(end.other()) {
            let arrival = other.inbound.back().map_or(arrival, |(last, _)| arrival.max(*last));
            other.finish = Some(arrival);
        }
    }

    /// Closes with a reset. What has not been received may be lost, or not: chance decides.
    pub(super) fn reset(&mut self, end: End) {
        let arrival = self.arrival();
        let lost = self.random.chance(500);
        if let Some(other) = self.side_mut(end.other()) {
            if lost {
                other.inbound.clear();
                other.inbound_bytes = 0;
            }
            let arrival = other.inbound.back().map_or(arrival, |(last, _)| arrival.max(*last));
            other.reset.get_or_insert(arrival);
        }
        self.leave(end);
    }

    /// The connection dies under both ends.
    pub(super) fn kill(&mut self, end: End) {
        let now = self.now();
        for end in [end, end.other()] {
            if let Some(side) = self.side_mut(end) {
                side.inbound.clear();
                side.inbound_bytes = 0;
                side.reset = Some(now);
            }
        }
    }

    /// Closes: FIN behind what was sent; a reset if something had arrived that was not read, as TCP does
    /// (RFC 2525, section 2.17).
    pub(super) fn close(&mut self, end: End) {
        if self.side(end).is_none_or(|side| side.closed) {
            return;
        }
        if self.unreceived(end) > 0 {
            return self.reset(end);
        }
        self.finish(end);
        self.leave(end);
    }

    fn leave(&mut self, end: End) {
        let Some(connection) = self.connections.get_mut(&end.connection) else { return };
        let side = &mut connection.sides[end.side];
        side.closed = true;
        side.waker = None;
        side.inbound.clear();
        side.inbound_bytes = 0;
        if connection.sides.iter().all(|side| side.closed) {
            self.connections.remove(&end.connection);
        }
    }

    /// Wakes at the next thing that arrives at this end.
    pub(super) fn wait_for_inbound(&mut self, end: End, waker: &Waker) {
        if let Some(side) = self.side_mut(end) {
            side.waker = Some(waker.clone());
        }
    }
}
