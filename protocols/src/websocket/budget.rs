//! A bucket of tokens against floods.

/// What a peer may still ask of us without a purpose. It fills with time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Thousandths of tokens that are spent: an untouched bucket needs no knowledge of its size.
    spent_milli: u64,
    since_ms: u64,
}

impl Budget {
    pub(super) const fn new(now_ms: u64) -> Self {
        Self { spent_milli: 0, since_ms: now_ms }
    }

    /// Takes `tokens`; false if there are not so many.
    pub(super) fn charge(&mut self, tokens: u32, tokens_max: u32, tokens_per_s: u32, now_ms: u64) -> bool {
        if tokens == 0 {
            return true;
        }
        // A token per second is a thousandth per millisecond.
        let returned = now_ms.saturating_sub(self.since_ms).saturating_mul(u64::from(tokens_per_s));
        self.spent_milli = self.spent_milli.saturating_sub(returned) + u64::from(tokens) * 1_000;
        self.since_ms = now_ms;
        self.spent_milli <= u64::from(tokens_max) * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn at_the_limit_and_one_more() {
        let mut budget = Budget::new(0);
        assert!((0..10).all(|_| budget.charge(1, 10, 2, 0)));
        let mut spent = budget;
        assert!(!spent.charge(1, 10, 2, 499));
        assert!(budget.charge(1, 10, 2, 500));
        assert!(!budget.charge(1, 10, 2, 500));
    }
}
