//! What a worker does at this moment, and why it may not poll.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use serde::Serialize;

use super::pause::Pause;
use crate::executor::pool::Pool;
use crate::instruments::Instruments;
use crate::state_disk::StateDisk;

/// A cheap handle to what is known of a worker.
#[derive(Debug, Clone)]
pub struct Condition(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: u32,
    instruments: Instruments,
    pause: Pause,
    started: OnceCell<Started>,
    is_draining: Cell<bool>,
}

#[derive(Debug)]
struct Started {
    task_name: String,
    is_paused_by_setting: bool,
    pool: Pool,
    disk: StateDisk,
}

/// Why a worker takes no tasks. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The module is being imported, or the servers asked for what the worker needs.
    Starting,
    /// Told to stop.
    Draining,
    /// Paused by `perago pause`.
    Paused,
    /// Paused by a variable of the Conductor SDK.
    PausedBySetting,
    /// Every executor is being replaced.
    NoExecutorReady,
    /// The disk of the state directory is full or cannot be written.
    StateDiskFull,
}

/// What a worker says of itself.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `starting`, `polling`, `paused`, `waiting` or `draining`.
    pub state: &'static str,
    /// Whether it polls, or will as soon as a slot is free.
    pub ready: bool,
    /// Why it does not; empty when it does.
    pub reasons: Vec<Reason>,
    /// The task, once the module is imported.
    pub task_name: Option<String>,
    /// The version of Perago.
    pub version: &'static str,
    /// Its slots.
    pub slots: Slots,
}

/// The slots of a worker.
#[derive(Debug, Serialize)]
pub struct Slots {
    /// Those that hold a task.
    pub busy: u32,
    /// All of them.
    pub total: u32,
}

impl Condition {
    /// A worker that starts.
    pub(crate) fn new(slots: u32, instruments: Instruments, pause: Pause) -> Self {
        let (started, is_draining) = (OnceCell::new(), Cell::new(false));
        Self(Rc::new(Inner { slots, instruments, pause, started, is_draining }))
    }

    /// The module is imported and everything that the worker needs is there. Counts once.
    pub(crate) fn started(&self, task_name: &str, is_paused_by_setting: bool, pool: &Pool, disk: &StateDisk) {
        let (task_name, pool, disk) = (task_name.to_owned(), pool.clone(), disk.clone());
        let _ = self.0.started.set(Started { task_name, is_paused_by_setting, pool, disk });
    }

    /// The worker takes no more work, for good.
    pub(crate) fn drain(&self) {
        self.0.is_draining.set(true);
    }

    /// Whether `perago pause` holds the worker.
    pub fn pause(&self) -> &Pause {
        &self.0.pause
    }

    /// What holds at this moment. Asks no server and no disk.
    pub fn report(&self) -> Report {
        let started = self.0.started.get();
        let reasons = reasons(Facts {
            is_draining: self.0.is_draining.get(),
            is_paused: self.0.pause.is_paused(),
            started: started.map(|started| StartedFacts {
                is_paused_by_setting: started.is_paused_by_setting,
                has_executor: started.pool.has_ready_executor(),
                has_space: started.disk.has_space(),
            }),
        });
        Report {
            state: state(&reasons),
            ready: reasons.is_empty(),
            reasons,
            task_name: started.map(|started| started.task_name.clone()),
            version: env!("CARGO_PKG_VERSION"),
            slots: Slots { busy: self.0.instruments.busy(), total: self.0.slots },
        }
    }
}

/// What decides whether a worker may poll.
#[derive(Debug, Clone, Copy)]
struct Facts {
    is_draining: bool,
    is_paused: bool,
    started: Option<StartedFacts>,
}

#[derive(Debug, Clone, Copy)]
struct StartedFacts {
    is_paused_by_setting: bool,
    has_executor: bool,
    has_space: bool,
}

fn reasons(facts: Facts) -> Vec<Reason> {
    // What ends has no other reason that anybody could mend, and what starts has none yet.
    if facts.is_draining {
        return vec![Reason::Draining];
    }
    let Some(started) = facts.started else {
        return vec![Reason::Starting];
    };
    [
        (facts.is_paused, Reason::Paused),
        (started.is_paused_by_setting, Reason::PausedBySetting),
        (!started.has_executor, Reason::NoExecutorReady),
        (!started.has_space, Reason::StateDiskFull),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect()
}

fn state(reasons: &[Reason]) -> &'static str {
    match reasons.first() {
        None => "polling",
        Some(Reason::Starting) => "starting",
        Some(Reason::Draining) => "draining",
        Some(Reason::Paused | Reason::PausedBySetting) => "paused",
        Some(Reason::NoExecutorReady | Reason::StateDiskFull) => "waiting",
    }
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining: takes no more tasks and finishes what runs",
            Self::Paused => "paused by perago pause",
            Self::PausedBySetting => "paused by a CONDUCTOR_WORKER variable",
            Self::NoExecutorReady => "no executor is ready",
            Self::StateDiskFull => "the disk of the state directory is full",
        }
    }
}

impl Report {
    /// One line for people.
    pub fn summary(&self) -> String {
        let task = self.task_name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let doing: Vec<_> = self.reasons.iter().map(|reason| reason.text()).collect();
        if doing.is_empty() {
            let slots =
                if self.slots.total == 1 { "1 slot".into() } else { format!("{} slots", self.slots.total) };
            format!("{task}polling with {slots}")
        } else {
            format!("{task}{}", doing.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLLS: Facts = Facts {
        is_draining: false,
        is_paused: false,
        started: Some(StartedFacts { is_paused_by_setting: false, has_executor: true, has_space: true }),
    };
    const STARTED: StartedFacts =
        StartedFacts { is_paused_by_setting: true, has_executor: false, has_space: false };

    #[test]
    fn a_worker_is_ready_when_nothing_speaks_against_it() {
        assert_eq!(reasons(POLLS), []);
        assert_eq!(state(&[]), "polling");
    }

    #[test]
    fn every_reason_is_named_at_once() {
        let worst = Facts { is_paused: true, started: Some(STARTED), ..POLLS };
        let all = [Reason::Paused, Reason::PausedBySetting, Reason::NoExecutorReady, Reason::StateDiskFull];
        assert_eq!(reasons(worst), all);
        assert_eq!(state(&all), "paused");
        assert_eq!(state(&all[2..]), "waiting");
    }

    #[test]
    fn start_and_end_hide_what_nobody_can_mend() {
        let ending = Facts { is_draining: true, is_paused: true, started: Some(STARTED) };
        assert_eq!(reasons(ending), [Reason::Draining]);
        assert_eq!(reasons(Facts { started: None, ..POLLS }), [Reason::Starting]);
        assert_eq!(reasons(Facts { started: None, ..ending }), [Reason::Draining]);
        assert_eq!([state(&[Reason::Starting]), state(&[Reason::Draining])], ["starting", "draining"]);
    }

    #[test]
    fn the_line_for_people_says_the_task_and_every_reason() {
        let mut report = Report {
            state: "polling",
            ready: true,
            reasons: vec![],
            task_name: Some("mix".into()),
            version: "1",
            slots: Slots { busy: 0, total: 2 },
        };
        assert_eq!(report.summary(), "mix: polling with 2 slots");
        report.reasons = vec![Reason::Paused, Reason::StateDiskFull];
        assert_eq!(report.summary(), "mix: paused by perago pause; the disk of the state directory is full");
        assert_eq!(serde_json::to_value(&report).unwrap()["reasons"][1], "state_disk_full");
    }
}
