//! Bucket bounds: which ladder a histogram has, and how a value finds its bucket.
//!
//! An exponential histogram is a ladder too: its bounds are powers of the fourth root of two, in a range that follows
//! from the name. So a sample of it is written, merged and carried over exactly as any other, and only the encoder
//! knows the difference.

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

/// The scale of exponential histograms: two to the power of it buckets for each doubling.
pub const EXPONENTIAL_SCALE: i32 = 2;
/// Doublings that an exponential histogram covers.
const OCTAVES: i32 = 40;
/// The bounds of an exponential histogram; the first is its zero threshold.
pub const EXPONENTIAL_BOUNDS: usize = (OCTAVES << EXPONENTIAL_SCALE) as usize + 1;
/// The binary exponent at which the range begins: below it, values are not told from zero.
const EXPONENTIAL_SECONDS: i32 = -17;
const EXPONENTIAL_BYTES: i32 = 4;
const EXPONENTIAL_GENERAL: i32 = -10;

const EXPONENTS: usize = 2048;

/// How histograms without an override are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// Fixed bounds by name.
    #[default]
    Explicit,
    /// Exponential buckets of base 2.
    Exponential,
}

impl Form {
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Explicit => 0,
            Self::Exponential => 1,
        }
    }

    pub(crate) fn from_code(code: u32) -> Self {
        if code == 1 { Self::Exponential } else { Self::Explicit }
    }
}

