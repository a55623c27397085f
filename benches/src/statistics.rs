//! Median, minimum and spread of a few rounds.

/// What several rounds of one measurement say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The middle value (mean of the two middle ones for an even number of rounds).
    pub median: f64,
    /// The smallest value: what the machine can do when nothing disturbs it.
    pub minimum: f64,
    /// A quarter of the rounds lie below it: less shaken than the median where the machine has hiccups of its own.
    pub lower_quartile: f64,
    /// The largest value.
    pub maximum: f64,
    /// Distance between the quartiles relative to the median: how far two honest rounds may differ.
    pub spread: f64,
}

impl Summary {
    /// Summarises the rounds; `None` when there is none.
    #[must_use]
    pub fn of(rounds: &[f64]) -> Option<Self> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (minimum, maximum) = (*sorted.first()?, *sorted.last()?);
        let median = quantile(&sorted, 0.5);
        let lower_quartile = quantile(&sorted, 0.25);
        let spread = (quantile(&sorted, 0.75) - lower_quartile) / median;
        Some(Self { median, minimum, lower_quartile, maximum, spread })
    }
}

/// Linear interpolation between the closest ranks of an ascending, non-empty slice.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn summary_of_five() {
        let summary = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        let expected = Summary { median: 3.0, minimum: 1.0, lower_quartile: 2.0, maximum: 5.0, spread: 2.0 / 3.0 };
        assert_eq!(summary, expected);
        assert_eq!(Summary::of(&[]), None);
    }
}
