//! Header blocks to fields, RFC 7541 sections 3 and 6.

use crate::hpack::huffman;
use crate::hpack::integer::{self, IntegerFault};
use crate::hpack::kind::{self, Kind};
use crate::hpack::tables::fixed;
use crate::hpack::tables::moving::{DynamicTable, ENTRY_OVERHEAD};
use crate::hpack::text::Text;
use crate::span::Span;

/// One field of a block. The spans are places in the [`Text`] given to [`Decoder::decode`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodedField {
    /// What the name means, and whether name and value are well-formed.
    pub kind: Kind,
    /// The entry of the static table that was named as a whole; 0 for every other field.
    pub static_index: u8,
    /// Must stay a never-indexed literal when it is sent on (section 7.1.3).
    pub never_indexed: bool,
    /// The field name.
    pub name: Span,
    /// The field value.
    pub value: Span,
}

/// Why a block cannot be decoded. All of them are connection errors; the table is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeFault {
    /// An integer that is too long, too large or cut off.
    Integer(IntegerFault),
    /// Index 0, or an index behind both tables (section 2.3.3).
    Index,
    /// A string that goes beyond the block.
    Truncated,
    /// A broken Huffman string.
    Huffman(huffman::HuffmanFault),
    /// A size update that is not at the start, the third one, above the limit, or missing where one is due.
    SizeUpdate,
    /// Twice the allowed list or count: decoding on would only serve the attacker.
    TooLarge,
}

impl From<IntegerFault> for DecodeFault {
    fn from(fault: IntegerFault) -> Self {
        Self::Integer(fault)
    }
}

/// Bounds of one block, checked field by field while decoding (F-05, F-06).
#[derive(Clone, Copy, Debug)]
pub struct BlockLimits {
    /// Sum of name + value + 32 over all fields.
    pub header_bytes_max: u32,
    /// Number of field lines, cookie crumbs and pseudo-fields included.
    pub field_count_max: u32,
}

/// How much of its limits a block has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockSize {
    /// Sum of name + value + 32 over its fields.
    pub header_bytes: u32,
    /// Its field lines.
    pub field_count: u32,
}

impl BlockSize {
    /// The size of so many fields with so much text.
    #[must_use]
    pub const fn new(field_count: u32, text_bytes: usize) -> Self {
        Self { header_bytes: (text_bytes as u32).saturating_add(field_count * ENTRY_OVERHEAD as u32), field_count }
    }
}

/// How a block ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All fields were handed over.
    Complete,
    /// The limits were passed. Fields beyond were entered into the table but not handed over, so the connection can
    /// go on; the request is to be refused.
    OverLimit,
}

/// The receiving half: owns the dynamic table that the peer's encoder fills.
///
/// ```
/// use ringgate_protocols::hpack::{decode::{BlockLimits, Decoder}, text::Text};
/// let mut decoder = Decoder::new(4096);
/// let mut text = Text::default();
/// let mut fields = Vec::new();
/// let limits = BlockLimits { header_bytes_max: 32_768, field_count_max: 100 };
/// decoder.decode(&[0x82, 0x84], &mut text, limits, |_, field| fields.push(field)).unwrap();
/// assert_eq!(fields[0].name.of(text.as_slice()), b":method");
/// assert_eq!(fields[1].value.of(text.as_slice()), b"/");
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    table: DynamicTable,
    /// What a size update may ask for at most: our SETTINGS_HEADER_TABLE_SIZE once it is acknowledged.
    size_limit: usize,
    /// The limit was lowered below the table's size: the next block must begin with an update (section 4.2).
    update_due: bool,
    changes: u64,
}

/// Section 4.2: a second update is needed only to say a minimum first, so two are enough.
const SIZE_UPDATES_MAX: u32 = 2;

impl Decoder {
    /// A decoder whose table holds at most `size_limit` octets; 4,096 unless another value was announced *and*
    /// acknowledged.
    #[must_use]
    pub const fn new(size_limit: usize) -> Self {
        Self { table: DynamicTable::new(size_limit), size_limit, update_due: false, changes: 0 }
    }

    /// The peer has acknowledged our SETTINGS_HEADER_TABLE_SIZE. If that is below what its table may be now, its next
    /// block has to begin with a size update (RFC 7541 section 4.2, RFC 9113 section 4.3.1).
    pub fn set_size_limit(&mut self, size_limit: usize) {
        self.update_due |= size_limit < self.table.size_max();
        self.size_limit = size_limit;
        self.changes += 1;
    }

    /// Counts whatever can change what a block means: as long as it stands, the same bytes are the same fields.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The dynamic table.
    #[must_use]
    pub const fn table(&self) -> &DynamicTable {
        &self.table
    }

