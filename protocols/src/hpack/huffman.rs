//! The Huffman code of RFC 7541 appendix B, both ways.
//!
//! The code is canonical (within one length, codes ascend with the symbol), so the lengths alone define it, and all
//! tables are computed from them at compile time. Decoding looks at 12 bits at once, which give one or two symbols;
//! longer codes, rare in header text, are found by comparing against the first code of each length. Work is linear.

/// Code length in bits of every symbol; 256 is EOS.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

const EOS: u16 = 256;
const LENGTH_MAX: usize = 30;
/// Bits looked up at once. 12 makes a table of 16 KiB and finds nearly all pairs of letters in one step; of header text
/// only a small part of it is ever touched. One bit less costs a tenth of the speed.
const PEEK: u32 = 12;

/// What the lengths define: symbols in code order, and for each length its first code, the place of that code's symbol,
/// and the end of its codes left-aligned in 32 bits.
struct Canonical {
    symbols: [u16; 257],
    first_code: [u32; LENGTH_MAX + 1],
    first_place: [u16; LENGTH_MAX + 1],
    end_aligned: [u64; LENGTH_MAX + 1],
    codes: [u32; 257],
}

const CANONICAL: Canonical = canonical();

const fn canonical() -> Canonical {
    let mut made = Canonical {
        symbols: [0; 257],
        first_code: [0; LENGTH_MAX + 1],
        first_place: [0; LENGTH_MAX + 1],
        end_aligned: [0; LENGTH_MAX + 1],
        codes: [0; 257],
    };
    let (mut code, mut place, mut length) = (0u32, 0usize, 1usize);
    while length <= LENGTH_MAX {
        code <<= 1;
        made.first_code[length] = code;
        made.first_place[length] = place as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                made.symbols[place] = symbol as u16;
                made.codes[symbol] = code;
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        made.end_aligned[length] = (code as u64) << (32 - length);
        length += 1;
    }
    made
}

/// Entry of the peek table: first symbol, second symbol, bits of both, bits of the first. All zero: the code is longer
/// than [`PEEK`]. Equal bits: there is only one symbol.
type Entry = [u8; 4];

static PEEKED: [Entry; 1 << PEEK] = peeked();

const fn peeked() -> [Entry; 1 << PEEK] {
    // Every symbol of at most PEEK bits owns the range of table slots that start with its code.
    let mut single = [[0u8; 2]; 1 << PEEK];
    let mut symbol = 0;
    while symbol < 256 {
        let length = LENGTHS[symbol] as u32;
        if length <= PEEK {
            let from = (CANONICAL.codes[symbol] as usize) << (PEEK - length);
            let mut slot = from;
            while slot < from + (1 << (PEEK - length)) {
                single[slot] = [symbol as u8, length as u8];
                slot += 1;
            }
        }
        symbol += 1;
    }
    let mut table = [[0u8; 4]; 1 << PEEK];
    let mut slot = 0;
    while slot < 1 << PEEK {
        let [first, bits] = single[slot];
        table[slot] = [first, 0, bits, bits];
        if bits != 0 {
            let [second, more] = single[(slot << bits) & ((1 << PEEK) - 1)];
            if more != 0 && bits as u32 + more as u32 <= PEEK {
                table[slot] = [first, second, bits + more, bits];
            }
        }
        slot += 1;
    }
    table
}

/// Why a Huffman string is broken, RFC 7541 section 5.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HuffmanFault {
    /// The EOS symbol itself stands in the string.
    EndOfString,
    /// More than seven bits of padding, or padding that is not all ones.
    Padding,
}

/// Most bytes that `coded` bytes can decode to: the shortest code has five bits.
#[must_use]
pub const fn decoded_length_max(coded: usize) -> usize {
    coded * 8 / 5 + 2
}

/// Decodes all of `source` into `target`, which has at least [`decoded_length_max`] bytes; gives the decoded length.
///
/// # Errors
/// [`HuffmanFault`]; `target` then holds what was decoded before.
///
/// # Panics
/// When `target` is too short.
pub fn decode(source: &[u8], target: &mut [u8]) -> Result<usize, HuffmanFault> {
    decode_piece(source, 0, source.len(), target)
}