/// The upper bounds of a histogram, ascending; the last bucket, above every bound, is implied.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    bounds: Arc<[f64]>,
    /// For exponential buckets, the index of the first, as OTLP counts them.
    exponential_offset: Option<i32>,
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
        Ok(Self::of(bounds, None))
    }

    /// Exponential buckets from two to the power of `exponent` upwards.
    fn exponential(exponent: i32) -> Self {
        const ROOTS: [f64; 1 << EXPONENTIAL_SCALE] =
            [1.0, 1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429];
        let first = exponent << EXPONENTIAL_SCALE;
        let bounds: Vec<f64> = (first..)
            .take(EXPONENTIAL_BOUNDS)
            .map(|index| {
                let root = ROOTS[index.rem_euclid(1 << EXPONENTIAL_SCALE) as usize];
                root * 2_f64.powi(index.div_euclid(1 << EXPONENTIAL_SCALE))
            })
            .collect();
        Self::of(&bounds, Some(first))
    }

    fn of(bounds: &[f64], exponential_offset: Option<i32>) -> Self {
        let mut first_by_exponent = [0_u8; EXPONENTS];
        for (exponent, first) in first_by_exponent.iter_mut().enumerate() {
            let smallest = f64::from_bits((exponent as u64) << 52);
            *first = bounds.partition_point(|bound| *bound < smallest) as u8;
        }
        Self { bounds: bounds.into(), exponential_offset, first_by_exponent }
    }

    /// The upper bounds, ascending, without the implied last one.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    pub(crate) fn shared_bounds(&self) -> Arc<[f64]> {
        Arc::clone(&self.bounds)
    }

    /// For exponential buckets, the index of the first, as OTLP counts them at [`EXPONENTIAL_SCALE`].
    pub fn exponential_offset(&self) -> Option<i32> {
        self.exponential_offset
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

/// Chooses a ladder from the metric's name, the task's overrides and the worker's form alone, never from the first
/// caller.
#[derive(Debug, Clone)]
pub struct LadderRules {
    seconds: Arc<Ladder>,
    bytes: Arc<Ladder>,
    general: Arc<Ladder>,
    overrides: BTreeMap<String, Arc<Ladder>>,
    form: Form,
}

impl LadderRules {
    /// Rules with `overrides` by the name that a body writes (without `app.`), or by a built-in metric's whole name.
    pub fn new<'a>(overrides: impl IntoIterator<Item = (&'a str, &'a [f64])>) -> Result<Self, Error> {
        let overrides = overrides
            .into_iter()
            .map(|(name, bounds)| Ok((name.to_owned(), Arc::new(Ladder::new(bounds)?))))
            .collect::<Result<_, Error>>()?;
        Ok(Self { overrides, ..Self::without_overrides(Form::Explicit) })
    }

    fn without_overrides(form: Form) -> Self {
        let ladder = |explicit: &[f64], exponent| {
            Arc::new(match form {
                Form::Explicit => Ladder::of(explicit, None),
                Form::Exponential => Ladder::exponential(exponent),
            })
        };
        Self {
            seconds: ladder(&SECONDS, EXPONENTIAL_SECONDS),
            bytes: ladder(&BYTES, EXPONENTIAL_BYTES),
            general: ladder(&GENERAL, EXPONENTIAL_GENERAL),
            overrides: BTreeMap::new(),
            form,
        }
    }

    /// The same overrides, with histograms that have none laid out as `form`.
    #[must_use]
    pub fn with_form(self, form: Form) -> Self {
        if form == self.form {
            self
        } else {
            Self { overrides: self.overrides, ..Self::without_overrides(form) }
        }
    }

    /// How histograms without an override are laid out.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The largest number of bounds that a histogram may have by these rules.
    pub fn most_bounds(&self) -> usize {
        let overrides = self.overrides.values().map(|ladder| ladder.bounds.len());
        overrides.fold(self.general.bounds.len(), usize::max)
    }

    /// The ladder of the metric with this exported name (`app.…`, `runtime.…`).
    pub fn ladder(&self, exported_name: &str) -> &Arc<Ladder> {
        let written = exported_name.strip_prefix(crate::rules::APPLICATION_PREFIX).unwrap_or(exported_name);
        if let Some(ladder) = self.overrides.get(written) {
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
        Self::without_overrides(Form::Explicit)
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
    fn the_built_in_ladders_are_ascending_in_either_form() {
        for form in [Form::Explicit, Form::Exponential] {
            let rules = LadderRules::default().with_form(form);
            assert_eq!(rules.form(), form);
            for name in ["app.a", "app.a_seconds", "app.a_bytes"] {
                let bounds = rules.ladder(name).bounds();
                assert!(Ladder::new(bounds).is_ok(), "{name} {bounds:?}");
                assert!(bounds.len() <= rules.most_bounds());
            }
        }
    }

    #[test]
    fn an_override_wins_over_the_form() {
        let rules = LadderRules::new([("calls", &[1.0, 2.0][..])]).unwrap().with_form(Form::Exponential);
        assert_eq!(rules.ladder("app.calls").bounds(), [1.0, 2.0]);
        assert_eq!(rules.ladder("app.calls").exponential_offset(), None);
        assert_eq!(rules.ladder("app.other").exponential_offset(), Some(-40));
    }

    #[test]
    fn exponential_bounds_are_the_powers_that_their_indices_say() {
        for name in ["app.a", "app.a_seconds", "app.a_bytes"] {
            let rules = LadderRules::default().with_form(Form::Exponential);
            let ladder = rules.ladder(name);
            let first = ladder.exponential_offset().unwrap();
            for (index, bound) in (first..).zip(ladder.bounds()) {
                let expected = 2_f64.powf(f64::from(index) / 4.0);
                assert!((bound / expected - 1.0).abs() < 1e-15, "{index}: {bound} for {expected}");
            }
            assert_eq!(ladder.bounds().len(), EXPONENTIAL_BOUNDS);
        }
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
            for form in [Form::Explicit, Form::Exponential] {
                for name in ["app.a", "app.a_seconds", "app.a_bytes"] {
                    let rules = LadderRules::default().with_form(form);
                    let ladder = rules.ladder(name);
                    let expected = ladder.bounds().partition_point(|bound| *bound < value);
                    prop_assert_eq!(ladder.bucket(value), expected);
                }
            }
        }
    }
}
