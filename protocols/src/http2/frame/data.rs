//! DATA, section 6.1. Its payload is handed on as it arrives, so there is no type that holds it.

use crate::http2::frame::{FrameHeader, flag};
use crate::http2::stream_id::StreamId;

/// The type.
pub const KIND: u8 = 0x0;

/// Appends the frame header for `length` bytes that the caller puts behind it.
#[inline]
pub fn write_header(out: &mut Vec<u8>, stream: StreamId, length: u32, end_stream: bool) {
    let flags = if end_stream { flag::END_STREAM } else { 0 };
    FrameHeader { length, kind: KIND, flags, stream }.write(out);
}
