//! Distributions of times in fixed memory: percentiles, and a picture in powers of two.

/// Parts that each power of two is divided into; percentiles are right to one part, some 6 %.
const PARTS: usize = 16;
const PART_BITS: u32 = PARTS.trailing_zeros();

/// How often values occurred; values are times in ns or anything else that is not negative.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: Vec<u32>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += u128::from(value);
    }

    /// Adds all values of another one.
    pub fn merge(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        u64::try_from(self.sum).unwrap_or(u64::MAX)
    }

    /// The smallest, 0 without values.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The largest, 0 without values.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Their mean, 0 without values.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(u128::from(self.count)).map_or(0, |mean| mean as u64)
    }

    /// The value below or at which `percent` of them are, never above the largest.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (self.count as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return upper(bucket).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// Counts by powers of two, as (low, high, count) with `low <= value < high`, without the empty ones at both ends.
    pub fn powers(&self) -> Vec<(u64, u64, u64)> {
        let mut powers: Vec<(u64, u64, u64)> = Vec::new();
        for (bucket, count) in self.counts.iter().enumerate() {
            let (low, high) = power(bucket);
            match powers.last_mut() {
                Some(last) if last.0 == low => last.2 += u64::from(*count),
                _ => powers.push((low, high, u64::from(*count))),
            }
        }
        let first = powers.iter().position(|power| power.2 > 0).unwrap_or(powers.len());
        powers.drain(..first);
        powers
    }
}

fn bucket(value: u64) -> usize {
    if value < PARTS as u64 {
        return value as usize;
    }
    let log = 63 - value.leading_zeros();
    let part = (value >> (log - PART_BITS)) as usize & (PARTS - 1);
    (log - PART_BITS + 1) as usize * PARTS + part
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < PARTS {
        return bucket as u64;
    }
    let (log, part) = ((bucket / PARTS - 1) as u32, (bucket % PARTS) as u64);
    let low = (PARTS as u64 + part) << log;
    low + ((1u64 << log) - 1)
}

/// The power of two that a bucket belongs to.
fn power(bucket: usize) -> (u64, u64) {
    let value = upper(bucket);
    if value == 0 {
        return (0, 1);
    }
    let low = 1u64 << (63 - value.leading_zeros());
    (low, low.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.add(value * 1000));
        assert_eq!((histogram.count(), histogram.min(), histogram.max()), (1000, 1000, 1_000_000));
        assert_eq!(histogram.mean(), 500_500);
        for (percent, exact) in [(50.0, 500_000.0), (90.0, 900_000.0), (99.0, 990_000.0)] {
            let found = histogram.percentile(percent) as f64;
            assert!((found / exact - 1.0).abs() < 0.07, "{percent}: {found}");
        }
        assert_eq!(histogram.percentile(100.0), 1_000_000);
        assert_eq!(Histogram::default().percentile(99.0), 0);
    }

    proptest! {
        #[test]
        fn every_value_is_in_its_bucket(value in 0u64..) {
            let found = bucket(value);
            prop_assert!(upper(found) >= value);
            prop_assert!(found == 0 || upper(found - 1) < value);
            let (low, high) = power(found);
            prop_assert!(low <= value && (value < high || high == u64::MAX));
        }

        #[test]
        fn merging_is_adding(left in proptest::collection::vec(0u64..1 << 40, 0..50), right in proptest::collection::vec(0u64..1 << 40, 0..50)) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.add(*value));
                histogram
            };
            let mut merged = of(&left);
            merged.merge(&of(&right));
            let both = of(&[left, right].concat());
            prop_assert_eq!((merged.count(), merged.min(), merged.max(), merged.sum()), (both.count(), both.min(), both.max(), both.sum()));
            prop_assert_eq!(merged.powers(), both.powers());
        }
    }
}
