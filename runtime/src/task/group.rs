//! Wakers for the parts of one task: each sets a bit of its own and wakes the task, which then looks at those parts only.
//!
//! # Why it is unsafe
//! A waker is a pointer and a table of functions. One made safely is an allocation of its own, some forty bytes for each
//! part, and a task that serves a hundred exchanges would hold thousands of bytes for nothing but their numbers. Here all
//! wakers of a task share one cell, and the number of a part is in the pointer.
//!
//! 1. The cell is `PLACES` bytes large and aligned to as many. The waker of part `n` points at byte `n` of it: the low bits
//!    of the address are the number, the others are the cell. The pointer is made from that of the cell and keeps its
//!    provenance, so the way back to the cell is an offset within one allocation.
//! 2. The cell counts the group itself and every waker that was given out, and is freed by the last of them. What is in
//!    it may be touched by any thread: atomics, and the task's own waker, which never changes.
//! 3. A waker lent to a poll ([`WakerGroup::lend`]) is not counted: it lives no longer than the group is borrowed, and it
//!    is never dropped.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::task::{RawWaker, RawWakerVTable, Waker};

/// Parts with a waker of their own. Parts beyond share those of others.
const PLACES: usize = 256;

const WORDS: usize = PLACES / 64;

/// More wakers than this are a leak, and would soon overflow the count.
const COUNT_MAX: usize = isize::MAX as usize;

/// Aligned to `PLACES`, and so at least as large.
#[repr(align(256))]
struct Cell {
    count: AtomicUsize,
    task: Waker,
    woken: [AtomicU64; WORDS],
}

const _: () = assert!(size_of::<Cell>() == PLACES && align_of::<Cell>() == PLACES);

impl Cell {
    /// True when the part was not marked before.
    fn mark(&self, place: usize) -> bool {
        let bit = 1 << (place % 64);
        self.woken[place / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    fn wake(&self, place: usize) {
        // A bit that is set is seen yet, and its task was woken for it.
        if self.mark(place) {
            self.task.wake_by_ref();
        }
    }
}

/// See the module. The wakers of one task's parts, which are known by small numbers.
///
/// ```
/// use ringgate_runtime::task::WakerGroup;
/// use std::task::Waker;
///
/// let group = WakerGroup::new(Waker::noop().clone()); // the task's own
/// group.waker(3).wake();
/// group.lend(70, |waker| waker.wake_by_ref());
/// let mut woken = Vec::new();
/// group.take(100, |part| woken.push(part));
/// assert_eq!(woken, [3, 70]);
/// ```
pub struct WakerGroup {
    cell: NonNull<Cell>,
}

impl WakerGroup {
    /// Wakers that wake this one.
    #[must_use]
    pub fn new(task: Waker) -> Self {
        let cell = Cell { count: AtomicUsize::new(1), task, woken: Default::default() };
        Self { cell: NonNull::from(Box::leak(Box::new(cell))) }
    }

    fn cell(&self) -> &Cell {
        // SAFETY: the group holds one count, so the cell is alive while the group is borrowed; it is only ever shared.
        unsafe { self.cell.as_ref() }
    }

    fn data(&self, part: usize) -> *const () {
        // SAFETY: the cell is `PLACES` bytes large, and the offset is less.
        unsafe { self.cell.cast::<u8>().add(part % PLACES) }.as_ptr().cast_const().cast()
    }

    /// The waker of a part, to be kept for as long as one likes. One that is kept for too long wakes its successor in vain.
    #[must_use]
    pub fn waker(&self, part: usize) -> Waker {
        self.lend(part, Waker::clone)
    }

    /// Lends the waker of a part for a poll.
    pub fn lend<T>(&self, part: usize, poll: impl FnOnce(&Waker) -> T) -> T {
        // SAFETY: the functions of the table keep the contract of a waker for pointers into a live cell. This one is not
        // counted, so it is never dropped; it is out of reach when the borrow of the group, which is counted, ends.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(self.data(part), &VTABLE)) });
        poll(&waker)
    }

    /// Marks a part as woken, and leaves the task as it is: it is looking already.
    pub fn mark(&self, part: usize) {
        self.cell().mark(part % PLACES);
    }

    /// Looks at the parts that were woken since the last call, out of so many. One that shares its waker with others may
    /// be looked at in vain.
    pub fn take(&self, parts: usize, mut look: impl FnMut(usize)) {
        for (word, places) in self.cell().woken.iter().enumerate() {
            if places.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = places.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                (place..parts).step_by(PLACES).for_each(&mut look);
            }
        }
    }
}

impl Drop for WakerGroup {
    fn drop(&mut self) {
        // SAFETY: the group's own count is given up, once.
        unsafe { release(self.cell) }
    }
}

/// SAFETY (of every caller): one count of a live cell is given up with this call.
unsafe fn release(cell: NonNull<Cell>) {
    // SAFETY: alive, by the caller.
    if unsafe { cell.as_ref() }.count.fetch_sub(1, Ordering::Release) == 1 {
        // Whatever the others did with the cell happens before it goes.
        fence(Ordering::Acquire);
        // SAFETY: the last count is gone, so nobody reaches the cell any more; it was leaked from a box.
        drop(unsafe { Box::from_raw(cell.as_ptr()) });
    }
}

/// The cell and the part that a waker's pointer stands for.
///
/// SAFETY (of every caller): `data` was made by `WakerGroup::data`, and the cell is alive.
unsafe fn parts(data: *const ()) -> (NonNull<Cell>, usize) {
    let place = data.addr() % PLACES;
    // SAFETY: the pointer stands `place` bytes behind the beginning of its cell, by (1) of the module. It is not null.
    let cell = unsafe { NonNull::new_unchecked(data.cast::<u8>().sub(place).cast::<Cell>().cast_mut()) };
    (cell, place)
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, forget);

/// SAFETY (of these four): called by a `Waker` that was made from this table and a pointer of `WakerGroup::data`. It stands
/// for a count, or is lent by a group that has one, so the cell is alive.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: as above.
    let (cell, _) = unsafe { parts(data) };
    // SAFETY: alive, as above.
    let before = unsafe { cell.as_ref() }.count.fetch_add(1, Ordering::Relaxed);
    if before > COUNT_MAX {
        std::process::abort();
    }
    RawWaker::new(data, &VTABLE)
}

