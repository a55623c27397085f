//! The scratch that decoded field text is written to, once.

/// Bytes with cheap short appends. The buffer behind is always initialised, so that a short copy can be one wide move.
#[derive(Clone, Debug, Default)]
pub struct Text {
    buffer: Vec<u8>,
    length: usize,
}

/// Copies up to this many bytes are made as one move of constant width.
pub(crate) const WIDE: usize = 32;

impl Text {
    /// The text so far.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Number of bytes written.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// True when nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Forgets everything behind `length` and keeps the memory.
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Gives memory back when more than `bytes_max` is held.
    pub fn shrink_to(&mut self, bytes_max: usize) {
        if self.buffer.len() > bytes_max {
            self.buffer = Vec::new();
            self.length = 0;
        }
    }

    /// Appends `source`.
    pub fn push(&mut self, source: &[u8]) {
        self.append(source, 0, source.len());
    }

    /// Appends `source[start..start + length]`; bytes behind may be read (and are not kept) when they are there.
    #[inline]
    pub(crate) fn append(&mut self, source: &[u8], start: usize, length: usize) {
        let target = self.room(length);
        match (source.get(start..).and_then(<[u8]>::first_chunk::<WIDE>), target.first_chunk_mut::<WIDE>()) {
            (Some(from), Some(to)) if length <= WIDE => *to = *from,
            _ => target[..length].copy_from_slice(&source[start..start + length]),
        }
        self.length += length;
    }

    /// Appends a piece of the text itself.
    pub(crate) fn append_within(&mut self, start: usize, length: usize) {
        let at = self.length;
        let _ = self.room(length);
        self.buffer.copy_within(start..start + length, at);
        self.length += length;
    }

    /// At least `length` writable bytes behind the text; what is written there counts after [`Text::advance`].
    #[inline]
    pub(crate) fn room(&mut self, length: usize) -> &mut [u8] {
        if self.buffer.len() - self.length < length + WIDE {
            self.grow(length + WIDE);
        }
        &mut self.buffer[self.length..]
    }

    #[inline]
    pub(crate) fn advance(&mut self, length: usize) {
        debug_assert!(self.length + length <= self.buffer.len());
        self.length += length;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, length: usize) {
        let needed = self.length + length;
        self.buffer.resize(needed.max(self.buffer.len() * 2).max(512), 0);
    }
}

/// Whether two short texts are equal, without a call: both ends are compared as overlapping words.
#[inline]
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let edges = |text: &[u8]| Some((u64::from_le_bytes(*text.first_chunk()?), u64::from_le_bytes(*text.last_chunk()?)));
    let wide_edges =
        |text: &[u8]| Some((u128::from_le_bytes(*text.first_chunk()?), u128::from_le_bytes(*text.last_chunk()?)));
    match left.len() {
        0..8 => left.iter().zip(right).fold(0, |differing, (left, right)| differing | (left ^ right)) == 0,
        8..=16 => edges(left) == edges(right),
        17..=32 => wide_edges(left) == wide_edges(right),
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, same};

    #[test]
    fn same_is_equality() {
        for length in (0..70).step_by(if cfg!(miri) { 7 } else { 1 }) {
            let text: Vec<u8> = (0..length).collect();
            assert!(same(&text, &text.clone()));
            assert!(!same(&text, &[&text[..], b"x"].concat()));
            for place in (0..text.len()).step_by(if cfg!(miri) { 5 } else { 1 }) {
                let mut other = text.clone();
                other[place] ^= 0x40;
                assert!(!same(&text, &other), "{length} {place}");
            }
        }
    }

    #[test]
    fn short_and_long_appends() {
        let source: Vec<u8> = (0..200).collect();
        for length in (0..100).step_by(if cfg!(miri) { 11 } else { 1 }) {
            let mut text = Text::default();
            text.push(b"ab");
            text.append(&source, 7, length);
            text.append(&source, 200 - length, length);
            let mut expected = b"ab".to_vec();
            expected.extend_from_slice(&source[7..7 + length]);
            expected.extend_from_slice(&source[200 - length..]);
            assert_eq!(text.as_slice(), expected);
            text.append_within(1, 1);
            expected.push(b'b');
            assert_eq!(text.as_slice(), expected);
        }
    }
}
