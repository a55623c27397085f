//! What a simulation is made of: a seed, and how unfriendly its kernel and its wire are.

use std::time::Duration;

use crate::driver::sim::random::Random;

/// A simulation. The same seed, configuration and program give the same run, event by event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimConfig {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How often what goes wrong.
    pub faults: SimFaults,
    /// Bytes that a receiving end takes before its reader must have read: TCP's window. 64 KiB, the default of old: large
    /// answers meet it. [`SimPeer::set_window`](crate::driver::sim::SimPeer::set_window) changes it for one end.
    pub window_bytes: usize,
    /// Events that [`SimNet::transcript`](crate::driver::sim::SimNet::transcript) remembers, the last ones. 64: enough to
    /// see what led to a failure.
    pub transcript_events_max: usize,
    /// Real time that the simulation gives other threads (an offload crew) before its clock jumps to the next timer.
    /// Zero: their work is outside of the virtual time, and a run that depends on it is not replayable.
    pub threads_wait_max: Duration,
}

impl SimConfig {
    /// A simulation with the usual faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            faults: SimFaults::default(),
            window_bytes: 65_536,
            transcript_events_max: 64,
            threads_wait_max: Duration::ZERO,
        }
    }

    /// A simulation whose weather is of the seed's choosing as well: each fault absent, rare or frequent, the window wide
    /// or narrow. For loops over many seeds. It never loses a connection: `resets` stays zero.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        // Another sequence than the events': the weather of a seed says nothing about its first events.
        let mut random = Random::new(!seed);
        let mut draw = |most: u64| match random.below(3) {
            0 => 0,
            1 => random.below(most / 10 + 1) as u16,
            _ => random.below(most + 1) as u16,
        };
        let faults = SimFaults {
            short_receives: draw(1000),
            short_sends: draw(1000),
            multishot_ends: draw(500),
            no_buffers: draw(500),
            accept_exhausted: draw(300),
            spurious_wakes: draw(300),
            late: draw(800),
            latency_max: Duration::from_micros(u64::from(draw(5000))),
            resets: 0,
        };
        let window_bytes = match random.below(3) {
            0 => 15 + random.up_to(1000),
            1 => random.up_to(5000),
            _ => 65_536,
        };
        Self { faults, window_bytes, ..Self::new(seed) }
    }
}

/// How often the simulated kernel does what a kernel may do and seldom does: in a thousand, 0 to 1,000.
///
/// Whatever these say, the bytes of a connection stay in their order and none is lost, unless the connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimFaults {
    /// Receives that give only a part, often one byte, of what is there.
    pub short_receives: u16,
    /// Sends that take only a part of what there is room for.
    pub short_sends: u16,
    /// Multishot accepts and receives that end after this completion, for no reason.
    pub multishot_ends: u16,
    /// Receives that end because no buffer is free (ENOBUFS).
    pub no_buffers: u16,
    /// Accepts that fail because no descriptor is left (EMFILE).
    pub accept_exhausted: u16,
    /// Waits that return although nothing has happened (a signal).
    pub spurious_wakes: u16,
    /// Completions that come in a later wait than they could, late ones of closed sockets as well.
    pub late: u16,
    /// Bytes, FINs and resets are under way for up to this long.
    pub latency_max: Duration,
    /// Receives and sends of which the connection dies (ECONNRESET at both ends). Zero by default: most programs count
    /// on some connections to live.
    pub resets: u16,
}

impl SimFaults {
    /// A kernel that does the best thing every time, on a wire without latency.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            short_receives: 0,
            short_sends: 0,
            multishot_ends: 0,
            no_buffers: 0,
            accept_exhausted: 0,
            spurious_wakes: 0,
            late: 0,
            latency_max: Duration::ZERO,
            resets: 0,
        }
    }
}

impl Default for SimFaults {
    fn default() -> Self {
        Self {
            short_receives: 200,
            short_sends: 200,
            multishot_ends: 50,
            no_buffers: 50,
            accept_exhausted: 20,
            spurious_wakes: 50,
            late: 200,
            latency_max: Duration::from_micros(500),
            resets: 0,
        }
    }
}
