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
    head: Vec<u8>,
    #[expect(
        clippy::box_collection,
        reason = "whoever holds an empty one, and idle connections do, pays 8 bytes, not 24"
    )]
    rest: Option<Box<Vec<Piece>>>,
}

impl SendBuf {
    /// Wraps collected bytes.
    #[must_use]
    pub const fn from_vec(bytes: Vec<u8>) -> Self {
        Self { head: bytes, rest: None }
    }

    /// The block at the end, for appending small things; behind a lent piece a fresh one is begun.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.rest.is_none() { &mut self.head } else { self.tail_behind_pieces() }
    }

    fn tail_behind_pieces(&mut self) -> &mut Vec<u8> {
        let Some(rest) = self.rest.as_deref_mut().filter(|rest| !rest.is_empty()) else { return &mut self.head };
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
        self.rest.get_or_insert_default().push(piece);
    }

    /// Bytes in all pieces.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.rest.iter().flat_map(|rest| rest.iter()).fold(self.head.len(), |sum, piece| sum + piece.as_slice().len())
    }

    /// True when there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces().all(<[u8]>::is_empty)
    }

    /// All pieces in their order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.head.as_slice()).chain(self.rest.iter().flat_map(|rest| rest.iter()).map(Piece::as_slice))
    }

    /// The pieces themselves, in their order, for somebody who sends by other ways.
    pub fn into_pieces(self) -> impl Iterator<Item = Piece> {
        std::iter::once(Piece::Owned(self.head)).chain(self.rest.into_iter().flat_map(|rest| *rest))
    }

    /// The whole content, if it is one block.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        self.rest.as_ref().is_none_or(|rest| rest.is_empty()).then_some(self.head.as_slice())
    }

    /// Forgets all pieces, keeps the memory of the first block.
    pub fn clear(&mut self) {
        self.head.clear();
        if let Some(rest) = &mut self.rest {
            rest.clear();
        }
    }

    /// Bytes of memory kept by the first block.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.head.capacity()
    }
}
