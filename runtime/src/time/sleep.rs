//! Waiting for a moment.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::time::instant::Instant;
use crate::time::timers::Timers;
use crate::time::wheel::TimerKey;

/// A timer whose owner keeps the deadline: for what is counted in bytes, and has several deadlines in turn. Dropping it
/// cancels the timer.
#[derive(Debug)]
pub struct Alarm {
    timers: Rc<Timers>,
    key: Option<TimerKey>,
}

impl Alarm {
    pub(crate) fn new(timers: Rc<Timers>) -> Self {
        Self { timers, key: None }
    }

    /// Ready at the deadline: never early, at most one tick (1 ms) and the rest of a turn late. Until then the task is
    /// woken at the deadline that was asked for last.
    pub fn poll_at(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.timers.now() >= deadline {
            return Poll::Ready(());
        }
        if !self.key.is_some_and(|key| self.timers.wake_at(key, deadline, context.waker())) {
            self.key = Some(self.timers.insert(deadline, context.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.timers.cancel(key);
        }
    }
}

/// Done at its deadline: never early, at most one tick (1 ms) and the rest of a turn late. Dropping it cancels the timer.
///
/// Moving the deadline later is one store; so one `Sleep` serves for a timeout that every event pushes out.
#[derive(Debug)]
pub struct Sleep {
    alarm: Alarm,
    deadline: Instant,
}

impl Sleep {
    pub(crate) fn new(timers: Rc<Timers>, deadline: Instant) -> Self {
        Self { alarm: Alarm::new(timers), deadline }
    }

    /// Moves the deadline; a `Sleep` that is done waits again.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if let Some(key) = self.alarm.key
            && !self.alarm.timers.reset(key, deadline)
        {
            self.alarm.key = None;
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
        let deadline = self.deadline;
        self.alarm.poll_at(deadline, context)
    }
}
