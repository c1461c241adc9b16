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

/// Nanoseconds of one of `samples` calls.
fn cost(samples: u32, call: impl Fn()) -> f64 {
    let began = Instant::now();
    for _ in 0..samples {
        call();
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(samples)
}

#[perago::task(name = "bench.recording", owner_email = "bench@example.com", metrics)]
fn recording(params: Rounds, metrics: Metrics) -> Result<Costs, TaskError> {
    let (histogram, gauge) = (metrics.bind_histogram("items", &[]), metrics.bind_gauge("depth", &[]));
    let stopwatch = metrics.bind_timer("step_seconds", &[]);
    let labels = [("stage", "decode"), ("format", "wav")];
    let mut costs = Costs::default();
    for _ in 0..params.rounds {
        costs.bound_histogram.push(cost(params.samples, || histogram.record(black_box(0.37))));
        costs.bound_gauge.push(cost(params.samples, || gauge.set(black_box(3))));
        costs.bound_timer.push(cost(params.samples, || drop(black_box(stopwatch.start()))));
        costs
            .histogram
            .push(cost(params.samples, || metrics.histogram(black_box("items"), black_box(0.37), &[])));
        costs.histogram_with_two_labels.push(cost(params.samples, || {
            metrics.histogram(black_box("chunks"), black_box(512), black_box(&labels));
        }));
        costs.timer_with_two_labels.push(cost(params.samples, || {
            drop(metrics.timer(black_box("decode_seconds"), black_box(&labels)));
        }));
    }
    Ok(costs)
}

perago::main!(recording);
