//! Bodies of responses that wait for their windows: pieces, cut as the machine grants them.

use crate::{body::SMALL_BYTES_MAX, config::COPIED_BYTES_MAX, pipe::GATHERED_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use ringgate_runtime::buffer::{Lease, Piece, SendBuf};
use std::collections::VecDeque;

/// Body bytes in their order, not yet granted.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    queue: VecDeque<Waiting>,
    bytes: usize,
}

/// A piece that can be cut without copying.
#[derive(Debug)]
enum Waiting {
    Shared(Bytes),
    Static(&'static [u8]),
    Lease(Lease),
    /// Small ones.
    Gathered(BytesMut),
}

impl Pieces {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Puts a piece at the end.
    pub(crate) fn push(&mut self, piece: Piece) {
        let length = piece.as_slice().len();
        self.bytes += length;
        match self.queue.back_mut() {
            Some(Waiting::Gathered(last)) if last.len() + length <= GATHERED_BYTES_MAX => {
                return last.extend_from_slice(piece.as_slice());
            }
            Some(_) if length <= SMALL_BYTES_MAX => {
                return self.queue.push_back(Waiting::Gathered(piece.as_slice().into()));
            }
            _ => {}
        }
        self.queue.push_back(match piece {
            Piece::Owned(bytes) => Waiting::Shared(bytes.into()),
            Piece::Shared(bytes) => Waiting::Shared(bytes),
            Piece::Static(bytes) => Waiting::Static(bytes),
            Piece::Lease(lease) => Waiting::Lease(lease),
        });
    }

    /// Puts a piece at the end, if there is one.
    pub(crate) fn extend(&mut self, piece: Option<Piece>) {
        piece.into_iter().for_each(|piece| self.push(piece));
    }

    /// Puts all of another's behind its own.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        self.queue.append(&mut other.queue);
    }

    /// Moves the first `count` bytes to the output: short parts are copied, long ones lent.
    pub(crate) fn send(&mut self, mut count: usize, buf: &mut SendBuf) {
        debug_assert!(count <= self.bytes, "granted more than was offered");
        self.bytes -= count;
        while count > 0 {
            let Some(first) = self.queue.front_mut() else { return };
            let length = count.min(first.bytes().len());
            if length <= COPIED_BYTES_MAX {
                buf.tail().extend_from_slice(&first.bytes()[..length]);
                first.advance(length);
            } else {
                buf.push(first.split_to(length));
            }
            if first.bytes().is_empty() {
                self.queue.pop_front();
            }
            count -= length;
        }
    }
}

impl Waiting {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Static(bytes) => bytes,
            Self::Lease(lease) => lease,
            Self::Gathered(bytes) => bytes,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Shared(bytes) => bytes::Buf::advance(bytes, count),
            Self::Static(bytes) => *bytes = &bytes[count..],
            Self::Lease(lease) => lease.advance(count),
            Self::Gathered(bytes) => bytes::Buf::advance(bytes, count),
        }
    }

    fn split_to(&mut self, count: usize) -> Piece {
        match self {
            Self::Shared(bytes) => Piece::Shared(bytes.split_to(count)),
            Self::Gathered(bytes) => Piece::Shared(bytes.split_to(count).freeze()),
            Self::Static(bytes) => {
                let (first, rest) = bytes.split_at(count);
                *bytes = rest;
                Piece::Static(first)
            }
            Self::Lease(lease) => {
                let first = lease.slice(0..count);
                lease.advance(count);
                Piece::Lease(first)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_any_cuts() {
        let whole: Vec<u8> = (0..20_000_u32).map(|byte| byte as u8).collect();
        let text: &'static [u8] = &[7; 9_000];
        for cut in [1, 100, 4096, 4097, 16_384] {
            let mut pieces = Pieces::default();
            pieces.push(Piece::Owned(whole.clone()));
            pieces.push(Piece::Static(text));
            pieces.push(Piece::Lease(Lease::from_vec(whole.clone())));
            whole.iter().for_each(|byte| pieces.push(Piece::Owned(vec![*byte])));
            assert!(pieces.queue.len() <= 3 + 5, "single bytes are gathered: {}", pieces.queue.len());
            let mut buf = SendBuf::default();
            while pieces.len() > 0 {
                pieces.send(cut.min(pieces.len()), &mut buf);
            }
            assert_eq!(
                buf.pieces().flatten().copied().collect::<Vec<u8>>(),
                [&whole[..], text, &whole, &whole].concat()
            );
        }
    }
}
