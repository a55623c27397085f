//! 64 bytes at a time, for processors with AVX-512 and its permutations of bytes.
//!
//! The method is that of `nibbles`, but permutations of 64 entries make it two look-ups rather than three: what may be
//! wrong with two neighbouring bytes is a bit that both have. To turn comparisons into numbers and to count on those would
//! be fewer instructions, but mask registers are slow to read.

use std::arch::x86_64::*;

// Named, they stand before those of the same names.
#[cfg(miri)]
use self::in_words::{_mm512_permutex2var_epi8, _mm512_permutexvar_epi8, _mm512_ternarylogic_epi64};

const WIDTH: usize = 64;
/// Blocks in one step: they are loaded before any is stored, and share the question whether all is ASCII.
const BLOCKS: usize = 4;
const STEP: usize = BLOCKS * WIDTH;
/// From this many bytes on it is worth a piece of a block to begin the others where lines of the cache begin.
const ALIGNED_MIN: usize = 3 * STEP;

/// A first byte that nothing makes valid; any byte.
const NEVER: u8 = 1 << 0;
/// A first byte of several; a byte that is no continuation.
const TOO_SHORT: u8 = 1 << 1;
/// E0; what is too low behind it.
const OVERLONG_3: u8 = 1 << 2;
/// ED; what makes a surrogate behind it.
const SURROGATE: u8 = 1 << 3;
/// F0; what is too low behind it.
const OVERLONG_4: u8 = 1 << 4;
/// F4; what is too high behind it.
const TOO_LARGE: u8 = 1 << 5;
/// A byte that is no first one of several, or FF; FC to FF.
const LAST_BYTES: u8 = 1 << 6;
/// A byte that is no first one of several; a continuation. Right where a third or fourth byte is due, and only there.
const CONTINUED: u8 = 1 << 7;

