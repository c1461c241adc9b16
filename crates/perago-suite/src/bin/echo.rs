//! The task that benchmarks run: it does as little as a body can.

use perago::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct EchoParams {
    #[serde(default)]
    x: i64,
}

#[derive(Serialize, JsonSchema)]
struct EchoResult {
    y: i64,
}

#[perago::task(name = "bench.echo", owner_email = "bench@example.com")]
fn echo(params: EchoParams) -> Result<EchoResult, TaskError> {
    Ok(EchoResult { y: params.x * 2 })
}

perago::main!(echo);
