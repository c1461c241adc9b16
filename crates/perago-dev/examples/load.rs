//! Measures polls and updates per second against the embedded engine, client and server in one process.
//!
//! Arguments: number of tasks (default 20000), batch size (default 8).

use std::io::Write;
use std::time::Instant;

use perago_dev::{DevOptions, DevServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Failure = Box<dyn std::error::Error>;

/// One connection that is kept open.
struct Connection(TcpStream, Vec<u8>);

impl Connection {
    async fn request(&mut self, method: &str, path: &str, body: &str) -> Result<String, Failure> {
        let head = format!(
            "{method} /api{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all((head + body).as_bytes()).await?;
        self.1.clear();
        loop {
            self.0.read_buf(&mut self.1).await?;
            let text = std::str::from_utf8(&self.1)?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap_or("0").parse::<usize>()? {
                return Ok(body.to_owned());
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let tasks: usize = arguments.next().as_deref().unwrap_or("20000").parse()?;
    let batch: usize = arguments.next().as_deref().unwrap_or("8").parse()?;
    let server = DevServer::start(DevOptions::default()).await?;
    let stream = TcpStream::connect(server.address()).await?;
    stream.set_nodelay(true)?;
    let mut connection = Connection(stream, Vec::new());
    let step = json!({"name": "t", "taskReferenceName": "a", "type": "SIMPLE", "inputParameters": {"x": "${workflow.input.x}"}});
    let workflow = json!({"name": "w", "version": 1, "tasks": [step]});
    connection.request("POST", "/metadata/workflow", &workflow.to_string()).await?;
    let began = Instant::now();
    for number in 0..tasks {
        connection.request("POST", "/workflow/w", &json!({ "x": number }).to_string()).await?;
    }
    let starting = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let mut done = 0;
    while done < tasks {
        let polled =
            connection.request("GET", &format!("/tasks/poll/batch/t?count={batch}&timeout=0"), "").await?;
        for task in serde_json::from_str::<Vec<Value>>(&polled)? {
            let update = json!({
                "workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"], "status": "COMPLETED",
                "outputData": {"r": task["inputData"]["x"]},
            });
            connection.request("POST", "/tasks", &update.to_string()).await?;
            done += 1;
        }
    }
    let working = began.elapsed().as_secs_f64();
    let (starts, works) = (tasks as f64 / starting, tasks as f64 / working);
    writeln!(std::io::stdout(), "starts {starts:.0}/s, poll and update {works:.0} tasks/s (batch {batch})")?;
    server.shutdown().await;
    Ok(())
}
