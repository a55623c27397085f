//! What is submitted: each operation as an entry of the submission queue, and how its completion is told from others.

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};

use crate::driver::slot::{Key, SEND_PIECES_MAX, Sending};
use crate::driver::uring::buffer_ring::BUFFER_GROUP;

/// `IORING_RECV_MULTISHOT`, which the crate sets only on `RecvMulti`.
const RECV_MULTISHOT: u16 = 2;
/// `IORING_RECVSEND_BUNDLE`, which the crate sets only on operations without a length.
const RECV_BUNDLE: u16 = 16;

/// What an operation was: the top byte of its `user_data`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Tag {
    Accept = 1,
    Receive = 2,
    Send = 3,
    Cancel = 4,
    Wake = 5,
    Connect = 6,
}

impl Tag {
    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::Accept),
            2 => Some(Self::Receive),
            3 => Some(Self::Send),
            4 => Some(Self::Cancel),
            5 => Some(Self::Wake),
            6 => Some(Self::Connect),
            _ => None,
        }
    }
}

/// `user_data`: tag (8) | generation (24) | slot (32).
pub(super) const fn user_data(tag: Tag, key: Key) -> u64 {
    ((tag as u64) << 56) | ((key.generation as u64) << 32) | key.slot as u64
}

/// The other way round.
pub(super) const fn identity(user_data: u64) -> (Option<Tag>, Key) {
    let key = Key { slot: user_data as u32, generation: ((user_data >> 32) & 0xff_ffff) as u32 };
    (Tag::from_bits((user_data >> 56) as u8), key)
}

fn raw(fd: BorrowedFd<'_>) -> Fd {
    Fd(fd.as_raw_fd())
}

/// Accepts until it is cancelled.
pub(super) fn accept(fd: BorrowedFd<'_>) -> squeue::Entry {
    opcode::AcceptMulti::new(raw(fd)).flags(libc::SOCK_CLOEXEC).build()
}

/// Receives into provided buffers until it is cancelled, or none is left. With `bundle_bytes` above zero each completion may
/// span several buffers, up to so many bytes.
pub(super) fn receive(fd: BorrowedFd<'_>, bundle_bytes: u32) -> squeue::Entry {
    let bundle = if bundle_bytes > 0 { RECV_BUNDLE } else { 0 };
    opcode::Recv::new(raw(fd), std::ptr::null_mut(), bundle_bytes)
        .ioprio(RECV_MULTISHOT | bundle)
        .buf_group(BUFFER_GROUP)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
}

/// How a send tells what has become of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// It never parks in the kernel. Gone out whole while it is submitted, it says nothing; anything else is told.
    IfShort,
    /// It parks until the peer has made room, and tells when all is gone.
    AtItsEnd,
}

/// Sends what is left, or the first [`SEND_PIECES_MAX`] pieces of that. Also says how many bytes that are.
pub(super) fn send(fd: BorrowedFd<'_>, sending: &mut Sending, telling: Telling) -> (squeue::Entry, usize) {
    // With MSG_WAITALL a send that goes short counts as failed, and what fails is told.
    let (dont_wait, skip) = match telling {
        Telling::IfShort => (libc::MSG_DONTWAIT, squeue::Flags::SKIP_SUCCESS),
        Telling::AtItsEnd => (0, squeue::Flags::empty()),
    };
    let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | dont_wait;
    if let Some(bytes) = sending.buf.single() {
        let rest = &bytes[sending.sent..];
        let count = rest.len().min(u32::MAX as usize);
        (opcode::Send::new(raw(fd), rest.as_ptr(), count as u32).flags(flags).build().flags(skip), count)
    } else {
        let (header, count) = vectored(sending);
        (opcode::SendMsg::new(raw(fd), header).flags(flags as u32).build().flags(skip), count)
    }
}

/// Completes when a connect has ended.
pub(super) fn writable(fd: BorrowedFd<'_>) -> squeue::Entry {
    opcode::PollAdd::new(raw(fd), libc::POLLOUT as u32).build()
}

/// Reads the word of an eventfd.
pub(super) fn read_word(fd: BorrowedFd<'_>, word: *mut u64) -> squeue::Entry {
    opcode::Read::new(raw(fd), word.cast(), 8).build()
}

/// Cancels one operation of a socket.
pub(super) fn cancel(tag: Tag, key: Key) -> squeue::Entry {
    opcode::AsyncCancel::new(user_data(tag, key)).build()
}

/// Cancels everything on a descriptor.
pub(super) fn cancel_all(fd: BorrowedFd<'_>) -> squeue::Entry {
    opcode::AsyncCancel2::new(CancelBuilder::fd(raw(fd)).all()).build()
}

/// Memory of a vectored send that the kernel reads.
struct Vectored {
    header: libc::msghdr,
    pieces: Vec<libc::iovec>,
}

/// Writes header and pieces of what is left into memory that stays with the send; also says how many bytes that are.
fn vectored(sending: &mut Sending) -> (*const libc::msghdr, usize) {
    // SAFETY: an all-zero msghdr is a valid one: no name, no control data, no pieces.
    let header = unsafe { std::mem::zeroed() };
    let mut vectored = Box::new(Vectored { header, pieces: Vec::new() });
    let (mut skip, mut count) = (sending.sent, 0);
    for piece in sending.buf.pieces() {
        let rest = piece.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(piece.len());
        if !rest.is_empty() && vectored.pieces.len() < SEND_PIECES_MAX {
            vectored.pieces.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
            count += rest.len();
        }
    }
    vectored.header.msg_iov = vectored.pieces.as_mut_ptr();
    vectored.header.msg_iovlen = vectored.pieces.len();
    let header: *const libc::msghdr = &vectored.header;
    sending.vectored = Some(vectored);
    (header, count)
}
