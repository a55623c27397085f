//! UTF-8 judged while it is unmasked, in one pass over the bytes.
//!
//! `nibbles` looks up halves of bytes in tables of 16, with AVX2; `avx512` has tables of 64. Where none is to be had the
//! caller unmasks, and `simdutf8` judges behind it: with vectors of 16 bytes that is faster than one pass.
//!
//! All judge the same: whether some text begins with the bytes. A character that the end cuts is left to the caller, for
//! it is him who keeps it until the next piece.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod nibbles;

/// Below this many bytes two looks at them are as good.
pub(crate) const BYTES_MIN: usize = 128;

/// One way to unmask and judge in one pass, which this processor has the instructions for.
///
/// ```
/// use ringgate_protocols::scan::utf8::Kernel;
/// for kernel in Kernel::all() {
///     let mut bytes = [0x37 ^ b'a', 0xfa ^ 0xc3, 0x21 ^ 0xa4, 0x3d ^ b'z'].repeat(20);
///     assert!(kernel.unmask(&mut bytes, [0x37, 0xfa, 0x21, 0x3d], [0; 4]), "{}", kernel.name());
///     assert_eq!(bytes, "aäz".repeat(20).as_bytes());
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel(Instructions);

/// What the kernel is compiled for. Made nowhere but where the processor has just been asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Kernel {
    /// The fastest one, if there is any.
    #[inline]
    #[must_use]
    pub fn best() -> Option<Self> {
        Self::all().next()
    }

    /// All that can run here, the fastest first.
    #[inline]
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let all = [
            (Instructions::Avx512, is_avx512_here as fn() -> bool),
            (Instructions::Avx2, || std::arch::is_x86_feature_detected!("avx2")),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let all: [(Instructions, fn() -> bool); 0] = [];
        all.into_iter().filter(|(_, is_here)| is_here()).map(|(instructions, _)| Self(instructions))
    }

    /// The name of its instruction set.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2",
        }
    }

    /// XORs `bytes` with `key`, whose first byte belongs to the first of them, and tells whether `before` and the result
    /// are UTF-8. `before` holds the bytes of a character that has begun, behind zeros. Of a character that the end cuts
    /// only so much is said: that its bytes are not wrong beside one another. Whether its first byte begins any character
    /// is for the caller to see.
    #[inline]
    #[must_use]
    pub fn unmask(self, bytes: &mut [u8], key: [u8; 4], before: [u8; 4]) -> bool {
        match self.0 {
            // SAFETY: such a value is only made where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { avx512::unmask(bytes, key, before) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { nibbles::unmask(bytes, key, before) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn is_avx512_here() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vbmi")
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

#[cfg(test)]
mod tests {
    use super::Kernel;
    use crate::scan::mask;
    use crate::scan::tests::places_until;

    /// Longer than a step and a block of every kernel.
    const BYTES: usize = 350;
    /// So many that every kernel looks where lines of the cache begin.
    const BYTES_ALIGNED: usize = 800;

    /// What begins `offset` bytes behind the beginning of a line of the cache, which is where kernels may make a step.
    fn placed(buffer: &mut [u8], offset: usize) -> &mut [u8] {
        let line = buffer.as_ptr().align_offset(64);
        &mut buffer[line + offset..]
    }

    /// Writes each pair at `place` among ASCII, and some behind it, and compares what the kernels say.
    fn pairs_as_told(offset: usize, place: usize, pairs: impl Iterator<Item = [u8; 2]> + Clone) {
        let mut buffer = vec![b'a'; BYTES_ALIGNED + 127];
        let bytes = &mut placed(&mut buffer, offset)[..if offset == 0 { BYTES } else { BYTES_ALIGNED }];
        for kernel in Kernel::all() {
            for pair in pairs.clone() {
                for behind in [*b"aa", *b"\x80a", *b"\x80\x80"] {
                    bytes[place..place + 2].copy_from_slice(&pair);
                    bytes[place + 2..place + 4].copy_from_slice(&behind);
                    // The key is none, and the text does not change.
                    let said = kernel.unmask(bytes, [0; 4], [0; 4]);
                    let expected = std::str::from_utf8(&bytes[place..place + 5]).is_ok();
                    assert_eq!(said, expected, "{kernel:?}, {offset} + {place}: {pair:x?} {behind:x?}");
                }
            }
            bytes[place..place + 4].fill(b'a');
        }
    }

    /// W-10: all pairs of bytes, within a step and between two.
    #[test]
    fn w_10_all_pairs() {
        for place in [15, 255] {
            pairs_as_told(0, place, (0..=u16::MAX).step_by(if cfg!(miri) { 9_001 } else { 1 }).map(u16::to_be_bytes));
        }
    }

    /// W-10: the pairs in which a fault begins or ends, in all places: borders of lanes, blocks and steps, and behind all
    /// beginnings within a line of the cache.
    #[test]
    fn w_10_border_pairs_in_all_places() {
        let firsts = [0x41, 0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xfe, 0xff];
        let seconds = [0x41, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc2, 0xff];
        let pairs = firsts.iter().flat_map(|&first| seconds.iter().map(move |&second| [first, second]));
        let pairs = pairs.step_by(if cfg!(miri) { 41 } else { 1 });
        for place in places_until(BYTES - 5).into_iter().step_by(if cfg!(miri) { 2 } else { 1 }) {
            pairs_as_told(0, place, pairs.clone());
        }
        for offset in (1..64).step_by(if cfg!(miri) { 63 } else { 1 }) {
            pairs_as_told(offset, 63 - offset, pairs.clone());
            pairs_as_told(offset, 64 - offset, pairs.clone());
        }
    }

    /// W-10: dense text with a wrong byte or none, of all lengths until four steps, at all places in a line of the cache.
    #[test]
    fn w_10_all_lengths_and_alignments() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        let mut whole = String::new();
        while whole.len() < if cfg!(miri) { 2_500 } else { 8_000 } {
            // As often of one byte as of two, three and four.
            let most = [0x80, 0x800, 0x1_0000, 0x11_0000][random(4)];
            whole.extend(char::from_u32(random(most) as u32));
        }
        let boundaries: Vec<usize> = whole.char_indices().map(|(place, _)| place).collect();
        let mut buffer = vec![0; 1_024 + 127];
        for length in (1..=1_024).step_by(if cfg!(miri) { 163 } else { 1 }) {
            // Each place comes up with each length, or with one that leaves the same rest.
            for offset in (length / 64 % 4..64).step_by(if cfg!(miri) { 36 } else { 4 }) {
                let start = boundaries[random(boundaries.len() / 2)];
                let mut text = whole.as_bytes()[start..start + length].to_vec();
                let cut = std::str::from_utf8(&text).map_or_else(|error| error.valid_up_to(), str::len);
                text[cut..].fill(b'.');
                if random(2) == 0 {
                    // Not the last: to say whether a character is cut is for others.
                    text[random(length.max(2) - 1)] = random(256) as u8;
                    text[length - 1] = b'.';
                }
                let expected = std::str::from_utf8(&text).is_ok();
                let key = (random(1 << 30) as u32).to_be_bytes();
                let mut masked = text.clone();
                mask::xor(&mut masked, key);
                for kernel in Kernel::all() {
                    let bytes = &mut placed(&mut buffer, offset)[..length];
                    bytes.copy_from_slice(&masked);
                    let said = kernel.unmask(bytes, key, [0; 4]);
                    assert_eq!(said, expected, "{kernel:?}, {length} bytes from {offset} on: {text:x?}");
                    assert_eq!(bytes, text, "{kernel:?}, {length} bytes from {offset} on");
                }
            }
        }
    }
}
