//! The timer wheel against a model: a sorted list of what is due when.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringgate_runtime::time::wheel::{TICK_NS, TimerKey, Wheel};

/// What is done to both. Times are relative to the model's present, in ns.
#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    /// Sets a deadline in the past.
    InsertOverdue(u64),
    Cancel(prop::sample::Index),
    Reset(prop::sample::Index, u64),
    Advance(u64),
    /// Sleeps exactly as long as the wheel says.
    Sleep,
}

/// Spans of every magnitude, and close to the borders of slots and levels.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..3 * TICK_NS,
        (0..200u64).prop_map(|ticks| ticks * TICK_NS),
        (0..8u32, 0..130u64, -2..3i64).prop_map(|(level, slots, off)| {
            (slots * 64u64.pow(level)).saturating_add_signed(off).saturating_mul(TICK_NS)
        }),
        (0..64u32).prop_map(|bits| 1 << bits),
        Just(u64::MAX),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => span().prop_map(Step::Insert),
        1 => span().prop_map(Step::InsertOverdue),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        4 => (any::<prop::sample::Index>(), span()).prop_map(|(which, span)| Step::Reset(which, span)),
        3 => span().prop_map(Step::Advance),
        4 => Just(Step::Sleep),
    ]
}

/// The tick at which a deadline has passed.
fn due(deadline: u64) -> u64 {
    deadline.div_ceil(TICK_NS)
}

struct Pair {
    now: u64,
    wheel: Wheel<u32>,
    /// Name to key and deadline, of every live timer.
    model: BTreeMap<u32, (TimerKey, u64)>,
    stale: Vec<TimerKey>,
    next_name: u32,
}

impl Pair {
    fn new(now: u64) -> Self {
        Self { now, wheel: Wheel::new(now), model: BTreeMap::new(), stale: Vec::new(), next_name: 0 }
    }

    fn insert(&mut self, deadline: u64) {
        let (name, key) = (self.next_name, self.wheel.insert(deadline, self.next_name));
        self.next_name += 1;
        self.model.insert(name, (key, deadline));
    }

    fn pick(&self, which: prop::sample::Index) -> Option<u32> {
        let names: Vec<u32> = self.model.keys().copied().collect();
        (!names.is_empty()).then(|| *which.get(&names))
    }

    fn advance(&mut self, now: u64) -> Result<usize, TestCaseError> {
        self.now = now;
        let mut fired = Vec::new();
        self.wheel.advance(now, &mut |name| fired.push(name));
        let count = fired.len();
        for name in fired {
            let (key, deadline) = self.model.remove(&name).expect("fires once, and only while alive");
            prop_assert!(deadline <= now, "{name} came {} ns early", deadline - now);
            self.stale.push(key);
        }
        for (name, (_, deadline)) in &self.model {
            prop_assert!(due(*deadline) > now / TICK_NS, "{name}, due at {deadline}, is late at {now}");
        }
        Ok(count)
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Insert(span) => self.insert(self.now.saturating_add(span)),
            Step::InsertOverdue(span) => self.insert(self.now.saturating_sub(span)),
            Step::Cancel(which) => {
                if let Some(name) = self.pick(which) {
                    let (key, _) = self.model.remove(&name).unwrap();
                    prop_assert_eq!(self.wheel.cancel(key), Some(name));
                    self.stale.push(key);
                }
            }
            Step::Reset(which, span) => {
                if let Some(name) = self.pick(which) {
                    let entry = self.model.get_mut(&name).unwrap();
                    entry.1 = self.now.saturating_add(span);
                    prop_assert!(self.wheel.reset(entry.0, entry.1));
                }
            }
            Step::Advance(span) => {
                self.advance(self.now.saturating_add(span))?;
            }
            Step::Sleep => self.sleep()?,
        }
        prop_assert_eq!(self.wheel.len(), self.model.len());
        for (name, (key, deadline)) in &self.model {
            prop_assert_eq!(self.wheel.deadline(*key), Some(*deadline));
            prop_assert_eq!(self.wheel.payload_mut(*key), Some(&mut name.clone()));
        }
        for key in self.stale.iter().rev().take(20) {
            prop_assert_eq!(self.wheel.deadline(*key), None);
            prop_assert!(!self.wheel.reset(*key, 0));
        }
        self.check_next()
    }

    /// Never later than the first timer fires, and there only if there is one.
    fn check_next(&self) -> Result<(), TestCaseError> {
        let soonest = self.model.values().map(|(_, deadline)| due(*deadline).saturating_mul(TICK_NS)).min();
        prop_assert_eq!(self.wheel.next_deadline().is_some(), soonest.is_some());
        if let (Some(said), Some(soonest)) = (self.wheel.next_deadline(), soonest) {
            prop_assert!(said <= soonest.max(self.now), "says {said}, the first is due at {soonest}");
        }
        Ok(())
    }

    /// Sleeps until something fires: each wake in vain must bring the wheel forward, and there are few of them.
    fn sleep(&mut self) -> Result<(), TestCaseError> {
        let mut in_vain = 0;
        let bound = 9 * (self.next_name as usize + 1);
        while let Some(deadline) = self.wheel.next_deadline() {
            if deadline == u64::MAX {
                break;
            }
            if self.advance(self.now.max(deadline))? > 0 {
                break;
            }
            in_vain += 1;
            prop_assert!(in_vain <= bound, "{in_vain} wakes in vain for {} timers", self.model.len());
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_sorted_list(start in span(), steps in prop::collection::vec(step(), 1..80)) {
        let mut pair = Pair::new(start);
        for step in steps {
            pair.step(step)?;
        }
    }

    #[test]
    fn fires_in_the_order_of_ticks(start in span(), spans in prop::collection::vec(span(), 1..60), to in span()) {
        let mut wheel = Wheel::new(start);
        for span in spans {
            let deadline = start.saturating_add(span);
            wheel.insert(deadline, due(deadline));
        }
        let mut fired = Vec::new();
        wheel.advance(start.saturating_add(to), &mut |tick| fired.push(tick));
        prop_assert!(fired.is_sorted());
    }

    /// A timer that nobody touches costs one wake, however far away it is.
    #[test]
    fn a_lone_timer_is_slept_through(start in span(), span in span()) {
        let deadline = start.saturating_add(span);
        let mut wheel = Wheel::new(start);
        wheel.insert(deadline, ());
        let at = due(deadline).max(start / TICK_NS).saturating_mul(TICK_NS);
        prop_assert_eq!(wheel.next_deadline(), Some(at));
        let mut fired = 0;
        wheel.advance(at, &mut |()| fired += 1);
        prop_assert_eq!(fired, i32::from(at != u64::MAX));
    }
}
