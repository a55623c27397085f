//! PRIORITY_UPDATE, RFC 9218 section 7.1.

use crate::http2::frame::number;
use crate::http2::stream_id::StreamId;

/// The type.
pub const KIND: u8 = 0x10;

/// The prioritised stream's number must be there.
pub const LENGTH_MIN: u32 = 4;

/// Longer field values than this are not looked at: `u` and `i` take a dozen bytes.
pub const LENGTH_MAX: u32 = 256;

/// Reads the prioritised stream and the field value.
#[must_use]
pub fn read(payload: &[u8]) -> (StreamId, &[u8]) {
    (StreamId::new(number(payload, 0)), payload.get(4..).unwrap_or_default())
}
