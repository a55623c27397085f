//! A place in the caller's buffer: the currency of zero-copy.

/// A half-open range of bytes, `start <= end`, in a buffer that somebody else owns.
///
/// A span means nothing without its buffer; it is resolved by the owner of the bytes.
///
/// ```
/// use ringgate_protocols::span::Span;
/// let span = Span::new(4, 9);
/// assert_eq!(span.of(b"GET /path"), b"/path");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes from `start` up to, not including, `end`.
    ///
    /// # Panics
    /// In debug builds, when `start > end`.
    #[must_use]
    pub const fn new(start: u32, end: u32) -> Self {
        debug_assert!(start <= end);
        Self { start, end }
    }

    /// Offset of the first byte.
    #[must_use]
    pub const fn start(self) -> usize {
        self.start as usize
    }

    /// Offset behind the last byte.
    #[must_use]
    pub const fn end(self) -> usize {
        self.end as usize
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// True when the span holds no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes themselves.
    ///
    /// # Panics
    /// When `buffer` is not the buffer this span was made for and is too short.
    #[must_use]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..self.end as usize]
    }
}
