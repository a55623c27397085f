//! The vectors against their scalar twin: every byte value, at every place, in every length up to two blocks and one.
//! Miri, which is slower by thousands, walks the same ways with the values, places and lengths around the borders.

use super::class::{ABSOLUTE, Class, HOST, PATH, QUERY, TOKEN, is_stop};
use super::scalar::Scalar;
use super::{BLOCK, Job, Masks, Scan};

#[derive(Clone, Copy)]
struct MasksAt<'a>(&'a [u8], usize);

impl Job for MasksAt<'_> {
    type Output = Masks;

    #[inline(always)]
    fn run<S: Scan>(self, scan: S) -> Masks {
        scan.masks(self.0, self.1)
    }
}

#[derive(Clone, Copy)]
struct Skip<'a>(&'a Class, &'a [u8], usize);

impl Job for Skip<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Scan>(self, scan: S) -> usize {
        scan.skip(self.0, self.1, self.2)
    }
}

/// What the definition says, without any cleverness.
fn masks_by_definition(input: &[u8], at: usize) -> Masks {
    let mut masks = Masks::default();
    for index in 0..BLOCK {
        if let Some(&byte) = input.get(at + index) {
            masks.stop |= u64::from(is_stop(byte)) << index;
            masks.not_name |= u64::from(!TOKEN.has(byte)) << index;
        }
    }
    masks
}

fn everybody<J: Job + Copy>(job: J) -> Vec<(&'static str, J::Output)> {
    let mut answers = vec![("scalar", job.run(Scalar))];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("popcnt") {
            // SAFETY: just asked for.
            answers.push(("sse4.2", unsafe { super::sse42::run(job) }));
        }
        if super::level::detect() == super::level::Level::Avx2 {
            // SAFETY: just asked for.
            answers.push(("avx2", unsafe { super::avx2::run(job) }));
        }
    }
    answers
}

fn all_agree(input: &[u8], at: usize) {
    let expected = masks_by_definition(input, at);
    for (who, masks) in everybody(MasksAt(input, at)) {
        assert_eq!(masks, expected, "{who}, length {}, at {at}", input.len());
    }
    for class in [&TOKEN, &PATH, &QUERY, &ABSOLUTE, &HOST] {
        let expected = (at..input.len()).find(|&place| !class.has(input[place])).unwrap_or(input.len());
        for (who, place) in everybody(Skip(class, input, at)) {
            assert_eq!(place, expected, "{who}, length {}, at {at}", input.len());
        }
    }
}

/// All places up to this one; for Miri some around the borders of vectors of 16, 32 and 64 bytes, and the last.
pub(crate) fn places_until(last: usize) -> Vec<usize> {
    let borders = [0, 1, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256];
    if cfg!(miri) {
        borders.into_iter().take_while(|place| *place < last).chain([last]).collect()
    } else {
        (0..=last).collect()
    }
}

#[test]
fn every_byte_value_at_every_place() {
    let lengths = [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129];
    for length in lengths.into_iter().step_by(if cfg!(miri) { 2 } else { 1 }) {
        for place in places_until(length - 1) {
            for byte in (0..=255).skip(if cfg!(miri) { place } else { 0 }).step_by(if cfg!(miri) { 119 } else { 1 }) {
                let mut input = vec![b'a'; length];
                input[place] = byte;
                let expected = masks_by_definition(&input, 0);
                for (who, masks) in everybody(MasksAt(&input, 0)) {
                    assert_eq!(masks, expected, "{who}, byte {byte} at {place} of {length}");
                }
                if length <= 33 {
                    all_agree(&input, 0);
                }
            }
        }
    }
}

#[test]
fn every_length_every_offset_every_alignment() {
    let pattern: Vec<u8> = (0..400u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let words: Vec<u8> = b"accept-language: en".iter().copied().cycle().take(400).collect();
    for source in [&pattern, &words] {
        for alignment in (0..4).skip(if cfg!(miri) { 3 } else { 0 }) {
            for length in places_until(2 * BLOCK + 1) {
                for at in places_until(length) {
                    all_agree(&source[alignment..alignment + length], at);
                }
            }
        }
    }
}

#[test]
fn beyond_the_end_there_is_nothing() {
    for length in [0, 5, 16, 40, 64, 100] {
        let input = vec![0; length];
        for (_, masks) in everybody(MasksAt(&input, length + 7)) {
            assert_eq!(masks, Masks::default());
        }
    }
}

#[test]
fn classes_agree_with_the_standard() {
    for byte in 0..=255u8 {
        let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert_eq!(TOKEN.has(byte), token);
        let pchar = byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&byte);
        let unescaped = b"[]{}|^`".contains(&byte);
        assert_eq!(PATH.has(byte), pchar || unescaped || byte == b'/');
        assert_eq!(QUERY.has(byte), PATH.has(byte) || byte == b'?');
    }
}

#[test]
fn first_stop_is_the_first() {
    for place in (0..200).step_by(if cfg!(miri) { 33 } else { 1 }) {
        let mut input = vec![b' '; 200];
        input[place] = b'\r';
        for from in (0..200).step_by(if cfg!(miri) { 31 } else { 1 }) {
            let expected = if from <= place { place } else { 200 };
            assert_eq!(super::first_stop(&input, from), expected);
        }
    }
}
