//! The dynamic table, RFC 7541 section 2.3.2 and 4. Both directions use it.

use crate::hpack::text::{WIDE, same};

/// Octets that every entry costs beyond its text, section 4.1.
pub const ENTRY_OVERHEAD: usize = 32;

/// The largest table this implementation keeps, so that offsets and lengths stay small.
pub const SIZE_LIMIT: usize = 65_535;

/// Taken at the first insertion: what our responses repeat, or a simple client's requests, fits. Browsers need more.
const FIRST_BYTES: usize = 256;

/// One entry: its text stands in the table's bytes, the value right behind the name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Place of the name, counted from the first byte the table ever held; wraps.
    start: u32,
    name_length: u16,
    value_length: u16,
    /// The decoder keeps the name's kind here, the encoder a hash of name and value.
    pub(crate) tag: u32,
}

/// An entry's place in [`DynamicTable::bytes`].
#[derive(Clone, Copy)]
pub(crate) struct Located {
    pub(crate) start: usize,
    pub(crate) name_length: usize,
    pub(crate) value_length: usize,
    pub(crate) tag: u32,
}

/// First in, first out, bounded by [`DynamicTable::size_max`]. Memory is taken as it is used.
///
/// Text is appended behind the newest entry and leaves at the other end; when the buffer is full the living text is
/// moved to its front, or the buffer grows, whichever keeps the moving rare. So memory stays under about
/// 1.5 × the size limit and the work per inserted byte is constant.
#[derive(Clone, Debug)]
pub struct DynamicTable {
    bytes: Vec<u8>,
    /// Living text is `bytes[bytes_start..bytes_end]`.
    bytes_start: usize,
    bytes_end: usize,
    /// Number of `bytes[0]` in the count that `Entry::start` uses.
    base: u32,
    /// Oldest first; the living ones begin at `entries_start`.
    entries: Vec<Entry>,
    entries_start: usize,
    size: usize,
    size_max: usize,
}

impl DynamicTable {
    /// An empty table of at most `size_max` octets as section 4.1 counts them. Takes no memory yet.
    #[must_use]
    pub const fn new(size_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_start: 0,
            bytes_end: 0,
            base: 0,
            entries: Vec::new(),
            entries_start: 0,
            size: 0,
            size_max: if size_max < SIZE_LIMIT { size_max } else { SIZE_LIMIT },
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.entries_start
    }