/// Decodes `block[at..end]`. What stands behind `end` may be read, so that a short string costs one load, and is not
/// looked at.
#[inline]
pub(crate) fn decode_piece(block: &[u8], mut at: usize, end: usize, target: &mut [u8]) -> Result<usize, HuffmanFault> {
    let block_end = block.len();
    let target = &mut target[..decoded_length_max(end - at)];
    let mut bits = 0u64; // left-aligned; zeros below the `held` bits
    let mut held = 0u32;
    let mut written = 0;
    // While eight bytes are there, one unaligned load refills to at least 56 bits.
    while end - at >= 8 {
        let Some(chunk) = block[at..].first_chunk::<8>() else { break };
        bits |= u64::from_be_bytes(*chunk) >> held;
        at += ((63 - held) >> 3) as usize;
        held |= 56;
        while held >= LENGTH_MAX as u32 {
            let [first, second, both, one] = PEEKED[(bits >> (64 - PEEK)) as usize];
            if both == 0 {
                let (symbol, length) = long(bits)?;
                target[written] = symbol;
                written += 1;
                bits <<= length;
                held -= length;
                continue;
            }
            target[written] = first;
            target[written + 1] = second;
            written += 1 + usize::from(both != one);
            bits <<= both;
            held -= u32::from(both);
        }
        // The load may have put bits of bytes it did not count behind the held ones; drop them.
        bits &= !(u64::MAX >> held);
    }
    loop {
        if at < end {
            let left = end - at;
            let chunk = if block_end - at >= 8 {
                block[at..].first_chunk::<8>().map_or(0, |chunk| u64::from_be_bytes(*chunk))
            } else {
                block[at..end].iter().rev().fold(0, |chunk, &byte| chunk >> 8 | u64::from(byte) << 56)
            };
            let taken = left.min(((63 - held) >> 3) as usize);
            bits |= chunk >> held;
            held += taken as u32 * 8;
            at += taken;
            bits &= !(u64::MAX >> held);
        }
        // Behind the end stand ones, which is what padding looks like.
        while at == end || held >= LENGTH_MAX as u32 {
            let padded = bits | u64::MAX >> held;
            let [first, second, both, one] = PEEKED[(padded >> (64 - PEEK)) as usize];
            let mut length = u32::from(both);
            if length != 0 && length <= held {
                target[written] = first;
                target[written + 1] = second;
                written += 1 + usize::from(both != one);
            } else if length != 0 && u32::from(one) <= held {
                target[written] = first;
                written += 1;
                length = u32::from(one);
            } else if both == 0 && held > PEEK {
                let symbol;
                match long(padded) {
                    Ok(found) if found.1 <= held => (symbol, length) = found,
                    Err(fault) if held >= LENGTH_MAX as u32 => return Err(fault),
                    _ => return Err(HuffmanFault::Padding),
                }
                target[written] = symbol;
                written += 1;
            } else {
                return padding(bits, held).map(|()| written);
            }
            bits <<= length;
            held -= length;
        }
    }
}

/// What is left behind the last symbol: fewer than eight bits, all ones.
const fn padding(bits: u64, held: u32) -> Result<(), HuffmanFault> {
    if held < 8 && bits == !(u64::MAX >> held) { Ok(()) } else { Err(HuffmanFault::Padding) }
}

/// The symbol at the top of `bits`, whose code is longer than [`PEEK`].
#[inline(never)]
fn long(bits: u64) -> Result<(u8, u32), HuffmanFault> {
    let aligned = bits >> 32;
    let mut length = PEEK as usize + 1;
    while aligned >= CANONICAL.end_aligned[length] {
        length += 1;
        if length > LENGTH_MAX {
            return Err(HuffmanFault::EndOfString);
        }
    }
    let offset = (aligned >> (32 - length)) as usize - CANONICAL.first_code[length] as usize;
    let symbol = CANONICAL.symbols[CANONICAL.first_place[length] as usize + offset];
    if symbol == EOS { Err(HuffmanFault::EndOfString) } else { Ok((symbol as u8, length as u32)) }
}

/// Code in the low bits and length in bits of every octet.
static CODES: [(u32, u8); 256] = {
    let mut table = [(0, 0); 256];
    let mut symbol = 0;
    while symbol < 256 {
        table[symbol] = (CANONICAL.codes[symbol], LENGTHS[symbol]);
        symbol += 1;
    }
    table
};

/// Bytes that `text` takes when encoded.
#[must_use]
pub fn encoded_length(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum();
    bits.div_ceil(8)
}

/// Appends `text`, encoded and padded with ones.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut bits = 0u64; // right-aligned, `held` of them count
    let mut held = 0u32;
    for &byte in text {
        let (code, length) = CODES[usize::from(byte)];
        bits = bits << length | u64::from(code);
        held += u32::from(length);
        if held >= 32 {
            held -= 32;
            out.extend_from_slice(&((bits >> held) as u32).to_be_bytes());
        }
    }
    while held >= 8 {
        held -= 8;
        out.push((bits >> held) as u8);
    }
    if held > 0 {
        out.push((bits << (8 - held)) as u8 | 0xff >> held);
    }
}

