//! What a sample costs an author in Rust; `bench/rust.py` runs it.

use std::hint::black_box;
use std::time::Instant;

use perago::{Metrics, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Rounds {
    rounds: u32,
    samples: u32,
}

/// Nanoseconds a call, one figure a round.
#[derive(Default, Serialize, JsonSchema)]
struct Costs {
    bound_histogram: Vec<f64>,
    bound_gauge: Vec<f64>,
    bound_timer: Vec<f64>,
    histogram: Vec<f64>,
    histogram_with_two_labels: Vec<f64>,
    timer_with_two_labels: Vec<f64>,
}

#[perago::task(name = "bench.recording", owner_email = "bench@example.com", metrics)]
fn recording(params: Rounds, metrics: Metrics) -> Result<Costs, TaskError> {
    let cost = |call: &dyn Fn()| {
        let began = Instant::now();
        for _ in 0..params.samples {
            call();
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from(params.samples)
    };
    let (histogram, gauge) = (metrics.bind_histogram("items", &[]), metrics.bind_gauge("depth", &[]));
    let stopwatch = metrics.bind_timer("step_seconds", &[]);
    let labels = [("stage", "decode"), ("format", "wav")];
    let mut costs = Costs::default();
    for _ in 0..params.rounds {
        costs.bound_histogram.push(cost(&|| histogram.record(black_box(0.37))));
        costs.bound_gauge.push(cost(&|| gauge.set(black_box(3))));
        costs.bound_timer.push(cost(&|| drop(black_box(stopwatch.start()))));
        costs.histogram.push(cost(&|| metrics.histogram(black_box("items"), black_box(0.37), &[])));
        costs
            .histogram_with_two_labels
            .push(cost(&|| metrics.histogram(black_box("chunks"), black_box(512), black_box(&labels))));
        costs
            .timer_with_two_labels
            .push(cost(&|| drop(metrics.timer(black_box("decode_seconds"), black_box(&labels)))));
    }
    Ok(costs)
}

perago::main!(recording);
