//! Who of a connection's streams has news. Each has a waker that sets a bit and wakes the connection's task, which then
//! looks at those streams only: so a turn costs what has news, not what is open.

use ringgate_runtime::task::WakerGroup;
use std::task::Waker;

/// The wakers of a connection's streams, by slot.
pub(crate) struct StreamWakers {
    driver: Waker,
    /// Made when the first stream needs a waker.
    group: Option<WakerGroup>,
}

impl Default for StreamWakers {
    fn default() -> Self {
        Self { driver: Waker::noop().clone(), group: None }
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
        self.group.take().is_some()
    }

    fn group(&mut self) -> &WakerGroup {
        self.group.get_or_insert_with(|| WakerGroup::new(self.driver.clone()))
    }

    /// The waker of a slot, to be kept.
    pub(crate) fn of(&mut self, slot: usize) -> Waker {
        self.group().waker(slot)
    }

    /// The same, for a poll.
    pub(crate) fn lend<T>(&mut self, slot: usize, poll: impl FnOnce(&Waker) -> T) -> T {
        self.group().lend(slot, poll)
    }

    /// This slot is to be looked at in the round that is under way.
    pub(crate) fn mark(&mut self, slot: usize) {
        self.group().mark(slot);
    }

    /// Takes the slots that are to be looked at, out of so many.
    pub(crate) fn take(&self, slots: usize, look: impl FnMut(usize)) {
        if let Some(group) = &self.group {
            group.take(slots, look);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, task::Wake};

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_change_of_the_driver_is_told() {
        let waker = || Waker::from(Arc::new(Nobody));
        let mut wakers = StreamWakers::default();
        let (one, two) = (waker(), waker());
        assert!(!wakers.drive(&one), "nobody has a waker yet");
        let _ = wakers.of(0);
        assert!(!wakers.drive(&one));
        assert!(wakers.drive(&two));
    }
}
