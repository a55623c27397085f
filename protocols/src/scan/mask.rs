//! XOR with a repeating key of four bytes, RFC 6455 section 5.3, with a look at the highest bits on the way.

/// Below this many bytes the question for the instruction set, and the call, cost more than they win.
const WIDE_BYTES_MIN: usize = 128;

/// XORs `bytes` with `key`, whose first byte belongs to the first byte of `bytes`.
///
/// ```
/// use ringgate_protocols::scan::mask;
/// let mut bytes = *b"\x7f\x9f\x4d\x51\x58";
/// mask::xor(&mut bytes, [0x37, 0xfa, 0x21, 0x3d]);
/// assert_eq!(&bytes, b"Hello");
/// ```
#[inline]
pub fn xor(bytes: &mut [u8], key: [u8; 4]) {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= WIDE_BYTES_MIN && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, asked in the condition.
        unsafe { xor_avx2(bytes, key) };
        return;
    }
    xor_words::<1>(bytes, key);
}

/// Does what [`xor`] does, and tells whether all bytes of the result are ASCII.
#[inline(always)] // Where the length is known to be small little of it is left.
#[must_use]
pub fn xor_is_ascii(bytes: &mut [u8], key: [u8; 4]) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        if bytes.len() >= WIDE_BYTES_MIN && std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, asked in the condition.
            return unsafe { xor_is_ascii_avx2(bytes, key) };
        }
        // SAFETY: SSE2 is part of x86-64.
        unsafe { xor_is_ascii_sse2(bytes, key) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    xor_words_is_ascii::<1>(bytes, key)
}

/// The scalar twin: one byte at a time, the definition of the RFC.
#[must_use]
pub fn xor_scalar(bytes: &mut [u8], key: [u8; 4]) -> bool {
    let mut all = 0;
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte ^= key[place & 3];
        all |= *byte;
    }
    all < 0x80
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn xor_avx2(bytes: &mut [u8], key: [u8; 4]) {
    xor_words::<8>(bytes, key);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn xor_is_ascii_avx2(bytes: &mut [u8], key: [u8; 4]) -> bool {
    xor_words_is_ascii::<8>(bytes, key)
}

/// What every x86-64 has. Said with its instructions: of words the compiler makes two that are half as wide, and short
/// messages spend as much on this as on all the rest.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn xor_is_ascii_sse2(bytes: &mut [u8], key: [u8; 4]) -> bool {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi32, _mm_setzero_si128, _mm_storeu_si128,
        _mm_xor_si128,
    };
    let wide = _mm_set1_epi32(i32::from_ne_bytes(key));
    let (blocks, rest) = bytes.as_chunks_mut::<16>();
    let mut all = _mm_setzero_si128();
    for block in blocks {
        // SAFETY: a block has the 16 bytes that are read and written; they need no alignment.
        let plain = unsafe {
            let plain = _mm_xor_si128(_mm_loadu_si128(block.as_ptr().cast()), wide);
            _mm_storeu_si128(block.as_mut_ptr().cast(), plain);
            plain
        };
        all = _mm_or_si128(all, plain);
    }
    let is_ascii = _mm_movemask_epi8(all) == 0;
    if rest.is_empty() { is_ascii } else { is_ascii & xor_words_is_ascii::<1>(rest, key) }
}

/// `WORDS` words of eight bytes in one step; 8 of them are two vectors of AVX2.
#[inline(always)]
fn xor_words<const WORDS: usize>(bytes: &mut [u8], key: [u8; 4]) {
    let wide = doubled(key);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    let (blocks, words) = words.as_chunks_mut::<WORDS>();
    for block in blocks {
        for word in block {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
    }
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (place, byte) in rest.iter_mut().enumerate() {
        *byte ^= key[place & 3];
    }
}

#[inline(always)]
fn xor_words_is_ascii<const WORDS: usize>(bytes: &mut [u8], key: [u8; 4]) -> bool {
    let wide = doubled(key);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    let (blocks, words) = words.as_chunks_mut::<WORDS>();
    let mut all = [0_u64; WORDS];
    for block in blocks {
        for (word, seen) in block.iter_mut().zip(&mut all) {
            let plain = u64::from_ne_bytes(*word) ^ wide;
            *word = plain.to_ne_bytes();
            *seen |= plain;
        }
    }
    let mut seen = all.into_iter().fold(0, |seen, word| seen | word);
    for word in words {
        let plain = u64::from_ne_bytes(*word) ^ wide;
        *word = plain.to_ne_bytes();
        seen |= plain;
    }
    for (place, byte) in rest.iter_mut().enumerate() {
        *byte ^= key[place & 3];
        seen |= u64::from(*byte);
    }
    seen & 0x8080_8080_8080_8080 == 0
}

#[inline(always)]
const fn doubled(key: [u8; 4]) -> u64 {
    u32::from_ne_bytes(key) as u64 * 0x1_0000_0001
}

#[cfg(test)]
mod tests {
    use super::{WIDE_BYTES_MIN, xor, xor_is_ascii, xor_scalar, xor_words, xor_words_is_ascii};
    use crate::scan::tests::places_until;

    /// Alignment × rotation of the key × length up to the wide threshold, two blocks and one byte more.
    #[test]
    fn vectors_equal_scalar() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let source: Vec<u8> = (0..512_u32).map(|place| (place * 37 + 11) as u8).collect();
        for align in (0..33).step_by(if cfg!(miri) { 31 } else { 1 }) {
            for turn in (0..4).step_by(if cfg!(miri) { 3 } else { 1 }) {
                let mut key = key;
                key.rotate_left(turn);
                for length in places_until(WIDE_BYTES_MIN.max(2 * 128) + 1) {
                    let plain = &source[align..align + length];
                    let mut expected = plain.to_vec();
                    let ascii = xor_scalar(&mut expected, key);
                    let mut copy = source.clone();
                    for kernel in 0..5 {
                        let bytes = &mut copy[align..align + length];
                        bytes.copy_from_slice(plain);
                        match kernel {
                            0 => xor(bytes, key),
                            1 => assert_eq!(xor_is_ascii(bytes, key), ascii),
                            2 => xor_words::<1>(bytes, key),
                            #[cfg(target_arch = "x86_64")]
                            // SAFETY: SSE2 is part of x86-64.
                            3 => assert_eq!(unsafe { super::xor_is_ascii_sse2(bytes, key) }, ascii),
                            _ => assert_eq!(xor_words_is_ascii::<1>(bytes, key), ascii),
                        }
                        assert_eq!(bytes, &expected[..], "align {align} turn {turn} length {length} kernel {kernel}");
                        bytes.copy_from_slice(plain);
                        assert_eq!(copy, source, "bytes outside were touched");
                    }
                }
            }
        }
    }

    /// One byte above 0x7f at any place of any length is seen.
    #[test]
    fn no_high_bit_is_missed() {
        for length in places_until(2 * 128 + 1).into_iter().skip(1) {
            let key = [1, 2, 3, 4];
            let mut bytes = vec![0_u8; length];
            assert!(xor_is_ascii(&mut bytes, key));
            for place in places_until(length - 1) {
                let mut bytes = vec![b'a'; length];
                bytes[place] = 0x80;
                assert!(!xor_is_ascii(&mut bytes, key), "length {length} place {place}");
            }
        }
    }
}
