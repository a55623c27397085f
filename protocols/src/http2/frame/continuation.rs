//! CONTINUATION, section 6.10.

/// The type.
pub const KIND: u8 = 0x9;