    /// Decodes one complete block. Field text is appended to `text`; `each` sees the text so far and the field.
    ///
    /// # Errors
    /// [`DecodeFault`]: the decoder must not be used again.
    #[inline]
    pub fn decode(
        &mut self,
        block: &[u8],
        text: &mut Text,
        limits: BlockLimits,
        each: impl FnMut(&[u8], DecodedField),
    ) -> Result<Outcome, DecodeFault> {
        self.decode_behind(BlockSize::default(), block, text, limits, each)
    }

    /// The same for a block that shares its limits with what came `before`: trailers with their head (R-10).
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    #[inline]
    pub fn decode_behind(
        &mut self,
        before: BlockSize,
        block: &[u8],
        text: &mut Text,
        limits: BlockLimits,
        mut each: impl FnMut(&[u8], DecodedField),
    ) -> Result<Outcome, DecodeFault> {
        let mut at = 0;
        if self.update_due || block.first().is_some_and(|&first| first & 0xe0 == 0x20) {
            at = self.size_updates(block)?;
        }
        let (mut size, mut count) = (before.header_bytes as usize, before.field_count as usize);
        let (size_max, count_max) = (limits.header_bytes_max as usize, limits.field_count_max as usize);
        let mut outcome = Outcome::Complete;
        while let Some(&first) = block.get(at) {
            let start = text.len();
            let field = if first & 0x80 != 0 {
                let (index, behind) = integer::decode(block, at, 7)?;
                at = behind;
                self.indexed(index as usize, text)?
            } else if first & 0xe0 == 0x20 {
                return Err(DecodeFault::SizeUpdate); // only at the start of a block
            } else {
                let incremental = first & 0x40 != 0;
                let (index, behind) = integer::decode(block, at, if incremental { 6 } else { 4 })?;
                let (field, behind) = self.literal(block, behind, index as usize, incremental, text)?;
                at = behind;
                DecodedField { never_indexed: first & 0xf0 == 0x10, ..field }
            };
            size += text.len() - start + ENTRY_OVERHEAD;
            count += 1;
            if size > size_max || count > count_max {
                if size > 2 * size_max || count > 2 * count_max {
                    return Err(DecodeFault::TooLarge);
                }
                outcome = Outcome::OverLimit;
                text.truncate(start);
                continue;
            }
            each(text.as_slice(), field);
        }
        Ok(outcome)
    }

    #[inline(never)]
    fn size_updates(&mut self, block: &[u8]) -> Result<usize, DecodeFault> {
        let (mut at, mut count) = (0, 0);
        self.changes += 1;
        while block.get(at).is_some_and(|&first| first & 0xe0 == 0x20) {
            let (size, behind) = integer::decode(block, at, 5)?;
            count += 1;
            if size as usize > self.size_limit || count > SIZE_UPDATES_MAX {
                return Err(DecodeFault::SizeUpdate);
            }
            self.table.set_size_max(size as usize);
            self.update_due = false;
            at = behind;
        }
        // An empty block says nothing and owes nothing yet.
        if self.update_due && at < block.len() { Err(DecodeFault::SizeUpdate) } else { Ok(at) }
    }

    #[inline]
    fn indexed(&self, index: usize, text: &mut Text) -> Result<DecodedField, DecodeFault> {
        let name_start = text.len();
        let (name_length, length, kind, static_index) = if index <= fixed::COUNT {
            if index == 0 {
                return Err(DecodeFault::Index);
            }
            let place = fixed::PLACES[index];
            let length = usize::from(place.name_length) + usize::from(place.value_length);
            text.append(&fixed::TEXT, usize::from(place.start), length);
            // The entries without a value stand for their names; whole, two of them break the grammar of their value.
            let is_malformed = place.value_length == 0 && matches!(place.kind, Kind::Authority | Kind::Host);
            let kind = if is_malformed { Kind::Malformed } else { place.kind };
            (usize::from(place.name_length), length, kind, index as u8)
        } else {
            let Some(entry) = self.table.locate(index - fixed::COUNT - 1) else { return Err(DecodeFault::Index) };
            let length = entry.name_length + entry.value_length;
            text.append(self.table.bytes(), entry.start, length);
            (entry.name_length, length, kind_of_tag(entry.tag), 0)
        };
        let name_end = name_start + name_length;
        Ok(DecodedField {
            kind,
            static_index,
            never_indexed: false,
            name: Span::new(name_start as u32, name_end as u32),
            value: Span::new(name_end as u32, (name_start + length) as u32),
        })
    }

