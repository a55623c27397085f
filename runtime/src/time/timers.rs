//! The wheel of one core with its wakers, and the time of the turn.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use crate::time::instant::Instant;
use crate::time::wheel::{TimerKey, Wheel};

/// The timers of one core.
#[derive(Debug)]
pub(crate) struct Timers {
    now: Cell<Instant>,
    wheel: RefCell<Wheel<Waker>>,
    /// Reused: wakers that are due, woken when the wheel is no longer borrowed.
    due: RefCell<Vec<Waker>>,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Self {
        Self { now: Cell::new(now), wheel: RefCell::new(Wheel::new(now.as_nanos())), due: RefCell::default() }
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Brings the time forward and wakes what is due.
    pub(crate) fn advance(&self, now: Instant) {
        if now <= self.now.get() {
            return;
        }
        self.now.set(now);
        let mut wheel = self.wheel.borrow_mut();
        if wheel.next_deadline().is_none_or(|deadline| deadline > now.as_nanos()) {
            return;
        }
        let mut due = self.due.take();
        wheel.advance(now.as_nanos(), &mut |waker| due.push(waker));
        drop(wheel);
        due.drain(..).for_each(Waker::wake);
        self.due.replace(due);
    }

    /// When the next timer may fire.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.borrow().next_deadline().map(Instant::from_nanos)
    }

    /// Timers that are set.
    pub(crate) fn len(&self) -> usize {
        self.wheel.borrow().len()
    }

    pub(super) fn insert(&self, deadline: Instant, waker: Waker) -> TimerKey {
        self.wheel.borrow_mut().insert(deadline.as_nanos(), waker)
    }

    /// False if the timer has fired.
    pub(super) fn reset(&self, key: TimerKey, deadline: Instant) -> bool {
        self.wheel.borrow_mut().reset(key, deadline.as_nanos())
    }

    /// Makes sure that the timer wakes this waker, then; false if it has fired.
    pub(super) fn wake_at(&self, key: TimerKey, deadline: Instant, waker: &Waker) -> bool {
        let mut wheel = self.wheel.borrow_mut();
        if !wheel.reset(key, deadline.as_nanos()) {
            return false;
        }
        let Some(current) = wheel.payload_mut(key) else { return false };
        let former = (!current.will_wake(waker)).then(|| std::mem::replace(current, waker.clone()));
        drop(wheel);
        drop(former);
        true
    }

    pub(super) fn cancel(&self, key: TimerKey) {
        let waker = self.wheel.borrow_mut().cancel(key);
        drop(waker);
    }
}