/// The first of two bytes, by the lower six bits: C0 to FE, and then all others. FF is among these, for it is found as the
/// second byte, by [`LAST_BYTES`].
static FIRST: [u8; 64] = {
    let mut table = [TOO_SHORT; 64];
    let mut low = 0;
    while low < 63 {
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
    table[63] = CONTINUED | LAST_BYTES;
    table
};

/// The second of two bytes, by the upper six bits.
static SECOND: [u8; 64] = {
    let mut table = [NEVER; 64];
    let mut high = 0;
    while high < 64 {
        table[high] |= match (high as u8) << 2 {
            0x80..=0x8f => CONTINUED | OVERLONG_3 | OVERLONG_4,
            0x90..=0x9f => CONTINUED | OVERLONG_3 | TOO_LARGE,
            0xa0..=0xbf => CONTINUED | SURROGATE | TOO_LARGE,
            0xfc.. => TOO_SHORT | LAST_BYTES,
            _ => TOO_SHORT,
        };
        high += 1;
    }
    table
};

/// The highest values of the last bytes of a block with which no character goes on behind it.
static CLOSED: [u8; 64] = {
    let mut most = [0xff; 64];
    (most[61], most[62], most[63]) = (0xef, 0xdf, 0xbf);
    most
};

/// The number of each place.
static PLACES: [u8; 64] = {
    let mut places = [0; 64];
    let mut place = 0;
    while place < 64 {
        places[place] = place as u8;
        place += 1;
    }
    places
};

/// What the ternary operation makes of each of the eight combinations of three bits: `a | b | c`.
const OR: i32 = 0b1111_1110;
/// `(a | b) & c`.
const OR_THEN_AND: i32 = 0b1010_1000;
/// `(a & b) ^ c`.
const AND_THEN_XOR: i32 = 0b0110_1010;

/// See `Kernel::unmask`.
///
/// Blocks of longer ones begin where lines of the cache do: behind a frame header nothing lies so by itself, and loads and stores across
/// two lines take twice as long.
///
/// What is unmasked is stored one step later: so the bytes before a block are still to be had as they came, which costs
/// loads and spares permutations, of which the processor does fewer at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn unmask(bytes: &mut [u8], mut key: [u8; 4], before: [u8; 4]) -> bool {
    let mut judge = Judge::new(before);
    let head = if bytes.len() < ALIGNED_MIN { 0 } else { bytes.as_ptr().align_offset(WIDTH) };
    let (head, bytes) = bytes.split_at_mut(head);
    judge.unmask_piece(head, splat(key));
    key.rotate_left(head.len() % 4);

    // By how many places the bytes are turned that are to be XORed with it.
    let masks = [0, 1, 2, 3].map(|turn| {
        let mut key = key;
        key.rotate_right(turn);
        splat(key)
    });
    let whole = bytes.len() / STEP * STEP;
    for start in (0..whole).step_by(STEP) {
        let places = [0, 1, 2, 3].map(|number| start + number * WIDTH);
        let blocks = places.map(|place| _mm512_xor_si512(load(bytes, place), masks[0]));
        let some = _mm512_ternarylogic_epi64::<OR>(blocks[0], blocks[1], blocks[2]);
        if _mm512_movepi8_mask(_mm512_or_si512(some, blocks[3])) == 0 {
            judge.look_at_ascii();
        } else {
            let mut wrong = [judge.faults; BLOCKS];
            for number in 0..BLOCKS {
                let place = places[number];
                let earlier = if place == 0 {
                    behind(judge.last, blocks[0])
                } else {
                    [1, 2, 3].map(|back| _mm512_xor_si512(load(bytes, place - back), masks[back]))
                };
                wrong[number] = Judge::faults(blocks[number], earlier);
            }
            let some = _mm512_ternarylogic_epi64::<OR>(judge.faults, wrong[0], wrong[1]);
            judge.faults = _mm512_ternarylogic_epi64::<OR>(some, wrong[2], wrong[3]);
        }
        if start > 0 {
            store(bytes, start - WIDTH, judge.last);
        }
        for number in 0..BLOCKS - 1 {
            store(bytes, places[number], blocks[number]);
        }
        judge.last = blocks[BLOCKS - 1];
    }
    if whole > 0 {
        store(bytes, whole - WIDTH, judge.last);
    }
    for piece in bytes[whole..].chunks_mut(WIDTH) {
        judge.unmask_piece(piece, masks[0]);
    }
    _mm512_test_epi8_mask(judge.faults, judge.faults) == 0
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn splat(key: [u8; 4]) -> __m512i {
    _mm512_set1_epi32(i32::from_ne_bytes(key))
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
fn store(bytes: &mut [u8], at: usize, block: __m512i) {
    let place: &mut [u8; WIDTH] = bytes[at..].first_chunk_mut().expect("the caller leaves room for a block");
    // SAFETY: the reference is to exactly the 64 bytes that are written, and the store asks for no alignment.
    unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), block) }
}

/// The bytes one, two and three places before each of `block`, in front of which stands `last`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn behind(last: __m512i, block: __m512i) -> [__m512i; 3] {
    let across = _mm512_alignr_epi64::<6>(block, last);
    [
        _mm512_alignr_epi8::<15>(block, across),
        _mm512_alignr_epi8::<14>(block, across),
        _mm512_alignr_epi8::<13>(block, across),
    ]
}

/// Looks at one block after the other.
struct Judge {
    /// The block before.
    last: __m512i,
    /// Bits for what was wrong.
    faults: __m512i,
}

impl Judge {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn new(before: [u8; 4]) -> Self {
        let mut bytes = [0; WIDTH];
        bytes[WIDTH - 4..].copy_from_slice(&before);
        Self { last: load(&bytes, 0), faults: _mm512_setzero_si512() }
    }

