//! How one side of a ring waits for the other without either taking a lock while there is no need to wait.
//!
//! The waiting side raises a flag and then looks at the ring once more; the other side changes the ring and then looks
//! at the flag. With a full fence between the two steps on both sides, at least one of them sees what the other did
//! (Dekker's argument), so no wake is lost:
//!
//! ```text
//! waiting side                      ringing side
//! flag = raised    (listen)         ring changes   (push, pop)
//! fence                             fence
//! look at the ring                  look at flag   (ring)
//! ```
//!
//! `tests/mesh_bell_model.rs` compiles this file a second time on loom's atomics, and so tries every order of events that
//! the memory model allows; therefore the names of `super::sync`.

use std::{
    sync::{PoisonError, atomic::Ordering},
    task::Waker,
};

use super::sync::{AtomicBool, Mutex, MutexGuard, fence};

/// Where wakers wait for one event. A line of its own: the flag is read for every message.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Bell {
    /// Whether `waiting` may hold anybody. Changed under its lock only.
    raised: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_ticket: u64,
    wakers: Vec<(u64, Waker)>,
}

/// Names one waiter of a bell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket(u64);

impl Bell {
    /// Waits for the next ring. Whoever calls this must look at the ring once more afterwards.
    pub(super) fn listen(&self, ticket: &mut Option<Ticket>, waker: &Waker) {
        let mut waiting = self.lock();
        let known = ticket.and_then(|ticket| waiting.wakers.iter_mut().find(|(number, _)| *number == ticket.0));
        let outdated = match known {
            Some((_, known)) if known.will_wake(waker) => None,
            Some((_, known)) => Some(std::mem::replace(known, waker.clone())),
            None => {
                let number = waiting.next_ticket;
                waiting.next_ticket += 1;
                waiting.wakers.push((number, waker.clone()));
                *ticket = Some(Ticket(number));
                None
            }
        };
        self.raised.store(true, Ordering::Relaxed);
        drop(waiting);
        drop(outdated);
        fence(Ordering::SeqCst);
    }

    /// Waits no more; without effect if the bell has rung since.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut waiting = self.lock();
        let place = waiting.wakers.iter().position(|(number, _)| *number == ticket.0);
        let left = place.map(|place| waiting.wakers.swap_remove(place));
        if waiting.wakers.is_empty() {
            self.raised.store(false, Ordering::Relaxed);
        }
        drop(waiting);
        drop(left);
    }

    /// Wakes everybody who waits. Whoever calls this has changed the ring before.
    #[inline]
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.raised.load(Ordering::Relaxed) {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let mut waiting = self.lock();
        self.raised.store(false, Ordering::Relaxed);
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Nothing panics under this lock but an allocation.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
