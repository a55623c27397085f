//! SETTINGS, section 6.5: the frame. What the values mean is in [`crate::http2::settings`].

use crate::http2::frame::{FrameHeader, flag};
use crate::http2::stream_id::StreamId;

/// The type.
pub const KIND: u8 = 0x4;

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 6;

/// The acknowledgement.
pub const ACK: [u8; 9] = FrameHeader { length: 0, kind: KIND, flags: flag::ACK, stream: StreamId::CONNECTION }.bytes();

/// The entries of a payload whose length is a multiple of six.
pub fn entries(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload
        .as_chunks::<ENTRY_BYTES>()
        .0
        .iter()
        .map(|&[i0, i1, v0, v1, v2, v3]| (u16::from_be_bytes([i0, i1]), u32::from_be_bytes([v0, v1, v2, v3])))
}

/// Appends a frame with these entries.
pub fn write(out: &mut Vec<u8>, entries: &[(u16, u32)]) {
    let length = (entries.len() * ENTRY_BYTES) as u32;
    FrameHeader { length, kind: KIND, flags: 0, stream: StreamId::CONNECTION }.write(out);
    for (identifier, value) in entries {
        out.extend_from_slice(&identifier.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}
