//! A worker in simulated time: days in minutes.
//!
//! The supervisor is the real one, from [`serve`] down: settings, poller, attempts, leases, pool, outbox with its
//! journal on a real file, drain and recovery. So are the client's encoding and the embedded engine behind its HTTP
//! layer. Simulated are the clock, the network between client and engine, and the executors; what is not there at
//! all are the guardian process, the authoring language, workspaces and metrics. No socket is used: a clock that
//! stands still while something is to be done would run ahead of one.

mod allocated;
mod course;
mod executors;
mod load;
mod network;
mod plan;
mod usage;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use course::{Outcome, run};
use plan::Plan;
use usage::{COLUMNS, between};

const HOUR: Duration = Duration::from_secs(3600);

/// The journal is written anew beyond 4 MiB; the last record comes on top.
const LONGEST_JOURNAL_KIBIBYTES: f64 = 4.0 * 1024.0 + 64.0;

fn simulate(plan: &Plan) -> Outcome {
    fastrand::seed(plan.seed);
    let folder = tempfile::tempdir().unwrap();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run(plan, folder.path()))
}

/// One line for each figure: the first hour that counts, the last, the greatest, and the end.
fn table(outcome: &Outcome, hours: f64) -> String {
    let mut text = String::from(
        "| | 1 h to 2 h, median | last hour, median | greatest | when all had ended |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for (title, figure) in COLUMNS {
        let (first, _) = between(&outcome.looks, 1.0, 2.0, figure);
        let (last, _) = between(&outcome.looks, hours - 1.0, hours, figure);
        let (_, greatest) = between(&outcome.looks, 0.0, hours, figure);
        let at_rest = figure(&outcome.at_rest);
        let _ = writeln!(text, "| {title} | {first:.0} | {last:.0} | {greatest:.0} | {at_rest:.0} |");
    }
    text
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An hour of a small worker: everything ends as it must, and nothing stays behind.
#[test]
fn an_hour_with_outages_deaths_and_restarts() {
    let plan = Plan {
        lasts: HOUR,
        slots: 20,
        seed: variable("SIMULATION_SEED", 1),
        longest_body: Duration::from_secs(900),
        outage_every: HOUR / 6,
        longest_outage: Duration::from_secs(180),
        restart_every: Some(HOUR / 5),
        kill_every: HOUR / 20,
        look_every: HOUR / 6,
    };
    let outcome = simulate(&plan);
    assert_eq!(outcome.problems, Vec::<String>::new(), "{}", outcome.text);
    let counts = &outcome.counts;
    assert!(counts.kills > 0 && counts.drains > 0 && counts.outages > 0, "{}", outcome.text);
    assert!(counts.settled > 300, "{}", outcome.text);
}

/// As long as asked: `make simulate` says how. Memory and descriptors are those of the process, so that no other
/// test may run beside it.
#[test]
#[ignore = "takes minutes, alone: make simulate"]
fn as_long_as_asked() {
    let hours = variable("SIMULATION_HOURS", 24);
    let restarts = variable("SIMULATION_RESTARTS", 1) > 0;
    let plan = Plan {
        lasts: HOUR * hours as u32,
        slots: variable("SIMULATION_SLOTS", 100) as u32,
        seed: variable("SIMULATION_SEED", 1),
        longest_body: HOUR,
        outage_every: HOUR * 2,
        longest_outage: Duration::from_secs(900),
        restart_every: restarts.then_some(HOUR * 2),
        kill_every: HOUR / 20,
        look_every: HOUR / 12,
    };
    let began = std::time::Instant::now();
    let mut outcome = simulate(&plan);
    let hours = hours as f64;
    if hours >= 3.0 {
        for (title, figure, most) in
            [("allocated, KiB", COLUMNS[0].1, 1024.0), ("descriptors", COLUMNS[2].1, 2.0)]
        {
            let (first, _) = between(&outcome.looks, 1.0, 2.0, figure);
            // Not the last hour: its outages and drains decide how many open runs the engine holds in it.
            let last = figure(&outcome.at_rest);
            if last > first + most {
                outcome.problems.push(format!("{title}: {first:.0} became {last:.0}"));
            }
        }
    }
    let mut out = std::io::stdout().lock();
    let seed = plan.seed;
    let _ = writeln!(out, "{hours} h, {} slots, seed {seed}, restarts {restarts}", plan.slots);
    let _ = writeln!(out, "{}\n{}", outcome.text, table(&outcome, hours));
    let _ = writeln!(out, "{:.0} s of real time", began.elapsed().as_secs_f64());
    for problem in &outcome.problems {
        let _ = writeln!(out, "problem: {problem}");
    }
    assert!(outcome.problems.is_empty(), "{} problems", outcome.problems.len());
}
