//! The dice: small, seeded, the same on every machine.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): one word of state, any seed
/// is a good one. Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`; zero for a bound of zero.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        // The bias of a 64-bit product's upper half is below 2^-32 for every bound used here.
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// A count from 1 to `most`.
    pub(super) const fn up_to(&mut self, most: usize) -> usize {
        1 + self.below(most as u64) as usize
    }

    /// True `per_mille` times in a thousand. Draws nothing for zero, so that a fault that is off changes no other.
    pub(super) const fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.below(1000) < per_mille as u64
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.below(place as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_and_bounds() {
        // The published first outputs for seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        assert!((0..10_000).all(|_| random.below(7) < 7));
        assert!((0..10_000).all(|_| (1..=3).contains(&random.up_to(3))));
        assert_eq!((random.below(0), random.chance(0), random.chance(1000)), (0, false, true));
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..50).collect();
        Random::new(1).shuffle(&mut items);
        assert!(items.iter().enumerate().any(|(place, item)| place as u32 != *item));
        items.sort_unstable();
        assert!(items.into_iter().eq(0..50));
    }
}
