//! Bounded channels between cores: one ring for each pair, so that no two cores ever write the same line.
//!
//! A message costs a store into the ring and a fence; the other side is woken only if it waits. Waiting and waking lie
//! in `bell`, the rings are `rtrb`'s.

mod bell;
pub mod end;

pub use self::end::{MeshEnd, mesh};

/// What `bell` is built on, under one name: the model test puts loom's in their place.
mod sync {
    pub(super) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, fence},
    };
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

    use super::bell::Bell;

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
        assert!(format!("{bell:?}").contains("raised: false"));
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
