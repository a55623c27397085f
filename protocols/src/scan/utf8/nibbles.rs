//! Judging by tables of 16: the method of John Keiser and Daniel Lemire ("Validating UTF-8 in less than one instruction
//! per byte", 2021). Every fault shows in two neighbouring bytes: in the upper half and the lower half of the first and
//! the upper half of the second. Only those of a character's third and fourth byte follow from the bytes two and three
//! places before.
//!
//! Vectors are of 32 bytes, for AVX2.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_alignr_epi8 as shifted, _mm256_and_si256 as and, _mm256_broadcastsi128_si256,
    _mm256_loadu_si256, _mm256_movemask_epi8 as high_bits, _mm256_or_si256 as or, _mm256_permute2x128_si256,
    _mm256_set1_epi8 as splat, _mm256_set1_epi32, _mm256_shuffle_epi8 as look_up, _mm256_srli_epi16 as halved,
    _mm256_storeu_si256, _mm256_subs_epu8 as less, _mm256_xor_si256 as xor,
};

use self::table::{CONTINUED, FIRST_HIGH, FIRST_LOW, SECOND_HIGH};

/// What may be wrong with two neighbouring bytes: a bit that all three tables have is a fault.
mod table {
    /// A first byte of several; a byte that is no continuation.
    const TOO_SHORT: u8 = 1 << 0;
    /// ASCII; a continuation.
    const TOO_LONG: u8 = 1 << 1;
    /// E0; what is too low behind it.
    const OVERLONG_3: u8 = 1 << 2;
    /// F4 or more; what is too high behind F4, and behind the others as well.
    const TOO_LARGE: u8 = 1 << 3;
    /// ED; what makes a surrogate behind it.
    const SURROGATE: u8 = 1 << 4;
    /// C0 or C1; a continuation.
    const OVERLONG_2: u8 = 1 << 5;
    /// F0, what is too low behind it; and F5 or more, which nothing makes good, with what [`TOO_LARGE`] leaves to it.
    const OVERLONG_4: u8 = 1 << 6;
    /// Two continuations. Right where a third or fourth byte is due, and only there.
    pub(super) const CONTINUED: u8 = 1 << 7;

    /// What the lower half has no part in.
    const ANY: u8 = TOO_SHORT | TOO_LONG | CONTINUED;

    /// By the upper half of the first byte.
    pub(super) static FIRST_HIGH: [u8; 16] = {
        let mut table = [TOO_LONG; 16];
        (table[0x8], table[0x9], table[0xa], table[0xb]) = (CONTINUED, CONTINUED, CONTINUED, CONTINUED);
        table[0xc] = TOO_SHORT | OVERLONG_2;
        table[0xd] = TOO_SHORT;
        table[0xe] = TOO_SHORT | OVERLONG_3 | SURROGATE;
        table[0xf] = TOO_SHORT | TOO_LARGE | OVERLONG_4;
        table
    };

    /// By the lower half of the first byte.
    pub(super) static FIRST_LOW: [u8; 16] = {
        let mut table = [ANY | TOO_LARGE | OVERLONG_4; 16];
        table[0x0] = ANY | OVERLONG_2 | OVERLONG_3 | OVERLONG_4;
        table[0x1] = ANY | OVERLONG_2;
        (table[0x2], table[0x3]) = (ANY, ANY);
        table[0x4] = ANY | TOO_LARGE;
        table[0xd] |= SURROGATE;
        table
    };

    /// By the upper half of the second byte.
    pub(super) static SECOND_HIGH: [u8; 16] = {
        let mut table = [TOO_SHORT; 16];
        table[0x8] = TOO_LONG | OVERLONG_2 | CONTINUED | OVERLONG_3 | OVERLONG_4;
        table[0x9] = TOO_LONG | OVERLONG_2 | CONTINUED | OVERLONG_3 | TOO_LARGE;
        table[0xa] = TOO_LONG | OVERLONG_2 | CONTINUED | SURROGATE | TOO_LARGE;
        table[0xb] = table[0xa];
        table
    };
}

const WIDTH: usize = 32;

