//! The timers of one core: a hierarchical timing wheel (Varghese and Lauck 1987, scheme 7).
//!
//! Time is cut into ticks of one millisecond. Eight levels of 64 slots each cover every deadline a `u64` of nanoseconds
//! can name, so there is no overflow list and no clamp. A slot of level `l` spans `64^l` ticks. An entry lies on the
//! level of the highest base-64 digit in which its tick differs from `elapsed`; therefore
//!
//! - all slots of a level lie ahead of `elapsed` within the *same* slot of the level above: a slot's index alone names
//!   its time, and there are no laps to count;
//! - everything on level `l` is due before anything on level `l + 1`: the next thing to do is the first occupied slot of
//!   the lowest occupied level, two bit scans away.
//!
//! A deadline is rounded *up* to its tick: a timer never fires early, and at most one tick late.
//!
//! Moving a deadline later does not touch the lists: the entry stays where it lies, and is filed again when its slot
//! comes due. An idle timeout that every request pushes out costs one store per request. Each slot also remembers the
//! soonest tick filed in it, so that a core sleeps through the cascades: a lone timer costs one wake, not one per level.
//!
//! Entries live in a slab and are linked by index, in rings (the first entry's `previous` is the last).

use std::num::NonZeroU32;

/// Nanoseconds in one tick.
pub const TICK_NS: u64 = 1_000_000;

const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const DIGIT_MASK: u64 = SLOTS as u64 - 1;
/// `64^8` ticks are more than `2^64` ns: see `every_deadline_has_a_level`.
const LEVELS: usize = 8;
/// The index that names no entry.
const NONE: u32 = u32::MAX;

/// Names one timer of a [`Wheel`]. A key outlives its timer harmlessly: it is checked against a generation, and one
/// that has fired or was cancelled names nothing any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerKey {
    index: u32,
    generation: NonZeroU32,
}

/// 40 bytes with a `Waker` as payload.
struct Entry<T> {
    /// When it is really due, in ns; may have moved later since the entry was filed.
    deadline: u64,
    generation: NonZeroU32,
    previous: u32,
    /// Next in the slot's ring; of a free entry, the next free one.
    next: u32,
    /// `level * 64 + index` of the slot it lies in.
    place: u16,
    /// `None` exactly while the entry is free.
    payload: Option<T>,
}

#[derive(Clone, Copy)]
struct Slot {
    /// No entry of this slot is due before this tick. Meaningless while the slot is empty.
    soonest: u64,
    /// First entry of the ring.
    head: u32,
}

/// All timers of one core. Time is an argument: the wheel reads no clock.
///
/// ```
/// use ringgate_runtime::time::wheel::Wheel;
/// const MS: u64 = 1_000_000;
/// let mut wheel = Wheel::new(0);
/// let idle = wheel.insert(5 * MS, "idle");
/// wheel.insert(7 * MS, "ping");
/// wheel.reset(idle, 60_000 * MS); // later: costs nothing
/// let mut fired = Vec::new();
/// wheel.advance(7 * MS, &mut |name| fired.push(name));
/// assert_eq!(fired, ["ping"]);
/// assert_eq!(wheel.next_deadline(), Some(60_000 * MS));
/// assert_eq!(wheel.cancel(idle), Some("idle"));
/// ```
pub struct Wheel<T> {
    /// Everything due at or before this tick has fired, except what was inserted since, too late.
    elapsed: u64,
    /// One bit for each slot that holds something: all levels in one cache line.
    occupied: [u64; LEVELS],
    slots: Box<[Slot; LEVELS * SLOTS]>,
    entries: Vec<Entry<T>>,
    free: u32,
    length: usize,
}

impl<T> Wheel<T> {
    /// An empty wheel that stands at `now_ns`.
    pub fn new(now_ns: u64) -> Self {
        Self {
            elapsed: now_ns / TICK_NS,
            occupied: [0; LEVELS],
            slots: Box::new([Slot { soonest: 0, head: NONE }; LEVELS * SLOTS]),
            entries: Vec::new(),
            free: NONE,
            length: 0,
        }
    }

    /// Number of timers that have neither fired nor been cancelled.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no timer.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a timer that fires at the first [`advance`](Self::advance) to `deadline_ns`, rounded up to a tick, or later.
    /// A deadline that has passed fires at the next `advance`, whatever time that one brings.
    ///
    /// # Panics
    /// With 2^32 − 1 timers: the caller bounds what sets timers (connections, tasks) far below that. The memory, 40
    /// bytes for each timer with a `Waker`, is kept for later timers and never shrinks.
    pub fn insert(&mut self, deadline_ns: u64, payload: T) -> TimerKey {
        let index = if self.free == NONE {
            let index = u32::try_from(self.entries.len()).ok().filter(|&index| index != NONE);
            let index = index.expect("fewer than 2^32 - 1 timers");
            self.entries.push(Entry {
                deadline: deadline_ns,
                generation: NonZeroU32::MIN,
                previous: NONE,
                next: NONE,
                place: 0,
                payload: Some(payload),
            });
            index
        } else {
            let index = self.free;
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            entry.deadline = deadline_ns;
            entry.payload = Some(payload);
            index
        };
        self.length += 1;
        self.file(index);
        TimerKey { index, generation: self.entries[index as usize].generation }
    }

