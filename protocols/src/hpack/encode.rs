//! Fields to header blocks, RFC 7541 sections 6 and 7.

use crate::hpack::huffman;
use crate::hpack::integer;
use crate::hpack::tables::fixed;
use crate::hpack::tables::moving::{DynamicTable, ENTRY_OVERHEAD};

/// Whether a field enters the table, decided from its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Policy {
    /// The value rarely changes: index at first sight.
    Always,
    /// Index when the same field was sent shortly before.
    SecondSight,
    /// A secret that an attacker could guess by watching lengths (section 7.1.3): never-indexed literal.
    Never,
}

/// The sending half: owns the dynamic table that the peer's decoder mirrors.
///
/// A field that was sent before costs one or two bytes. Names whose values repeat enter the table at once, others only
/// when the same field is seen a second time soon, so that values which change with every response do not push
/// out the useful ones.
///
/// ```
/// use ringgate_protocols::hpack::encode::Encoder;
/// let mut encoder = Encoder::new(4096);
/// let mut block = Vec::new();
/// encoder.begin(&mut block);
/// encoder.status(&mut block, 200);
/// encoder.field(&mut block, b"server", b"ringgate", false);
/// assert!(block.len() > 2);
/// block.clear();
/// encoder.field(&mut block, b"server", b"ringgate", false);
/// assert_eq!(block, [0xbe]);
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    table: DynamicTable,
    size_limit: usize,
    /// Smallest size since the last block, when it has to be said; the current size is said behind it.
    update: Option<usize>,
    /// Counts what makes the next block differ from the last one with the same fields: literals, size updates.
    changes: u32,
    /// Hashes of fields sent lately without entering the table.
    recent: [u32; RECENT],
    recent_at: u8,
}

/// How many fields are remembered for their second sight.
const RECENT: usize = 8;

impl Encoder {
    /// An encoder whose table never grows beyond `size_limit`, whatever the peer allows (F-18).
    #[must_use]
    pub fn new(size_limit: usize) -> Self {
        let size = size_limit.min(4096); // the peer's table before it says anything
        let update = (size < 4096).then_some(size);
        Self { table: DynamicTable::new(size), size_limit, update, changes: 0, recent: [0; RECENT], recent_at: 0 }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. The change is said at the start of the next block (section 4.2).
    pub fn set_peer_limit(&mut self, peer_limit: usize) {
        let size = peer_limit.min(self.size_limit);
        if size != self.table.size_max() {
            self.changes = self.changes.wrapping_add(1);
            self.update = Some(self.update.map_or(size, |smallest| smallest.min(size)));
            self.table.set_size_max(size);
        }
    }

    /// The dynamic table.
    #[must_use]
    pub const fn table(&self) -> &DynamicTable {
        &self.table
    }

    /// While this stays the same, a block that was written means the same when its bytes are written again.
    #[inline]
    pub(crate) const fn changes(&self) -> u32 {
        self.changes
    }

    /// Must begin every block: says size updates that are due.
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(smallest) = self.update.take() {
            self.changes = self.changes.wrapping_add(1);
            if smallest < self.table.size_max() {
                integer::encode(out, 0x20, 5, smallest);
            }
            integer::encode(out, 0x20, 5, self.table.size_max());
        }
    }

    /// `:status`.
    #[inline]
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits =
                    [b'0' + (status / 100 % 10) as u8, b'0' + (status / 10 % 10) as u8, b'0' + (status % 10) as u8];
                return self.field(out, b":status", &digits, false);
            }
        };
        out.push(0x80 | index);
    }

    /// One field; `sensitive` makes it a never-indexed literal. The name is lower case.
    #[inline]
    pub fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], sensitive: bool) {
        let hash = hash(name, value);
        if sensitive || !self.indexed(out, hash, name, value) {
            self.literal(out, hash, name, value, sensitive);
        }
    }

    /// Sends the field as an index when the dynamic table holds it; says whether it did.
    #[inline]
    pub(crate) fn indexed(&self, out: &mut Vec<u8>, hash: u32, name: &[u8], value: &[u8]) -> bool {
        let Some(age) = self.table.find(hash, name, value) else { return false };
        integer::encode(out, 0x80, 7, fixed::COUNT + 1 + age);
        true
    }

    /// Sends a field that the dynamic table does not hold.
    #[inline(never)]
    pub(crate) fn literal(&mut self, out: &mut Vec<u8>, hash: u32, name: &[u8], value: &[u8], sensitive: bool) {
        let name_index = fixed::find_name(name);
        self.changes = self.changes.wrapping_add(1);
        let policy = if sensitive { Policy::Never } else { policy(name, value) };
        if policy == Policy::Never {
            Self::write(out, 0x10, 4, name_index, name, value);
            return;
        }
        if name_index != 0 {
            let index = fixed::find_value(name_index, value);
            if index != 0 {
                out.push(0x80 | index as u8);
                return;
            }
        }
        // An entry that takes half the table or more would cost more than it saves.
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        if size > self.table.size_max() / 2 {
            Self::write(out, 0, 4, name_index, name, value);
        } else if policy == Policy::Always || self.recent.contains(&hash) {
            Self::write(out, 0x40, 6, name_index, name, value);
            self.insert(hash, name, value);
        } else {
            self.recent[usize::from(self.recent_at) % RECENT] = hash;
            self.recent_at = self.recent_at.wrapping_add(1);
            Self::write(out, 0, 4, name_index, name, value);
        }
    }

    fn insert(&mut self, hash: u32, name: &[u8], value: &[u8]) {
        let length = name.len() + value.len();
        let mut short = [0; 128];
        if let Some(text) = short.get_mut(..length) {
            text[..name.len()].copy_from_slice(name);
            text[name.len()..].copy_from_slice(value);
            self.table.insert(text, name.len(), hash);
        } else {
            self.table.insert(&[name, value].concat(), name.len(), hash);
        }
    }

    fn write(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, name_index: usize, name: &[u8], value: &[u8]) {
        integer::encode(out, pattern, prefix_bits, name_index);
        if name_index == 0 {
            string(out, name);
        }
        string(out, value);
    }
}

