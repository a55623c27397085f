//! What one core has done, readable from any thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::driver::DriverCounters;

/// Stalls that are remembered by name; older ones are only counted.
const STALLS_REMEMBERED_MAX: usize = 16;

/// A task held its core longer than the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The activity named by `Handle::set_activity`, or the task's name.
    pub name: &'static str,
    /// How long one poll took.
    pub held: Duration,
}

/// Counters of one core. One thread writes, any thread reads; no locked instruction is spent on them.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) driver: Arc<DriverCounters>,
    pub(super) turns: AtomicU64,
    pub(super) polls: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) tasks: AtomicU64,
    pub(super) timers: AtomicU64,
    pub(super) sockets: AtomicU64,
    pub(super) buffers_lent: AtomicU64,
    pub(super) buffers: AtomicU64,
    pub(super) stalled: Mutex<VecDeque<Stall>>,
}

impl Counters {
    /// Name and value of every counter and gauge. Gauges are of the end of the last turn.
    ///
    /// | name | what it counts |
    /// |---|---|
    /// | `turns`, `polls` | turns of the loop, polls of tasks |
    /// | `panics`, `stalls` | tasks that panicked, polls beyond `stall_limit` |
    /// | `tasks`, `timers`, `sockets` | gauges: what lives on this core now |
    /// | `buffers`, `buffers_lent` | receive buffers of this core, and, a gauge, those with leases on them |
    /// | `enters` | system calls that submit and wait: `io_uring_enter`, `epoll_wait` |
    /// | `enters_refused` | times that the kernel had no memory for one of io_uring, or no room for its completions: it was asked again |
    /// | `completions` | what they brought: completions of the ring, events of epoll |
    /// | `accepts`, `accept_errors` | connections accepted; times that none could be, mostly for want of descriptors |
    /// | `receives`, `receive_bytes` | receives that brought something, and bytes |
    /// | `sends`, `send_bytes` | sends handed to the kernel, and bytes that it has taken |
    /// | `enobufs` | receives that found no free buffer |
    /// | `pauses` | receivers that stopped, since their reader fell behind |
    /// | `overflows` | completions that found no room in the ring |
    ///
    /// ```
    /// # use ringgate_runtime::executor::{Executor, ExecutorConfig};
    /// let executor = Executor::new(ExecutorConfig::default())?;
    /// let counters = executor.handle().counters();
    /// assert!(counters.snapshot().iter().any(|(name, _)| *name == "turns"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let driver = &self.driver;
        vec![
            ("turns", read(&self.turns)),
            ("polls", read(&self.polls)),
            ("panics", read(&self.panics)),
            ("stalls", read(&self.stalls)),
            ("tasks", read(&self.tasks)),
            ("timers", read(&self.timers)),
            ("sockets", read(&self.sockets)),
            ("buffers", read(&self.buffers)),
            ("buffers_lent", read(&self.buffers_lent)),
            ("enters", read(&driver.enters)),
            ("enters_refused", read(&driver.enters_refused)),
            ("completions", read(&driver.completions)),
            ("accepts", read(&driver.accepts)),
            ("accept_errors", read(&driver.accept_errors)),
            ("receives", read(&driver.receives)),
            ("receive_bytes", read(&driver.receive_bytes)),
            ("sends", read(&driver.sends)),
            ("send_bytes", read(&driver.send_bytes)),
            ("enobufs", read(&driver.enobufs)),
            ("pauses", read(&driver.pauses)),
            ("overflows", read(&driver.overflows)),
        ]
    }

    /// The value of one counter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.snapshot().into_iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The last stalls, oldest first.
    #[must_use]
    pub fn recent_stalls(&self) -> Vec<Stall> {
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn stalled(&self, name: &'static str, held: Duration) {
        let mut stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        if stalled.len() == STALLS_REMEMBERED_MAX {
            stalled.pop_front();
        }
        stalled.push_back(Stall { name, held });
    }
}
