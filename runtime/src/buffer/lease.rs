//! A lease: received bytes where the kernel has put them.

use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::Rc;
use std::{fmt, slice};

use crate::buffer::receive::ReceivePool;

/// Received bytes, in the buffer the kernel filled; the buffer is given back when the last clone is dropped.
///
/// Cloning and slicing share the buffer and cost a non-atomic count. A lease may also own plain memory: beyond the
/// lending cap of a core bytes are copied out, and [`Lease::from_vec`] makes one from anything. Not `Send`: what
/// crosses to another thread is copied first.
///
/// ```
/// use ringgate_runtime::buffer::Lease;
/// let mut lease = Lease::from_vec(b"one two".to_vec());
/// let first = lease.slice(0..3);
/// lease.advance(4);
/// assert_eq!((&first[..], &lease[..]), (&b"one"[..], &b"two"[..]));
/// ```
pub struct Lease {
    start: NonNull<u8>,
    storage: Storage,
}

/// What keeps the bytes in place, and how many of them are in view. The length stands inside, beside what is as small: so
/// a lease takes 24 bytes, and idle connections hold room for several.
enum Storage {
    /// A buffer of the core's pool, on which this lease is counted.
    Pool { buffer: u16, length: u32, pool: Rc<ReceivePool> },
    /// Memory of its own, never changed in length while a lease lives.
    Own { length: u32, bytes: Rc<Vec<u8>> },
    /// No bytes at all.
    Empty,
}

impl Storage {
    #[inline]
    const fn length(&self) -> u32 {
        match self {
            Self::Pool { length, .. } | Self::Own { length, .. } => *length,
            Self::Empty => 0,
        }
    }

    /// Leaves `count` bytes of what was in view.
    #[inline]
    fn shorten(&mut self, count: u32) {
        match self {
            Self::Pool { length, .. } | Self::Own { length, .. } => *length = count,
            Self::Empty => debug_assert_eq!(count, 0),
        }
    }
}

impl Lease {
    /// A lease over memory of its own.
    ///
    /// # Panics
    /// When there are 4 GiB or more.
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        let length = u32::try_from(bytes.len()).expect("a lease is shorter than 4 GiB");
        let mut bytes = Rc::new(bytes);
        let start = Rc::get_mut(&mut bytes).expect("just made").as_mut_ptr();
        Self { start: NonNull::new(start).expect("a Vec's pointer"), storage: Storage::Own { length, bytes } }
    }

    /// A lease of no bytes: what receiving answers at the end of the peer's stream.
    #[must_use]
    pub const fn empty() -> Self {
        Self { start: NonNull::dangling(), storage: Storage::Empty }
    }

    /// A counted lease on a pool's buffer; the caller has set the count to one.
    pub(super) fn of_pool(pool: Rc<ReceivePool>, buffer: u16, start: NonNull<u8>, length: u32) -> Self {
        Self { start, storage: Storage::Pool { buffer, length, pool } }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` and the length lie inside the storage (all methods only narrow them), the bytes are
        // initialised, and nobody writes while this borrow lives: changing needs `&mut` of the only lease (rule 3).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.storage.length() as usize) }
    }

    /// The bytes, to be changed in place, unless another lease shares the buffer.
    #[must_use]
    #[inline]
    pub fn as_mut_slice(&mut self) -> Option<&mut [u8]> {
        let unique = match &mut self.storage {
            Storage::Pool { pool, buffer, .. } => pool.is_unique(*buffer),
            Storage::Own { bytes, .. } => Rc::get_mut(bytes).is_some(),
            Storage::Empty => true,
        };
        // SAFETY: as in `as_slice`; and this is the only lease on the storage, borrowed mutably for as long as the
        // slice lives. The pointer of an owned Vec was taken from a mutable borrow and its elements never move.
        unique.then(|| unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.storage.length() as usize) })
    }

    /// True when the other lease is over the very same bytes, in the same place.
    #[must_use]
    #[inline]
    pub fn is_same(&self, other: &Self) -> bool {
        // While one of them holds the memory nothing else can lie there.
        (self.start, self.storage.length()) == (other.start, other.storage.length())
    }

    /// A lease of a part of these bytes; it shares the buffer.
    ///
    /// # Panics
    /// When the range does not lie within the bytes.
    #[must_use]
    #[inline]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let length = self.storage.length();
        assert!(range.start <= range.end && range.end <= length as usize, "{range:?} of {length} bytes");
        let mut part = self.clone();
        // SAFETY: the range lies within the bytes, so the pointer stays within, or one past, the storage.
        part.start = unsafe { part.start.add(range.start) };
        part.storage.shorten((range.end - range.start) as u32);
        part
    }

    /// Takes the first `count` bytes out of view.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        let length = self.storage.length();
        assert!(count <= length as usize, "a lease of {length} bytes cannot advance by {count}");
        // SAFETY: `count` is at most the length, so the pointer stays within, or one past, the storage.
        self.start = unsafe { self.start.add(count) };
        self.storage.shorten(length - count as u32);
    }

    /// Keeps only the first `count` bytes in view.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn truncate(&mut self, count: usize) {
        let length = self.storage.length();
        assert!(count <= length as usize, "a lease of {length} bytes cannot keep {count}");
        self.storage.shorten(count as u32);
    }
}

impl Clone for Lease {
    #[inline]
    fn clone(&self) -> Self {
        let storage = match &self.storage {
            Storage::Pool { buffer, length, pool } => {
                pool.retain(*buffer);
                Storage::Pool { buffer: *buffer, length: *length, pool: Rc::clone(pool) }
            }
            Storage::Own { length, bytes } => Storage::Own { length: *length, bytes: Rc::clone(bytes) },
            Storage::Empty => Storage::Empty,
        };
        Self { start: self.start, storage }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        if let Storage::Pool { pool, buffer, .. } = &self.storage {
            pool.release(*buffer);
        }
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

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.storage {
            Storage::Pool { .. } => "pool",
            Storage::Own { .. } => "own",
            Storage::Empty => "empty",
        };
        f.debug_struct("Lease").field("storage", &kind).field("bytes", &self.storage.length()).finish()
    }
}
