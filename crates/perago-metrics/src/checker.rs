//! The rules without an arena, for recorders that keep samples in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::recorder::{check_name, plain_warning};
use crate::rules::{Label, Rules};
use crate::series::{Kind, SeriesKey};
use crate::warning::{MetricWarning, Reason, Throttle, WarningSink};

/// Says of each sample what an arena's recorder would make of it.
pub struct Checker {
    rules: Rules,
    warnings: Box<dyn WarningSink>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kinds: HashMap<Box<str>, Kind>,
    throttle: Throttle,
}

impl Checker {
    /// A checker by `rules` that warns `warnings`.
    pub fn new(rules: Rules, warnings: impl WarningSink + 'static) -> Self {
        Self { rules, warnings: Box::new(warnings), state: Mutex::default() }
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
        let key = self.rules.application_key(kind, name, labels, &mut warnings).and_then(|key| {
            // As where a series is found before it is recorded into: a name is taken even if its first value is not.
            self.take_name(&key)?;
            Rules::value_fault(kind, value).map_or(Ok(key), Err)
        });
        if let Err(reason) = &key {
            warnings.push(plain_warning(name, *reason));
        }
        for warning in warnings {
            self.report(warning);
        }
        key.ok()
    }

    /// Warns about a call of `name` that never came to be a sample.
    pub fn reject_call(&self, name: &str, reason: Reason) {
        self.report(plain_warning(name, reason));
    }

    fn take_name(&self, key: &SeriesKey) -> Result<(), Reason> {
        let kinds = &mut self.state().kinds;
        check_name(kinds, key.kind(), key.name())?;
        kinds.insert(key.name().into(), key.kind());
        Ok(())
    }

    fn report(&self, warning: MetricWarning) {
        let now = Instant::now();
        let admitted =
            self.state().throttle.admits(&warning.metric_name, warning.reason, &warning.label_key, now);
        if admitted {
            self.warnings.warn(warning);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Checker").field("rules", &self.rules).finish_non_exhaustive()
    }
}