/// Below this a string is sent as it is: Huffman would save a byte or two and cost both sides more than that.
const HUFFMAN_FROM: usize = 6;

/// One string, section 5.2, in the shorter form.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let coded = if text.len() < HUFFMAN_FROM { text.len() } else { huffman::encoded_length(text) };
    if coded < text.len() {
        integer::encode(out, 0x80, 7, coded);
        huffman::encode(text, out);
    } else {
        integer::encode(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

fn policy(name: &[u8], value: &[u8]) -> Policy {
    match name {
        b"authorization" | b"proxy-authorization" | b"set-cookie" => Policy::Never,
        // Short cookies are within reach of guessing (section 7.1.3).
        b"cookie" if value.len() < 20 => Policy::Never,
        b"server"
        | b"content-type"
        | b"date"
        | b"cache-control"
        | b"vary"
        | b"content-encoding"
        | b"accept-ranges"
        | b"access-control-allow-origin"
        | b"strict-transport-security"
        | b"via"
        | b":authority"
        | b"user-agent"
        | b"accept"
        | b"accept-encoding"
        | b"accept-language"
        | b"x-content-type-options"
        | b"x-frame-options"
        | b"content-security-policy"
        | b"alt-svc"
        | b"allow"
        | b"te" => Policy::Always,
        _ => Policy::SecondSight,
    }
}

/// A cheap mix of both ends of name and value; equal fields have equal hashes, and a match is always verified.
#[inline]
pub(crate) fn hash(name: &[u8], value: &[u8]) -> u32 {
    let mixed = (ends(name) ^ ends(value).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 | 1
}

#[inline]
fn ends(text: &[u8]) -> u64 {
    let edge = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(23),
        _ => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
            }
            _ => text.iter().fold(1, |mixed, &byte| mixed << 8 | u64::from(byte)),
        },
    };
    edge.wrapping_add((text.len() as u64) << 47)
}

#[cfg(test)]
mod tests {
    use super::Encoder;

    #[test]
    fn k7_secrets_are_never_indexed() {
        let mut encoder = Encoder::new(4096);
        for (name, value) in [("authorization", "Basic abc"), ("cookie", "short=1"), ("set-cookie", "a=b")] {
            for _ in 0..3 {
                let mut out = vec![];
                encoder.field(&mut out, name.as_bytes(), value.as_bytes(), false);
                assert_eq!(out[0] & 0xf0, 0x10, "{name}");
            }
        }
        for _ in 0..3 {
            let mut out = vec![];
            encoder.field(&mut out, b"x-token", b"abcdefgh", true);
            assert_eq!(out[0] & 0xf0, 0x10);
        }
        assert!(encoder.table().is_empty());
    }

    #[test]
    fn changing_values_do_not_fill_the_table() {
        let mut encoder = Encoder::new(4096);
        for number in 0..if cfg!(miri) { 10 } else { 100 } {
            let mut out = vec![];
            encoder.field(&mut out, b"x-request-id", format!("{number:08}").as_bytes(), false);
        }
        assert!(encoder.table().is_empty());
        for length in [3, 2, 1] {
            let mut out = vec![];
            encoder.field(&mut out, b"content-length", b"12", false);
            assert!(out.len() <= length + 2, "{out:?}");
        }
        assert_eq!(encoder.table().len(), 1);
    }

    #[test]
    fn f18_the_table_stays_within_ours_and_updates_are_said() {
        let mut encoder = Encoder::new(4096);
        encoder.set_peer_limit(1 << 30);
        let mut out = vec![];
        encoder.begin(&mut out);
        assert!(out.is_empty());
        encoder.set_peer_limit(100);
        encoder.set_peer_limit(200);
        encoder.begin(&mut out);
        assert_eq!(out, [0x3f, 69, 0x3f, 0xa9, 0x01]); // 100, then 200
        out.clear();
        encoder.begin(&mut out);
        assert!(out.is_empty());
    }
}
