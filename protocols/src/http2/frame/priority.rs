//! PRIORITY, section 6.3: deprecated, checked for its length and ignored.

/// The type.
pub const KIND: u8 = 0x2;

/// The only length it has.
pub const LENGTH: u32 = 5;
