//! The wake protocol of the mesh, in every order of events that the memory model allows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize as Count, Ordering},
    },
    task::{Wake, Waker},
};

use loom::{sync::atomic::AtomicUsize, thread};

mod sync {
    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, fence},
    };
}

#[path = "../src/mesh/bell.rs"]
mod bell;

use bell::{Bell, Ticket};

#[derive(Default)]
struct Woken(Count);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a ring and its bell come down to: `messages` rises, then the bell rings.
#[derive(Default)]
struct Ring {
    messages: AtomicUsize,
    bell: Bell,
}

impl Ring {
    fn push(&self) {
        self.messages.fetch_add(1, Ordering::Release);
        self.bell.ring();
    }

    /// One poll: whether enough is there, or else whoever is `woken` waits.
    fn poll(&self, wanted: usize, ticket: &mut Option<Ticket>, woken: &Arc<Woken>) -> bool {
        let there = || self.messages.load(Ordering::Acquire) >= wanted;
        there() || {
            self.bell.listen(ticket, &Waker::from(woken.clone()));
            there()
        }
    }
}

/// The heart of it: who found nothing is woken.
#[test]
fn no_wake_is_lost() {
    loom::model(|| {
        let ring = loom::sync::Arc::new(Ring::default());
        let sender = thread::spawn({
            let ring = ring.clone();
            move || ring.push()
        });
        let (woken, mut ticket) = (Arc::new(Woken::default()), None);
        let found = ring.poll(1, &mut ticket, &woken);
        sender.join().unwrap();
        assert!(found || woken.0.load(Ordering::Relaxed) == 1);
    });
}

/// One who waits again after a wake in vain, while a second message comes.
#[test]
fn nor_the_second_one() {
    loom::model(|| {
        let ring = loom::sync::Arc::new(Ring::default());
        let sender = thread::spawn({
            let ring = ring.clone();
            move || {
                ring.push();
                ring.push();
            }
        });
        let (woken, mut ticket) = (Arc::new(Woken::default()), None);
        let found = ring.poll(2, &mut ticket, &woken) || ring.poll(2, &mut ticket, &woken);
        sender.join().unwrap();
        // The waker that was left last has been taken, and so woken, since.
        assert!(found || Arc::strong_count(&woken) == 1);
    });
}

/// One who leaves takes no wake from the other, whatever the order.
#[test]
fn leaving_takes_nobodys_wake() {
    loom::model(|| {
        let ring = loom::sync::Arc::new(Ring::default());
        let sender = thread::spawn({
            let ring = ring.clone();
            move || ring.push()
        });
        let (leaver, mut leavers) = (Arc::new(Woken::default()), None);
        let (stayer, mut stayers) = (Arc::new(Woken::default()), None);
        ring.poll(1, &mut leavers, &leaver);
        let found = ring.poll(1, &mut stayers, &stayer);
        if let Some(ticket) = leavers {
            ring.bell.leave(ticket);
        }
        sender.join().unwrap();
        assert!(found || stayer.0.load(Ordering::Relaxed) == 1);
        assert_eq!(Arc::strong_count(&leaver), 1, "no waker of a leaver is kept");
    });
}
