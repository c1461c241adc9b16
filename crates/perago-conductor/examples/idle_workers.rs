//! What many idle workers cost a server: the time that a heartbeat takes while they all long-poll.
//!
//! `cargo run --release -p perago-conductor --example idle_workers -- SERVER TASK_TYPE WORKERS BEATS`
//!
//! Needs one queued task of that type, which is claimed and kept. Prints the median and the 99th percentile of the
//! beats in milliseconds.

use std::time::{Duration, Instant};

use perago_conductor::{Address, Client, ClientOptions};

const LONG_POLL_MILLISECONDS: u32 = 1000;
const BETWEEN_BEATS: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "figures for the caller")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [server, task_type, workers, beats] =
        <[String; 4]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
            .map_err(|_| "usage: idle_workers SERVER TASK_TYPE WORKERS BEATS")?;
    let (workers, beats): (u32, usize) = (workers.parse()?, beats.parse()?);
    let address = Address::parse(&server)?;
    let client = Client::new(&ClientOptions::new(address.clone()))?;
    let claimed = client.poll_batch(&task_type, "beater", None, 1, 2000).await?;
    let task = claimed.into_iter().next().ok_or("no task is queued")?;
    for number in 0..workers {
        let client = Client::new(&ClientOptions::new(address.clone()))?;
        let idle_type = format!("{task_type}.idle");
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(number * 1000 / workers))).await;
            loop {
                let wait = LONG_POLL_MILLISECONDS - (number * 37) % 100;
                let _ = client.poll_batch(&idle_type, &format!("idle-{number}"), None, 1, wait).await;
            }
        });
    }
    // All of them must be polling before the first beat counts.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut milliseconds = Vec::with_capacity(beats);
    for _ in 0..beats {
        let sent = Instant::now();
        client.extend_lease(&task.workflow_instance_id, &task.task_id).await?;
        milliseconds.push(sent.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(BETWEEN_BEATS).await;
    }
    milliseconds.sort_by(f64::total_cmp);
    println!("{:.1} {:.1}", milliseconds[beats / 2], milliseconds[beats * 99 / 100]);
    Ok(())
}
