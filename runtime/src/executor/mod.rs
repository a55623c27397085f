//! One core's executor: one turn of the loop, on one screen.
//!
//! ```text
//!           ┌─────────────────────────────── turn ───────────────────────────────┐
//!           │ run tasks (budget) → submit and wait (until the next timer) → reap │ → advance the clock, wake timers
//!           └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Completions are *stored* while reaping and wake tasks; the tasks run in the next turn, and whatever they send leaves
//! with that turn's one submission.
//!
//! # The room and its unsafe
//! `core.rs` drops the driver before the sockets, by hand, once.

mod config;
pub(crate) mod core;
mod counters;
mod handle;
mod nudge;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub use crate::executor::config::ExecutorConfig;
use crate::executor::core::{Core, Io, Time};
pub use crate::executor::counters::{Counters, Stall};
pub use crate::executor::handle::Handle;
use crate::executor::nudge::Nudge;

use crate::buffer::ReceivePool;
use crate::driver::sim::{Sim, SimConfig, SimNet};
use crate::driver::{self, Driver};
use crate::sys::clock::Clock;
use crate::sys::ticks::TickRate;
use crate::sys::wake::WakeCell;
use crate::task::Queue;
use crate::time::{Instant, Timers};

/// One core's loop: driver, tasks, timers, buffers. It lives on the thread that made it.
///
/// Normally it owns its thread ([`block_on`](Self::block_on)). It can also be driven one [`turn`](Self::turn) at a time
/// from somebody else's loop. Dropping it drops its tasks; handles that are left spawn nothing any more.
///
/// ```
/// use ringgate_runtime::executor::{Executor, ExecutorConfig, Turn};
/// use std::time::Duration;
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let handle = executor.handle();
/// let task = handle.spawn("tick", {
///     let handle = handle.clone();
///     async move { handle.sleep(Duration::from_millis(2)).await }
/// });
/// // Somebody else's loop: each turn says until when it may be left alone.
/// while !task.is_finished() {
///     let wait = match executor.turn(Some(Duration::ZERO))? {
///         Turn::Again => Duration::ZERO,
///         Turn::Until(moment) => moment.since(handle.now()),
///         Turn::Idle => break,
///     };
///     std::thread::sleep(wait); // or wait for `readiness` as well
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Executor {
    core: Rc<Core>,
}

/// What a turn leaves behind: what the loop that drives it has to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Tasks are runnable: call `turn` again at once.
    Again,
    /// Nothing to do before this moment, unless the readiness descriptor says so.
    Until(Instant),
    /// Nothing to do unless the readiness descriptor says so.
    Idle,
}

/// Wakes the future of `block_on`.
struct MainWaker {
    woken: Arc<AtomicBool>,
    wake: Arc<WakeCell>,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.wake.wake();
    }
}

impl Executor {
    /// Sets the driver up on this thread.
    ///
    /// # Errors
    /// When the driver asked for cannot be had (the text names the remedy), or the process has no descriptor left.
    pub fn new(config: ExecutorConfig) -> io::Result<Self> {
        let pool = ReceivePool::new(config.receive);
        let wake = Arc::new(WakeCell::new()?);
        let driver = driver::start(config.driver, config.ring, &pool, &wake)?;
        Ok(Self::with_driver(config, driver, pool, wake, Time::Real(Clock::new())))
    }

    /// An executor on a virtual clock and a virtual wire, and the test's end of that world. See [`driver::sim`].
    ///
    /// Turns have no budget of real time here, so that a run depends on nothing but its seed; `driver` and `ring` of the
    /// configuration say nothing.
    ///
    /// # Panics
    /// When the process has no descriptor left.
    #[must_use]
    pub fn simulated(config: ExecutorConfig, sim: SimConfig) -> (Self, SimNet) {
        let pool = ReceivePool::new(config.receive);
        let wake = Arc::new(WakeCell::new().expect("a descriptor for the core's wake"));
        let (driver, net, now) = Sim::new(sim, &pool, &wake);
        let config = ExecutorConfig { turn_budget: Duration::from_nanos(u64::MAX), ..config };
        (Self::with_driver(config, Box::new(driver), pool, wake, Time::Virtual(now)), net)
    }

