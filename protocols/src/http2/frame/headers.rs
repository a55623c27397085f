//! HEADERS, section 6.2.

use crate::http2::frame::{FrameHeader, flag};

/// The type.
pub const KIND: u8 = 0x1;

/// Bytes of the deprecated priority fields.
const PRIORITY_BYTES: usize = 5;

/// The piece of the field block in the payload: without pad length, priority fields and padding. `None` when the
/// padding is as long as the payload or the payload too short for its flags.
#[must_use]
#[inline]
pub fn fragment(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    if !header.has(flag::PADDED | flag::PRIORITY) {
        return Some(payload);
    }
    let (padding, payload) = if header.has(flag::PADDED) {
        let (&first, rest) = payload.split_first()?;
        (usize::from(first), rest)
    } else {
        (0, payload)
    };
    let payload = if header.has(flag::PRIORITY) { payload.get(PRIORITY_BYTES..)? } else { payload };
    payload.get(..payload.len().checked_sub(padding)?)
}
