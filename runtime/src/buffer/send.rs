//! What one send takes.

use bytes::Bytes;

use crate::buffer::lease::Lease;

/// One piece of what is to go out, sent from where it lies.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes collected by the sender: heads, small bodies.
    Owned(Vec<u8>),
    /// Bytes that others may share.
    Shared(Bytes),
    /// Bytes of the program itself.
    Static(&'static [u8]),
    /// Received bytes that go out again without a copy.
    Lease(Lease),
}

impl Piece {
    /// The bytes of the piece.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Static(bytes) => bytes,
            Self::Lease(lease) => lease,
        }
    }
}

/// A first block of collected bytes and further pieces behind it. One piece costs a `send`, several one `sendmsg`.
///
/// ```
/// use ringgate_runtime::buffer::{Piece, SendBuf};
/// let mut buf = SendBuf::default();
/// buf.tail().extend_from_slice(b"content-length: 4\r\n\r\n");
/// buf.push(Piece::Static(b"body"));
/// buf.tail().extend_from_slice(b"next head");
/// assert_eq!((buf.len(), buf.pieces().count()), (34, 3));
/// ```
#[derive(Debug, Default)]
pub struct SendBuf {
    /// One pointer: whoever holds an empty buffer, and idle connections do, pays 8 bytes. It goes with its memory when a
    /// buffer is used again.
    block: Option<Box<Block>>,
}

#[derive(Debug, Default)]
struct Block {
    head: Vec<u8>,
    rest: Vec<Piece>,
}

impl SendBuf {
    /// Wraps collected bytes.
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self { block: Some(Box::new(Block { head: bytes, rest: Vec::new() })) }
    }

    /// The block at the end, for appending small things; behind a lent piece a fresh one is begun.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        let block = self.block.get_or_insert_default();
        if block.rest.is_empty() { &mut block.head } else { Self::tail_behind_pieces(&mut block.rest) }
    }

    fn tail_behind_pieces(rest: &mut Vec<Piece>) -> &mut Vec<u8> {
        if !matches!(rest.last(), Some(Piece::Owned(_))) {
            rest.push(Piece::Owned(Vec::new()));
        }
        match rest.last_mut() {
            Some(Piece::Owned(bytes)) => bytes,
            _ => unreachable!("an owned piece was just put at the end"),
        }
    }

    /// Lends a piece: it is sent from where it is. Worth it from a few KiB; smaller ones are better copied to the tail.
    pub fn push(&mut self, piece: Piece) {
        self.block.get_or_insert_default().rest.push(piece);
    }

    #[inline]
    fn parts(&self) -> (&[u8], &[Piece]) {
        self.block.as_ref().map_or((&[], &[]), |block| (&block.head, &block.rest))
    }

    /// Bytes in all pieces.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        let (head, rest) = self.parts();
        rest.iter().fold(head.len(), |sum, piece| sum + piece.as_slice().len())
    }

    /// True when there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces().all(<[u8]>::is_empty)
    }

    /// All pieces in their order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (head, rest) = self.parts();
        std::iter::once(head).chain(rest.iter().map(Piece::as_slice))
    }

    /// The pieces themselves, in their order, for somebody who sends by other ways.
    pub fn into_pieces(self) -> impl Iterator<Item = Piece> {
        let Block { head, rest } = *self.block.unwrap_or_default();
        std::iter::once(Piece::Owned(head)).chain(rest)
    }

    /// The whole content, if it is one block.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        let (head, rest) = self.parts();
        rest.is_empty().then_some(head)
    }

    /// Forgets all pieces, keeps the memory of the first block.
    pub fn clear(&mut self) {
        if let Some(block) = &mut self.block {
            block.head.clear();
            block.rest.clear();
        }
    }

    /// Bytes of memory kept by the first block.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.head.capacity())
    }
}
