//! WINDOW_UPDATE, section 6.9.

use crate::http2::frame::{FrameHeader, number};
use crate::http2::stream_id::StreamId;

/// The type.
pub const KIND: u8 = 0x8;

/// The only length it has.
pub const LENGTH: u32 = 4;

/// Reads the increment, without the reserved bit.
#[must_use]
pub fn read(payload: &[u8]) -> u32 {
    number(payload, 0) & 0x7fff_ffff
}

/// Appends the frame.
pub fn write(out: &mut Vec<u8>, stream: StreamId, increment: u32) {
    FrameHeader { length: LENGTH, kind: KIND, flags: 0, stream }.write(out);
    out.extend_from_slice(&increment.to_be_bytes());
}