    /// True without entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets in use, 32 per entry included.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Octets allowed.
    #[must_use]
    pub const fn size_max(&self) -> usize {
        self.size_max
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Changes the limit and evicts what no longer fits (section 4.3).
    pub fn set_size_max(&mut self, size_max: usize) {
        self.size_max = size_max.min(SIZE_LIMIT);
        self.evict_to(self.size_max);
    }

    /// Name and value of the entry inserted `age` insertions ago (0 is the newest).
    #[must_use]
    pub fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let located = self.locate(age)?;
        let text = &self.bytes[located.start..located.start + located.name_length + located.value_length];
        Some(text.split_at(located.name_length))
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn locate(&self, age: usize) -> Option<Located> {
        if age >= self.len() {
            return None;
        }
        let entry = self.entries[self.entries.len() - 1 - age];
        Some(Located {
            start: entry.start.wrapping_sub(self.base) as usize,
            name_length: usize::from(entry.name_length),
            value_length: usize::from(entry.value_length),
            tag: entry.tag,
        })
    }

    /// Age of the newest entry with this tag, name and value.
    #[inline]
    pub(crate) fn find(&self, tag: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        for (age, entry) in self.entries[self.entries_start..].iter().rev().enumerate() {
            if entry.tag == tag && usize::from(entry.name_length) == name.len() {
                let start = entry.start.wrapping_sub(self.base) as usize;
                let text = &self.bytes[start..start + name.len() + usize::from(entry.value_length)];
                if same(&text[name.len()..], value) && same(&text[..name.len()], name) {
                    return Some(age);
                }
            }
        }
        None
    }

    /// Inserts an entry whose text is `text`, the name being its first `name_length` bytes. Evicts first; an entry
    /// larger than the whole table empties it and is no error (section 4.4). `text` is never inside the table itself,
    /// so a name taken from an entry that is about to go has been copied before.
    pub(crate) fn insert(&mut self, text: &[u8], name_length: usize, tag: u32) {
        let size = text.len() + ENTRY_OVERHEAD;
        if size > self.size_max {
            self.evict_to(0);
            return;
        }
        self.evict_to(self.size_max - size);
        if self.bytes.len() < self.bytes_end + text.len() + WIDE {
            self.make_room(text.len() + WIDE);
        }
        if self.entries.len() == self.entries.capacity() && self.entries_start > 0 {
            self.entries.drain(..self.entries_start);
            self.entries_start = 0;
        }
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(8);
        }
        self.bytes[self.bytes_end..self.bytes_end + text.len()].copy_from_slice(text);
        self.entries.push(Entry {
            start: self.base.wrapping_add(self.bytes_end as u32),
            name_length: name_length as u16,
            value_length: (text.len() - name_length) as u16,
            tag,
        });
        self.bytes_end += text.len();
        self.size += size;
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let entry = self.entries[self.entries_start];
            let length = usize::from(entry.name_length) + usize::from(entry.value_length);
            self.entries_start += 1;
            self.bytes_start += length;
            self.size -= length + ENTRY_OVERHEAD;
        }
        if self.entries_start == self.entries.len() {
            self.entries.clear();
            self.entries_start = 0;
            self.base = self.base.wrapping_add(self.bytes_end as u32);
            self.bytes_start = 0;
            self.bytes_end = 0;
        }
    }

    #[inline(never)]
    fn make_room(&mut self, length: usize) {
        // Moving is worth it when it frees a quarter of the buffer; else the buffer grows by half.
        if self.bytes_start >= self.bytes.len() / 4 && self.bytes_start > 0 {
            self.bytes.copy_within(self.bytes_start..self.bytes_end, 0);
            self.base = self.base.wrapping_add(self.bytes_start as u32);
            self.bytes_end -= self.bytes_start;
            self.bytes_start = 0;
        }
        let needed = self.bytes_end + length;
        if self.bytes.len() < needed {
            let grown = needed.max(self.bytes.len() + self.bytes.len() / 2).max(FIRST_BYTES);
            self.bytes.reserve_exact(grown - self.bytes.len());
            self.bytes.resize(grown, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DynamicTable;
    use std::collections::VecDeque;

    #[test]
    fn in_lockstep_with_the_obvious_table() {
        let mut table = DynamicTable::new(500);
        let mut model: VecDeque<(Vec<u8>, Vec<u8>)> = VecDeque::new();
        let mut limit = 500;
        let mut seed = 7u64;
        for round in 0..if cfg!(miri) { 100 } else { 20_000 } {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let [a, b, c, d, ..] = seed.to_be_bytes();
            if a == 0 {
                limit = usize::from(b) * 3;
                table.set_size_max(limit);
            } else {
                let length = if a == 1 { 600 } else { usize::from(c) % 60 };
                let name = vec![b; usize::from(d) % 30];
                let value = vec![c; length];
                table.insert(&[&name[..], &value].concat(), name.len(), round);
                model.push_front((name, value));
            }
            let size =
                |model: &VecDeque<(Vec<u8>, Vec<u8>)>| model.iter().map(|(n, v)| n.len() + v.len() + 32).sum::<usize>();
            if model.front().is_some_and(|(n, v)| n.len() + v.len() + 32 > limit) {
                model.clear(); // K-4: an entry larger than the table empties it
            }
            while size(&model) > limit {
                model.pop_back();
            }
            assert_eq!(table.size(), size(&model));
            assert_eq!(table.len(), model.len());
            for (age, (name, value)) in model.iter().enumerate() {
                assert_eq!(table.get(age), Some((&name[..], &value[..])));
            }
            assert_eq!(table.get(model.len()), None);
            assert!(table.capacity() < 500 * 2 + 32 * 12 + 700);
        }
    }
}
