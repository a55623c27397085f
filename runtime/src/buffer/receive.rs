//! The block of memory that the kernel fills, cut into buffers.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::io::IoSliceMut;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::buffer::lease::{Lease, Storage};

/// Size and number of the receive buffers of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveConfig {
    /// Bytes of one buffer. 16 KiB: a browser's head fits, a body streams in few pieces; untouched pages cost nothing.
    pub buffer_bytes: u32,
    /// Buffers of one core, at most 32,768 (16-bit identity in the kernel's ring), rounded up to a power of two.
    pub buffers: u16,
}

impl Default for ReceiveConfig {
    fn default() -> Self {
        Self { buffer_bytes: 16_384, buffers: 256 }
    }
}

/// The receive buffers of one core. See the room's essay for who owns a buffer when.
#[derive(Debug)]
pub struct ReceivePool {
    block: NonNull<u8>,
    layout: Layout,
    buffer_bytes: u32,
    /// Who looks at each buffer: nobody while the free list or the driver owns it.
    storages: Box<[Storage]>,
    /// Last in, first out: the buffer used last is the one still in the cache.
    free: RefCell<Vec<u16>>,
    lent: Cell<u32>,
    /// Beyond this many lent buffers received bytes are copied out, so that held leases cannot starve the core.
    lent_max: u32,
}

/// Pages of every Linux machine are at least this large; the kernel's ring wants page alignment.
const BLOCK_ALIGN: usize = 4096;

impl ReceivePool {
    /// Allocates the block; pages are touched only when the kernel fills them.
    #[must_use]
    pub fn new(config: ReceiveConfig) -> Rc<Self> {
        let buffers = config.buffers.clamp(2, 32_768).next_power_of_two();
        let buffer_bytes = config.buffer_bytes.max(64);
        let bytes = usize::from(buffers) * buffer_bytes as usize;
        let layout = Layout::from_size_align(bytes, BLOCK_ALIGN).expect("2^15 buffers of 2^32 bytes fit an isize");
        // SAFETY: the layout has a size above zero, buffers >= 2 and buffer_bytes >= 64.
        let block = unsafe { alloc_zeroed(layout) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        Rc::new(Self {
            block,
            layout,
            buffer_bytes,
            storages: (0..buffers).map(Storage::of_buffer).collect(),
            free: RefCell::new((0..buffers).rev().collect()),
            lent: Cell::new(0),
            lent_max: u32::from(buffers / 2),
        })
    }

    /// How many buffers there are.
    #[must_use]
    pub fn buffers(&self) -> u16 {
        self.storages.len() as u16
    }

    /// Bytes of one buffer.
    #[must_use]
    pub fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Buffers on which there are leases.
    #[must_use]
    pub fn lent(&self) -> u32 {
        self.lent.get()
    }

    /// Buffers on the free list.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.borrow().len()
    }

    /// Takes a buffer off the free list for the kernel to fill.
    pub(crate) fn take_free(&self) -> Option<u16> {
        self.free.borrow_mut().pop()
    }

    /// Gives a buffer back that the kernel did not fill.
    pub(crate) fn give_back(&self, buffer: u16) {
        debug_assert_eq!(self.storages[usize::from(buffer)].leases(), 0);
        self.free.borrow_mut().push(buffer);
    }

    /// Where a buffer begins; valid for `buffer_bytes` bytes.
    pub(crate) fn address(&self, buffer: u16) -> NonNull<u8> {
        assert!(usize::from(buffer) < self.storages.len());
        // SAFETY: the buffer's number is below their count, so the offset lies inside the one allocation.
        unsafe { self.block.add(usize::from(buffer) * self.buffer_bytes as usize) }
    }

    /// Lets `fill` write into a buffer that was taken off the free list.
    pub(crate) fn fill<T>(&self, buffer: u16, fill: impl FnOnce(&mut [u8]) -> T) -> T {
        assert_eq!(self.storages[usize::from(buffer)].leases(), 0);
        let start = self.address(buffer);
        // SAFETY: the buffer is neither free nor lent, so this slice is the only way to its bytes while `fill` runs;
        // they were zeroed when the block was allocated.
        fill(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.buffer_bytes as usize) })
    }

    /// Lets `fill` write into up to `N` free buffers, one behind the other, and answers leases on the bytes that it says
    /// it has written.
    pub(crate) fn fill_several<const N: usize, E>(
        self: &Rc<Self>,
        most: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, E>,
    ) -> Result<[Option<Lease>; N], E> {
        let mut taken = [0; N];
        let mut count = 0;
        while count < most.min(N)
            && let Some(buffer) = self.take_free()
        {
            taken[count] = buffer;
            count += 1;
        }
        let bytes = self.buffer_bytes as usize;
        let filled = {
            let mut parts: [IoSliceMut<'_>; N] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
            for (part, buffer) in parts.iter_mut().zip(&taken[..count]) {
                let start = self.address(*buffer);
                // SAFETY: as in `fill`; the free list has each buffer once, so the slices do not overlap.
                *part = IoSliceMut::new(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) });
            }
            fill(&mut parts[..count])
        };
        let mut left = *filled.as_ref().unwrap_or(&0);
        assert!(left <= count * bytes, "more was filled than there was room for");
        let used = left.div_ceil(bytes);
        // The one taken last is put back first: the list is as it was.
        taken[used..count].iter().rev().for_each(|buffer| self.give_back(*buffer));
        filled?;
        Ok(std::array::from_fn(|index| {
            let length = left.min(bytes);
            left -= length;
            (length > 0).then(|| self.lend(taken[index], length as u32))
        }))
    }

    /// Turns a buffer that the kernel has filled with `length` bytes into a lease.
    ///
    /// Beyond the lending cap the bytes are copied and the buffer is free again at once.
    pub(crate) fn lend(self: &Rc<Self>, buffer: u16, length: u32) -> Lease {
        assert!(length <= self.buffer_bytes);
        let start = self.address(buffer);
        if self.lent.get() >= self.lent_max {
            // SAFETY: rule 2: the kernel has finished with the buffer and `length` bytes of it are initialised.
            let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), length as usize) }.to_vec();
            self.free.borrow_mut().push(buffer);
            return Lease::from_vec(bytes);
        }
        self.lent.set(self.lent.get() + 1);
        Lease::of_buffer(&self.storages[usize::from(buffer)], self, start, length)
    }

    /// The last lease on a buffer is gone.
    #[inline]
    pub(super) fn returned(&self, buffer: u16) {
        self.lent.set(self.lent.get() - 1);
        self.free.borrow_mut().push(buffer);
    }
}

