//! Receive buffers and leases; send buffers.
use bytes::Bytes;

/// A kernel-filled buffer, given back when the last clone is dropped. Not `Send`. Cloning is cheap (a count).
/// A lease may also own plain memory (beyond the lending cap bytes are copied out; see [`Lease::from_vec`]).
#[derive(Clone, Debug)]
pub struct Lease { _todo: std::rc::Rc<Vec<u8>> }

impl Lease {
    /// A lease over memory of its own.
    pub fn from_vec(_bytes: Vec<u8>) -> Self { todo!() }
    /// An empty lease: what `recv` answers at end of stream.
    pub fn empty() -> Self { todo!() }
    /// The bytes of this lease.
    pub fn as_slice(&self) -> &[u8] { todo!() }
    /// The bytes, to be changed in place (unmasking), if no other clone shares the buffer.
    pub fn as_mut_slice(&mut self) -> Option<&mut [u8]> { todo!() }
    /// A lease of a part of these bytes; shares the buffer.
    pub fn slice(&self, _range: std::ops::Range<usize>) -> Self { todo!() }
    /// Drops the first `count` bytes from view.
    pub fn advance(&mut self, _count: usize) { todo!() }
    /// Keeps only the first `count` bytes in view.
    pub fn truncate(&mut self, _count: usize) { todo!() }
}
impl std::ops::Deref for Lease { type Target = [u8]; fn deref(&self) -> &[u8] { self.as_slice() } }

/// One piece of what is to go out.
#[derive(Debug)]
pub enum Piece {
    /// Bytes collected by the sender (heads, small bodies).
    Owned(Vec<u8>),
    /// Bytes that others may share.
    Shared(Bytes),
    /// Bytes of the program itself.
    Static(&'static [u8]),
    /// Received bytes that go out again without a copy (echo).
    Lease(Lease),
}

/// What one send takes: a first block of collected bytes, and further pieces behind it. One piece: `send`; more: `sendmsg`.
#[derive(Debug, Default)]
pub struct SendBuf { _head: Vec<u8>, _rest: Vec<Piece> }
impl SendBuf {
    /// Wraps collected bytes.
    pub fn from_vec(_bytes: Vec<u8>) -> Self { todo!() }
    /// The tail block to which small things are appended (a fresh owned piece is started behind a lent one).
    pub fn tail(&mut self) -> &mut Vec<u8> { todo!() }
    /// Lends a large piece: it will be sent from where it is.
    pub fn push(&mut self, _piece: Piece) { todo!() }
    /// Bytes in all pieces.
    pub fn len(&self) -> usize { todo!() }
    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool { todo!() }
    /// Forgets all pieces, keeps the memory of the first block.
    pub fn clear(&mut self) { todo!() }
}
