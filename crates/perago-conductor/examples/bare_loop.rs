//! The least that any worker must do: poll, answer, poll again. What a worker adds is measured against it.
//!
//! `cargo run --release -p perago-conductor --example bare_loop -- SERVER TASK_TYPE SLOTS TASKS`
//!
//! Same slots and same rule for polling as a Perago worker: free slots at once, and when nothing is there one task
//! with a long poll. Prints the seconds from the first poll to the last accepted update.

use std::sync::Arc;
use std::time::Instant;

use perago_conductor::{Address, Client, ClientOptions, ResultStatus, TaskResult};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a figure for the caller")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [server, task_type, slots, tasks] =
        <[String; 4]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
            .map_err(|_| "usage: bare_loop SERVER TASK_TYPE SLOTS TASKS")?;
    let (slots, tasks): (u32, u32) = (slots.parse()?, tasks.parse()?);
    let client = Arc::new(Client::new(&ClientOptions::new(Address::parse(&server)?))?);
    let permits = Arc::new(Semaphore::new(slots as usize));
    let started = Instant::now();
    let (mut claimed, mut expects_work) = (0, true);
    let mut updates = tokio::task::JoinSet::new();
    while claimed < tasks {
        let first = Arc::clone(&permits).acquire_owned().await?;
        let mut held = vec![first];
        while expects_work && let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            held.push(permit);
        }
        let wait = if expects_work { 0 } else { 1000 };
        let polled = client.poll_batch(&task_type, "bare-loop", None, held.len() as u32, wait).await?;
        expects_work = !polled.is_empty();
        claimed += polled.len() as u32;
        for (task, permit) in polled.into_iter().zip(held) {
            let client = Arc::clone(&client);
            updates.spawn(async move {
                let mut result = TaskResult::new(&task, "bare-loop", ResultStatus::Completed);
                result.output_data = RawValue::from_string(r#"{"result":{"y":2}}"#.to_owned()).ok();
                let answer = client.update_task(&result).await;
                drop(permit);
                answer
            });
        }
    }
    while let Some(update) = updates.join_next().await {
        update??;
    }
    println!("{:.4}", started.elapsed().as_secs_f64());
    Ok(())
}
