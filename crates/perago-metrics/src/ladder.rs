//! Bucket bounds: which ladder a histogram has, and how a value finds its bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Error;

/// Seconds from 5 ms to 6 h, for names ending in `_seconds`.
const SECONDS: [f64; 20] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
    3600.0, 10_800.0, 21_600.0,
];

/// Powers of four from 1 KiB to 1 TiB, for names ending in `_bytes`.
const BYTES: [f64; 16] = [
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    17_179_869_184.0,
    68_719_476_736.0,
    274_877_906_944.0,
    1_099_511_627_776.0,
];

/// 0.005 to 1,000,000 in steps of 1-2.5-5, for timers, counts and everything else.
const GENERAL: [f64; 26] = [
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    25_000.0,
    50_000.0,
    100_000.0,
    250_000.0,
    500_000.0,
    1_000_000.0,
];

/// The largest number of bounds that an override may have.
pub const MAX_BOUNDS: usize = 200;

const EXPONENTS: usize = 2048;

/// The upper bounds of a histogram, ascending; the last bucket, above every bound, is implied.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    bounds: Box<[f64]>,
    /// For each binary exponent, the first bound that a value of it can fall under: it leaves one or two
    /// comparisons where a binary search takes five cache-dependent steps.
    first_by_exponent: [u8; EXPONENTS],
}

impl Ladder {
    /// A ladder of `bounds`, which must be finite, ascending, and between 1 and [`MAX_BOUNDS`] in number.
    pub fn new(bounds: &[f64]) -> Result<Self, Error> {
        let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if bounds.is_empty()
            || bounds.len() > MAX_BOUNDS
            || !ascending
            || bounds.iter().any(|bound| !bound.is_finite())
        {
            return Err(Error::Buckets { bounds: bounds.to_vec() });
        }
        let mut first_by_exponent = [0_u8; EXPONENTS];
        for (exponent, first) in first_by_exponent.iter_mut().enumerate() {
            let smallest = f64::from_bits((exponent as u64) << 52);
            *first = bounds.partition_point(|bound| *bound < smallest) as u8;
        }
        Ok(Self { bounds: bounds.into(), first_by_exponent })
    }

    /// The upper bounds, ascending, without the implied last one.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// The number of buckets: one more than the bounds.
    pub fn buckets(&self) -> usize {
        self.bounds.len() + 1
    }

    /// The bucket of `value`, which must not be negative or NaN: the first whose bound is not below it.
    #[inline]
    pub fn bucket(&self, value: f64) -> usize {
        let exponent = (value.to_bits() >> 52) as usize & (EXPONENTS - 1);
        let mut index = usize::from(self.first_by_exponent[exponent]);
        while index < self.bounds.len() && self.bounds[index] < value {
            index += 1;
        }
        index
    }
}

/// Chooses a ladder from the metric's name and the task's overrides alone, never from the first caller.
#[derive(Debug, Clone)]
pub struct LadderRules {
    seconds: Arc<Ladder>,
    bytes: Arc<Ladder>,
    general: Arc<Ladder>,
    overrides: BTreeMap<String, Arc<Ladder>>,
}

impl LadderRules {
    /// Rules with `overrides` by the author's metric name (without `app.`) or by the exported name.
    pub fn new<'a>(overrides: impl IntoIterator<Item = (&'a str, &'a [f64])>) -> Result<Self, Error> {
        let overrides = overrides
            .into_iter()
            .map(|(name, bounds)| Ok((name.to_owned(), Arc::new(Ladder::new(bounds)?))))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            seconds: Arc::new(Ladder::new(&SECONDS)?),
            bytes: Arc::new(Ladder::new(&BYTES)?),
            general: Arc::new(Ladder::new(&GENERAL)?),
            overrides,
        })
    }

    /// The ladder of the metric with this exported name (`app.…`, `runtime.…`).
    pub fn ladder(&self, exported_name: &str) -> &Arc<Ladder> {
        let written = exported_name.strip_prefix(crate::rules::APPLICATION_PREFIX).unwrap_or(exported_name);
        if let Some(ladder) = self.overrides.get(exported_name).or_else(|| self.overrides.get(written)) {
            ladder
        } else if exported_name.ends_with("_seconds") {
            &self.seconds
        } else if exported_name.ends_with("_bytes") {
            &self.bytes
        } else {
            &self.general
        }
    }
}

impl Default for LadderRules {
    fn default() -> Self {
        Self::new([]).expect("the built-in ladders are finite and ascending")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_name_alone_chooses_the_ladder() {
        let rules = LadderRules::new([("model_call", &[1.0, 2.0][..])]).unwrap();
        assert_eq!(rules.ladder("app.model_call").bounds(), [1.0, 2.0]);
        assert_eq!(rules.ladder("runtime.task_attempt_duration_seconds").bounds(), SECONDS);
        assert_eq!(rules.ladder("runtime.workspace_io_bytes").bounds(), BYTES);
        assert_eq!(rules.ladder("app.checked_items").bounds(), GENERAL);
    }

    #[test]
    fn unusable_bounds_are_refused() {
        for bounds in [&[][..], &[1.0, 1.0], &[2.0, 1.0], &[f64::NAN], &[1.0, f64::INFINITY]] {
            assert!(Ladder::new(bounds).is_err(), "{bounds:?}");
        }
    }

    proptest! {
        #[test]
        fn a_value_falls_into_the_first_bucket_not_below_it(
            value in prop_oneof![0.0..2e6_f64, Just(0.0), proptest::sample::select(GENERAL.to_vec()), 0.0..1e-300_f64,
                Just(f64::MAX)],
        ) {
            for bounds in [&SECONDS[..], &BYTES, &GENERAL] {
                let ladder = Ladder::new(bounds).unwrap();
                prop_assert_eq!(ladder.bucket(value), bounds.partition_point(|bound| *bound < value));
            }
        }
    }
}
