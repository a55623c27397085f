//! UTF-8 judged while it is unmasked, 128 bytes in one step: for processors with AVX-512 and its byte permutations.
//!
//! The method is that of John Keiser and Daniel Lemire ("Validating UTF-8 in less than one instruction per byte", 2021):
//! every fault shows in two neighbouring bytes, but for those of a character's third and fourth byte, which follow from
//! the two and three bytes before. Permutations of 64 entries make it two look-ups rather than three. Where the
//! instructions are missing the caller unmasks, and `simdutf8` judges behind it.

/// Below this many bytes the caller's other way is as good.
#[cfg(target_arch = "x86_64")]
const WIDE_BYTES_MIN: usize = 128;

/// XORs `bytes` with `key`, and tells whether `before` and the result are UTF-8, up to a character that the end cuts:
/// nothing is said of that one. `before` holds the bytes of a character that has begun, behind zeros. `None`, and
/// nothing done, where the processor lacks the instructions or the bytes are few.
#[inline]
pub(crate) fn unmask(bytes: &mut [u8], key: [u8; 4], before: [u8; 4]) -> Option<bool> {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= WIDE_BYTES_MIN
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vbmi")
    {
        // SAFETY: the processor has the instructions, asked in the condition.
        return Some(unsafe { avx512::unmask(bytes, key, before) });
    }
    let _ = (bytes, key, before);
    None
}

/// Where a character begins that the end of `bytes` cuts; the length if none is cut.
pub(crate) fn last_boundary(bytes: &[u8]) -> usize {
    let length = bytes.len();
    for back in 1..=length.min(3) {
        let byte = bytes[length - back];
        let needed = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            0x80..=0xbf => continue,
            _ => return length,
        };
        return if needed > back { length - back } else { length };
    }
    length
}

#[cfg(target_arch = "x86_64")]
mod table {
    //! What may be wrong with two neighbouring bytes: a bit that both have is a fault.

    /// A first byte that nothing makes valid; any byte.
    pub(super) const NEVER: u8 = 1 << 0;
    /// A first byte of several; a byte that is no continuation.
    pub(super) const TOO_SHORT: u8 = 1 << 1;
    /// E0; what is too low behind it.
    const OVERLONG_3: u8 = 1 << 2;
    /// ED; what makes a surrogate behind it.
    const SURROGATE: u8 = 1 << 3;
    /// F0; what is too low behind it.
    const OVERLONG_4: u8 = 1 << 4;
    /// F4; what is too high behind it.
    const TOO_LARGE: u8 = 1 << 5;
    /// A byte that is no first one of several; a continuation. Right where a third or fourth byte is due, and only there.
    pub(super) const CONTINUED: u8 = 1 << 7;

    /// The first bytes, C0 to FF.
    pub(super) static FIRST: [u8; 64] = {
        let mut table = [TOO_SHORT; 64];
        let mut low = 0;
        while low < 64 {
            table[low] |= match 0xc0 + low as u8 {
                0xc0 | 0xc1 | 0xf5..=0xff => NEVER,
                0xe0 => OVERLONG_3,
                0xed => SURROGATE,
                0xf0 => OVERLONG_4,
                0xf4 => TOO_LARGE,
                _ => 0,
            };
            low += 1;
        }
        table
    };

    /// The continuations, 80 to BF.
    pub(super) static SECOND: [u8; 64] = {
        let mut table = [NEVER | CONTINUED; 64];
        let mut low = 0;
        while low < 64 {
            table[low] |= match 0x80 + low as u8 {
                0x80..=0x8f => OVERLONG_3 | OVERLONG_4,
                0x90..=0x9f => OVERLONG_3 | TOO_LARGE,
                _ => SURROGATE | TOO_LARGE,
            };
            low += 1;
        }
        table
    };

    /// The highest values of the last bytes of a block with which no character goes on behind it.
    pub(super) static ENDS: [u8; 64] = {
        let mut most = [0xff; 64];
        (most[61], most[62], most[63]) = (0xef, 0xdf, 0xbf);
        most
    };
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    //! The vectors.

    use std::arch::x86_64::*;

    use super::last_boundary;
    use super::table::{CONTINUED, ENDS, FIRST, NEVER, SECOND, TOO_SHORT};

    const WIDTH: usize = 64;
    const STEP: usize = 2 * WIDTH;

    /// What the ternary operation makes of each of the eight combinations of three bits: `a | b | c`.
    const OR: i32 = 0b1111_1110;
    /// `(a | b) & c`.
    const OR_THEN_AND: i32 = 0b1010_1000;
    /// `(a & b) ^ c`.
    const AND_THEN_XOR: i32 = 0b0110_1010;