/// SAFETY: see `clone`.
unsafe fn wake(data: *const ()) {
    // SAFETY: as above; the waker is used up, and its count with it.
    unsafe {
        wake_by_ref(data);
        forget(data);
    }
}

/// SAFETY: see `clone`.
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: as above.
    let (cell, place) = unsafe { parts(data) };
    // SAFETY: alive, as above.
    unsafe { cell.as_ref() }.wake(place);
}

/// SAFETY: see `clone`.
unsafe fn forget(data: *const ()) {
    // SAFETY: as above; the count of this waker is given up.
    unsafe { release(parts(data).0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn taken(group: &WakerGroup, parts: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        group.take(parts, |part| taken.push(part));
        taken
    }

    #[test]
    fn the_task_is_woken_once_for_each_part_and_finds_them_all() {
        let count = Arc::new(Count::default());
        let group = WakerGroup::new(Waker::from(count.clone()));
        for part in [3, 70, 3, 255] {
            group.waker(part).wake();
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 3);
        assert_eq!(taken(&group, 256), [3, 70, 255]);
        assert!(taken(&group, 300).is_empty());
        group.lend(3, Waker::wake_by_ref);
        assert_eq!((taken(&group, 300), count.0.load(Ordering::SeqCst)), (vec![3, 259], 4));
        group.mark(7);
        assert_eq!((taken(&group, 300), count.0.load(Ordering::SeqCst)), (vec![7, 263], 4));
    }

    #[test]
    fn wakers_know_their_kin_and_outlive_the_group() {
        let count = Arc::new(Count::default());
        let group = WakerGroup::new(Waker::from(count.clone()));
        let (one, two) = (group.waker(0), group.waker(255));
        assert!(one.will_wake(&one.clone()) && !one.will_wake(&two));
        group.lend(255, |lent| assert!(lent.will_wake(&two)));
        drop(group);
        drop(one);
        two.wake_by_ref();
        assert_eq!((count.0.load(Ordering::SeqCst), Arc::strong_count(&count)), (1, 2));
        two.wake();
        assert_eq!((count.0.load(Ordering::SeqCst), Arc::strong_count(&count)), (1, 1), "the last one frees the cell");
    }

    #[test]
    fn any_thread_may_wake_and_hold() {
        // Miri tries several orders of these, and takes long for each.
        const PARTS: usize = if cfg!(miri) { 6 } else { 64 };
        let count = Arc::new(Count::default());
        let group = WakerGroup::new(Waker::from(count.clone()));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let wakers: Vec<Waker> = (0..PARTS).map(|part| group.waker(thread * 64 + part)).collect();
                std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake))
            })
            .collect();
        let mut woken = Vec::new();
        while woken.len() < 4 * PARTS {
            group.take(PLACES, |part| woken.push(part));
            std::thread::yield_now();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        woken.sort_unstable();
        assert!(woken.into_iter().eq((0..PLACES).filter(|part| part % 64 < PARTS)));
        assert_eq!(count.0.load(Ordering::SeqCst), 4 * PARTS);
        drop(group);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
