//! PING, section 6.7.

use crate::http2::frame::{FrameHeader, flag};
use crate::http2::stream_id::StreamId;

/// The type.
pub const KIND: u8 = 0x6;

/// The only length it has.
pub const LENGTH: u32 = 8;

/// Appends the frame.
pub fn write(out: &mut Vec<u8>, ack: bool, opaque: [u8; 8]) {
    let flags = if ack { flag::ACK } else { 0 };
    FrameHeader { length: LENGTH, kind: KIND, flags, stream: StreamId::CONNECTION }.write(out);
    out.extend_from_slice(&opaque);
}