    /// What is unmasked is stored one step later: so the bytes that lie before a block are still to be had as they came,
    /// which costs a load and spares a permutation.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn unmask(bytes: &mut [u8], key: [u8; 4], before: [u8; 4]) -> bool {
        let mask = _mm512_set1_epi32(i32::from_ne_bytes(key));
        let mut judge = Judge::new(before);
        let whole = bytes.len() / STEP * STEP;
        let mut waiting = None;
        for place in (0..whole).step_by(STEP) {
            let blocks = [place, place + WIDTH].map(|place| _mm512_xor_si512(load(bytes, place), mask));
            let earlier = match waiting {
                Some(_) => _mm512_xor_si512(load(bytes, place - 16), mask),
                None => behind(judge.before, blocks[0]),
            };
            let between = _mm512_xor_si512(load(bytes, place + WIDTH - 16), mask);
            if let Some(blocks) = waiting.replace(blocks) {
                store_both(bytes, place - STEP, blocks);
            }
            judge.look(blocks, [earlier, between]);
        }
        if let Some(blocks) = waiting {
            store_both(bytes, whole - STEP, blocks);
        }
        // The rest, filled up with zeros, which are ASCII. They also stand for the character that is cut; if it begins
        // before the rest, there is nothing else in it.
        let mut rest = [0; STEP];
        let count = bytes.len() - whole;
        rest[..count].copy_from_slice(&bytes[whole..]);
        let blocks = [0, WIDTH].map(|place| _mm512_xor_si512(load(&rest, place), mask));
        store_both(&mut rest, 0, blocks);
        bytes[whole..].copy_from_slice(&rest[..count]);
        let boundary = last_boundary(bytes);
        if boundary > whole {
            rest[boundary - whole..].fill(0);
            let blocks = [0, WIDTH].map(|place| load(&rest, place));
            judge.look(blocks, [behind(judge.before, blocks[0]), behind(blocks[0], blocks[1])]);
        }
        judge.is_good()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn load(bytes: &[u8], at: usize) -> __m512i {
        let block: &[u8; WIDTH] = bytes[at..].first_chunk().expect("the caller leaves room for a block");
        // SAFETY: the reference is to exactly the 64 bytes that are read, and the load asks for no alignment.
        unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn store_both(bytes: &mut [u8], at: usize, blocks: [__m512i; 2]) {
        let (places, _) = bytes[at..at + STEP].as_chunks_mut::<WIDTH>();
        for (place, block) in places.iter_mut().zip(blocks) {
            // SAFETY: the reference is to exactly the 64 bytes that are written, and the store asks for no alignment.
            unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), block) }
        }
    }

    /// The 64 bytes that end 16 bytes before the end of `block`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn behind(before: __m512i, block: __m512i) -> __m512i {
        _mm512_alignr_epi64::<6>(block, before)
    }

    /// Looks at one pair of blocks after the other.
    struct Judge {
        before: __m512i,
        faults: __m512i,
    }

    impl Judge {
        #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
        fn new(before: [u8; 4]) -> Self {
            let mut bytes = [0; WIDTH];
            bytes[WIDTH - 4..].copy_from_slice(&before);
            Self { before: load(&bytes, 0), faults: _mm512_setzero_si512() }
        }

        /// `earlier` is 16 bytes behind each of the `blocks`.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
        fn look(&mut self, blocks: [__m512i; 2], earlier: [__m512i; 2]) {
            let wrong = if _mm512_movepi8_mask(_mm512_or_si512(blocks[0], blocks[1])) == 0 {
                // ASCII: only a character that has begun before it can be wrong.
                [_mm512_subs_epu8(self.before, load(&ENDS, 0)), _mm512_setzero_si512()]
            } else {
                [faults(blocks[0], earlier[0]), faults(blocks[1], earlier[1])]
            };
            self.faults = _mm512_ternarylogic_epi64::<OR>(self.faults, wrong[0], wrong[1]);
            self.before = blocks[1];
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
        fn is_good(&self) -> bool {
            _mm512_test_epi8_mask(self.faults, self.faults) == 0
        }
    }
    /// Bits for what is wrong in a block; `earlier` is 16 bytes behind it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn faults(block: __m512i, earlier: __m512i) -> __m512i {
        // The bytes one, two and three places before each byte.
        let one = _mm512_alignr_epi8::<15>(block, earlier);
        let two = _mm512_alignr_epi8::<14>(block, earlier);
        let three = _mm512_alignr_epi8::<13>(block, earlier);
        // A permutation looks at the lower six bits of a byte. As numbers with a sign, 80 to BF are the lowest.
        let is_first = _mm512_cmpge_epu8_mask(one, _mm512_set1_epi8(0xc0_u8 as i8));
        let is_second = _mm512_cmplt_epi8_mask(block, _mm512_set1_epi8(0xc0_u8 as i8));
        let not_first = _mm512_set1_epi8(CONTINUED as i8);
        let not_second = _mm512_set1_epi8((NEVER | TOO_SHORT) as i8);
        let first = _mm512_mask_permutexvar_epi8(not_first, is_first, one, load(&FIRST, 0));
        let second = _mm512_mask_permutexvar_epi8(not_second, is_second, block, load(&SECOND, 0));
        // The highest bit stands where E0 or more was two places before, or F0 or more three: a continuation is due.
        let third = _mm512_subs_epu8(two, _mm512_set1_epi8(0x60));
        let fourth = _mm512_subs_epu8(three, _mm512_set1_epi8(0x70));
        let due = _mm512_ternarylogic_epi64::<OR_THEN_AND>(third, fourth, not_first);
        _mm512_ternarylogic_epi64::<AND_THEN_XOR>(first, second, due)
    }
}
