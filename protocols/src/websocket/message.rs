//! Messages: what the application sees of the frames, and frames made once for many connections.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::span::Span;
use crate::websocket::deflate::Pool;
use crate::websocket::frame::{Header, Opcode};

/// Text, which is UTF-8, or binary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Valid UTF-8: received text has been judged, text to be sent comes from the caller as such.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    #[inline]
    pub(crate) const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// Where received bytes stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// In the input given to the machine, unmasked in place.
    Input(Span),
    /// In the scratch given to the machine, where it was inflated.
    Scratch(Span),
}

impl Payload {
    /// The bytes themselves.
    ///
    /// # Panics
    /// When the buffers are not those the machine was given.
    #[inline]
    #[must_use]
    pub fn of<'a>(self, input: &'a [u8], scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Input(span) => span.of(input),
            Self::Scratch(span) => span.of(scratch),
        }
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Input(span) | Self::Scratch(span) => span.len(),
        }
    }

    /// True when there is no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The form of frame a connection can be sent: connections with the same variant share the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Variant {
    /// Not compressed; every connection understands it.
    Plain,
    /// Compressed by itself, with no reference beyond the window.
    Deflate {
        /// Base-two logarithm of the window, 9 to 15.
        window_bits: u8,
    },
}

/// A message framed once, and compressed once for each variant asked for, to be sent on many connections.
///
/// The bytes are shared, also between cores; a clone copies no payload. Only servers can send them, since a client's
/// frames carry a mask of their own.
#[derive(Clone, Debug)]
pub struct Prepared {
    kind: Kind,
    plain: Bytes,
    /// Bytes of the header of `plain`.
    header: usize,
    /// Made with the first of them.
    compressed: OnceLock<Box<Compressed>>,
}

/// One for each size of the window, once somebody wanted it. Nobody waits for another core that makes one: who comes
/// while it is made makes it once more.
type Compressed = [OnceLock<Bytes>; 7];

/// The smallest window that a server compresses for.
const WINDOW_BITS_MIN: u8 = 9;

impl Prepared {
    /// Frames `payload`, which must be UTF-8 if `kind` is text.
    ///
    /// ```
    /// use ringgate_protocols::websocket::deflate::Pool;
    /// use ringgate_protocols::websocket::message::{Kind, Prepared, Variant};
    /// let hello = Prepared::new(Kind::Text, b"Hello");
    /// assert_eq!(&hello.frame(Variant::Plain, &mut Pool::default())[..], b"\x81\x05Hello");
    /// ```
    #[must_use]
    pub fn new(kind: Kind, payload: &[u8]) -> Self {
        let header = frame_header(kind, payload.len(), false);
        let mut plain = Vec::with_capacity(payload.len() + header.encoded_bytes());
        header.encode(&mut plain);
        plain.extend_from_slice(payload);
        Self { kind, plain: plain.into(), header: header.encoded_bytes(), compressed: OnceLock::new() }
    }

    /// Text or binary.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The payload as it was given.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.plain[self.header..]
    }

    /// The frame in the form asked for; compressed now if no connection wanted this form before. A payload that does not
    /// shrink stays plain: compression is a choice per message (RFC 7692 section 6).
    ///
    /// # Panics
    /// When asked for a window that no connection negotiates: beyond 9 to 15 bits.
    pub fn frame(&self, variant: Variant, pool: &mut Pool) -> Bytes {
        let Variant::Deflate { window_bits } = variant else { return self.plain.clone() };
        let place = &self.compressed.get_or_init(Box::default)[usize::from(window_bits - WINDOW_BITS_MIN)];
        if let Some(frame) = place.get() {
            return frame.clone();
        }
        let frame = self.compress(window_bits, pool);
        let _ = place.set(frame.clone());
        frame
    }

    fn compress(&self, window_bits: u8, pool: &mut Pool) -> Bytes {
        let mut shrunk = Vec::new();
        let mut deflater = pool.take_deflater(window_bits);
        deflater.deflate(self.payload(), &mut shrunk, true);
        pool.give_deflater(deflater);
        if shrunk.len() >= self.payload().len() {
            return self.plain.clone();
        }
        let header = frame_header(self.kind, shrunk.len(), true);
        let mut frame = Vec::with_capacity(header.encoded_bytes() + shrunk.len());
        header.encode(&mut frame);
        frame.extend_from_slice(&shrunk);
        frame.into()
    }
}

fn frame_header(kind: Kind, length: usize, compressed: bool) -> Header {
    Header { last: true, compressed, opcode: kind.opcode(), mask: None, length: length as u64 }
}