    #[inline]
    fn literal(
        &mut self,
        block: &[u8],
        at: usize,
        index: usize,
        incremental: bool,
        text: &mut Text,
    ) -> Result<(DecodedField, usize), DecodeFault> {
        let name_start = text.len();
        let mut at = at;
        // The kind of a name that an entry has with a malformed value is not known: it is classified anew.
        let mut kind = Kind::Malformed;
        if index == 0 {
            at = string(block, at, text)?;
        } else if index <= fixed::COUNT {
            let place = fixed::PLACES[index];
            text.append(&fixed::TEXT, usize::from(place.start), usize::from(place.name_length));
            kind = place.kind;
        } else {
            let Some(entry) = self.table.locate(index - fixed::COUNT - 1) else { return Err(DecodeFault::Index) };
            text.append(self.table.bytes(), entry.start, entry.name_length);
            kind = kind_of_tag(entry.tag);
        }
        let name_end = text.len();
        if kind == Kind::Malformed {
            kind = kind::of_name(&text.as_slice()[name_start..]);
        }
        at = string(block, at, text)?;
        let field_text = &text.as_slice()[name_start..];
        if !kind::value_fits(kind, &field_text[name_end - name_start..]) {
            kind = Kind::Malformed;
        }
        if incremental {
            self.changes += 1;
            self.table.insert(field_text, name_end - name_start, kind as u32);
        }
        let name = Span::new(name_start as u32, name_end as u32);
        let value = Span::new(name_end as u32, text.len() as u32);
        Ok((DecodedField { kind, static_index: 0, never_indexed: false, name, value }, at))
    }
}

/// Reads a string (section 5.2) at `at` into `text`; gives the offset behind it.
#[inline]
fn string(block: &[u8], at: usize, text: &mut Text) -> Result<usize, DecodeFault> {
    let Some(&first) = block.get(at) else { return Err(DecodeFault::Truncated) };
    let (length, at) = integer::decode(block, at, 7)?;
    let length = length as usize;
    if length > block.len() - at {
        return Err(DecodeFault::Truncated);
    }
    if first & 0x80 == 0 {
        text.append(block, at, length);
    } else {
        let target = text.room(huffman::decoded_length_max(length));
        let written = huffman::decode_piece(block, at, at + length, target).map_err(DecodeFault::Huffman)?;
        text.advance(written);
    }
    Ok(at + length)
}

/// Table entries remember the kind as a number.
#[inline]
const fn kind_of_tag(tag: u32) -> Kind {
    const KINDS: [Kind; 16] = [
        Kind::Ordinary,
        Kind::Method,
        Kind::Scheme,
        Kind::Path,
        Kind::Authority,
        Kind::Protocol,
        Kind::PseudoOther,
        Kind::Cookie,
        Kind::ContentLength,
        Kind::ContentType,
        Kind::Host,
        Kind::Te,
        Kind::Priority,
        Kind::Sensitive,
        Kind::ConnectionSpecific,
        Kind::Malformed,
    ];
    KINDS[(tag & 15) as usize]
}

#[cfg(test)]
mod tests {
    use super::{BlockLimits, DecodeFault, Decoder, Outcome, kind_of_tag};
    use crate::hpack::kind::Kind;
    use crate::hpack::text::Text;

    const WIDE: BlockLimits = BlockLimits { header_bytes_max: 32_768, field_count_max: 100 };

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, DecodeFault> {
        let mut text = Text::default();
        let mut fields = vec![];
        decoder.decode(block, &mut text, WIDE, |bytes, field| {
            fields.push((field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec()));
        })?;
        Ok(fields)
    }

    /// Found by fuzzing: the entry itself has no host.
    #[test]
    fn a_whole_entry_without_a_value_is_judged_as_a_literal_would_be() {
        for index in (1..=61_u8).step_by(if cfg!(miri) { 12 } else { 1 }) {
            let (mut whole, mut literal) = (vec![], vec![]);
            let mut text = Text::default();
            Decoder::new(4096).decode(&[0x80 | index], &mut text, WIDE, |_, field| whole.push(field)).unwrap();
            let (name, value) = (whole[0].name.of(text.as_slice()), whole[0].value.of(text.as_slice()));
            let block = [&[0, name.len() as u8], name, &[value.len() as u8], value].concat();
            Decoder::new(4096).decode(&block, &mut Text::default(), WIDE, |_, field| literal.push(field)).unwrap();
            assert_eq!(whole[0].kind, literal[0].kind, "entry {index}");
        }
    }

    #[test]
    fn kinds_survive_the_table() {
        for tag in 0..15 {
            assert_eq!(kind_of_tag(tag) as u32, tag);
        }
    }

