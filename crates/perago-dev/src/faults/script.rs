//! What goes wrong at which call: rules, and how often they were met.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::calls::{Call, Which};

/// What goes wrong at a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The connection is closed before the service hears of the request.
    DropRequest,
    /// The service does what it is asked; the connection is closed in place of the reply.
    DropReply,
    /// The connection is reset (TCP RST) before the service hears of the request.
    Reset,
    /// The service hears of the request later.
    Delay {
        /// How much later, in milliseconds.
        milliseconds: u64,
    },
    /// The service does what it is asked at once; the reply leaves later.
    DelayReply {
        /// How much later, in milliseconds.
        milliseconds: u64,
    },
    /// Another reply in place of the service's, which does not hear of the request.
    Status {
        /// The HTTP status, from 200 to 599.
        code: u16,
        /// The body, sent as JSON.
        #[serde(default)]
        body: String,
    },
    /// The service does what it is asked; the connection is closed within the body of the reply.
    Truncate {
        /// Bytes of the body that leave before.
        bytes: u64,
    },
}

/// Which of the calls that a rule is about are met by its fault; counted from 1, from when the rule was scripted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All, until the rule is lifted.
    #[default]
    Always,
    /// The n-th alone.
    Nth(u64),
    /// The first n.
    First(u64),
    /// Every n-th.
    Every(u64),
}

impl When {
    fn takes(self, number: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Nth(nth) => number == nth,
            Self::First(most) => number <= most,
            Self::Every(step) => number.is_multiple_of(step),
        }
    }
}

/// A fault, the calls that it is about, and which of them it meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    call: String,
    fault: Fault,
    #[serde(default)]
    when: When,
    #[serde(default)]
    path: String,
}

impl Rule {
    /// A rule for all calls of a name: `update_task`, `conductor.update_task`, `conductor.*` or `*`.
    pub fn new(call: impl Into<String>, fault: Fault) -> Self {
        Self { call: call.into(), fault, when: When::Always, path: String::new() }
    }

    /// The same for some of these calls.
    #[must_use]
    pub fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// The same for the n-th of these calls alone.
    #[must_use]
    pub fn nth(self, nth: u64) -> Self {
        self.when(When::Nth(nth))
    }

    /// The same for the calls alone whose path and query contain `text`, as they are in the request.
    #[must_use]
    pub fn with_path(self, text: impl Into<String>) -> Self {
        Self { path: text.into(), ..self }
    }

    fn checked(&self) -> Result<Which, FaultError> {
        let which =
            Which::parse(&self.call).ok_or_else(|| FaultError::UnknownCall { name: self.call.clone() })?;
        if matches!(self.when, When::Nth(0) | When::First(0) | When::Every(0)) {
            return Err(FaultError::Value { reason: "occurrences are counted from 1" });
        }
        match self.fault {
            Fault::Status { code, .. } if !(200..600).contains(&code) => {
                Err(FaultError::Value { reason: "a status is a number from 200 to 599" })
            }
            _ => Ok(which),
        }
    }
}

/// Why a rule cannot be scripted, or the clock not be moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// No service has such a call.
    #[error("no embedded service has a call {name:?}")]
    UnknownCall {
        /// The name given.
        name: String,
    },
    /// A number is out of range.
    #[error("{reason}")]
    Value {
        /// The range.
        reason: &'static str,
    },
    /// The services were started without faults.
    #[error("faults and virtual time are off on these services")]
    Off,
}

impl FaultError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownCall { .. } => "PERAGO-FAULT-CALL",
            Self::Value { .. } => "PERAGO-FAULT-VALUE",
            Self::Off => "PERAGO-FAULT-OFF",
        }
    }

    /// What helps.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownCall { .. } => "the control path lists the names of all calls",
            Self::Value { .. } => "mend the rule",
            Self::Off => "start them with faults enabled",
        }
    }
}

/// The script of the services; a cheap handle.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    next: u64,
    rules: BTreeMap<u64, Active>,
    calls: BTreeMap<Call, u64>,
}

struct Active {
    rule: Rule,
    which: Which,
    counts: watch::Sender<Counts>,
}

/// How often the calls of a rule came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls that the rule is about, with and without its fault.
    pub seen: u64,
    /// Calls that its fault was done to.
    pub hits: u64,
}

/// One rule as the control path shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    id: u64,
    #[serde(flatten)]
    rule: Rule,
    #[serde(flatten)]
    counts: Counts,
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Faults").field("rules", &self.lock().rules.len()).finish_non_exhaustive()
    }
}

impl Faults {
    /// Adds a rule; where several are about one call, the oldest that takes it acts.
    ///
    /// # Errors
    /// The rule names no call, or holds a number out of range.
    pub fn script(&self, rule: Rule) -> Result<Scripted, FaultError> {
        let which = rule.checked()?;
        let mut script = self.lock();
        script.next += 1;
        let id = script.next;
        let (counts, watched) = watch::channel(Counts::default());
        script.rules.insert(id, Active { rule, which, counts });
        Ok(Scripted { id, counts: watched, faults: self.clone() })
    }

