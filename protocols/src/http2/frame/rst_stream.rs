//! RST_STREAM, section 6.4.

use crate::http2::frame::{FrameHeader, number};
use crate::http2::reason::Reason;
use crate::http2::stream_id::StreamId;

/// The type.
pub const KIND: u8 = 0x3;

/// The only length it has.
pub const LENGTH: u32 = 4;

/// Reads the error code.
#[must_use]
pub fn read(payload: &[u8]) -> Reason {
    Reason(number(payload, 0))
}

/// Appends the frame.
pub fn write(out: &mut Vec<u8>, stream: StreamId, reason: Reason) {
    FrameHeader { length: LENGTH, kind: KIND, flags: 0, stream }.write(out);
    out.extend_from_slice(&reason.0.to_be_bytes());
}
