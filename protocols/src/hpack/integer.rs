//! Integers with an N-bit prefix, RFC 7541 section 5.1.

/// Why an integer cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntegerFault {
    /// The block ends inside the integer. A block is always complete, so this is an error and not a wish for more.
    Truncated,
    /// More than five continuation octets, or a value above 2^32 - 1.
    Overflow,
}

/// Reads the integer whose first octet is `block[at]`, of which the low `prefix_bits` (1 to 8) count.
/// Gives the value and the offset behind it.
///
/// ```
/// use ringgate_protocols::hpack::integer::decode;
/// assert_eq!(decode(&[0b0001_1111, 0b1001_1010, 0b0000_1010], 0, 5), Ok((1337, 3))); // RFC 7541 C.1.2
/// ```
///
/// # Errors
/// [`IntegerFault`], when the octets are no integer of at most 32 bits.
#[inline]
pub fn decode(block: &[u8], at: usize, prefix_bits: u32) -> Result<(u32, usize), IntegerFault> {
    let Some(&first) = block.get(at) else { return Err(IntegerFault::Truncated) };
    let mask = ((1u32 << prefix_bits) - 1) as u8;
    let value = first & mask;
    if value < mask { Ok((u32::from(value), at + 1)) } else { decode_continued(block, at + 1, mask) }
}

/// At most five continuation octets: four carry 28 bits, the fifth the rest of 32.
const CONTINUATION_OCTETS_MAX: usize = 5;

#[inline(never)]
fn decode_continued(block: &[u8], at: usize, mask: u8) -> Result<(u32, usize), IntegerFault> {
    let mut value = u64::from(mask);
    for index in 0..CONTINUATION_OCTETS_MAX {
        let Some(&octet) = block.get(at + index) else { return Err(IntegerFault::Truncated) };
        value += u64::from(octet & 0x7f) << (7 * index);
        if octet & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| IntegerFault::Overflow)?;
            return Ok((value, at + index + 1));
        }
    }
    Err(IntegerFault::Overflow)
}

/// Appends `value` with a prefix of `prefix_bits` (1 to 8); `pattern` holds the bits above the prefix.
#[inline]
pub fn encode(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let mask = (1usize << prefix_bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::{IntegerFault, decode, encode};

    #[test]
    fn every_prefix_there_and_back() {
        for prefix in 1..=8 {
            for value in (0..70_000).step_by(if cfg!(miri) { 20_011 } else { 7 }).chain([
                u32::MAX as usize - 1,
                u32::MAX as usize,
                254,
                255,
                256,
            ]) {
                let mut out = vec![];
                encode(&mut out, 0, prefix, value);
                assert_eq!(decode(&out, 0, prefix), Ok((value as u32, out.len())));
                for cut in 0..out.len() {
                    assert_eq!(decode(&out[..cut], 0, prefix), Err(IntegerFault::Truncated));
                }
            }
        }
    }

    #[test]
    fn k5_at_most_five_continuation_octets() {
        assert_eq!(decode(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], 0, 7), Ok((127, 6)));
        assert_eq!(decode(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 0, 7), Err(IntegerFault::Overflow));
        assert_eq!(decode(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f], 0, 7), Err(IntegerFault::Overflow));
        assert_eq!(decode(&[0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f], 0, 7), Ok((u32::MAX, 6)));
        assert_eq!(decode(&[0x7f, 0x81, 0xff, 0xff, 0xff, 0x0f], 0, 7), Err(IntegerFault::Overflow));
    }
}
