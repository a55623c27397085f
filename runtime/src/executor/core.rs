//! What the tasks of a core share.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use crate::buffer::ReceivePool;
use crate::driver::slot::{Key, Sockets};
use crate::driver::{Close, Driver, add};
use crate::executor::config::ExecutorConfig;
use crate::executor::counters::Counters;
use crate::executor::nudge::Nudge;
use crate::sys::clock::Clock;
use crate::sys::ticks::TickRate;
use crate::sys::wake::WakeCell;
use crate::task::Queue;
use crate::time::{Instant, Timers};

/// Where the time of an executor comes from.
#[derive(Debug)]
pub(crate) enum Time {
    /// The machine's clock.
    Real(Clock),
    /// The simulated driver's.
    Virtual(Rc<Cell<Instant>>),
}

impl Time {
    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Real(clock) => Instant::from_nanos(clock.now_ns()),
            Self::Virtual(now) => now.get(),
        }
    }
}

/// The driver and what it works on.
pub(crate) struct Io {
    driver: ManuallyDrop<Box<dyn Driver>>,
    sockets: ManuallyDrop<Sockets>,
}

impl Io {
    pub(super) fn new(driver: Box<dyn Driver>) -> Self {
        Self { driver: ManuallyDrop::new(driver), sockets: ManuallyDrop::default() }
    }

    /// Both at once.
    pub(crate) fn parts(&mut self) -> (&mut dyn Driver, &mut Sockets) {
        (&mut **self.driver, &mut self.sockets)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        for key in self.sockets.keys() {
            if self.sockets.get(key).is_some_and(|slot| !slot.closing) {
                self.driver.close(&mut self.sockets, key, Close::Orderly);
            }
        }
        let released = self.driver.finish(&mut self.sockets);
        // SAFETY: dropped once, here. The driver goes first: its ring may still refer to memory in the slots; if it has
        // not let go of it, the slots are leaked.
        unsafe {
            ManuallyDrop::drop(&mut self.driver);
            if released {
                ManuallyDrop::drop(&mut self.sockets);
            }
        }
    }
}

/// One core: its tasks, timers, sockets and counters.
pub(crate) struct Core {
    pub(super) config: ExecutorConfig,
    pub(crate) tasks: Queue,
    pub(crate) timers: Rc<Timers>,
    pub(crate) io: RefCell<Io>,
    pub(super) pool: Rc<ReceivePool>,
    pub(super) wake: Arc<WakeCell>,
    /// The future of `block_on` was woken.
    pub(super) main_woken: Arc<AtomicBool>,
    /// A `block_on` is running: its future's wakes count.
    pub(super) blocking: Cell<bool>,
    /// Somebody else's loop waits on the readiness descriptor between turns.
    pub(super) foreign: Cell<bool>,
    pub(super) time: Time,
    /// Who wants to be woken when this turn is over.
    pub(super) after_turn: RefCell<Vec<Waker>>,
    pub(super) activity: Cell<Option<&'static str>>,
    pub(super) counters: Arc<Counters>,
    pub(super) nudge: Nudge,
    pub(super) ticks: TickRate,
}

impl Core {
    /// True when a turn would find something to do without waiting.
    pub(super) fn is_runnable(&self) -> bool {
        self.tasks.is_runnable()
            || self.tasks.remote().has_tasks()
            || !self.after_turn.borrow().is_empty()
            || (self.blocking.get() && self.main_woken.load(Ordering::Acquire))
    }

    /// Runs tasks until none is runnable or the turn's budget is used up.
    pub(super) fn run_tasks(&self) {
        let start = self.ticks.now();
        let budget = self.ticks.ticks(self.config.turn_budget.as_nanos() as u64);
        let stall = self.ticks.ticks(self.config.stall_limit.as_nanos() as u64);
        let mut before = start;
        for _ in 0..self.config.polls_per_turn_max {
            let Some(name) = self.tasks.run_next() else { break };
            add(&self.counters.polls, 1);
            let after = self.ticks.now();
            let held = after.since(before);
            let activity = self.activity.take();
            if held > stall {
                add(&self.counters.stalls, 1);
                self.counters.stalled(activity.unwrap_or(name), Duration::from_nanos(self.ticks.nanos(held)));
            }
            if after.since(start) > budget {
                break;
            }
            before = after;
        }
    }

    /// Submits, sleeps at most until the next timer, and stores what has happened.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = self.timeout(timeout);
        let mut io = self.io.borrow_mut();
        let (driver, sockets) = io.parts();
        if timeout == Some(Duration::ZERO) {
            return driver.wait(sockets, timeout);
        }
        self.wake.about_to_sleep();
        let timeout = if self.is_runnable() { Some(Duration::ZERO) } else { timeout };
        let result = driver.wait(sockets, timeout);
        self.wake.awake();
        result
    }

    fn timeout(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.is_runnable() {
            return Some(Duration::ZERO);
        }
        let timer = self.timers.next_deadline().map(|deadline| deadline.since(self.time.now()));
        match (timeout, timer) {
            (Some(timeout), Some(timer)) => Some(timeout.min(timer)),
            (timeout, timer) => timeout.or(timer),
        }
    }

    /// Between turns of somebody else's loop other threads must write the wake descriptor. True if one has woken a task
    /// before that, so that the next turn is due at once.
    pub(super) fn leave_to_foreign_loop(&self) -> bool {
        self.wake.about_to_sleep();
        let runnable = self.is_runnable();
        if runnable {
            self.wake.awake();
        }
        runnable
    }

    /// The turn is over: everything that was said in it has been submitted.
    pub(super) fn end_turn(&self) {
        if !self.after_turn.borrow().is_empty() {
            let waiting = std::mem::take(&mut *self.after_turn.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Publishes the gauges.
    pub(super) fn publish(&self) {
        let counters = &self.counters;
        let store = |gauge: &std::sync::atomic::AtomicU64, value: usize| gauge.store(value as u64, Ordering::Relaxed);
        add(&counters.turns, 1);
        store(&counters.tasks, self.tasks.live());
        store(&counters.panics, self.tasks.panics());
        store(&counters.timers, self.timers.len());
        store(&counters.sockets, self.io.borrow_mut().parts().1.in_use());
        store(&counters.buffers_lent, self.pool.lent() as usize);
    }

    /// Closes a socket whose owner goes, unless it was aborted before.
    pub(crate) fn close(&self, key: Key, how: Close) {
        let mut io = self.io.borrow_mut();
        let (driver, sockets) = io.parts();
        if sockets.get(key).is_some_and(|slot| !slot.closing) {
            driver.close(sockets, key, how);
        }
    }
}
