//! A lease: received bytes where the kernel has put them.

use std::cell::Cell;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::Rc;
use std::{fmt, slice};

use bytes::Bytes;

use crate::buffer::receive::ReceivePool;

/// Received bytes, in the buffer the kernel filled; the buffer is given back when the last clone is dropped.
///
/// Cloning and slicing share the buffer and cost a non-atomic count. A lease may also own plain memory: beyond the
/// lending cap of a core bytes are copied out, and [`Lease::from_vec`] makes one from anything. Not `Send`: what
/// crosses to another thread does so as [`Bytes`] ([`Lease::into_bytes`]).
///
/// ```
/// use ringgate_runtime::buffer::Lease;
/// let mut lease = Lease::from_vec(b"one two".to_vec());
/// let first = lease.slice(0..3);
/// lease.advance(4);
/// assert_eq!((&first[..], &lease[..]), (&b"one"[..], &b"two"[..]));
/// ```
//
// Three whole words, whatever it looks at. A lease passes through many hands, and the processor cannot read as one word
// what it has just written in parts: it waits until they have left its store buffer.
pub struct Lease {
    start: NonNull<u8>,
    length: usize,
    /// What keeps the bytes in place; none where there are none.
    storage: Option<NonNull<Storage>>,
}

/// Memory that leases look at, and how many do.
pub(super) struct Storage {
    /// Zero while the free list or the driver owns the buffer.
    leases: Cell<u32>,
    memory: Memory,
}

enum Memory {
    /// A buffer of the core's pool, which it keeps alive as long as it is lent.
    Pool { buffer: u16, pool: Cell<Option<Rc<ReceivePool>>> },
    /// Memory of its own, never changed in length while a lease lives.
    Own(Vec<u8>),
    /// Memory that others may look at too, on any thread.
    Shared(Bytes),
}

impl Storage {
    /// That of a pool's buffer; it stands in the pool.
    pub(super) const fn of_buffer(buffer: u16) -> Self {
        Self { leases: Cell::new(0), memory: Memory::Pool { buffer, pool: Cell::new(None) } }
    }

    /// How many leases look at it.
    #[inline]
    pub(super) fn leases(&self) -> u32 {
        self.leases.get()
    }

    #[cfg(test)]
    pub(super) fn pretend(&self, leases: u32) {
        self.leases.set(leases);
    }

    /// The last lease has gone: a buffer is free again, memory is given back.
    ///
    /// # Safety
    /// The caller was the last to look at it.
    unsafe fn release(storage: NonNull<Self>) {
        // SAFETY: it was leased until now, so it is still there (rule 5). The borrow ends with this line: what comes next
        // may free it.
        let pool = match unsafe { &storage.as_ref().memory } {
            Memory::Pool { buffer, pool } => pool.take().map(|pool| (pool, *buffer)),
            Memory::Own(_) | Memory::Shared(_) => None,
        };
        match pool {
            Some((pool, buffer)) => pool.returned(buffer),
            // SAFETY: not a pool's, so `Lease::boxed` has made it, and nobody else looks at it.
            None => drop(unsafe { Box::from_raw(storage.as_ptr()) }),
        }
    }
}

impl Lease {
    /// A lease over memory of its own.
    #[must_use]
    pub fn from_vec(mut bytes: Vec<u8>) -> Self {
        // From a mutable borrow: a single lease may change its bytes.
        let place = NonNull::from(&mut *bytes);
        Self::boxed(place, Memory::Own(bytes))
    }

