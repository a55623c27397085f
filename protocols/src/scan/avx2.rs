//! 32 bytes at a time, for processors with AVX2 and the bit instructions that came with it.

use std::arch::x86_64::*;

use super::class::{self, Class};
use super::{Job, Masks, Scan};

/// Proof that the processor has the instructions. Only [`run`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

const WIDTH: usize = 32;

/// Runs a job compiled for AVX2.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn run<J: Job>(job: J) -> J::Output {
    job.run(Avx2(()))
}

impl Scan for Avx2 {
    #[inline(always)]
    fn masks(self, input: &[u8], at: usize) -> Masks {
        // SAFETY: `self` proves the instructions.
        unsafe { masks(input, at) }
    }

    #[inline(always)]
    fn skip(self, class: &Class, input: &[u8], at: usize) -> usize {
        // SAFETY: `self` proves the instructions.
        unsafe { skip(class, input, at) }
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn masks(input: &[u8], at: usize) -> Masks {
    let rest = input.get(at..).unwrap_or_default();
    let left = rest.len();
    if let Some((low, high)) = rest.split_first_chunk::<WIDTH>() {
        let low = half(load(low));
        // Either the next whole vector, or the last one of the input, moved so that it continues the first.
        let (high, shift) = match high.first_chunk() {
            Some(high) => (half(load(high)), WIDTH),
            None => match rest.last_chunk() {
                Some(last) => (half(load(last)), left - WIDTH),
                None => return Masks::default(),
            },
        };
        return Masks {
            stop: u64::from(low.0) | u64::from(high.0) << shift,
            not_name: u64::from(low.1) | u64::from(high.1) << shift,
        };
    }
    if left == 0 {
        return Masks::default();
    }
    match input.last_chunk::<WIDTH>() {
        Some(last) => {
            let (stop, not_name) = half(load(last));
            let shift = WIDTH - left;
            Masks { stop: u64::from(stop >> shift), not_name: u64::from(not_name >> shift) }
        }
        None => {
            let mut padded = [0; WIDTH];
            padded[..left].copy_from_slice(rest);
            let (stop, not_name) = half(load(&padded));
            let real = (1u32 << left) - 1;
            Masks { stop: u64::from(stop & real), not_name: u64::from(not_name & real) }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn skip(class: &Class, input: &[u8], at: usize) -> usize {
    let table = table(class);
    let mut at = at;
    loop {
        let rest = input.get(at..).unwrap_or_default();
        let Some(vector) = rest.first_chunk::<WIDTH>() else { break };
        let strange = strange(table, load(vector));
        if strange != 0 {
            return at + strange.trailing_zeros() as usize;
        }
        at += WIDTH;
    }
    let rest = input.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return input.len();
    }
    match input.last_chunk::<WIDTH>() {
        Some(last) => {
            let strange = strange(table, load(last)) >> (WIDTH - rest.len());
            if strange == 0 { input.len() } else { at + strange.trailing_zeros() as usize }
        }
        None => at + rest.iter().position(|&byte| !class.has(byte)).unwrap_or(rest.len()),
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn load(bytes: &[u8; WIDTH]) -> __m256i {
    // SAFETY: the reference is to exactly the 32 bytes that are read, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn table(class: &Class) -> __m256i {
    // SAFETY: the reference is to exactly the 16 bytes that are read, and the load asks for no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(class.nibbles.as_ptr().cast()) })
}

/// Bits for the bytes that stop a value, and for those that are not of a name.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn half(bytes: __m256i) -> (u32, u32) {
    let controls = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
    let tabs = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\t' as i8));
    let deletes = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7f));
    let stops = _mm256_or_si256(_mm256_andnot_si256(tabs, controls), deletes);
    (_mm256_movemask_epi8(stops) as u32, strange(table(&class::TOKEN), bytes))
}

/// Bits for the bytes that are not in the class. The low half of a byte chooses a row of the table (a byte from 0x80
/// up chooses nothing, which is how the shuffle is defined), the high half the bit in it.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn strange(table: __m256i, bytes: __m256i) -> u32 {
    let bits = _mm256_setr_epi8(
        1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0,
    );
    let rows = _mm256_shuffle_epi8(table, bytes);
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(0x0f));
    let columns = _mm256_shuffle_epi8(bits, high);
    let outside = _mm256_cmpeq_epi8(_mm256_and_si256(rows, columns), _mm256_setzero_si256());
    _mm256_movemask_epi8(outside) as u32
}
