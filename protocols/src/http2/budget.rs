//! One token bucket for every kind of abuse on a connection. It is never switched off, also not after GOAWAY.

/// Fifths of a token, so that the cheapest cost is a whole number.
const FIFTHS: i64 = 5;

/// What is charged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cost {
    /// A reset, sent or received, before the stream ended (F-01, F-02, F-12).
    Reset,
    /// A stream refused because of our limits (F-03).
    Refused,
    /// DATA that carries nothing and ends nothing (F-17).
    EmptyData,
    /// PING, SETTINGS, GOAWAY, PRIORITY, PRIORITY_UPDATE, a frame of unknown type, an unwanted frame on a closed stream.
    Frame,
    /// A DATA frame of a few bytes because the peer keeps the window tiny (F-15).
    TinyWindow,
    /// WINDOW_UPDATE beyond the allowance.
    WindowUpdate,
}

impl Cost {
    /// In fifths of a token.
    const fn fifths(self) -> i64 {
        match self {
            Self::Reset | Self::Refused => 50,
            Self::EmptyData => 25,
            Self::Frame | Self::TinyWindow => 5,
            Self::WindowUpdate => 1,
        }
    }
}

/// The bucket.
///
/// WINDOW_UPDATE frames have an allowance of 5 + 2 × (streams + 10 × DATA frames sent), so that a fast honest download
/// is never charged for them. For every stream that we reset one frame is free that ends it from the other side: trailers,
/// an empty END_STREAM, another RST_STREAM. An honest client may have that under way, for a hundred uploads at once.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    fifths: i64,
    fifths_max: i64,
    tokens_per_s: u32,
    refilled_ms: u64,
    updates_allowed: u32,
    late_allowed: u32,
}

impl Budget {
    /// A full bucket.
    #[must_use]
    pub const fn new(tokens_max: u32, tokens_per_s: u32, now_ms: u64) -> Self {
        let fifths_max = tokens_max as i64 * FIFTHS;
        Self { fifths: fifths_max, fifths_max, tokens_per_s, refilled_ms: now_ms, updates_allowed: 5, late_allowed: 0 }
    }

    /// Takes the cost; false when the bucket is empty.
    #[must_use]
    pub fn charge(&mut self, cost: Cost, now_ms: u64) -> bool {
        let elapsed = now_ms.saturating_sub(self.refilled_ms);
        if elapsed >= 100 {
            let per_s = i64::from(self.tokens_per_s) * FIFTHS;
            let earned = (elapsed as i64).saturating_mul(per_s);
            self.fifths = self.fifths.saturating_add(earned / 1000).min(self.fifths_max);
            // Time that has not earned a whole fifth counts on.
            self.refilled_ms = now_ms - (earned % 1000).checked_div(per_s).map_or(0, |rest_ms| rest_ms as u64);
        }
        self.fifths -= cost.fifths();
        self.fifths >= 0
    }

    /// Takes the cost of a WINDOW_UPDATE, or a piece of the allowance.
    #[must_use]
    #[inline]
    pub fn charge_window_update(&mut self, now_ms: u64) -> bool {
        if self.updates_allowed > 0 {
            self.updates_allowed -= 1;
            return true;
        }
        self.charge(Cost::WindowUpdate, now_ms)
    }

    /// Takes the cost of a frame that comes behind our RST_STREAM, or a piece of the allowance.
    #[must_use]
    pub fn charge_late(&mut self, now_ms: u64) -> bool {
        if self.late_allowed > 0 {
            self.late_allowed -= 1;
            return true;
        }
        self.charge(Cost::Frame, now_ms)
    }

    /// We have reset a stream.
    pub const fn stream_reset(&mut self) {
        self.late_allowed = self.late_allowed.saturating_add(1);
    }

    /// A stream was opened.
    #[inline]
    pub const fn stream_opened(&mut self) {
        self.updates_allowed = self.updates_allowed.saturating_add(2);
    }

    /// A DATA frame was sent.
    #[inline]
    pub const fn data_sent(&mut self) {
        self.updates_allowed = self.updates_allowed.saturating_add(20);
    }

    /// Whole tokens left, for metrics.
    #[must_use]
    pub const fn tokens(&self) -> i64 {
        self.fifths / FIFTHS
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Cost};

    #[test]
    fn a_burst_of_100_resets_then_3_in_a_second() {
        let mut budget = Budget::new(1000, 33, 0);
        assert!((0..100).all(|_| budget.charge(Cost::Reset, 0)));
        assert!(!budget.charge(Cost::Refused, 0));
        let mut budget = Budget::new(1000, 33, 0);
        assert!((0..100).all(|_| budget.charge(Cost::Reset, 0)));
        assert!((0..3).all(|_| budget.charge(Cost::Reset, 1000)));
        assert!(!budget.charge(Cost::Reset, 1000));
    }

    #[test]
    fn a_slow_refill_is_one_however_often_it_is_asked_for() {
        for (step_ms, tokens_per_s) in [(1_000, 1), (100, 1), (130, 3), (100, 33)] {
            let mut budget = Budget::new(1_000_000, tokens_per_s, 0);
            let charges = 60_000 / step_ms;
            assert!((0..=charges).all(|number| budget.charge(Cost::Reset, number * step_ms)));
            let earned = budget.tokens() - (1_000_000 - 10 * (charges as i64 + 1));
            let expected = 60 * i64::from(tokens_per_s);
            assert!((earned - expected).abs() <= 2 + expected / 100, "{step_ms} ms: {earned}");
        }
        assert!(Budget::new(1, 0, 0).charge(Cost::Frame, u64::MAX));
    }

    #[test]
    fn window_updates_of_a_download_are_free() {
        let mut budget = Budget::new(1000, 33, 0);
        budget.stream_opened();
        for _ in 0..if cfg!(miri) { 100 } else { 10_000 } {
            budget.data_sent();
            assert!(budget.charge_window_update(0));
        }
        assert_eq!(budget.tokens(), 1000);
    }
}