    /// A lease over shared memory, to be read only.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        let place = NonNull::from(&*bytes);
        Self::boxed(place, Memory::Shared(bytes))
    }

    /// The first lease on `memory`, whose bytes are at `place` wherever it is moved.
    fn boxed(place: NonNull<[u8]>, memory: Memory) -> Self {
        if place.is_empty() {
            return Self::empty();
        }
        let storage = Box::leak(Box::new(Storage { leases: Cell::new(1), memory }));
        Self { start: place.cast(), length: place.len(), storage: Some(NonNull::from(storage)) }
    }

    /// A lease of no bytes: what receiving answers at the end of the peer's stream.
    #[must_use]
    pub const fn empty() -> Self {
        Self { start: NonNull::dangling(), length: 0, storage: None }
    }

    /// The first lease on a pool's buffer, which begins at `start`; the driver has filled `length` bytes of it.
    pub(super) fn of_buffer(storage: &Storage, pool: &Rc<ReceivePool>, start: NonNull<u8>, length: u32) -> Self {
        assert_eq!(storage.leases(), 0, "a buffer is lent once");
        if let Memory::Pool { pool: kept, .. } = &storage.memory {
            kept.set(Some(Rc::clone(pool)));
        }
        storage.leases.set(1);
        Self { start, length: length as usize, storage: Some(NonNull::from(storage)) }
    }

    #[inline]
    fn storage(&self) -> Option<&Storage> {
        // SAFETY: rule 5: this lease is counted on it, and keeps it.
        self.storage.map(|storage| unsafe { storage.as_ref() })
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` and the length lie inside the storage (all methods only narrow them), the bytes are
        // initialised, and nobody writes while this borrow lives: changing needs `&mut` of the only lease (rule 3).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The bytes, to be changed in place, unless somebody else may look at them.
    #[must_use]
    #[inline]
    pub fn as_mut_slice(&mut self) -> Option<&mut [u8]> {
        // SAFETY: as in `as_slice`; and this is the only lease on the storage, borrowed mutably for as long as the
        // slice lives. The pointer of an owned Vec was taken from a mutable borrow and its elements never move.
        self.is_unique().then(|| unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) })
    }

    /// True when nobody else can look at the bytes.
    #[must_use]
    #[inline]
    pub fn is_unique(&self) -> bool {
        self.storage().is_none_or(|storage| storage.leases() == 1 && !matches!(storage.memory, Memory::Shared(_)))
    }

    /// The bytes, free of the core and its buffers. Copies them unless they are all of memory that is not a core's, and
    /// this lease is the only one on it, or it is shared anyway.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.storage().map(|storage| &storage.memory) {
            Some(Memory::Shared(bytes)) => bytes.slice_ref(&self),
            _ => self.into_vec().into(),
        }
    }

    /// The same as a `Vec`.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match (self.storage, self.storage()) {
            (Some(place), Some(Storage { leases, memory: Memory::Own(bytes) }))
                if leases.get() == 1 && bytes.len() == self.length =>
            {
                std::mem::forget(self);
                // SAFETY: not a pool's, so `Lease::boxed` has made it; the only lease on it has just been forgotten.
                match unsafe { *Box::from_raw(place.as_ptr()) }.memory {
                    Memory::Own(bytes) => bytes,
                    Memory::Pool { .. } | Memory::Shared(_) => unreachable!("it was looked at"),
                }
            }
            _ => self.to_vec(),
        }
    }

    /// True when the other lease is over the very same bytes, in the same place.
    #[must_use]
    #[inline]
    pub fn is_same(&self, other: &Self) -> bool {
        // While one of them holds the memory nothing else can lie there.
        (self.start, self.length) == (other.start, other.length)
    }

    /// A lease of a part of these bytes; it shares the buffer.
    ///
    /// # Panics
    /// When the range does not lie within the bytes.
    #[must_use]
    #[inline]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {} bytes", self.length);
        let mut part = self.clone();
        // SAFETY: the range lies within the bytes, so the pointer stays within, or one past, the storage.
        part.start = unsafe { part.start.add(range.start) };
        part.length = range.end - range.start;
        part
    }

    /// Takes the first `count` bytes out of view.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.length, "a lease of {} bytes cannot advance by {count}", self.length);
        // SAFETY: `count` is at most the length, so the pointer stays within, or one past, the storage.
        self.start = unsafe { self.start.add(count) };
        self.length -= count;
    }

    /// Keeps only the first `count` bytes in view.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn truncate(&mut self, count: usize) {
        assert!(count <= self.length, "a lease of {} bytes cannot keep {count}", self.length);
        self.length = count;
    }
}

impl Clone for Lease {
    /// # Panics
    /// When they cannot be counted any more, which only leases that are forgotten come to: the next one would seem alone.
    #[inline]
    fn clone(&self) -> Self {
        if let Some(Storage { leases, .. }) = self.storage() {
            leases.set(leases.get().checked_add(1).expect("fewer leases than 2^32"));
        }
        Self { ..*self }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        let Some(place) = self.storage else { return };
        if let Some(Storage { leases, .. }) = self.storage() {
            leases.set(leases.get() - 1);
            if leases.get() > 0 {
                return;
            }
        }
        // SAFETY: this was the last lease.
        unsafe { Storage::release(place) }
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("leases", &self.leases()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.storage().map(|storage| &storage.memory) {
            Some(Memory::Pool { .. }) => "pool",
            Some(Memory::Own(_)) => "own",
            Some(Memory::Shared(_)) => "shared",
            None => "empty",
        };
        f.debug_struct("Lease").field("storage", &kind).field("bytes", &self.length).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_three_words() {
        assert_eq!((size_of::<Lease>(), size_of::<Option<Lease>>()), (24, 24));
    }

    #[test]
    fn bytes_leave_without_a_copy_where_they_can() {
        let bytes = b"some bytes".to_vec();
        let place = bytes.as_ptr();
        let lease = Lease::from_vec(bytes);
        let copy = lease.clone().into_vec();
        assert_ne!(copy.as_ptr(), place, "another lease looks at it");
        let bytes = lease.into_bytes();
        assert_eq!((&bytes[..], bytes.as_ptr()), (&b"some bytes"[..], place));

        let mut lease = Lease::from_bytes(bytes.clone());
        assert!(lease.as_mut_slice().is_none(), "somebody else looks at it");
        lease.advance(5);
        let part = lease.slice(0..4).into_bytes();
        assert_eq!((&part[..], part.as_ptr()), (&b"byte"[..], place.wrapping_add(5)));
        drop((bytes, part));
        assert!(lease.as_mut_slice().is_none(), "shared memory stays read-only");

        let mut part = Lease::from_vec(b"some bytes".to_vec());
        part.truncate(4);
        assert_eq!(part.as_mut_slice().map(|part| part.len()), Some(4));
        assert_eq!((part.into_vec(), Lease::empty().into_vec()), (b"some".to_vec(), Vec::new()));
        assert!(Lease::from_vec(Vec::with_capacity(8)).storage.is_none());
    }
}
