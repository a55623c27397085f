//! GOAWAY, section 6.8. Debug data is ignored and never sent.

use crate::http2::frame::{FrameHeader, number};
use crate::http2::reason::Reason;
use crate::http2::stream_id::StreamId;

/// The type.
pub const KIND: u8 = 0x7;

/// The shortest it can be.
pub const LENGTH_MIN: u32 = 8;

/// Reads last stream and reason.
#[must_use]
pub fn read(payload: &[u8]) -> (StreamId, Reason) {
    (StreamId::new(number(payload, 0)), Reason(number(payload, 4)))
}

/// Appends the frame.
pub fn write(out: &mut Vec<u8>, last: StreamId, reason: Reason) {
    FrameHeader { length: LENGTH_MIN, kind: KIND, flags: 0, stream: StreamId::CONNECTION }.write(out);
    out.extend_from_slice(&last.get().to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
}
