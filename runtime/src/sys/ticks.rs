//! A very cheap count of passing time, for the question "did this task run too long?", asked twice for every task.
//!
//! # The unsafe of this room
//! On x86-64 the count is the processor's time stamp counter. `rdtsc` reads no memory and has no precondition but to
//! exist, which it does on every x86-64 processor; the kernel could forbid it (`prctl(PR_SET_TSC)`), and then it ends
//! the process with SIGSEGV: nobody who asked for that runs us. It is not serialising: neighbouring instructions may
//! move across it by some tens of nanoseconds, which does not matter to a threshold of hundreds of microseconds.
//!
//! The counter is used only where the processor says that it is invariant (one constant rate, in every power state);
//! otherwise, and on other processors, ticks are nanoseconds of the monotonic clock.

use std::sync::OnceLock;
#[cfg(target_arch = "x86_64")]
use std::time::{Duration, Instant};

use crate::sys::clock::Clock;

/// A moment on the cheap count. Compare with others of this process only; differences are turned into nanoseconds by
/// a [`TickRate`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticks(u64);

impl Ticks {
    /// Ticks since an earlier moment; 0 if it is later (counters of two processors may differ by a few ticks).
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Reads the count, and knows how long a tick is. Small: keep one in each executor.
///
/// ```
/// use ringgate_runtime::sys::ticks::TickRate;
/// let rate = TickRate::of_process();
/// let limit = rate.ticks(500_000); // 500 µs
/// let before = rate.now();
/// let stalled = rate.now().since(before) > limit;
/// # let _ = stalled;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TickRate {
    source: Source,
    /// Nanoseconds per tick, times 2^32.
    nanos_per_tick_fixed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    #[cfg(target_arch = "x86_64")]
    TimeStampCounter,
    Clock(Clock),
}

/// How long the counter is compared with the clock. Both are read within about 100 ns of each other, so the rate is
/// right to some 0.01 %.
#[cfg(target_arch = "x86_64")]
const CALIBRATION: Duration = Duration::from_millis(5);

impl TickRate {
    /// The rate of this process's counter. The first call of the process sleeps for about 5 ms to measure it: make it
    /// while starting, not in a turn.
    pub fn of_process() -> Self {
        static RATE: OnceLock<TickRate> = OnceLock::new();
        *RATE.get_or_init(Self::measure)
    }

    /// The count now.
    #[inline]
    pub fn now(&self) -> Ticks {
        match &self.source {
            #[cfg(target_arch = "x86_64")]
            Source::TimeStampCounter => Ticks(counter::read()),
            Source::Clock(clock) => Ticks(clock.now_ns()),
        }
    }

    /// A number of ticks in nanoseconds.
    pub const fn nanos(&self, ticks: u64) -> u64 {
        let nanos = (ticks as u128 * self.nanos_per_tick_fixed as u128) >> 32;
        if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
    }

    /// Nanoseconds in ticks: compute a limit once, compare ticks afterwards.
    pub const fn ticks(&self, nanos: u64) -> u64 {
        let ticks = ((nanos as u128) << 32) / self.nanos_per_tick_fixed as u128;
        if ticks > u64::MAX as u128 { u64::MAX } else { ticks as u64 }
    }

    fn measure() -> Self {
        #[cfg(target_arch = "x86_64")]
        if counter::is_invariant() {
            let (clock, start) = read_together();
            std::thread::sleep(CALIBRATION);
            let (clock_end, end) = read_together();
            let (nanos, ticks) = (clock_end.duration_since(clock).as_nanos(), end.wrapping_sub(start));
            // Between 16 MHz and 64 GHz; outside of that the counter does not count what it should.
            let rate = (nanos << 32).checked_div(u128::from(ticks)).unwrap_or(0);
            if (1 << 26..1 << 38).contains(&rate) {
                return Self { source: Source::TimeStampCounter, nanos_per_tick_fixed: rate as u64 };
            }
        }
        Self { source: Source::Clock(Clock::new()), nanos_per_tick_fixed: 1 << 32 }
    }
}

/// Clock and counter at one moment: of a few tries the one that took the fewest ticks, so that losing the processor
/// between the two readings does not spoil the rate.
#[cfg(target_arch = "x86_64")]
fn read_together() -> (Instant, u64) {
    let one_try = || {
        let before = counter::read();
        let clock = Instant::now();
        let width = counter::read().wrapping_sub(before);
        (width, clock, before.wrapping_add(width / 2))
    };
    let tries = [one_try(), one_try(), one_try(), one_try()];
    let (_, clock, count) = tries.into_iter().min_by_key(|&(width, ..)| width).unwrap_or_else(one_try);
    (clock, count)
}

#[cfg(target_arch = "x86_64")]
mod counter {
    use std::arch::x86_64::{__cpuid, _rdtsc};

    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: see the head of the file: the instruction exists on every x86-64 processor and touches no memory.
        unsafe { _rdtsc() }
    }

    /// Leaf 8000_0007h, bit 8 of EDX: the counter runs at one rate in every power state.
    pub(super) fn is_invariant() -> bool {
        // SAFETY: every x86-64 processor has `cpuid`; it touches no memory. (Safe to call in newer toolchains.)
        #[allow(unused_unsafe, reason = "unsafe on the oldest supported toolchain only")]
        unsafe {
            __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn agrees_with_the_clock() {
        let rate = TickRate::of_process();
        let (clock, before) = (Instant::now(), rate.now());
        std::thread::sleep(Duration::from_millis(20));
        let (nanos, expected) = (rate.nanos(rate.now().since(before)), clock.elapsed().as_nanos() as u64);
        // Both ends are read apart, and the thread may lose the processor in between: 2 ms and 1 %.
        assert!(nanos.abs_diff(expected) < expected / 100 + 2_000_000, "{nanos} against {expected}");
    }

    #[test]
    fn converts_there_and_back() {
        let rate = TickRate::of_process();
        for nanos in [0, 1, 500_000, 5_000_000_000, 3_600_000_000_000] {
            assert!(rate.nanos(rate.ticks(nanos)).abs_diff(nanos) <= nanos / 1_000_000 + 2, "{nanos}");
        }
        assert!(rate.nanos(u64::MAX) > 1 << 56, "large counts do not wrap");
    }

    #[test]
    fn the_fallback_counts_nanoseconds() {
        let rate = TickRate { source: Source::Clock(Clock::new()), nanos_per_tick_fixed: 1 << 32 };
        assert_eq!((rate.nanos(123), rate.ticks(123)), (123, 123));
        let before = rate.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(rate.now().since(before) >= 2_000_000);
        assert_eq!(before.since(rate.now()), 0);
    }
}