    /// Takes a timer out and gives back what it carried; `None` if it has fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.live(key)?;
        self.unlink(key.index);
        self.release(key.index)
    }

    /// Moves a deadline; false if the timer has fired or was cancelled. Later, or earlier within its slot, is one store.
    pub fn reset(&mut self, key: TimerKey, deadline_ns: u64) -> bool {
        let Some(entry) = self.live(key) else { return false };
        entry.deadline = deadline_ns;
        let (place, tick) = (usize::from(entry.place), tick_of(deadline_ns));
        if tick >= self.slot_start(place) {
            let slot = &mut self.slots[place];
            slot.soonest = slot.soonest.min(tick);
        } else {
            self.unlink(key.index);
            self.file(key.index);
        }
        true
    }

    /// The deadline of a timer, in ns as it was given; `None` if it has fired or was cancelled.
    pub fn deadline(&self, key: TimerKey) -> Option<u64> {
        self.entries.get(key.index as usize).filter(|entry| entry.is(key)).map(|entry| entry.deadline)
    }

    /// What a live timer carries, to be looked at or replaced (a waker that changed, say).
    pub fn payload_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        self.live(key)?.payload.as_mut()
    }

    /// Brings the wheel to `now_ns` and hands out what is due, in the order of ticks, and within one tick in the order
    /// of filing. A `now_ns` before an earlier one counts as that earlier one.
    ///
    /// The wheel is borrowed while `fired` runs: where waking or dropping a payload may come back to the wheel (the last
    /// reference to a task that owns a timer), collect first and wake afterwards. A panic of `fired` loses that one
    /// payload and leaves the wheel whole.
    pub fn advance(&mut self, now_ns: u64, fired: &mut impl FnMut(T)) {
        let target = self.elapsed.max(now_ns / TICK_NS);
        while let Some(place) = self.first_occupied() {
            let start = self.slot_start(place);
            if start > target {
                break;
            }
            self.elapsed = start;
            // Nothing is filed back into this slot: what is due now fires, all else is later than the slot's start and
            // differs from it in a lower digit, or lies in another slot altogether.
            while self.occupied[place / SLOTS] & (1 << (place % SLOTS)) != 0 {
                let index = self.slots[place].head;
                self.unlink(index);
                if tick_of(self.entries[index as usize].deadline) > start {
                    self.file(index);
                } else if let Some(payload) = self.release(index) {
                    fired(payload);
                }
            }
        }
        self.elapsed = target;
    }

    /// When to call [`advance`](Self::advance) next, in ns; `None` without timers.
    ///
    /// Never later than the moment the next timer fires (its deadline rounded up to a tick). It may be earlier where a
    /// deadline moved later or a timer was cancelled; advancing to it then changes the answer, so that a core that
    /// sleeps until it wakes in vain at most once for each such change, and never spins.
    pub fn next_deadline(&self) -> Option<u64> {
        self.first_occupied().map(|place| self.slots[place].soonest.saturating_mul(TICK_NS))
    }

    fn live(&mut self, key: TimerKey) -> Option<&mut Entry<T>> {
        self.entries.get_mut(key.index as usize).filter(|entry| entry.is(key))
    }

    /// First occupied slot of the lowest occupied level: everything else starts later.
    fn first_occupied(&self) -> Option<usize> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some(level * SLOTS + self.occupied[level].trailing_zeros() as usize)
    }

    /// The first tick of a slot: the digits of `elapsed` above its level, its index, zeros.
    fn slot_start(&self, place: usize) -> u64 {
        let shift = LEVEL_BITS * (place / SLOTS) as u32;
        let above = self.elapsed >> shift & !DIGIT_MASK;
        (above | (place % SLOTS) as u64) << shift
    }

    /// Links an entry at the end of the slot that its deadline and `elapsed` call for.
    fn file(&mut self, index: u32) {
        // What is overdue goes into the slot of `elapsed` itself, on level 0: the only one not ahead.
        let tick = tick_of(self.entries[index as usize].deadline).max(self.elapsed);
        let level = level_of(tick, self.elapsed);
        let digit = (tick >> (LEVEL_BITS * level as u32) & DIGIT_MASK) as usize;
        let place = level * SLOTS + digit;

        let slot = &mut self.slots[place];
        let empty = self.occupied[level] & (1 << digit) == 0;
        let (previous, next) = if empty {
            self.occupied[level] |= 1 << digit;
            *slot = Slot { soonest: tick, head: index };
            (index, index)
        } else {
            slot.soonest = slot.soonest.min(tick);
            (self.entries[slot.head as usize].previous, slot.head)
        };
        self.entries[previous as usize].next = index;
        self.entries[next as usize].previous = index;
        let entry = &mut self.entries[index as usize];
        entry.previous = previous;
        entry.next = next;
        entry.place = place as u16;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { previous, next, place, .. } = self.entries[index as usize];
        let place = usize::from(place);
        if next == index {
            self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
            return;
        }
        self.entries[previous as usize].next = next;
        self.entries[next as usize].previous = previous;
        let slot = &mut self.slots[place];
        if slot.head == index {
            slot.head = next;
        }
    }

    /// Puts an unlinked entry on the free list and outdates its keys.
    fn release(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        entry.next = self.free;
        self.free = index;
        self.length -= 1;
        entry.payload.take()
    }
}

