//! UTF-8 judged as it arrives, RFC 6455 section 8.1 and RFC 3629.

use crate::scan::utf8::{BYTES_MIN, Kernel, last_boundary};
use crate::websocket::mask::Mask;

/// Bytes unmasked and judged at a time, so that the second look finds them in the first-level cache.
const BLOCK_BYTES: usize = 8_192;

/// Bytes that are no UTF-8, however they go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotUtf8;

/// Judges text that comes in pieces; a character may be cut between them.
///
/// It fails fast: as soon as no continuation could make the bytes valid, even in the middle of a character.
///
/// ```
/// use ringgate_protocols::websocket::utf8::{NotUtf8, Validator};
/// let mut text = Validator::default();
/// assert_eq!(text.feed(b"\xe2\x82"), Ok(()));
/// assert!(!text.is_complete());
/// assert_eq!(text.feed(b"\xac"), Ok(()));
/// assert!(text.is_complete());
/// assert_eq!(text.feed(b"\xed\xa0"), Err(NotUtf8)); // the beginning of a surrogate
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Validator {
    /// The bytes of a character that is not complete.
    carry: [u8; 3],
    /// How many they are.
    carried: u8,
}

/// How the bytes of one character stand.
enum Character {
    Complete,
    Incomplete,
    Bad,
}

impl Validator {
    /// True when no character is cut at this point; a message must end so.
    #[inline]
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.carried == 0
    }

    /// Judges the next piece.
    ///
    /// # Errors
    /// [`NotUtf8`] as soon as a byte cannot belong to valid text. The validator is of no use afterwards.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        if self.carried == 0 && bytes.is_ascii() {
            return Ok(());
        }
        self.feed_any(bytes)
    }

    /// Does what [`Validator::feed`] does for a piece that is known to be ASCII.
    #[inline]
    fn feed_ascii(&self, bytes: &[u8]) -> Result<(), NotUtf8> {
        if self.carried == 0 || bytes.is_empty() { Ok(()) } else { Err(NotUtf8) }
    }

    /// Does what [`Validator::feed`] does for a piece that is probably not ASCII.
    fn feed_any(&mut self, mut bytes: &[u8]) -> Result<(), NotUtf8> {
        while self.carried > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            let mut character = [0; 4];
            let carried = usize::from(self.carried);
            character[..carried].copy_from_slice(&self.carry[..carried]);
            character[carried] = byte;
            match judge(&character[..=carried]) {
                Character::Complete => self.carried = 0,
                Character::Incomplete => {
                    self.carry[carried] = byte;
                    self.carried += 1;
                }
                Character::Bad => return Err(NotUtf8),
            }
        }
        let (whole, cut) = bytes.split_at(last_boundary(bytes));
        // `basic` does not say where the bad byte stands, and nobody asks.
        #[cfg(not(all(miri, target_feature = "avx2")))]
        simdutf8::basic::from_utf8(whole).map_err(|_| NotUtf8)?;
        // With AVX2 its version 0.1.5 reckons an address beyond the bytes, to be fetched in advance (mended by its pull
        // request 120). Nothing is read there, but Miri goes no further.
        #[cfg(all(miri, target_feature = "avx2"))]
        std::str::from_utf8(whole).map_err(|_| NotUtf8)?;
        self.begin(cut)
    }

    /// Unmasks the next piece in place and judges it, in the fastest way there is.
    ///
    /// # Errors
    /// As [`Validator::feed`].
    #[inline]
    pub fn feed_masked(&mut self, bytes: &mut [u8], mask: &mut Mask) -> Result<(), NotUtf8> {
        if bytes.len() >= BYTES_MIN {
            return self.feed_masked_by(Kernel::best(), bytes, mask);
        }
        self.feed_masked_block(bytes, mask)
    }

    /// Unmasks a whole text in place, and tells whether it is valid.
    #[inline(always)] // Most texts are short and ASCII: the work is less than a call.
    pub(crate) fn judge_masked(text: &mut [u8], mask: &mut Mask) -> bool {
        if text.len() < BYTES_MIN {
            mask.apply_is_ascii(text) || Self::judge(text)
        } else {
            Self::judge_long(text, mask)
        }
    }

    #[inline(never)]
    fn judge(text: &[u8]) -> bool {
        let mut validator = Self::default();
        validator.feed_any(text).is_ok() && validator.is_complete()
    }

    #[inline(never)]
    fn judge_long(text: &mut [u8], mask: &mut Mask) -> bool {
        let mut validator = Self::default();
        validator.feed_masked(text, mask).is_ok() && validator.is_complete()
    }

    /// Does what [`Validator::feed_masked`] does, by that kernel, or by two looks at every block. Of use for comparing
    /// them; all say the same.
    ///
    /// # Errors
    /// As [`Validator::feed`].
    pub fn feed_masked_by(&mut self, kernel: Option<Kernel>, bytes: &mut [u8], mask: &mut Mask) -> Result<(), NotUtf8> {
        // A character may have begun before a piece that is shorter than one.
        let Some(kernel) = kernel.filter(|_| bytes.len() >= 3) else {
            return bytes.chunks_mut(BLOCK_BYTES).try_for_each(|block| self.feed_masked_block(block, mask));
        };
        let mut before = [0; 4];
        let carried = usize::from(self.carried);
        before[4 - carried..].copy_from_slice(&self.carry[..carried]);
        if !mask.apply_and_judge(bytes, before, kernel) {
            return Err(NotUtf8);
        }
        self.begin(&bytes[last_boundary(bytes)..])
    }

    /// By two looks at the bytes, the second only where the first has seen more than ASCII.
    #[inline]
    fn feed_masked_block(&mut self, block: &mut [u8], mask: &mut Mask) -> Result<(), NotUtf8> {
        match mask.apply_is_ascii(block) {
            true => self.feed_ascii(block),
            false => self.feed_any(block),
        }
    }

    /// Keeps the beginning of a character, if there is one.
    fn begin(&mut self, cut: &[u8]) -> Result<(), NotUtf8> {
        self.carried = 0;
        if !cut.is_empty() {
            match judge(cut) {
                Character::Incomplete => {
                    self.carry[..cut.len()].copy_from_slice(cut);
                    self.carried = cut.len() as u8;
                }
                Character::Complete | Character::Bad => return Err(NotUtf8),
            }
        }
        Ok(())
    }
}

