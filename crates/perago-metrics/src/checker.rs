//! The rules without an arena, for recorders that keep samples in memory.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::catalogue::Catalogue;
use crate::recorder::plain_warning;
use crate::rules::{Label, Rules};
use crate::series::{Kind, SeriesKey};
use crate::warning::{MetricWarning, REASONS, Reason, WarningSink};

/// Says of each sample what an arena's recorder would make of it.
pub struct Checker {
    rules: Rules,
    label_sets: usize,
    warnings: Box<dyn WarningSink>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    catalogue: Catalogue<SeriesKey>,
    dropped: [u64; REASONS],
}

impl Checker {
    /// A checker by `rules` that warns `warnings`; label sets beyond `label_sets` go to their metric's overflow
    /// series.
    pub fn new(rules: Rules, label_sets: usize, warnings: impl WarningSink + 'static) -> Self {
        Self { rules, label_sets, warnings: Box::new(warnings), state: Mutex::default() }
    }

    /// The series of the sample, or none if it is dropped.
    pub fn check<'a>(
        &self,
        kind: Kind,
        name: &str,
        value: f64,
        labels: impl IntoIterator<Item = Label<'a>>,
    ) -> Option<SeriesKey> {
        let mut warnings = Vec::new();
        let found = self
            .rules
            .application_key(kind, name, labels, &mut warnings)
            .and_then(|key| self.state().catalogue.find_or_add(key, self.label_sets, |key| Ok(key.clone())));
        let checked = found.and_then(|(key, overflow)| {
            warnings.extend(overflow);
            // As in an arena, where the series is found before it is recorded into.
            Rules::value_fault(kind, value).map_or(Ok(key), Err)
        });
        if let Err(reason) = &checked {
            warnings.push(plain_warning(name, *reason));
        }
        for warning in warnings {
            self.report(warning);
        }
        checked.ok()
    }

    /// How many samples or labels were dropped or changed, in the order of [`Reason::ALL`].
    pub fn dropped(&self) -> [u64; REASONS] {
        self.state().dropped
    }

    /// Warns about a call of `name` that never came to be a sample.
    pub fn reject_call(&self, name: &str, reason: Reason) {
        self.report(plain_warning(name, reason));
    }

    fn report(&self, mut warning: MetricWarning) {
        let is_admitted = {
            let mut state = self.state();
            state.dropped[warning.reason as usize] += u64::from(warning.reason.is_counted());
            state.catalogue.admits(&mut warning, Instant::now())
        };
        if is_admitted {
            self.warnings.warn(warning);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Checker").field("rules", &self.rules).finish_non_exhaustive()
    }
}
