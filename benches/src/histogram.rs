//! A histogram of latencies with a bounded relative error, in the manner of HdrHistogram: 64 linear steps per power
//! of two, so every value is known to within 1.6 % from one nanosecond to eighteen minutes.

const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
/// Values from 2^40 ns (18 minutes) on are counted in the last bucket.
const VALUE_BITS_MAX: u32 = 40;
const BUCKETS: usize = STEPS * (1 + (VALUE_BITS_MAX - STEP_BITS) as usize);

/// Counts of latencies in nanoseconds.
///
/// ```
/// use ringgate_benches::histogram::Histogram;
/// let mut histogram = Histogram::default();
/// (1..=1000).for_each(|microsecond| histogram.record(microsecond * 1000));
/// assert!((492_000..=508_000).contains(&histogram.quantile_ns(0.5)));
/// ```
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, largest_ns: 0 }
    }
}

/// The bucket of a value: the first `STEPS` are exact, then each power of two is cut into `STEPS` equal steps.
fn bucket(value_ns: u64) -> usize {
    if value_ns < STEPS as u64 {
        return value_ns as usize;
    }
    let shift = value_ns.ilog2() - STEP_BITS;
    let step = (value_ns >> shift) as usize - STEPS;
    (STEPS + shift as usize * STEPS + step).min(BUCKETS - 1)
}

/// The largest value that falls into the bucket.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (shift, step) = (bucket / STEPS - 1, bucket % STEPS);
    (((STEPS + step + 1) as u64) << shift) - 1
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, value_ns: u64) {
        self.counts[bucket(value_ns)] += 1;
        self.total += 1;
        self.largest_ns = self.largest_ns.max(value_ns);
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest latency, exactly; zero when there is none.
    #[must_use]
    pub fn largest_ns(&self) -> u64 {
        self.largest_ns
    }

    /// The latency that the given share (0.0 to 1.0) of all requests did not exceed; zero when there is none.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let rank = ((share * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(bucket).min(self.largest_ns);
            }
        }
        self.largest_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_the_promised_error() {
        for value in (0..1000).chain((10..40).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 12345])) {
            let (bucket, upper) = (bucket(value), upper_bound(bucket(value)));
            assert!(upper >= value && upper as f64 <= value as f64 * (1.0 + 1.0 / 64.0), "{value}: {upper}");
            assert!(bucket == 0 || upper_bound(bucket - 1) < value, "{value} belongs in an earlier bucket");
        }
    }

    #[test]
    fn quantiles_of_an_empty_and_a_single_histogram() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ns(0.5), 0);
        histogram.record(u64::MAX);
        histogram.record(7);
        assert_eq!((histogram.quantile_ns(0.5), histogram.largest_ns()), (7, u64::MAX));
    }
}
