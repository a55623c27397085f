//! Judging by numbers: 64 bytes become four numbers whose bit `i` tells about byte `i`, and one sum compares them.
//!
//! A byte from C0 up asks for one continuation behind it, one from E0 up for a second, one from F0 up for a third. So in
//! good text
//!
//! ```text
//! continuations = (from C0 up) << 1  +  (from E0 up) << 2  +  (from F0 up) << 3
//! ```
//!
//! The sum may stand for the union. Were two terms to meet in a bit, then take the lowest such bit: the character that
//! asks for it from further away also asks for the place where the nearer one begins. In that bit the sum is one, as
//! nothing has met below it; and no continuation stands there. The two sides differ.
//!
//! What is left depends on two neighbours: E0, ED, F0 and F4 narrow what may follow, and C0, C1 and all from F5 up begin
//! nothing. A table gives each first byte a number so that adding it to a continuation sets the highest bit if, and only
//! if, the two do not go together.

use std::arch::x86_64::*;

const WIDTH: usize = 64;
/// Blocks in one step: they are loaded before any is stored, and share the question whether all is ASCII.
const BLOCKS: usize = 4;
const STEP: usize = BLOCKS * WIDTH;

/// What is added to a continuation behind each of the first bytes, C0 to FF. Continuations are 80 to BF.
static ADDED: [u8; 64] = {
    let mut table = [0; 64];
    let mut low = 0;
    while low < 64 {
        table[low] = match 0xc0 + low as u8 {
            0xc0 | 0xc1 | 0xf5..=0xff => 0x00,
            // From A0 up it comes out at 00 or more; below, at E0 or more.
            0xe0 => 0x60,
            // Up to 9F it comes out at 7F or less; above, at 80 or more.
            0xed => 0xe0,
            0xf0 => 0x70,
            0xf4 => 0xf0,
            _ => 0x80,
        };
        low += 1;
    }
    table
};

/// The lowest values of the last bytes of a block with which a character goes on behind it; the others never do.
static OPEN: [u8; 64] = {
    let mut least = [0xff; 64];
    (least[61], least[62], least[63]) = (0xf0, 0xe0, 0xc0);
    least
};

/// What the ternary operation makes of each of the eight combinations of three bits: `a | b | c`.
const OR: i32 = 0b1111_1110;

/// See `Kernel::unmask`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn unmask(bytes: &mut [u8], key: [u8; 4], before: [u8; 4]) -> bool {
    let mask = _mm512_set1_epi32(i32::from_ne_bytes(key));
    // For what is loaded one place before a block.
    let mask_behind = _mm512_set1_epi32(i32::from_ne_bytes([key[3], key[0], key[1], key[2]]));
    let mut judge = Judge::new(before);
    let (steps, rest) = bytes.as_chunks_mut::<STEP>();
    for step in steps {
        let blocks = [0, 1, 2, 3].map(|number| _mm512_xor_si512(load(step, number * WIDTH), mask));
        let some = _mm512_ternarylogic_epi64::<OR>(blocks[0], blocks[1], blocks[2]);
        if _mm512_movepi8_mask(_mm512_or_si512(some, blocks[3])) == 0 {
            judge.look_at_ascii();
        } else {
            judge.look(blocks[0], behind(judge.last, blocks[0]));
            for number in 1..BLOCKS {
                judge.look(blocks[number], _mm512_xor_si512(load(step, number * WIDTH - 1), mask_behind));
            }
        }
        judge.last = blocks[BLOCKS - 1];
        let (places, _) = step.as_chunks_mut::<WIDTH>();
        for (place, block) in places.iter_mut().zip(blocks) {
            store(place, block);
        }
    }
    let (blocks, rest) = rest.as_chunks_mut::<WIDTH>();
    for place in blocks {
        let block = _mm512_xor_si512(load(place, 0), mask);
        store(place, block);
        judge.look(block, behind(judge.last, block));
        judge.last = block;
    }
    if !rest.is_empty() {
        let mut padded = [0; WIDTH];
        padded[..rest.len()].copy_from_slice(rest);
        let block = _mm512_xor_si512(load(&padded, 0), mask);
        store(&mut padded, block);
        rest.copy_from_slice(&padded[..rest.len()]);
        let faults = judge.faults;
        judge.faults = 0;
        judge.look(block, behind(judge.last, block));
        judge.faults = faults | judge.faults & ((1 << rest.len()) - 1);
    }
    judge.faults == 0
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
fn store(place: &mut [u8; WIDTH], block: __m512i) {
    // SAFETY: the reference is to exactly the 64 bytes that are written, and the store asks for no alignment.
    unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), block) }
}

/// The bytes one place before each of `block`, in front of which stands `last`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn behind(last: __m512i, block: __m512i) -> __m512i {
    _mm512_alignr_epi8::<15>(block, _mm512_alignr_epi64::<6>(block, last))
}

/// Looks at one block after the other.
struct Judge {
    /// The block before.
    last: __m512i,
    /// The places of the next block where second and third continuations are due, of characters that began before.
    due: u64,
    /// Bits for what was wrong.
    faults: u64,
}

impl Judge {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn new(before: [u8; 4]) -> Self {
        let mut bytes = [0; WIDTH];
        bytes[WIDTH - 4..].copy_from_slice(&before);
        let [_, third, second, _] = before;
        let due = u64::from(second >= 0xe0) + 2 * u64::from(second >= 0xf0) + u64::from(third >= 0xf0);
        Self { last: load(&bytes, 0), due, faults: 0 }
    }

    /// ASCII: only a character that has begun before it can be wrong.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look_at_ascii(&mut self) {
        self.faults |= _mm512_cmpge_epu8_mask(self.last, load(&OPEN, 0));
        self.due = 0;
    }

    /// `earlier` is one byte behind the block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look(&mut self, block: __m512i, earlier: __m512i) {
        let first = |least: u8| _mm512_cmpge_epu8_mask(earlier, _mm512_set1_epi8(least as i8));
        let (one, two, three) = (first(0xc0), first(0xe0), first(0xf0));
        // As numbers with a sign, 80 to BF are the lowest.
        let continuations = _mm512_cmplt_epi8_mask(block, _mm512_set1_epi8(0xc0_u8 as i8));
        let due = three.wrapping_mul(2).wrapping_add(two).wrapping_mul(2).wrapping_add(one).wrapping_add(self.due);
        self.due = (two >> 63) + (three >> 62);
        let sum = _mm512_add_epi8(block, _mm512_permutexvar_epi8(earlier, load(&ADDED, 0)));
        let apart = _mm512_mask_cmplt_epi8_mask(one, sum, _mm512_setzero_si512());
        self.faults |= due ^ continuations | apart;
    }
}