/// See `Kernel::unmask`.
#[target_feature(enable = "avx2")]
pub(super) fn unmask(bytes: &mut [u8], key: [u8; 4], before: [u8; 4]) -> bool {
    let mask = _mm256_set1_epi32(i32::from_ne_bytes(key));
    let mut judge = Judge::new(before);
    let (vectors, rest) = bytes.as_chunks_mut::<WIDTH>();
    let (steps, vectors) = vectors.as_chunks_mut::<2>();
    for [one, other] in steps {
        let pair = [xor(load(one), mask), xor(load(other), mask)];
        store(one, pair[0]);
        store(other, pair[1]);
        if high_bits(or(pair[0], pair[1])) == 0 {
            judge.look_at_ascii(pair[1]);
        } else {
            judge.look(pair[0]);
            judge.look(pair[1]);
        }
    }
    for place in vectors {
        let vector = xor(load(place), mask);
        store(place, vector);
        judge.look(vector);
    }
    if !rest.is_empty() {
        let mut padded = [0; WIDTH];
        padded[..rest.len()].copy_from_slice(rest);
        let vector = xor(load(&padded), mask);
        store(&mut padded, vector);
        rest.copy_from_slice(&padded[..rest.len()]);
        // What comes out behind the end is nothing.
        let mut real = [0; WIDTH];
        real[..rest.len()].fill(0xff);
        let faults = std::mem::replace(&mut judge.faults, splat(0));
        judge.look(vector);
        judge.faults = or(faults, and(judge.faults, load(&real)));
    }
    judge.is_good()
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; WIDTH]) -> __m256i {
    // SAFETY: the reference is to exactly the bytes that are read, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(place: &mut [u8; WIDTH], vector: __m256i) {
    // SAFETY: the reference is to exactly the bytes that are written, and the store asks for no alignment.
    unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), vector) }
}

/// Looks at one vector after the other.
struct Judge {
    /// The vector before.
    last: __m256i,
    /// Bits for what was wrong.
    faults: __m256i,
}

impl Judge {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(before: [u8; 4]) -> Self {
        let mut bytes = [0; WIDTH];
        bytes[WIDTH - 4..].copy_from_slice(&before);
        Self { last: load(&bytes), faults: splat(0) }
    }

    /// ASCII: only a character that has begun before it can be wrong.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn look_at_ascii(&mut self, vector: __m256i) {
        const CLOSED: [u8; WIDTH] = {
            let mut most = [0xff; WIDTH];
            (most[WIDTH - 3], most[WIDTH - 2], most[WIDTH - 1]) = (0xef, 0xdf, 0xbf);
            most
        };
        self.faults = or(self.faults, less(self.last, load(&CLOSED)));
        self.last = vector;
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn look(&mut self, vector: __m256i) {
        let half = splat(0x0f);
        let across = across(self.last, vector);
        // The bytes one, two and three places before each byte.
        let one = shifted::<15>(vector, across);
        let two = shifted::<14>(vector, across);
        let three = shifted::<13>(vector, across);
        let first_high = look_up(table(&FIRST_HIGH), and(halved::<4>(one), half));
        let first_low = look_up(table(&FIRST_LOW), and(one, half));
        let second_high = look_up(table(&SECOND_HIGH), and(halved::<4>(vector), half));
        let pair = and(and(first_high, first_low), second_high);
        // The highest bit stands where E0 or more was two places before, or F0 or more three: a continuation
        // is due.
        let third = less(two, splat(0x60));
        let fourth = less(three, splat(0x70));
        let due = and(or(third, fourth), splat(CONTINUED as i8));
        self.faults = or(self.faults, xor(pair, due));
        self.last = vector;
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn is_good(&self) -> bool {
        // Only from nothing nothing is taken, so that the highest bit stays.
        high_bits(less(splat(0x80_u8 as i8), self.faults)).count_ones() as usize == WIDTH
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn table(table: &[u8; 16]) -> __m256i {
    // SAFETY: the reference is to exactly the 16 bytes that are read, and the load asks for no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

/// The 16 bytes before each half of `vector`: bytes are shifted within halves only.
#[inline]
#[target_feature(enable = "avx2")]
fn across(last: __m256i, vector: __m256i) -> __m256i {
    _mm256_permute2x128_si256::<0x21>(last, vector)
}