    fn with_driver(
        config: ExecutorConfig,
        driver: Box<dyn Driver>,
        pool: Rc<ReceivePool>,
        wake: Arc<WakeCell>,
        time: Time,
    ) -> Self {
        let counters = Counters { driver: driver.counters(), ..Counters::default() };
        counters.buffers.store(u64::from(pool.buffers()), Ordering::Relaxed);
        let core = Core {
            tasks: Queue::new(Arc::clone(&wake)),
            timers: Rc::new(Timers::new(time.now())),
            io: RefCell::new(Io::new(driver)),
            pool,
            wake,
            main_woken: Arc::default(),
            blocking: Cell::new(false),
            foreign: Cell::new(false),
            time,
            after_turn: RefCell::default(),
            activity: Cell::new(None),
            counters: Arc::new(counters),
            nudge: Nudge::default(),
            ticks: TickRate::of_process(),
            config,
        };
        Self { core: Rc::new(core) }
    }

    /// The way in for code that runs on this executor.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Rc::clone(&self.core))
    }

    /// One turn: runs what is runnable, submits, waits at most `timeout` (`None`: until something happens; never longer
    /// than until the next timer, and not at all while tasks are runnable), stores what has happened and wakes its tasks.
    ///
    /// # Errors
    /// Only when the driver itself fails: the executor cannot go on.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<Turn> {
        let core = &self.core;
        let foreign = core.foreign.get() && !core.blocking.get();
        if foreign {
            core.wake.awake();
            // What was spawned between the turns shall not run by the clock of the last one.
            core.timers.advance(core.time.now());
        }
        core.tasks.take_remote();
        core.run_tasks();
        core.wait(timeout)?;
        core.timers.advance(core.time.now());
        core.publish();
        core.end_turn();
        let runnable = core.is_runnable() || (foreign && core.leave_to_foreign_loop());
        Ok(match (runnable, core.timers.next_deadline()) {
            (true, _) => Turn::Again,
            (false, Some(deadline)) => Turn::Until(deadline),
            (false, None) => Turn::Idle,
        })
    }

    /// Runs until `future` is done; the tasks run too. Tasks that are left stay, and go on at the next call.
    ///
    /// # Panics
    /// When the driver fails, and when `future` panics.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let woken = Arc::clone(&self.core.main_woken);
        let waker = Waker::from(Arc::new(MainWaker { woken: Arc::clone(&woken), wake: Arc::clone(&self.core.wake) }));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        let _blocking = Blocking::begin(&self.core);
        woken.store(true, Ordering::Release);
        loop {
            if woken.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut context)
            {
                return output;
            }
            self.turn(None).expect("the driver works");
        }
    }

    /// A descriptor that becomes readable when a [`turn`](Self::turn) has something to do: for an epoll or selector loop
    /// that drives this executor. It stays the same, and belongs to the executor. `None` where the driver has none.
    ///
    /// The loop calls `turn(Some(Duration::ZERO))` whenever it is readable, again at once after [`Turn::Again`], and at
    /// the moment that [`Turn::Until`] names; also after its own thread has spawned or woken a task or used a stream
    /// outside of a turn, which [`Handle::poll_nudge`] tells. It never reads the descriptor itself.
    #[must_use]
    pub fn readiness_fd(&self) -> Option<RawFd> {
        let fd = self.core.io.borrow_mut().parts().0.readiness_fd().map(|fd| fd.as_raw_fd());
        self.core.foreign.set(fd.is_some());
        fd
    }

    /// The same descriptor, duplicated: for a loop that wants to own what it waits for. It may
    /// outlive the executor, and means nothing then.
    ///
    /// # Errors
    /// When the process has no descriptor left, or the driver has none.
    pub fn readiness(&self) -> io::Result<OwnedFd> {
        let fd = match self.core.io.borrow_mut().parts().0.readiness_fd() {
            Some(fd) => fd.try_clone_to_owned()?,
            None => return Err(io::Error::new(io::ErrorKind::Unsupported, "the driver has nothing to wait for")),
        };
        self.core.foreign.set(true);
        Ok(fd)
    }
}

/// Wakes of the future of `block_on` count while it runs, and not those that come late.
struct Blocking(Rc<Core>);

impl Blocking {
    fn begin(core: &Rc<Core>) -> Self {
        core.blocking.set(true);
        Self(Rc::clone(core))
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.0.blocking.set(false);
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks hold handles, handles hold the core: the tasks must go first.
        self.core.tasks.close();
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("core", &self.core.config.core).finish_non_exhaustive()
    }
}
