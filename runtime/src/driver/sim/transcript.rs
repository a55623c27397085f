//! What has happened in a simulation: the last events, and a digest of all of them.

use std::collections::VecDeque;
use std::fmt;

use crate::time::Instant;

/// Something that happened, for a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimEvent {
    /// When, on the virtual clock.
    pub at: Instant,
    /// What: an operation and how it went.
    pub what: &'static str,
    /// The socket's slot, or the connection's number for what a [`SimPeer`](super::SimPeer) does.
    pub subject: u32,
    /// Bytes, where there are any.
    pub amount: usize,
}

impl fmt::Display for SimEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12} ns  {} #{} {}", self.at.as_nanos(), self.what, self.subject, self.amount)
    }
}

/// The last events, and a number that tells whether two runs were the same.
#[derive(Debug)]
pub(super) struct Transcript {
    events: VecDeque<SimEvent>,
    events_max: usize,
    digest: u64,
}

impl Transcript {
    pub(super) fn new(events_max: usize) -> Self {
        Self { events: VecDeque::new(), events_max, digest: 0xcbf2_9ce4_8422_2325 }
    }

    pub(super) fn note(&mut self, event: SimEvent) {
        let words = [event.at.as_nanos(), u64::from(event.subject), event.amount as u64];
        for byte in words.iter().flat_map(|word| word.to_le_bytes()).chain(event.what.bytes()) {
            // FNV-1a.
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.events.len() >= self.events_max {
            self.events.pop_front();
        }
        if self.events_max > 0 {
            self.events.push_back(event);
        }
    }

    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn events(&self) -> impl Iterator<Item = SimEvent> {
        self.events.iter().copied()
    }
}
