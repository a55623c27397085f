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
