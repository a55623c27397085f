//! The head that a connection sends again and again: its block, kept as long as it means the same.

use crate::hpack::encode::Encoder;

/// Says that two response heads have the same status and fields: what the caller makes it of has to tell all of them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RepeatKey(pub [u64; 4]);

/// Bytes of a block that is kept: one or two for each field that the table holds.
const BLOCK_BYTES_MAX: usize = 19;

/// The last head that was sent under a key, and of which every field was in the tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repeated {
    key: RepeatKey,
    /// The encoder's count when it was written.
    changes: u32,
    length: u8,
    bytes: [u8; BLOCK_BYTES_MAX],
}

impl Repeated {
    /// The block of the head with this key, if it can be written again.
    #[inline]
    pub(crate) fn block(&self, key: RepeatKey, encoder: &Encoder) -> Option<&[u8]> {
        let is_same = self.length > 0 && self.key == key && self.changes == encoder.changes();
        is_same.then(|| &self.bytes[..usize::from(self.length)])
    }

    /// Keeps a block that was just written, when the encoder stood at `changes`.
    pub(crate) fn keep(&mut self, key: RepeatKey, changes: u32, block: &[u8], encoder: &Encoder) {
        if let Some(bytes) = self.bytes.get_mut(..block.len())
            && changes == encoder.changes()
        {
            bytes.copy_from_slice(block);
            (self.key, self.changes, self.length) = (key, changes, block.len() as u8);
        }
    }
}
