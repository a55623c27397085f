//! The memory in which the kernel looks for buffers to fill.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::buffer::{Lease, ReceivePool};

/// The one group of provided buffers.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The ring of provided buffers. See the third rule of the room.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    tail: u16,
    /// Buffers in the kernel's hands.
    posted: u16,
    /// The buffer of each entry, and the entry of each buffer: a bundle names only its first.
    buffers: Box<[u16]>,
    places: Box<[u16]>,
    pub(super) pool: Rc<ReceivePool>,
}

impl BufferRing {
    pub(super) fn new(pool: Rc<ReceivePool>) -> Self {
        let count = pool.buffers();
        let layout = Layout::array::<BufRingEntry>(usize::from(count))
            .and_then(|layout| layout.align_to(4096))
            .expect("2^15 entries of 16 bytes fit an isize");
        // SAFETY: the layout has a size above zero, a pool has at least two buffers.
        let entries = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(entries.cast()) else { handle_alloc_error(layout) };
        let none = || (0..count).collect();
        Self { entries, layout, mask: count - 1, tail: 0, posted: 0, buffers: none(), places: none(), pool }
    }

    /// Where the entries lie, for the kernel.
    pub(super) fn address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    /// True if the kernel has a buffer to fill.
    pub(super) const fn has_posted(&self) -> bool {
        self.posted > 0
    }

    /// Takes back the `bytes` of a completion: in buffer `first` and, if they are more than it holds, in those posted
    /// behind it.
    pub(super) fn filled(&mut self, first: u16, bytes: u32, mut take: impl FnMut(Lease)) {
        let buffer_bytes = self.pool.buffer_bytes();
        let mut place = self.places[usize::from(first)];
        let mut left = bytes;
        loop {
            let length = left.min(buffer_bytes);
            self.posted -= 1;
            take(self.pool.lend(self.buffers[usize::from(place)], length));
            left -= length;
            if left == 0 {
                return;
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Posts all free buffers; one store publishes them.
    pub(super) fn replenish(&mut self) {
        let before = self.tail;
        while let Some(buffer) = self.pool.take_free() {
            // SAFETY: the index is masked to the allocation; there are as many entries as buffers and this buffer was
            // free, so its entry is behind the kernel's head. Setters are used because entry 0 overlays the tail.
            let entry = unsafe { &mut *self.entries.as_ptr().add(usize::from(self.tail & self.mask)) };
            entry.set_addr(self.pool.address(buffer).as_ptr() as u64);
            entry.set_len(self.pool.buffer_bytes());
            entry.set_bid(buffer);
            self.buffers[usize::from(self.tail & self.mask)] = buffer;
            self.places[usize::from(buffer)] = self.tail & self.mask;
            self.tail = self.tail.wrapping_add(1);
            self.posted += 1;
        }
        if before != self.tail {
            // SAFETY: the pointer is to the tail field inside entry 0 of our allocation, which is aligned for a u16 and
            // which the kernel only reads; all other access to it goes through this atomic.
            let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the ring that used it is closed before (rule 2).
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}
