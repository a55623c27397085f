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

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::Waker,
};

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

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Wake, Waker},
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_each_listener_once_and_none_who_left() {
        let (bell, counts) = (Bell::default(), [(); 3].map(|()| Arc::new(Count::default())));
        let mut tickets = [None; 3];
        for (ticket, count) in tickets.iter_mut().zip(&counts) {
            bell.listen(ticket, &Waker::from(count.clone()));
            bell.listen(ticket, &Waker::from(count.clone()));
        }
        bell.leave(tickets[1].unwrap());
        bell.ring();
        bell.ring();
        bell.leave(tickets[0].unwrap());
        assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::Relaxed)), [1, 0, 1]);
        assert!(counts.iter().all(|count| Arc::strong_count(count) == 1), "no waker is kept");
        assert!(!bell.raised.load(Ordering::Relaxed));
    }

    #[test]
    fn the_last_waker_of_a_ticket_counts() {
        let (bell, first, second) = (Bell::default(), Arc::new(Count::default()), Arc::new(Count::default()));
        let mut ticket = None;
        bell.listen(&mut ticket, &Waker::from(first.clone()));
        bell.listen(&mut ticket, &Waker::from(second.clone()));
        bell.ring();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    }
}