#[cfg(test)]
mod tests {
    use super::{CANONICAL, HuffmanFault, LENGTHS, decode, decoded_length_max, encode, encoded_length};

    fn decoded(source: &[u8]) -> Result<Vec<u8>, HuffmanFault> {
        let mut target = vec![0; decoded_length_max(source.len())];
        let length = decode(source, &mut target)?;
        target.truncate(length);
        Ok(target)
    }

    #[test]
    fn codes_are_those_of_appendix_b() {
        // Samples over all lengths, copied from the appendix.
        for (symbol, code) in [
            (0, 0x1ff8),
            (1, 0x7f_ffd8),
            (9, 0xff_ffea),
            (10, 0x3fff_fffc),
            (b' ' as usize, 0x14),
            (b'!' as usize, 0x3f8),
            (b'0' as usize, 0),
            (b'a' as usize, 3),
            (b'z' as usize, 0x7b),
            (b'~' as usize, 0x1ffd),
            (128, 0xf_ffe6),
            (255, 0x3ff_ffee),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(CANONICAL.codes[symbol], code, "symbol {symbol}");
        }
        // A complete prefix code: the Kraft sum is exactly one.
        assert_eq!(LENGTHS.iter().map(|&length| 1u64 << (30 - length)).sum::<u64>(), 1 << 30);
    }

    #[test]
    fn every_pair_and_every_single_there_and_back() {
        let step = if cfg!(miri) { 85 } else { 1 };
        for first in (0..=255u8).step_by(step) {
            for second in (0..=255u8).step_by(step) {
                for text in
                    [&[first][..], &[first, second], &[first, second, first, b'a', second, 10, 0, second, first]]
                {
                    let mut coded = vec![];
                    encode(text, &mut coded);
                    assert_eq!(coded.len(), encoded_length(text));
                    assert_eq!(decoded(&coded).as_deref(), Ok(text));
                }
            }
        }
    }

    #[test]
    fn k6_padding_and_end_of_string() {
        let mut coded = vec![];
        encode(b"www.example.com", &mut coded);
        assert_eq!(coded, [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]);
        for more in 1..12 {
            coded.extend(std::iter::repeat_n(0xff, more));
            assert!(decoded(&coded).is_err(), "{more} bytes of padding");
            coded.truncate(12);
        }
        assert_eq!(decoded(&[0xff]), Err(HuffmanFault::Padding));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(HuffmanFault::EndOfString));
        assert_eq!(decoded(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 0, 0, 0]), Err(HuffmanFault::EndOfString));
        // 'a' is 00011; the three bits behind it must be ones.
        assert_eq!(decoded(&[0b0001_1111]).as_deref(), Ok(&b"a"[..]));
        for padding in 0..7u8 {
            // Some paddings are the beginning of a code; none of them is a whole one, so all are faults.
            assert_eq!(decoded(&[0b0001_1000 | padding]), Err(HuffmanFault::Padding));
        }
        assert_eq!(decoded(&[]).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn three_byte_inputs_agree_with_a_bit_by_bit_decoder() {
        // The obvious decoder: walk the bits, compare with every code.
        let mut by_code = std::collections::HashMap::new();
        for (symbol, &length) in LENGTHS.iter().enumerate() {
            by_code.insert((length, CANONICAL.codes[symbol]), symbol);
        }
        let slow = |source: &[u8]| -> Option<Vec<u8>> {
            let (mut code, mut length, mut text, mut zeros) = (0u32, 0u8, vec![], false);
            for bit in 0..source.len() * 8 {
                let one = source[bit / 8] >> (7 - bit % 8) & 1;
                code = code << 1 | u32::from(one);
                length += 1;
                zeros |= one == 0;
                if let Some(&symbol) = by_code.get(&(length, code)) {
                    text.push(u8::try_from(symbol).ok()?);
                    (code, length, zeros) = (0, 0, false);
                }
            }
            (length < 8 && !zeros).then_some(text)
        };
        let mut seed = 1u64;
        for round in 0..if cfg!(miri) { 3 } else { 60_000u32 } {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let random = seed.to_be_bytes();
            let mut source = random[..3].to_vec();
            source.extend_from_slice(&random[..(round % 8) as usize]);
            if round.is_multiple_of(3) {
                source.iter_mut().for_each(|byte| *byte |= random[3] | random[4]);
            }
            assert_eq!(decoded(&source).ok(), slow(&source), "{source:02x?}");
        }
    }
}
