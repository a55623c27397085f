//! Who of a connection's streams has news. Each has a waker that sets a bit and wakes the connection's task, which then
//! looks at those streams only: so a turn costs what has news, not what is open.
//!
//! A waker costs 32 bytes and belongs to a slot: the next stream there uses it again. One that is kept for too long
//! wakes a stranger in vain, no more.

use crate::conn::http2::lengthen;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

/// Words of bits. Slots beyond share the bits of others: whoever has none of its own is looked at now and then in vain.
const WORDS: usize = 4;

/// Slots with a bit of their own.
const PLACES: usize = WORDS * 64;

/// Wakers that a connection without streams keeps.
const IDLE_WAKERS_MAX: usize = 8;

/// What the wakers of a connection share.
struct Woken {
    driver: Waker,
    places: [AtomicU64; WORDS],
}

impl Woken {
    fn mark(&self, place: usize) -> bool {
        let bit = 1 << (place % 64);
        self.places[place / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0
    }
}

struct StreamWaker {
    woken: Arc<Woken>,
    place: u8,
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A bit that is set is seen yet, and its driver was woken for it.
        if self.woken.mark(usize::from(self.place)) {
            self.woken.driver.wake_by_ref();
        }
    }
}

/// The wakers of a connection's streams, by slot.
pub(crate) struct StreamWakers {
    driver: Waker,
    /// Made when the first stream needs a waker.
    woken: Option<Arc<Woken>>,
    wakers: Vec<Option<Arc<StreamWaker>>>,
}

impl Default for StreamWakers {
    fn default() -> Self {
        Self { driver: Waker::noop().clone(), woken: None, wakers: Vec::new() }
    }
}

impl StreamWakers {
    /// Wakes this one from now on. True when wakers that were given out wake another.
    #[inline]
    pub(crate) fn drive(&mut self, driver: &Waker) -> bool {
        if self.driver.will_wake(driver) {
            return false;
        }
        self.driver = driver.clone();
        self.wakers = Vec::new();
        self.woken.take().is_some()
    }

    fn woken(&mut self) -> &Arc<Woken> {
        self.woken.get_or_insert_with(|| Arc::new(Woken { driver: self.driver.clone(), places: Default::default() }))
    }

    /// The waker of a slot.
    pub(crate) fn of(&mut self, slot: usize) -> Waker {
        lengthen(&mut self.wakers, slot);
        if self.wakers[slot].is_none() {
            let woken = self.woken().clone();
            self.wakers[slot] = Some(Arc::new(StreamWaker { woken, place: (slot % PLACES) as u8 }));
        }
        self.wakers[slot].clone().map_or_else(|| Waker::noop().clone(), Waker::from)
    }

    /// This slot is to be looked at in the round that is under way.
    pub(crate) fn mark(&mut self, slot: usize) {
        self.woken().mark(slot % PLACES);
    }

    /// Takes the slots that are to be looked at, out of so many.
    pub(crate) fn take(&self, slots: usize, mut look: impl FnMut(usize)) {
        let Some(woken) = &self.woken else { return };
        for (word, places) in woken.places.iter().enumerate() {
            if places.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = places.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                (place..slots).step_by(PLACES).for_each(&mut look);
            }
        }
    }

    /// No stream is left: gives memory back when there were many.
    pub(crate) fn rest(&mut self) {
        if self.wakers.len() > IDLE_WAKERS_MAX {
            (self.woken, self.wakers) = (None, Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn taken(wakers: &StreamWakers, slots: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        wakers.take(slots, |slot| taken.push(slot));
        taken
    }

    #[test]
    fn the_driver_is_woken_once_for_each_stream_and_finds_them_all() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let mut wakers = StreamWakers::default();
        assert!(!wakers.drive(&Waker::from(count.clone())));
        for slot in [3, 70, 3, 255] {
            wakers.of(slot).wake_by_ref();
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 3);
        assert_eq!(taken(&wakers, 256), [3, 70, 255]);
        assert!(taken(&wakers, 300).is_empty());
        wakers.of(3).wake_by_ref();
        assert_eq!((taken(&wakers, 300), count.0.load(Ordering::SeqCst)), (vec![3, 259], 4));
    }

    #[test]
    fn a_change_of_the_driver_is_told() {
        let waker = || Waker::from(Arc::new(Count(AtomicUsize::new(0))));
        let mut wakers = StreamWakers::default();
        let (one, two) = (waker(), waker());
        assert!(!wakers.drive(&one), "nobody has a waker yet");
        let _ = wakers.of(0);
        assert!(!wakers.drive(&one));
        assert!(wakers.drive(&two));
    }

    #[test]
    fn a_waker_is_small() {
        assert_eq!(size_of::<StreamWaker>() + 2 * size_of::<usize>(), 32);
    }
}
