//! Waiting for a moment.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::time::instant::Instant;
use crate::time::timers::Timers;
use crate::time::wheel::TimerKey;

/// Done at its deadline: never early, at most one tick (1 ms) and the rest of a turn late. Dropping it cancels the timer.
///
/// Moving the deadline later is one store; so one `Sleep` serves for a timeout that every event pushes out.
#[derive(Debug)]
pub struct Sleep {
    timers: Rc<Timers>,
    deadline: Instant,
    key: Option<TimerKey>,
}

impl Sleep {
    pub(crate) fn new(timers: Rc<Timers>, deadline: Instant) -> Self {
        Self { timers, deadline, key: None }
    }

    /// Moves the deadline; a `Sleep` that is done waits again.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if let Some(key) = self.key
            && !self.timers.reset(key, deadline)
        {
            self.key = None;
        }
    }

    /// The deadline.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.timers.now() >= self.deadline {
            return Poll::Ready(());
        }
        if !self.key.is_some_and(|key| self.timers.wake_with(key, context.waker())) {
            self.key = Some(self.timers.insert(self.deadline, context.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.timers.cancel(key);
        }
    }
}
