//! One byte at a time: for processors without the vectors, and the twin that the vectors are measured against.

use super::class::{self, Class};
use super::{BLOCK, Masks, Scan};

/// No instruction set at all.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

const STOP: u8 = 1;
const NOT_NAME: u8 = 2;

static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if class::is_stop(byte as u8) {
            kinds[byte] |= STOP;
        }
        if !class::TOKEN_TABLE.has(byte as u8) {
            kinds[byte] |= NOT_NAME;
        }
        byte += 1;
    }
    kinds
};

impl Scan for Scalar {
    #[inline(always)]
    fn masks(self, input: &[u8], at: usize) -> Masks {
        let mut masks = Masks::default();
        for (index, &byte) in input.iter().skip(at).take(BLOCK).enumerate() {
            let kind = u64::from(KINDS[byte as usize]);
            masks.stop |= (kind & 1) << index;
            masks.not_name |= (kind >> 1) << index;
        }
        masks
    }

    #[inline(always)]
    fn skip(self, class: &Class, input: &[u8], at: usize) -> usize {
        let rest = input.get(at..).unwrap_or_default();
        at.min(input.len()) + rest.iter().position(|&byte| !class.has(byte)).unwrap_or(rest.len())
    }
}
