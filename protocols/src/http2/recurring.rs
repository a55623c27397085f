//! The request that a peer sends again and again: its head, kept as long as its block means the same.
//!
//! What a block means depends on nothing but its bytes and the decoder's table. So a block that comes again, while the
//! table has not changed, is not decoded again: the head that it was decoded to is copied. Clients that poll, or call the
//! same method of a service, send nothing else once their fields are in the table.

use crate::hpack::decode::{BlockSize, Decoder};
use crate::http2::request::RequestHead;

/// A longer block is not kept: one whose fields are in the table has a byte or two for each, and its path.
const BLOCK_BYTES_MAX: usize = 128;

/// Nor is a head with more text: what is kept counts for every connection.
const TEXT_BYTES_MAX: usize = 512;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recurring {
    /// Of the last block: a sign that one which comes now may be its like, and is worth keeping.
    sign: u64,
    kept: Option<Box<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    /// The decoder's count when the block was read.
    changes: u64,
    size: BlockSize,
    block: Box<[u8]>,
    /// Without its text.
    head: RequestHead,
    text: Box<[u8]>,
}

impl Recurring {
    /// Copies the head of this block into an empty one, if it is the one that is kept. Gives its size.
    #[inline]
    pub(crate) fn recall(&self, block: &[u8], decoder: &Decoder, head: &mut RequestHead) -> Option<BlockSize> {
        let kept = self.kept.as_ref().filter(|kept| kept.changes == decoder.changes() && *kept.block == *block)?;
        head.assign(&kept.head, &kept.text);
        Some(kept.size)
    }

    /// A block that was decoded to this head while the decoder's count stood at `changes`. It is kept when it comes for
    /// the second time in a row.
    #[inline]
    pub(crate) fn consider(
        &mut self,
        block: &[u8],
        changes: u64,
        decoder: &Decoder,
        head: &RequestHead,
        size: BlockSize,
    ) {
        let mut last = [0; 8];
        let length = block.len().min(last.len());
        last[..length].copy_from_slice(&block[block.len() - length..]);
        let sign = u64::from_le_bytes(last) ^ (block.len() as u64) << 56;
        if std::mem::replace(&mut self.sign, sign) == sign && changes == decoder.changes() {
            self.keep(block, changes, head, size);
        }
    }

    #[cold]
    #[inline(never)]
    fn keep(&mut self, block: &[u8], changes: u64, head: &RequestHead, size: BlockSize) {
        if block.len() > BLOCK_BYTES_MAX || head.bytes().len() > TEXT_BYTES_MAX {
            return;
        }
        let mut bare = RequestHead::default();
        bare.assign(head, &[]);
        self.kept = Some(Box::new(Kept { changes, size, block: block.into(), head: bare, text: head.bytes().into() }));
    }

    /// Bytes of memory held.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.kept
            .as_ref()
            .map_or(0, |kept| size_of::<Kept>() + kept.block.len() + kept.text.len() + kept.head.capacity_bytes())
    }
}
