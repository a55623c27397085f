//! The monotonic clock.

use std::{sync::OnceLock, time::Instant};

/// Nanoseconds since this process first asked for a clock, on `CLOCK_MONOTONIC` (read in user space through the vDSO,
/// some 20 ns; does not count while the machine is suspended). Every clock of a process counts from the same moment, so
/// times of different cores compare.
///
/// ```
/// use ringgate_runtime::sys::clock::Clock;
/// let clock = Clock::new();
/// let before = clock.now_ns();
/// assert!(Clock::new().now_ns() >= before);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// The clock of this process.
    pub fn new() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        Self { start: *START.get_or_init(Instant::now) }
    }

    /// Now, in nanoseconds since the start. Never goes back; holds for 584 years.
    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn counts_nanoseconds_from_one_start() {
        let first = Clock::new();
        let before = first.now_ns();
        thread::sleep(Duration::from_millis(5));
        let after = thread::spawn(|| Clock::new().now_ns()).join().unwrap();
        assert!(after - before >= 5_000_000, "{before} {after}");
        assert!(after - before < 5_000_000_000, "{before} {after}");
    }
}