impl<T> Entry<T> {
    fn is(&self, key: TimerKey) -> bool {
        self.generation == key.generation && self.payload.is_some()
    }
}

impl<T> std::fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel").field("elapsed_ms", &self.elapsed).field("length", &self.length).finish_non_exhaustive()
    }
}

/// The tick at which a deadline has passed.
const fn tick_of(deadline_ns: u64) -> u64 {
    deadline_ns.div_ceil(TICK_NS)
}

/// The highest base-64 digit in which two ticks differ; 0 if they do not.
const fn level_of(tick: u64, elapsed: u64) -> usize {
    ((tick ^ elapsed) | DIGIT_MASK).ilog2() as usize / LEVEL_BITS as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = TICK_NS;

    fn fired(wheel: &mut Wheel<u32>, now: u64) -> Vec<u32> {
        let mut names = Vec::new();
        wheel.advance(now, &mut |name| names.push(name));
        names
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry<std::task::Waker>>(), 40);
        assert_eq!(size_of::<Option<TimerKey>>(), 8);
    }

    #[test]
    fn every_deadline_has_a_level() {
        assert!(level_of(tick_of(u64::MAX), 0) < LEVELS);
        let mut wheel = Wheel::new(0);
        wheel.insert(u64::MAX, 1);
        assert_eq!(wheel.next_deadline(), Some(u64::MAX));
        assert_eq!(fired(&mut wheel, u64::MAX - MS), []);
    }

    #[test]
    fn fires_never_early_and_within_a_tick() {
        for deadline in [1, MS - 1, MS, MS + 1, 63 * MS, 64 * MS + 3, 4096 * MS - 1, 262_144 * MS, 9_999_999 * MS + 5] {
            let mut wheel = Wheel::new(0);
            wheel.insert(deadline, 1);
            assert_eq!(fired(&mut wheel, deadline - 1), [], "{deadline} came early");
            assert_eq!(fired(&mut wheel, deadline + MS - 1), [1], "{deadline} came late");
        }
    }

    #[test]
    fn overdue_fires_at_the_next_advance() {
        let mut wheel = Wheel::new(100 * MS);
        wheel.insert(3 * MS, 1);
        assert!(wheel.next_deadline() <= Some(100 * MS));
        assert_eq!(fired(&mut wheel, 100 * MS), [1]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn order_of_ticks_then_of_filing() {
        let mut wheel = Wheel::new(0);
        for (name, at) in [(1, 500), (2, 3), (3, 500), (4, 70), (5, 3)] {
            wheel.insert(at * MS, name);
        }
        assert_eq!(fired(&mut wheel, 600 * MS), [2, 5, 4, 1, 3]);
    }

    #[test]
    fn stale_keys_name_nothing() {
        let mut wheel = Wheel::new(0);
        let first = wheel.insert(MS, 1);
        assert_eq!(wheel.cancel(first), Some(1));
        let second = wheel.insert(MS, 2);
        assert_eq!(first.index, second.index);
        assert_eq!((wheel.cancel(first), wheel.reset(first, 9 * MS), wheel.deadline(first)), (None, false, None));
        assert_eq!(wheel.deadline(second), Some(MS));
        assert_eq!(fired(&mut wheel, MS), [2]);
        assert_eq!(wheel.cancel(second), None);
    }

    #[test]
    fn a_lone_timer_costs_one_wake() {
        let mut wheel = Wheel::new(12_345 * MS);
        wheel.insert(7_654_321 * MS, 1);
        assert_eq!(wheel.next_deadline(), Some(7_654_321 * MS));
    }

    #[test]
    fn moved_later_wakes_in_vain_once() {
        let mut wheel = Wheel::new(0);
        let key = wheel.insert(60_000 * MS, 1);
        for request in 1..1000 {
            assert!(wheel.reset(key, (60_000 + request) * MS));
        }
        assert_eq!(wheel.next_deadline(), Some(60_000 * MS));
        assert_eq!(fired(&mut wheel, 60_000 * MS), []);
        assert_eq!(wheel.next_deadline(), Some(60_999 * MS));
        assert_eq!(fired(&mut wheel, 60_999 * MS), [1]);
    }

    #[test]
    fn a_panic_in_the_callback_leaves_the_wheel_whole() {
        let mut wheel = Wheel::new(0);
        for name in 1..=3 {
            wheel.insert(5 * MS, name);
        }
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wheel.advance(5 * MS, &mut |_| panic!("in the callback"));
        }));
        assert!(unwound.is_err());
        assert_eq!(wheel.len(), 2);
        assert_eq!(fired(&mut wheel, 5 * MS), [2, 3]);
    }
}
