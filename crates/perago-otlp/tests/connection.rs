//! How the receiver is reached: trust, proxies, and receivers that do not answer when the worker stops.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perago_otlp::{Exporter, ExporterOptions, ProxyOptions, PushFailure};
use support::{resource, soon, source};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A receiver with a certificate that it signed itself.
struct TlsReceiver {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<String>,
    /// The file of its certificate.
    certificate: PathBuf,
    _folder: tempfile::TempDir,
}

impl TlsReceiver {
    async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("receiver.pem");
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate goes away.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer_once(stream, sender).await;
                    }
                });
            }
        });
        Self { address, requests, certificate, _folder: folder }
    }

    async fn flush(&self, change: impl FnOnce(&mut ExporterOptions)) -> Result<(), PushFailure> {
        let endpoint = format!("https://localhost:{}/v1/metrics", self.address.port());
        flush(&endpoint, change, Duration::from_millis(500)).await
    }
}

/// Reads the head of one request, tells it, and answers.
async fn answer_once(mut stream: impl AsyncRead + AsyncWrite + Unpin, heads: mpsc::UnboundedSender<String>) {
    let mut received = Vec::new();
    while !received.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => received.extend_from_slice(&chunk[..length]),
        }
    }
    drop(heads.send(String::from_utf8_lossy(&received).into_owned()));
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    drop(stream.write_all(answer).await);
    drop(stream.shutdown().await);
}

async fn flush(
    endpoint: &str,
    change: impl FnOnce(&mut ExporterOptions),
    within: Duration,
) -> Result<(), PushFailure> {
    let mut options = ExporterOptions::new(endpoint, resource());
    change(&mut options);
    let (exporter, handle) = Exporter::new(options, source(), |_| {}).unwrap();
    let running = tokio::spawn(exporter.run());
    let result = handle.flush(Instant::now() + within).await;
    running.abort();
    result
}

#[tokio::test]
async fn the_certificate_of_a_receiver_is_what_is_trusted() {
    let mut receiver = TlsReceiver::start().await;
    let certificate = receiver.certificate.clone();
    receiver.flush(|options| options.certificate = Some(certificate)).await.unwrap();
    assert!(receiver.requests.recv().await.unwrap().starts_with("POST /v1/metrics HTTP/1.1"));
    let certificate = receiver.certificate.clone();
    receiver.flush(|options| options.extra_ca_files = vec![certificate]).await.unwrap();
    receiver.requests.recv().await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_is_not_trusted_gets_nothing() {
    let (mut receiver, other) = (TlsReceiver::start().await, TlsReceiver::start().await);
    for certificate in [None, Some(other.certificate.clone())] {
        let failure = receiver.flush(|options| options.certificate = certificate).await.unwrap_err();
        assert!(
            matches!(&failure, PushFailure::Connection(reason) if reason.starts_with("TLS: "))
                || failure == PushFailure::Deadline,
            "{failure:?}"
        );
    }
    // The one that is named counts alone: what is trusted beside the system's is not trusted beside it.
    let (own, others) = (receiver.certificate.clone(), other.certificate.clone());
    let untrusted = receiver.flush(|options| {
        options.certificate = Some(others);
        options.extra_ca_files = vec![own];
    });
    untrusted.await.unwrap_err();
    assert!(receiver.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_certificate_file_that_holds_none_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for file in [empty, folder.path().join("absent.pem")] {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let mut options = ExporterOptions::new("https://receiver/v1/metrics", resource());
        options.certificate = Some(file);
        let Err(error) = Exporter::new(options, source(), |_| {}) else { panic!("{name} is no certificate") };
        assert_eq!(error.code(), "PERAGO-OTLP-CONNECTION");
        assert!(error.to_string().contains(&name), "{error}");
    }
}

/// A proxy that answers everything by itself.
async fn proxy() -> (ProxyOptions, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = Some(format!("http://{}", listener.local_addr().unwrap()));
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_once(stream, sender.clone()));
        }
    });
    (ProxyOptions { http, https: None, no_proxy: None }, requests)
}

#[tokio::test]
async fn proxies_serve_other_hosts_unless_they_are_excepted() {
    let (proxies, mut requests) = proxy().await;
    let remote = "http://receiver.invalid:4318/v1/metrics";
    let own = proxies.clone();
    flush(remote, |options| options.proxies = own, Duration::from_secs(30)).await.unwrap();
    let head = requests.recv().await.unwrap();
    assert!(head.starts_with("POST http://receiver.invalid:4318/v1/metrics HTTP/1.1"), "{head}");

    let excepted = ProxyOptions { no_proxy: Some("other,.invalid".to_owned()), ..proxies.clone() };
    flush(remote, |options| options.proxies = excepted, Duration::from_millis(300)).await.unwrap_err();
    assert!(requests.try_recv().is_err(), "NO_PROXY was not respected");

    let mut local = support::rig(Vec::new(), |options| options.proxies = proxies).await;
    local.handle.flush(soon()).await.unwrap();
    local.requests.recv().await.unwrap();
    assert!(requests.try_recv().is_err(), "a proxy was used for this machine's own address");
}

/// Ends an exporter that has pushed gauges before; returns how long that took.
async fn shut_down(endpoint: &str, within: Duration) -> (Result<(), PushFailure>, Duration) {
    let (exporter, handle) =
        Exporter::new(ExporterOptions::new(endpoint, resource()), source(), |_| {}).unwrap();
    let running = tokio::spawn(exporter.run());
    let started = Instant::now();
    let result = handle.shutdown(started + within).await;
    let took = started.elapsed();
    running.await.unwrap();
    (result, took)
}

#[tokio::test]
async fn a_stop_ends_in_time_whatever_the_receiver_does() {
    const WITHIN: Duration = Duration::from_millis(300);
    // Takes connections and never answers.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Begins its answer and never ends it.
    let half = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let half_address = half.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = half.accept().await {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await);
            kept.push(stream);
        }
    });
    // Refuses connections.
    let refuses = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (what, address) in
        [("hangs", hangs.local_addr().unwrap()), ("answers by half", half_address), ("refuses", refuses)]
    {
        let (result, took) = shut_down(&format!("http://{address}/v1/metrics"), WITHIN).await;
        assert!(result.is_err(), "{what}");
        assert!(took <= WITHIN + Duration::from_millis(200), "one that {what} held the stop for {took:?}");
    }
}
