//! What the thread of an executor has done between two of its turns.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// A turn is due, and who drives the executor is to hear of it.
#[derive(Default)]
pub(super) struct Nudge {
    is_due: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Nudge {
    pub(super) fn give(&self) {
        if !self.is_due.replace(true)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_due.take() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}
