//! The frame header, RFC 6455 section 5.2. All rules that one header can break are judged here and nowhere else.

use crate::websocket::error::Fault;

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that is unfinished.
    Continuation = 0x0,
    /// The beginning of a text message.
    Text = 0x1,
    /// The beginning of a binary message.
    Binary = 0x2,
    /// The end of what the sender has to say.
    Close = 0x8,
    /// A question for life.
    Ping = 0x9,
    /// The answer, or a sign of life unasked.
    Pong = 0xa,
}

impl Opcode {
    #[inline]
    const fn new(number: u8) -> Option<Self> {
        match number {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    /// Close, ping and pong; they may stand between the frames of a message (section 5.5).
    #[inline]
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// What the receiver is ready for when a frame begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expectation {
    /// Frames come masked: we are the server.
    pub masked: bool,
    /// permessage-deflate was negotiated, so that RSV1 has a meaning.
    pub compression: bool,
    /// A message is unfinished.
    pub unfinished: bool,
}

/// One frame header.
///
/// ```
/// use ringgate_protocols::websocket::frame::{Expectation, Header, Opcode};
/// let ready = Expectation { masked: true, compression: false, unfinished: false };
/// let (header, bytes) = Header::parse(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", ready).unwrap().unwrap();
/// assert_eq!((header.opcode, header.length, bytes), (Opcode::Text, 5, 6));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The last frame of its message.
    pub last: bool,
    /// RSV1: the message is compressed (RFC 7692 section 6).
    pub compressed: bool,
    /// What the frame carries.
    pub opcode: Opcode,
    /// The masking key; none if the frame is not masked.
    pub mask: Option<[u8; 4]>,
    /// Bytes of the payload.
    pub length: u64,
}

/// Bytes of the longest header: two, eight of length, four of mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// Bytes of the longest payload of a control frame, section 5.5.
pub const CONTROL_BYTES_MAX: usize = 125;

impl Header {
    /// Reads the header at the beginning of `input` and tells how many bytes it takes; `None` if more are needed. A
    /// fault is told as soon as the byte is there that makes it.
    ///
    /// # Errors
    /// Every rule of sections 5.1 to 5.5 that can be broken by one header, and RFC 7692 section 6.
    #[inline]
    pub fn parse(input: &[u8], ready: Expectation) -> Result<Option<(Self, usize)>, Fault> {
        let Some(&start) = input.first() else { return Ok(None) };
        let last = start & 0x80 != 0;
        let compressed = start & 0x40 != 0;
        if start & 0x30 != 0 {
            return Err(Fault::ReservedBit);
        }
        let Some(opcode) = Opcode::new(start & 0x0f) else { return Err(Fault::Opcode) };
        match opcode {
            Opcode::Text | Opcode::Binary => {
                if compressed && !ready.compression {
                    return Err(Fault::ReservedBit);
                }
                if ready.unfinished {
                    return Err(Fault::MessageInsideMessage);
                }
            }
            _ if compressed => return Err(Fault::ReservedBit),
            Opcode::Continuation if !ready.unfinished => return Err(Fault::ContinuationWithoutStart),
            Opcode::Continuation => {}
            Opcode::Close | Opcode::Ping | Opcode::Pong if !last => return Err(Fault::ControlFrame),
            Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        let Some(&second) = input.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        if masked != ready.masked {
            return Err(Fault::Mask);
        }
        let short = second & 0x7f;
        if opcode.is_control() && short > 125 {
            return Err(Fault::ControlFrame);
        }
        let (length, mut at) = match short {
            126 => {
                let Some(bytes) = input.get(2..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
                let length = u64::from(u16::from_be_bytes(*bytes));
                if length < 126 {
                    return Err(Fault::Length);
                }
                (length, 4)
            }
            127 => {
                // "The most significant bit MUST be 0."
                if input.get(2).is_some_and(|&byte| byte & 0x80 != 0) {
                    return Err(Fault::Length);
                }
                let Some(bytes) = input.get(2..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
                let length = u64::from_be_bytes(*bytes);
                if length <= 0xffff {
                    return Err(Fault::Length);
                }
                (length, 10)
            }
            short => (u64::from(short), 2),
        };
        let mask = if masked {
            let Some(key) = input.get(at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            at += 4;
            Some(*key)
        } else {
            None
        };
        Ok(Some((Self { last, compressed, opcode, mask, length }, at)))
    }

    /// Appends the header to `out`, its length in the shortest form.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let first = u8::from(self.last) << 7 | u8::from(self.compressed) << 6 | self.opcode as u8;
        let masked = u8::from(self.mask.is_some()) << 7;
        // Each form has its own length: the compiler then writes it at once.
        match self.length {
            0..126 => out.extend_from_slice(&[first, masked | self.length as u8]),
            126..0x1_0000 => {
                let [high, low] = (self.length as u16).to_be_bytes();
                out.extend_from_slice(&[first, masked | 126, high, low]);
            }
            _ => {
                out.extend_from_slice(&[first, masked | 127]);
                out.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        if let Some(key) = self.mask {
            out.extend_from_slice(&key);
        }
    }

    /// Bytes that [`Header::encode`] writes.
    #[inline]
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        let length = match self.length {
            0..126 => 2,
            126..0x1_0000 => 4,
            _ => 10,
        };
        if self.mask.is_some() { length + 4 } else { length }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expectation, Header, Opcode};
    use crate::websocket::error::Fault;

    const READY: Expectation = Expectation { masked: true, compression: false, unfinished: false };

    /// What is written is read again, at the borders of all length forms; one byte less is not enough.
    #[test]
    fn encode_then_parse() {
        for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, u64::MAX >> 1] {
            let opcode = Opcode::Binary;
            let header = Header { last: false, compressed: false, opcode, mask: Some([1, 2, 3, 4]), length };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            assert_eq!(bytes.len(), header.encoded_bytes());
            assert_eq!(Header::parse(&bytes, READY), Ok(Some((header, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..cut], READY), Ok(None));
            }
        }
    }

    /// W-01, W-02, W-03: all values of the first two bytes, against the rules told in another form.
    #[test]
    fn w_01_02_03_first_two_bytes() {
        let step = if cfg!(miri) { 13 } else { 1 };
        for first in (0..=255_u8).step_by(step) {
            for second in (0..=255_u8).step_by(step) {
                for state in 0..4 {
                    let ready = Expectation { masked: true, compression: state & 1 != 0, unfinished: state & 2 != 0 };
                    let data = matches!(first & 15, 1 | 2);
                    let control = matches!(first & 15, 8..=10);
                    let good = first & 0x30 == 0
                        && matches!(first & 15, 0..=2 | 8..=10)
                        && (first & 0x40 == 0 || data && ready.compression)
                        && (!control || first & 0x80 != 0 && second & 0x7f < 126)
                        && (!data || !ready.unfinished)
                        && (first & 15 != 0 || ready.unfinished)
                        && second & 0x80 != 0;
                    assert_eq!(Header::parse(&[first, second], ready).is_ok(), good, "{first:x} {second:x} {state}");
                    if good {
                        assert!(Header::parse(&[first], ready).is_ok());
                    }
                }
            }
        }
    }

    /// W-02, W-04: lengths that are not minimal, and the highest bit.
    #[test]
    fn w_02_w_04_lengths() {
        let cases: [(&[u8], bool); 6] = [
            (b"\x82\xfe\x00\x7d", false),
            (b"\x82\xfe\x00\x7e", true),
            (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", false),
            (b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00", true),
            (b"\x82\xff\x80", false),
            (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", true),
        ];
        for (bytes, good) in cases {
            let expected = if good { Ok(None) } else { Err(Fault::Length) };
            assert_eq!(Header::parse(bytes, READY), expected, "{bytes:x?}");
        }
    }
}
