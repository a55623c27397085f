//! PUSH_PROMISE, section 6.6. A server only sends it.

/// The type.
pub const KIND: u8 = 0x5;
