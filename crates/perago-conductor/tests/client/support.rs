//! A scripted HTTP server: each request takes the next step of the script.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use perago_conductor::{Address, Client, ClientOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Answers with a status and body and keeps the connection.
    Answer(u16, String),
    /// Answers and then closes the connection without having said so.
    AnswerAndClose(u16, String),
    /// Closes the connection without an answer.
    Drop,
    /// Never answers.
    Hang,
    /// Sends these bytes instead of an answer and closes.
    Raw(Vec<u8>),
}

impl Step {
    /// A successful JSON answer.
    pub(crate) fn ok(body: &str) -> Self {
        Self::Answer(200, body.to_owned())
    }
}

/// A request as received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) connection: usize,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Method and target.
    pub(crate) fn target(&self) -> &str {
        self.line.trim_end_matches(" HTTP/1.1")
    }
}

#[derive(Default)]
struct Shared {
    script: VecDeque<Step>,
    received: Vec<Received>,
}

/// The server; it ends with the test's runtime.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    closed: mpsc::UnboundedReceiver<()>,
}

impl FakeServer {
    /// Starts a server on IPv4 loopback.
    pub(crate) async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        Self::start_on("127.0.0.1:0", script).await.expect("IPv4 loopback is there")
    }

    /// Starts a server on an address of this machine.
    pub(crate) async fn start_on(
        address: &str,
        script: impl IntoIterator<Item = Step>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Mutex::new(Shared { script: script.into_iter().collect(), ..Shared::default() }));
        let (closing, closed) = mpsc::unbounded_channel();
        let state = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                let (state, closing) = (Arc::clone(&state), closing.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, connection, &state).await;
                    let _ = closing.send(());
                });
            }
        });
        Ok(Self { address, shared, closed })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    pub(crate) fn options(&self) -> ClientOptions {
        ClientOptions::new(Address::parse(&self.url()).unwrap())
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.options()).unwrap()
    }

    /// The requests received so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.lock().unwrap().received.clone()
    }

    /// Methods and targets received so far.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.received().iter().map(|request| request.target().to_owned()).collect()
    }

    /// Waits until the server has closed a connection.
    pub(crate) async fn connection_closed(&mut self) {
        self.closed.recv().await.expect("the server runs as long as the test");
    }
}

async fn serve(mut stream: TcpStream, connection: usize, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(received) = read_request(&mut stream, &mut buffer, connection).await? {
        let step = {
            let mut shared = shared.lock().unwrap();
            shared.received.push(received);
            shared.script.pop_front()
        };
        match step.unwrap_or_else(|| Step::Answer(599, "the script is over".to_owned())) {
            Step::Answer(status, body) => answer(&mut stream, status, &body).await?,
            Step::AnswerAndClose(status, body) => return answer(&mut stream, status, &body).await,
            Step::Drop => return Ok(()),
            Step::Hang => {
                while stream.read_buf(&mut buffer).await? > 0 {}
                return Ok(());
            }
            Step::Raw(bytes) => return stream.write_all(&bytes).await,
        }
    }
    Ok(())
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> std::io::Result<Option<Received>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.split("\r\n").map(str::to_owned);
    let line = lines.next().unwrap_or_default();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let length = headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.parse::<usize>().ok())
        .unwrap_or(0);
    while buffer.len() < end + 4 + length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = String::from_utf8_lossy(&buffer[end + 4..end + 4 + length]).into_owned();
    buffer.drain(..end + 4 + length);
    Ok(Some(Received { line, headers, body, connection }))
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} Any\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await
}