/// Judges one character or the beginning of one, by the table of RFC 3629 section 4. `bytes` holds one to four.
fn judge(bytes: &[u8]) -> Character {
    let (needed, second) = match bytes[0] {
        0x00..=0x7f => (1, 0x80..=0xbf),
        0xc2..=0xdf => (2, 0x80..=0xbf),
        0xe0 => (3, 0xa0..=0xbf),
        0xe1..=0xec | 0xee..=0xef => (3, 0x80..=0xbf),
        0xed => (3, 0x80..=0x9f),
        0xf0 => (4, 0x90..=0xbf),
        0xf1..=0xf3 => (4, 0x80..=0xbf),
        0xf4 => (4, 0x80..=0x8f),
        _ => return Character::Bad,
    };
    let tail = bytes.get(2..).unwrap_or_default();
    if bytes.get(1).is_some_and(|byte| !second.contains(byte)) || tail.iter().any(|byte| byte & 0xc0 != 0x80) {
        return Character::Bad;
    }
    match bytes.len().cmp(&needed) {
        std::cmp::Ordering::Less => Character::Incomplete,
        std::cmp::Ordering::Equal => Character::Complete,
        std::cmp::Ordering::Greater => Character::Bad,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{NotUtf8, Validator};
    use crate::scan::tests::places_until;
    use crate::scan::utf8::Kernel;
    use crate::websocket::mask::Mask;

    /// What std says of `bytes`: bad, or whether a character is cut at the end.
    fn oracle(bytes: &[u8]) -> Result<bool, NotUtf8> {
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(true),
            Err(error) if error.error_len().is_none() => Ok(false),
            Err(_) => Err(NotUtf8),
        }
    }

    fn ours(pieces: &[&[u8]]) -> Result<bool, NotUtf8> {
        let mut validator = Validator::default();
        for piece in pieces {
            validator.feed(piece)?;
        }
        Ok(validator.is_complete())
    }

    /// W-10: all sequences of one to three bytes, in every cut, fail exactly where std says that no way leads on.
    #[test]
    fn w_10_every_prefix_of_three_bytes() {
        for start in (0..1_u32 << 16).step_by(if cfg!(miri) { 521 } else { 1 }) {
            let [first, second] = (start as u16).to_be_bytes();
            let expected = oracle(&[first, second]);
            assert_eq!(ours(&[&[first, second]]), expected, "{first:x} {second:x}");
            assert_eq!(ours(&[&[first], &[second]]), expected, "{first:x} {second:x}");
            // What is bad stays bad, and of what begins with ASCII a few stand for all.
            if expected.is_err() || first < 0x80 && first % 32 != 0 {
                continue;
            }
            for third in (0..=255).step_by(if cfg!(miri) { 51 } else { 1 }) {
                let bytes = [first, second, third];
                let expected = oracle(&bytes);
                assert_eq!(ours(&[&bytes]), expected, "{bytes:x?}");
                assert_eq!(ours(&[&bytes[..1], &bytes[1..]]), expected, "{bytes:x?}");
                assert_eq!(ours(&[&bytes[..2], &bytes[2..]]), expected, "{bytes:x?}");
                assert_eq!(ours(&[&bytes[..1], &bytes[1..2], &bytes[2..]]), expected, "{bytes:x?}");
            }
        }
    }

    /// W-10: four bytes, all lead bytes and the border values of the others.
    #[test]
    fn w_10_borders_of_four_bytes() {
        let borders = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff];
        let step = if cfg!(miri) { 9 } else { 1 };
        for lead in (0xc0..=0xff_u8).step_by(step) {
            for second in borders.into_iter().step_by(step) {
                for third in borders.into_iter().step_by(step) {
                    for fourth in borders.into_iter().step_by(step) {
                        let bytes = [lead, second, third, fourth];
                        for cut in 0..=4 {
                            assert_eq!(ours(&[&bytes[..cut], &bytes[cut..]]), oracle(&bytes), "{bytes:x?} {cut}");
                        }
                    }
                }
            }
        }
    }

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// All ways that there are here, and the one that needs no kernel.
    fn ways() -> impl Iterator<Item = Option<Kernel>> {
        Kernel::all().map(Some).chain([None])
    }

    /// Masks `bytes`, cuts them at `cuts`, and compares what is said of each piece with what std says of all until there.
    fn masked_as_told(bytes: &[u8], cuts: &[usize]) {
        for way in ways() {
            let mut masked = bytes.to_vec();
            Mask::new(KEY).apply(&mut masked);
            let (mut validator, mut mask) = (Validator::default(), Mask::new(KEY));
            let mut start = 0;
            for &end in cuts.iter().chain([&bytes.len()]) {
                let said = validator.feed_masked_by(way, &mut masked[start..end], &mut mask);
                let expected = oracle(&bytes[..end]);
                let said = said.map(|()| validator.is_complete());
                assert_eq!(said, expected, "{way:?}, until {end}, cuts {cuts:?}: {bytes:x?}");
                if expected.is_err() {
                    break;
                }
                assert_eq!(masked[start..end], bytes[start..end], "{way:?} unmasked");
                start = end;
            }
        }
    }

    fn text(length: usize) -> Vec<u8> {
        "aä€🦀z, Übergröße \u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}, and some ASCII between them..........."
            .bytes()
            .cycle()
            .take(length)
            .collect()
    }

    /// W-10: every cut, and a wrong byte at every place: beginnings, ends and borders of all vectors.
    #[test]
    fn w_10_masked_every_cut_and_every_place() {
        let whole = text(400);
        let step = if cfg!(miri) { 3 } else { 1 };
        for cut in places_until(whole.len()).into_iter().step_by(step) {
            masked_as_told(&whole, &[cut]);
            masked_as_told(&whole[..cut], &[]);
            masked_as_told(&[b"a".repeat(cut), whole.clone()].concat(), &[]);
        }
        for place in places_until(whole.len() - 1).into_iter().step_by(step) {
            let wrongs = [0x00, 0x41, 0x80, 0xbf, 0xc0, 0xc3, 0xe2, 0xed, 0xf0, 0xf4, 0xff];
            for wrong in wrongs.into_iter().step_by(if cfg!(miri) { 5 } else { 1 }) {
                let mut bytes = whole.clone();
                bytes[place] = wrong;
                masked_as_told(&bytes, &[]);
                masked_as_told(&bytes, &[150]);
            }
        }
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "to make up the texts alone takes minutes")]
        fn w_10_masked_as_std_says(
            parts in prop::collection::vec(prop_oneof![
                20 => any::<char>().prop_map(String::from).prop_map(String::into_bytes),
                5 => "[a-z]{1,90}".prop_map(String::into_bytes),
                1 => prop::collection::vec(any::<u8>(), 1..3),
            ], 1..200),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let bytes = parts.concat();
            let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            masked_as_told(&bytes, &cuts);
        }
    }
}