impl Drop for ReceivePool {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; lent buffers and drivers hold an `Rc` of the pool, so none is left.
        unsafe { dealloc(self.block.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &Rc<ReceivePool>, text: &[u8]) -> Lease {
        let buffer = pool.take_free().expect("a free buffer");
        // SAFETY: the test plays the kernel: the buffer was just taken and the text is shorter than a buffer.
        unsafe { pool.address(buffer).as_ptr().copy_from_nonoverlapping(text.as_ptr(), text.len()) };
        pool.lend(buffer, text.len() as u32)
    }

    #[test]
    fn the_last_lease_frees_the_buffer() {
        let pool = ReceivePool::new(ReceiveConfig { buffer_bytes: 64, buffers: 4 });
        let lease = filled(&pool, b"hello");
        let part = lease.slice(1..3);
        assert_eq!((&lease[..], &part[..], pool.lent(), pool.free()), (&b"hello"[..], &b"el"[..], 1, 3));
        drop(lease);
        assert_eq!(pool.lent(), 1);
        drop(part);
        assert_eq!((pool.lent(), pool.free()), (0, 4));
    }

    #[test]
    fn beyond_the_cap_bytes_are_copied_out() {
        let pool = ReceivePool::new(ReceiveConfig { buffer_bytes: 64, buffers: 4 });
        let held: Vec<Lease> = (0..10).map(|_| filled(&pool, b"held")).collect();
        assert_eq!((pool.lent(), pool.free()), (2, 2));
        assert!(held.iter().all(|lease| &lease[..] == b"held"));
        drop(held);
        assert_eq!((pool.lent(), pool.free()), (0, 4));
    }

    #[test]
    fn several_buffers_are_filled_in_order_and_the_rest_stays_free() {
        let pool = ReceivePool::new(ReceiveConfig { buffer_bytes: 64, buffers: 8 });
        let text: Vec<u8> = (0..100).collect();
        let fill = |parts: &mut [IoSliceMut<'_>]| {
            assert_eq!(parts.len(), 3);
            parts[0].copy_from_slice(&text[..64]);
            parts[1][..36].copy_from_slice(&text[64..]);
            Ok::<_, ()>(text.len())
        };
        let leases: Vec<Lease> = pool.fill_several::<4, ()>(3, fill).expect("filled").into_iter().flatten().collect();
        assert_eq!(leases.iter().map(|lease| lease.len()).collect::<Vec<_>>(), [64, 36]);
        assert_eq!(leases.iter().flat_map(|lease| lease.to_vec()).collect::<Vec<_>>(), text);
        assert_eq!((pool.lent(), pool.free()), (2, 6));
        assert!(pool.fill_several::<4, ()>(4, |_| Err(())).is_err());
        assert_eq!(pool.free(), 6);
        let rest = pool.fill_several::<8, ()>(8, |parts| Ok(parts.len() * 64)).expect("filled");
        // Beyond the lending cap they are copies, whose buffers are free again.
        assert_eq!((rest.iter().flatten().count(), pool.lent()), (6, 4));
    }

    #[test]
    fn only_a_single_lease_may_change_its_bytes() {
        let pool = ReceivePool::new(ReceiveConfig { buffer_bytes: 64, buffers: 4 });
        let mut lease = filled(&pool, b"mask");
        let copy = lease.clone();
        assert!(lease.as_mut_slice().is_none());
        drop(copy);
        lease.as_mut_slice().expect("unique now")[0] = b't';
        assert_eq!(&lease[..], b"task");
    }

    #[test]
    fn leases_that_cannot_be_counted_are_not_made() {
        let pool = ReceivePool::new(ReceiveConfig { buffer_bytes: 64, buffers: 2 });
        let mut lease = filled(&pool, b"leak");
        pool.storages.iter().filter(|storage| storage.leases() == 1).for_each(|storage| storage.pretend(u32::MAX));
        let clone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lease.clone()));
        assert!(clone.is_err());
        assert!(lease.as_mut_slice().is_none(), "it is shared with very many");
        pool.storages.iter().filter(|storage| storage.leases() > 1).for_each(|storage| storage.pretend(1));
        drop(lease);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn a_lease_outlives_the_pool_handle() {
        let pool = ReceivePool::new(ReceiveConfig { buffer_bytes: 64, buffers: 2 });
        let lease = filled(&pool, b"stay");
        drop(pool);
        assert_eq!(&lease[..], b"stay");
    }
}