    /// Forgets all rules. What calls came stays counted.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How many requests of a call, or of the calls of a service, have come since the services started.
    ///
    /// # Errors
    /// No service has such a call.
    pub fn calls(&self, name: &str) -> Result<u64, FaultError> {
        let which = Which::parse(name).ok_or_else(|| FaultError::UnknownCall { name: name.to_owned() })?;
        let script = self.lock();
        Ok(script.calls.iter().filter(|(call, _)| which.covers(**call)).map(|(_, count)| count).sum())
    }

    /// Ends a rule; `None` if there is no such rule any more, else what it has met.
    pub(crate) fn lift(&self, id: u64) -> Option<Counts> {
        self.lock().rules.remove(&id).map(|active| *active.counts.borrow())
    }

    pub(crate) fn shown(&self) -> Vec<Shown> {
        let script = self.lock();
        let shown = script.rules.iter().map(|(id, active)| Shown {
            id: *id,
            rule: active.rule.clone(),
            counts: *active.counts.borrow(),
        });
        shown.collect()
    }

    /// Every call by its full name with the number of its requests so far.
    pub(crate) fn counted(&self) -> BTreeMap<String, u64> {
        let script = self.lock();
        let name = |call: Call| format!("{}.{}", call.service.name(), call.name);
        Call::all().map(|call| (name(call), script.calls.get(&call).copied().unwrap_or(0))).collect()
    }

    /// Counts a request and says what is to go wrong with it.
    pub(super) fn meet(&self, call: Call, path: &str) -> Option<Fault> {
        let mut script = self.lock();
        *script.calls.entry(call).or_default() += 1;
        let mut fault = None;
        for active in script.rules.values() {
            if !active.which.covers(call) || !path.contains(&active.rule.path) {
                continue;
            }
            active.counts.send_modify(|counts| {
                counts.seen += 1;
                if fault.is_none() && active.rule.when.takes(counts.seen) {
                    counts.hits += 1;
                    fault = Some(active.rule.fault.clone());
                }
            });
        }
        fault
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        // Nothing that is done under the lock can fail half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rule that was scripted. It stays when this is dropped.
#[derive(Clone, Debug)]
pub struct Scripted {
    id: u64,
    counts: watch::Receiver<Counts>,
    faults: Faults,
}

impl Scripted {
    /// Its number at the control path.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How often its calls came, and its fault was done; kept after the rule is lifted.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// How often its fault was done.
    pub fn hits(&self) -> u64 {
        self.counts().hits
    }

    /// Waits until its fault was done at least once, and says whether that came true before the rule was lifted.
    pub async fn hit(&self) -> bool {
        self.counts.clone().wait_for(|counts| counts.hits > 0).await.is_ok()
    }

    /// The same for at most `limit`.
    pub async fn hit_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.hit()).await.unwrap_or(false)
    }

    /// Ends the rule.
    pub fn lift(&self) {
        self.faults.lift(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::Service;
    use super::*;

    const POLL: Call = Call { service: Service::Conductor, name: "poll" };
    const MERGE: Call = Call { service: Service::LakeFs, name: "merge" };

    fn met(when: When) -> Vec<bool> {
        let faults = Faults::default();
        faults.script(Rule::new("poll", Fault::Reset).when(when)).unwrap();
        (0..6).map(|_| faults.meet(POLL, "/").is_some()).collect()
    }

    #[test]
    fn occurrences() {
        assert_eq!(met(When::Always), [true; 6]);
        assert_eq!(met(When::Nth(2)), [false, true, false, false, false, false]);
        assert_eq!(met(When::First(2)), [true, true, false, false, false, false]);
        assert_eq!(met(When::Every(3)), [false, false, true, false, false, true]);
    }

    #[test]
    fn rules_count_what_they_are_about() {
        let faults = Faults::default();
        let first = faults.script(Rule::new("lakefs.merge", Fault::DropReply).nth(2)).unwrap();
        let second = faults.script(Rule::new("lakefs.*", Fault::Reset).with_path("main")).unwrap();
        assert_eq!(faults.meet(MERGE, "/merge/other"), None);
        assert_eq!(faults.meet(MERGE, "/merge/main"), Some(Fault::DropReply));
        assert_eq!(faults.meet(MERGE, "/merge/main"), Some(Fault::Reset));
        assert_eq!(faults.meet(POLL, "/main"), None);
        assert_eq!(first.counts(), Counts { seen: 3, hits: 1 });
        assert_eq!(second.counts(), Counts { seen: 2, hits: 1 });
        assert_eq!((faults.calls("merge"), faults.calls("*")), (Ok(3), Ok(4)));
        second.lift();
        assert_eq!(faults.meet(MERGE, "/merge/main"), None);
        assert_eq!((first.hits(), second.hits()), (1, 1));
        faults.clear();
        assert!(faults.shown().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let faults = Faults::default();
        let unknown = faults.script(Rule::new("pull", Fault::Reset)).unwrap_err();
        assert_eq!(
            (unknown.code(), unknown.to_string().as_str()),
            ("PERAGO-FAULT-CALL", "no embedded service has a call \"pull\"")
        );
        for rule in [
            Rule::new("poll", Fault::Reset).nth(0),
            Rule::new("poll", Fault::Reset).when(When::Every(0)),
            Rule::new("poll", Fault::Status { code: 99, body: String::new() }),
        ] {
            assert_eq!(faults.script(rule).unwrap_err().code(), "PERAGO-FAULT-VALUE");
        }
    }
}
