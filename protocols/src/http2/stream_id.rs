//! Stream identifiers, RFC 9113 section 5.1.1.

/// A 31-bit stream identifier; 0 is the connection itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamId(u32);

impl StreamId {
    /// The connection.
    pub const CONNECTION: Self = Self(0);
    /// The largest identifier.
    pub const MAX: Self = Self(0x7fff_ffff);

    /// The identifier in the low 31 bits; the reserved bit is ignored (section 4.1).
    #[must_use]
    #[inline]
    pub const fn new(bits: u32) -> Self {
        Self(bits & 0x7fff_ffff)
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// True for stream 0.
    #[must_use]
    #[inline]
    pub const fn is_connection(self) -> bool {
        self.0 == 0
    }

    /// True for odd identifiers, which only a client opens.
    #[must_use]
    #[inline]
    pub const fn is_client(self) -> bool {
        self.0 & 1 == 1
    }
}
