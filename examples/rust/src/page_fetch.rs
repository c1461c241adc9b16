//! `page.fetch`: a task that awaits HTTP. Its state is the client with its pool of connections.

use std::time::Duration;

use perago::{Metrics, TaskError};
use reqwest::{Client, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One client an executor: attempts reuse its connections.
pub(crate) struct Fetcher {
    client: Client,
}

/// What to fetch.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Page {
    url: String,
    /// How long all of it may take.
    #[serde(default = "half_a_minute")]
    #[schemars(range(min = 1))]
    timeout_seconds: u64,
}

fn half_a_minute() -> u64 {
    30
}

/// What came.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Fetched {
    status: u16,
    bytes: usize,
}

#[perago::task(
    name = "page.fetch",
    owner_email = "data@example.com",
    description = "Fetches a page and measures it.",
    metrics(buckets("page_bytes" = [1e3, 1e4, 1e5, 1e6, 1e7])),
    controls(retry(count = 3, logic = "EXPONENTIAL_BACKOFF", delay_seconds = 2)),
)]
impl Fetcher {
    async fn new() -> Result<Self, TaskError> {
        // reqwest is built without a cryptography of its own here; with its default features it needs no such line.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { client: Client::builder().build()? })
    }

    /// An outage is retried as the controls say; a page that is not there is not. When the task is cancelled, the body
    /// is dropped where it waits.
    async fn run(&self, params: Page, metrics: Metrics) -> Result<Fetched, TaskError> {
        let timer = metrics.timer("page_fetch", &[]);
        let request = self.client.get(&params.url).timeout(Duration::from_secs(params.timeout_seconds));
        let answer = request.send().await?;
        let status = answer.status();
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Err(TaskError::terminal(format!("the page is not there: {status}")));
        }
        let body = answer.error_for_status()?.bytes().await?;
        drop(timer);
        metrics.histogram("page_bytes", body.len(), &[]);
        tracing::info!(bytes = body.len(), "fetched");
        Ok(Fetched { status: status.as_u16(), bytes: body.len() })
    }
}

#[cfg(test)]
mod tests {
    use perago::testing::InMemoryMetricRecorder;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one request with these bytes; its URL.
    async fn page(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(connection.read_u8().await.unwrap());
            }
            connection.write_all(answer.as_bytes()).await.unwrap();
        });
        url
    }

    #[tokio::test]
    async fn a_page_is_measured() {
        let recorder = InMemoryMetricRecorder::new("page.fetch");
        let url = page("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlalal").await;
        let fetcher = Fetcher::new().await.unwrap();
        let output = fetcher.run(Page { url, timeout_seconds: 60 }, recorder.metrics()).await.unwrap();
        assert_eq!(output, Fetched { status: 200, bytes: 5 });
        assert_eq!(recorder.values("page_bytes", &[]), [5.0]);
        assert_eq!(recorder.values("page_fetch", &[]).len(), 1);
    }

    #[tokio::test]
    async fn a_page_that_is_not_there_stays_so() {
        let recorder = InMemoryMetricRecorder::default();
        let url = page("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        let fetcher = Fetcher::new().await.unwrap();
        let error = fetcher.run(Page { url, timeout_seconds: 60 }, recorder.metrics()).await.unwrap_err();
        assert!(error.is_terminal());
        assert_eq!(recorder.values("page_bytes", &[]), [] as [f64; 0]);
    }
}
