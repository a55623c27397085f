//! Frames, RFC 9113 section 4 and 6: one frame, one file. Each says what lengths and streams its type may have, how its
//! payload is read and how it is written. What a frame *means* is the connection's business.

pub mod continuation;
pub mod data;
pub mod goaway;
pub mod headers;
pub mod ping;
pub mod priority;
pub mod priority_update;
pub mod push_promise;
pub mod rst_stream;
pub mod settings;
pub mod window_update;

use crate::http2::stream_id::StreamId;

/// Bytes of every frame's header.
pub const HEADER_BYTES: usize = 9;

/// Payload size that everybody accepts, and the one we accept (section 4.2).
pub const PAYLOAD_BYTES: usize = 16_384;

/// Flag bits. Which of them mean something depends on the type; the others are ignored (section 4.1).
pub mod flag {
    /// DATA, HEADERS: the sender's side of the stream ends.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING.
    pub const ACK: u8 = 0x1;
    /// HEADERS, PUSH_PROMISE, CONTINUATION: the field block ends.
    pub const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS: a pad length stands first.
    pub const PADDED: u8 = 0x8;
    /// HEADERS: the deprecated priority fields are there.
    pub const PRIORITY: u8 = 0x20;
}

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Payload bytes, 24 bits.
    pub length: u32,
    /// The type; constants stand in the types' files.
    pub kind: u8,
    /// Flag bits.
    pub flags: u8,
    /// The stream, without the reserved bit.
    pub stream: StreamId,
}

impl FrameHeader {
    /// Reads the nine bytes.
    #[must_use]
    #[inline]
    pub const fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: StreamId::new(u32::from_be_bytes([s0, s1, s2, s3])),
        }
    }

    /// The nine bytes.
    #[must_use]
    #[inline]
    pub const fn bytes(self) -> [u8; HEADER_BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.get().to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Appends the nine bytes.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes());
    }

    /// True when all bits of `flag` are set.
    #[must_use]
    #[inline]
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The four bytes at `at` as a number; 0 behind the end (lengths are checked before).
pub(crate) fn number(payload: &[u8], at: usize) -> u32 {
    payload.get(at..).and_then(<[u8]>::first_chunk::<4>).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::FrameHeader;
    use crate::http2::stream_id::StreamId;

    #[test]
    fn header_there_and_back_without_the_reserved_bit() {
        let bytes = [0x01, 0x02, 0x03, 4, 5, 0xff, 0xff, 0xff, 0xfe];
        let header = FrameHeader::read(&bytes);
        assert_eq!(header, FrameHeader { length: 0x01_0203, kind: 4, flags: 5, stream: StreamId::new(0x7fff_fffe) });
        assert_eq!(header.bytes()[5], 0x7f);
        assert_eq!(FrameHeader::read(&header.bytes()), header);
    }
}
