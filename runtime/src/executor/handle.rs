//! The way in for code that runs on an executor.

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use crate::buffer::SendBuf;
use crate::driver::DriverReport;
use crate::executor::core::{Core, Time};
use crate::executor::counters::Counters;
use crate::task::JoinHandle;
use crate::time::{Alarm, Instant, Sleep};

/// A handle of one core's executor: cheap to clone, not `Send`, passed down instead of a thread-local.
///
/// ```
/// use std::time::Duration;
/// use ringgate_runtime::executor::{Executor, ExecutorConfig};
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let handle = executor.handle();
/// let answer = executor.block_on(async {
///     let task = handle.spawn("answer", {
///         let handle = handle.clone();
///         async move {
///             handle.sleep(Duration::from_millis(2)).await;
///             42
///         }
///     });
///     task.await.expect("it does not panic")
/// });
/// assert_eq!(answer, 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    core: Rc<Core>,
}

impl Handle {
    pub(super) fn new(core: Rc<Core>) -> Self {
        Self { core }
    }

    pub(crate) fn shared(&self) -> &Rc<Core> {
        &self.core
    }

    /// Number of this core in its pool, from 0.
    #[must_use]
    pub fn core(&self) -> usize {
        self.core.config.core
    }

    /// The time of this turn; read once per turn. Virtual on the simulated driver.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.core.timers.now()
    }

    /// Brings [`now`](Self::now) up to date and wakes the timers that are due: for code that somebody else's loop runs on
    /// this thread between two turns, which may lie far apart. Inside a turn there is no need for it.
    pub fn catch_up(&self) {
        self.core.timers.advance(self.core.time.now());
    }

    /// A turn is due: told by code that somebody else's loop runs on this thread between two turns, when it may have
    /// spawned or woken a task, set a timer, or used a stream. Inside a turn there is no need for it.
    pub fn nudge(&self) {
        self.core.nudge.give();
    }

    /// Ready, once, if there was a [`nudge`](Self::nudge) since it was last ready: for the loop that drives this executor, and
    /// then has a turn to take. One at a time: the waker of the last call is kept.
    ///
    /// ```
    /// use ringgate_runtime::executor::{Executor, ExecutorConfig};
    /// use std::{task::{Context, Waker}, time::Duration};
    /// let mut executor = Executor::new(ExecutorConfig::default())?;
    /// let handle = executor.handle();
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(handle.poll_nudge(&mut context).is_pending());
    /// // What the other loop runs between two turns:
    /// let task = handle.spawn("answer", async { 42 });
    /// handle.nudge();
    /// // And what drives the executor:
    /// assert!(handle.poll_nudge(&mut context).is_ready());
    /// executor.turn(Some(Duration::ZERO))?;
    /// assert!(task.is_finished());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_nudge(&self, context: &mut Context<'_>) -> Poll<()> {
        self.core.nudge.poll(context)
    }

    /// The wall clock. On the simulated driver it is the Unix epoch plus the virtual time.
    #[must_use]
    pub fn wall_clock(&self) -> SystemTime {
        match &self.core.time {
            Time::Real(_) => SystemTime::now(),
            Time::Virtual(now) => SystemTime::UNIX_EPOCH + Duration::from_nanos(now.get().as_nanos()),
        }
    }

    /// Starts a task on this core. Dropping the join handle cancels it; [`JoinHandle::detach`] lets it go on.
    ///
    /// `name` stands in stall reports.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.core.tasks.spawn(name, future)
    }

    /// Done after `duration`, counted from the time of this turn.
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Done at `deadline`.
    #[must_use]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(Rc::clone(&self.core.timers), deadline)
    }

    /// A timer for whoever keeps the deadline himself.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        Alarm::new(Rc::clone(&self.core.timers))
    }

    /// Lets the other runnable tasks, and the driver, have their turn.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// The number of this turn. It grows by one with each.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.core.counters.turns.load(Ordering::Relaxed)
    }

    /// Done in the next turn: everything that this one sends has been submitted by then, and what that led to at once is
    /// known. (A task that merely yields may go on within the same turn.)
    ///
    /// ```
    /// # use ringgate_runtime::executor::{Executor, ExecutorConfig};
    /// # let mut executor = Executor::new(ExecutorConfig::default())?;
    /// # let handle = executor.handle();
    /// executor.block_on(async {
    ///     let turn = handle.turn();
    ///     handle.next_turn().await;
    ///     assert_eq!(handle.turn(), turn + 1);
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn next_turn(&self) {
        let turn = self.turn();
        std::future::poll_fn(|context| match self.turn() == turn {
            true => {
                self.wake_after_turn(context.waker());
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
    }

    /// Wakes in the next turn: see [`next_turn`](Self::next_turn).
    pub fn wake_after_turn(&self, waker: &Waker) {
        // Who asks twice mostly does so at once. (A foreign waker may do anything when it is cloned.)
        if !self.core.after_turn.borrow().last().is_some_and(|last| last.will_wake(waker)) {
            let waker = waker.clone();
            self.core.after_turn.borrow_mut().push(waker);
        }
    }

    /// An empty buffer from this core's pool, to be filled and sent; its memory comes back by itself.
    #[must_use]
    pub fn take_send_buf(&self) -> SendBuf {
        self.core.io.borrow_mut().parts().1.take_send_buf()
    }

    /// Gives back a buffer that was taken and not sent.
    pub fn recycle_send_buf(&self, buf: SendBuf) {
        self.core.io.borrow_mut().parts().1.recycle(buf);
    }

    /// This core's counters, readable from any thread.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.core.counters)
    }

    /// Which driver runs and why.
    #[must_use]
    pub fn driver_report(&self) -> DriverReport {
        self.core.io.borrow_mut().parts().0.report()
    }

    /// Names what the current poll is doing (a route, say), for stall reports; forgotten when the poll ends.
    pub fn set_activity(&self, name: &'static str) {
        self.core.activity.set(Some(name));
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("core", &self.core()).finish_non_exhaustive()
    }
}
