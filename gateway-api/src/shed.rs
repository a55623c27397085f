//! Shedding: while the process holds more memory than it may, what is new is refused and what runs goes on.

use ringgate_runtime::{sys::memory, time::Instant};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// So long one look holds for all cores. 200 ms: at ten Gbit/s a quarter of a gigabyte can come meanwhile, while a look
/// costs two system calls and a few microseconds.
const LOOK: Duration = Duration::from_millis(200);

/// Freed memory is asked for so often while the process sheds.
const RELEASE: Duration = Duration::from_secs(1);

/// Whether a process sheds: known to all its cores, looked at with each new request, found out when one comes. A gateway
/// that is asked nothing looks at nothing.
pub(crate) struct Shed {
    bytes_max: u64,
    /// Shedding ends below. A sixteenth less: what one refused request frees does not admit the next.
    bytes_low: u64,
    /// Until when the last look holds, in nanoseconds of the cores' clock, and as lowest bit what it said.
    state: AtomicU64,
    /// When freed memory is asked for again.
    release: AtomicU64,
}

impl Shed {
    /// Watches the memory of this process. `None` for nine tenths of what it may hold before somebody is killed: the last
    /// tenth is for what the kernel holds on its behalf, and for what runs and still grows.
    pub(crate) fn new(bytes_max: Option<u64>) -> Arc<Self> {
        let derived = || memory::limit_bytes().map_or(u64::MAX, |bytes| bytes / 10 * 9);
        let bytes_max = bytes_max.unwrap_or_else(derived);
        let state = AtomicU64::new(if bytes_max == u64::MAX { u64::MAX - 1 } else { 0 });
        Arc::new(Self { bytes_max, bytes_low: bytes_max - bytes_max / 16, state, release: AtomicU64::new(0) })
    }

    /// Whether what is new is to be refused. One relaxed read, five times a second more on one of the cores.
    #[inline]
    pub(crate) fn is_on(&self, now: Instant, begun: impl FnOnce()) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        if now.as_nanos() < state >> 1 { state & 1 != 0 } else { self.look(now, state, begun) }
    }

    #[cold]
    fn look(&self, now: Instant, state: u64, begun: impl FnOnce()) -> bool {
        let was_on = state & 1 != 0;
        let until = (now + LOOK).as_nanos() << 1;
        // The first to come looks; until it is done the others go by what was.
        if self.state.compare_exchange(state, until | state & 1, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return was_on;
        }
        // What cannot be known sheds nothing.
        let bytes = memory::held_bytes().unwrap_or(0);
        let is_on = bytes > if was_on { self.bytes_low } else { self.bytes_max };
        if is_on != was_on {
            self.state.store(until | u64::from(is_on), Ordering::Relaxed);
            self.tell(bytes, is_on);
            if is_on {
                begun();
            }
        }
        if is_on && now.as_nanos() >= self.release.load(Ordering::Relaxed) {
            self.release.store((now + RELEASE).as_nanos(), Ordering::Relaxed);
            // Memory that handlers have freed may still be the allocator's, and so would keep the gateway shut. Without
            // a thread to spare that has to wait.
            let _ = thread::Builder::new().name("ringgate-release".into()).spawn(memory::release_freed);
        }
        is_on
    }

    /// One line for each change: nobody should have to guess why requests are refused.
    fn tell(&self, bytes: u64, is_on: bool) {
        let (held, max) = (bytes >> 20, self.bytes_max >> 20);
        if is_on {
            eprintln!("ringgate: {held} MiB are held of {max} (process_bytes_max): new requests are refused");
        } else {
            eprintln!("ringgate: {held} MiB are held of {max}: requests are taken again");
        }
    }
}

impl fmt::Debug for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shed").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_look_holds_for_its_time() {
        let mut begun = 0;
        let shed = Shed::new(Some(1));
        assert!(shed.is_on(at(5), || begun += 1));
        // What is found then would be another thing; until then nobody looks.
        let relaxed = Shed { bytes_max: 1 << 60, bytes_low: 1 << 60, ..Arc::into_inner(shed).unwrap() };
        assert!(relaxed.is_on(at(204), || unreachable!()));
        assert!(!relaxed.is_on(at(205), || unreachable!()));
        assert_eq!(begun, 1);
    }

    #[test]
    fn it_ends_below_where_it_begins() {
        let block = vec![1_u8; 64 << 20];
        let held = memory::held_bytes().unwrap();
        let shed = Shed::new(Some(held - (held >> 6)));
        assert!(shed.is_on(at(0), || {}));
        drop(block);
        assert!(memory::held_bytes().unwrap() < shed.bytes_low);
        assert!(!shed.is_on(at(1000), || {}));
    }

    #[test]
    fn a_look_without_a_limit_is_never_taken() {
        assert!(!Shed::new(Some(u64::MAX)).is_on(Instant::from_nanos(u64::MAX >> 2), || unreachable!()));
        assert!(Shed::new(None).bytes_max < u64::MAX, "the machine has an end");
    }
}