    #[test]
    fn k1_index_zero_and_behind_both_tables() {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decode(&mut decoder, &[0x80]), Err(DecodeFault::Index));
        assert!(decode(&mut decoder, &[0x80 | 61]).is_ok());
        assert_eq!(decode(&mut decoder, &[0x80 | 62]), Err(DecodeFault::Index));
        assert!(decode(&mut decoder, &[0x40, 1, b'a', 1, b'b', 0x80 | 62]).is_ok());
        assert_eq!(decode(&mut decoder, &[0x80 | 63]), Err(DecodeFault::Index));
        assert_eq!(decode(&mut decoder, &[0x40 | 62, 0]).unwrap()[0].0, b"a");
        assert_eq!(decode(&mut decoder, &[0x7f, 1, 0]), Err(DecodeFault::Index)); // 64, one behind the second entry
    }

    #[test]
    fn k2_size_updates_only_at_the_start_at_most_two_within_the_limit() {
        let at = |block: &[u8]| decode(&mut Decoder::new(4096), block).map(|fields| fields.len());
        assert_eq!(at(&[0x20, 0x82]), Ok(1));
        assert_eq!(at(&[0x20, 0x3f, 0xe1, 0x1f, 0x82]), Ok(1)); // 0, then 4096
        assert_eq!(at(&[0x20, 0x20, 0x20, 0x82]), Err(DecodeFault::SizeUpdate));
        assert_eq!(at(&[0x82, 0x20]), Err(DecodeFault::SizeUpdate));
        assert_eq!(at(&[0x3f, 0xe2, 0x1f, 0x82]), Err(DecodeFault::SizeUpdate)); // 4097
        assert!(at(&[0x3f]).is_err());
    }

    #[test]
    fn k3_a_lowered_limit_must_be_answered_by_an_update() {
        let mut decoder = Decoder::new(4096);
        decoder.set_size_limit(100);
        assert_eq!(decode(&mut decoder.clone(), &[0x82]), Err(DecodeFault::SizeUpdate));
        assert_eq!(decode(&mut decoder.clone(), &[0x3f, 0x46, 0x82]), Err(DecodeFault::SizeUpdate)); // 101
        assert!(decode(&mut decoder, &[0x3f, 0x45, 0x82]).is_ok()); // 100
        assert!(decode(&mut decoder, &[0x82]).is_ok());
    }

    #[test]
    fn k4_a_name_from_an_entry_that_is_evicted_by_its_own_insertion() {
        let mut decoder = Decoder::new(40);
        assert!(decode(&mut decoder, &[0x40, 2, b'a', b'b', 2, b'c', b'd']).is_ok());
        let fields = decode(&mut decoder, &[0x40 | 62, 3, b'x', b'y', b'z']).unwrap();
        assert_eq!(fields, [(b"ab".to_vec(), b"xyz".to_vec())]);
        assert_eq!(decoder.table().get(0), Some((&b"ab"[..], &b"xyz"[..])));
        assert!(decode(&mut decoder, &[0x40 | 62, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]).is_ok());
        assert!(decoder.table().is_empty());
    }

    #[test]
    fn malformed_values_stay_malformed_by_index_and_their_names_do_not() {
        let mut decoder = Decoder::new(4096);
        let mut kinds = vec![];
        let block = [0x40, 1, b'a', 1, b'\n', 0x80 | 62, 0x0f, 62 - 15, 1, b'v'];
        decoder.decode(&block, &mut Text::default(), WIDE, |_, field| kinds.push(field.kind)).unwrap();
        assert_eq!(kinds, [Kind::Malformed, Kind::Malformed, Kind::Ordinary]);
    }

    #[test]
    fn f05_f06_limits_stand_inside_the_loop() {
        let limits = BlockLimits { header_bytes_max: 420, field_count_max: 10 };
        let run = |block: &[u8]| {
            let mut text = Text::default();
            let mut count = 0;
            let outcome = Decoder::new(4096).decode(block, &mut text, limits, |_, _| count += 1);
            (outcome, count, text.len())
        };
        assert_eq!(run(&[0x82; 10]), (Ok(Outcome::Complete), 10, 100)); // 10 × (7 + 3 + 32) = 420
        assert_eq!(run(&[0x82; 11]), (Ok(Outcome::OverLimit), 10, 100));
        assert_eq!(run(&[0x82; 21]).0, Err(DecodeFault::TooLarge));
        let mut bomb = vec![0x40, 1, b'a', 0x7f, 73];
        bomb.extend([b'v'; 200]);
        bomb.extend([0xbe; 5000]);
        let (outcome, _, length) = run(&bomb);
        assert_eq!(outcome, Err(DecodeFault::TooLarge));
        assert!(length <= 2 * 420);
    }
}
