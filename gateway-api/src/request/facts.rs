//! What a driver says of a request, in eight bytes: a hundred of them may wait (F-05).

use crate::features::Features;
use ringgate_runtime::time::Instant;
use std::cell::Cell;

/// Bits below the deadline.
const FLAG_BITS: u32 = 16;

/// The response has begun.
const ANSWERED: u64 = 1 << 15;

/// From the lowest bit on: the features, whether the response has begun, and the deadline in units of 65,536 ns. Those are
/// enough for five hundred years; a deadline of zero is none.
#[derive(Debug, Default)]
pub(crate) struct Facts(Cell<u64>);

impl Facts {
    pub(crate) fn new(features: Features, deadline: Option<Instant>) -> Self {
        let units = deadline.map_or(0, |deadline| deadline.as_nanos().div_ceil(1 << FLAG_BITS));
        Self(Cell::new(units << FLAG_BITS | u64::from(features.to_bits())))
    }

    pub(crate) fn features(&self) -> Features {
        Features::from_bits(self.0.get() as u16)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let nanos = self.0.get() >> FLAG_BITS << FLAG_BITS;
        (nanos > 0).then(|| Instant::from_nanos(nanos))
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.0.get() & ANSWERED != 0
    }

    pub(crate) fn set_answered(&self) {
        self.0.set(self.0.get() | ANSWERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_do_not_touch_each_other() {
        let features = Features { websocket: true, push: true, ..Features::default() };
        let deadline = Instant::from_nanos(12_345_678_901);
        let facts = Facts::new(features, Some(deadline));
        assert_eq!((facts.features(), facts.is_answered()), (features, false));
        facts.set_answered();
        assert_eq!((facts.features(), facts.is_answered()), (features, true));
        let later = facts.deadline().unwrap().since(deadline).as_nanos();
        assert!(facts.deadline().unwrap() >= deadline && later < 65_536, "never too early, and hardly late");
        assert_eq!(Facts::new(features, None).deadline(), None);
    }
}
