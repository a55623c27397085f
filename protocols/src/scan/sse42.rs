//! 16 bytes at a time, for processors with SSE4.2 but not AVX2.

use std::arch::x86_64::*;

use super::class::{self, Class};
use super::{BLOCK, Job, Masks, Scan};

/// Proof that the processor has the instructions. Only [`run`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Sse42(());

const WIDTH: usize = 16;

/// Runs a job compiled for SSE4.2.
#[target_feature(enable = "sse4.2,popcnt")]
pub(super) fn run<J: Job>(job: J) -> J::Output {
    job.run(Sse42(()))
}

impl Scan for Sse42 {
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
#[target_feature(enable = "sse4.2,popcnt")]
fn masks(input: &[u8], at: usize) -> Masks {
    let mut masks = Masks::default();
    let mut rest = input.get(at..).unwrap_or_default();
    let mut shift = 0;
    while shift < BLOCK {
        let Some((vector, more)) = rest.split_first_chunk::<WIDTH>() else { break };
        let (stop, not_name) = quarter(load(vector));
        masks.stop |= u64::from(stop) << shift;
        masks.not_name |= u64::from(not_name) << shift;
        rest = more;
        shift += WIDTH;
    }
    if shift == BLOCK || rest.is_empty() {
        return masks;
    }
    let (stop, not_name) = match input.last_chunk::<WIDTH>() {
        Some(last) => {
            let (stop, not_name) = quarter(load(last));
            let known = WIDTH - rest.len();
            (stop >> known, not_name >> known)
        }
        None => {
            let mut padded = [0; WIDTH];
            padded[..rest.len()].copy_from_slice(rest);
            let (stop, not_name) = quarter(load(&padded));
            let real = (1u16 << rest.len()) - 1;
            (stop & real, not_name & real)
        }
    };
    masks.stop |= u64::from(stop) << shift;
    masks.not_name |= u64::from(not_name) << shift;
    masks
}

#[inline]
#[target_feature(enable = "sse4.2,popcnt")]
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
    input.len() - rest.len() + rest.iter().position(|&byte| !class.has(byte)).unwrap_or(rest.len())
}

#[inline]
#[target_feature(enable = "sse4.2,popcnt")]
fn load(bytes: &[u8; WIDTH]) -> __m128i {
    // SAFETY: the reference is to exactly the 16 bytes that are read, and the load asks for no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse4.2,popcnt")]
fn table(class: &Class) -> __m128i {
    load(&class.nibbles)
}

/// Bits for the bytes that stop a value, and for those that are not of a name.
#[inline]
#[target_feature(enable = "sse4.2,popcnt")]
fn quarter(bytes: __m128i) -> (u16, u16) {
    let controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    let tabs = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\t' as i8));
    let deletes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    let stops = _mm_or_si128(_mm_andnot_si128(tabs, controls), deletes);
    (_mm_movemask_epi8(stops) as u16, strange(table(&class::TOKEN), bytes))
}

/// Bits for the bytes that are not in the class; see the twin in `avx2`.
#[inline]
#[target_feature(enable = "sse4.2,popcnt")]
fn strange(table: __m128i, bytes: __m128i) -> u16 {
    let bits = _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0);
    let rows = _mm_shuffle_epi8(table, bytes);
    let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), _mm_set1_epi8(0x0f));
    let columns = _mm_shuffle_epi8(bits, high);
    let outside = _mm_cmpeq_epi8(_mm_and_si128(rows, columns), _mm_setzero_si128());
    _mm_movemask_epi8(outside) as u16
}