    /// Unmasks and judges at most one block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn unmask_piece(&mut self, piece: &mut [u8], mask: __m512i) {
        assert!(piece.len() <= WIDTH, "a piece is at most one block");
        let length = piece.len();
        let real = u64::MAX.checked_shr((WIDTH - length) as u32).unwrap_or(0);
        // SAFETY: `real` has a bit for each byte of the piece and for no others; what it does not name is not read.
        let masked = unsafe { _mm512_maskz_loadu_epi8(real, piece.as_ptr().cast()) };
        let block = _mm512_xor_si512(masked, mask);
        // SAFETY: as above; what it does not name is not written.
        unsafe { _mm512_mask_storeu_epi8(piece.as_mut_ptr().cast(), real, block) };
        // What comes out behind the end is nothing.
        let wrong = Self::faults(block, behind(self.last, block));
        self.faults = _mm512_or_si512(self.faults, _mm512_maskz_mov_epi8(real, wrong));
        // The last 64 bytes until there: of both blocks, from as many places on as the piece has bytes.
        let places = _mm512_add_epi8(load(&PLACES, 0), _mm512_set1_epi8(length as i8));
        self.last = _mm512_permutex2var_epi8(self.last, places, block);
    }

    /// ASCII: only a character that has begun before it can be wrong.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look_at_ascii(&mut self) {
        self.faults = _mm512_or_si512(self.faults, _mm512_subs_epu8(self.last, load(&CLOSED, 0)));
    }

    /// Bits for what is wrong in a block; `earlier` is one, two and three bytes behind it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn faults(block: __m512i, [one, two, three]: [__m512i; 3]) -> __m512i {
        // A permutation looks at the lower six bits of a byte: those that were the upper ones, shifted within pairs.
        let first = _mm512_permutexvar_epi8(_mm512_max_epu8(one, _mm512_set1_epi8(0xbf_u8 as i8)), load(&FIRST, 0));
        let second = _mm512_permutexvar_epi8(_mm512_srli_epi16::<2>(block), load(&SECOND, 0));
        // The highest bit stands where E0 or more was two places before, or F0 or more three: a continuation is due.
        let third = _mm512_subs_epu8(two, _mm512_set1_epi8(0x60));
        let fourth = _mm512_subs_epu8(three, _mm512_set1_epi8(0x70));
        let due = _mm512_ternarylogic_epi64::<OR_THEN_AND>(third, fourth, _mm512_set1_epi8(CONTINUED as i8));
        _mm512_ternarylogic_epi64::<AND_THEN_XOR>(first, second, due)
    }
}

/// What Miri does not know, in words of Rust: nothing that touches memory, which is what it is to watch.
#[cfg(miri)]
mod in_words {
    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look_up<const ENTRIES: usize>(table: &[u8; ENTRIES], places: __m512i) -> __m512i {
        let mut bytes = [0; WIDTH];
        store(&mut bytes, 0, places);
        let mut place = 0;
        while place < WIDTH {
            bytes[place] = table[bytes[place] as usize % ENTRIES];
            place += 1;
        }
        load(&bytes, 0)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn _mm512_permutexvar_epi8(places: __m512i, table: __m512i) -> __m512i {
        let mut bytes = [0; WIDTH];
        store(&mut bytes, 0, table);
        look_up(&bytes, places)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn _mm512_permutex2var_epi8(low: __m512i, places: __m512i, high: __m512i) -> __m512i {
        let mut bytes = [0; 2 * WIDTH];
        store(&mut bytes, 0, low);
        store(&mut bytes, WIDTH, high);
        look_up(&bytes, places)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn _mm512_ternarylogic_epi64<const TABLE: i32>(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        match TABLE {
            OR => _mm512_or_si512(_mm512_or_si512(a, b), c),
            OR_THEN_AND => _mm512_and_si512(_mm512_or_si512(a, b), c),
            AND_THEN_XOR => _mm512_xor_si512(_mm512_and_si512(a, b), c),
            _ => unreachable!("none of the tables above"),
        }
    }
}
