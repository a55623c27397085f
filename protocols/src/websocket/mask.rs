//! The masking key of one frame and how far it has turned, RFC 6455 section 5.3.

use crate::scan::mask;
use crate::scan::utf8::Kernel;

/// A masking key whose first byte belongs to the next byte of the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mask([u8; 4]);

impl Mask {
    /// The key as it stands in the frame header.
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Masks or unmasks the next bytes of the payload in place.
    #[inline]
    pub fn apply(&mut self, bytes: &mut [u8]) {
        mask::xor(bytes, self.0);
        self.turn(bytes.len());
    }

    /// Does what [`Mask::apply`] does, and tells whether all bytes of the result are ASCII.
    #[inline(always)]
    #[must_use]
    pub fn apply_is_ascii(&mut self, bytes: &mut [u8]) -> bool {
        let ascii = mask::xor_is_ascii(bytes, self.0);
        self.turn(bytes.len());
        ascii
    }

    /// Unmasks, and judges the result as text: see [`Kernel::unmask`].
    #[inline]
    pub(crate) fn apply_and_judge(&mut self, bytes: &mut [u8], before: [u8; 4], kernel: Kernel) -> bool {
        let good = kernel.unmask(bytes, self.0, before);
        self.turn(bytes.len());
        good
    }

    #[inline]
    fn turn(&mut self, bytes: usize) {
        self.0 = u32::from_le_bytes(self.0).rotate_right(8 * (bytes as u32 & 3)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;
    use crate::scan::tests::places_until;

    #[test]
    fn pieces_make_the_whole() {
        let whole: Vec<u8> = (0..200).collect();
        let mut expected = whole.clone();
        Mask::new([9, 8, 7, 6]).apply(&mut expected);
        for cut in places_until(whole.len()) {
            let mut bytes = whole.clone();
            let mut mask = Mask::new([9, 8, 7, 6]);
            mask.apply(&mut bytes[..cut]);
            let _ = mask.apply_is_ascii(&mut bytes[cut..]);
            assert_eq!(bytes, expected, "cut {cut}");
        }
    }
}
