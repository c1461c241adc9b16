//! One request to one answer: connections, TLS, proxies and timeouts.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use rustls::pki_types::CertificateDer;
use url::Url;

use crate::address::Address;
use crate::error::{Error, ErrorKind};
use crate::options::{ClientOptions, ProxyOptions};
use crate::reply::Reply;
use crate::secret::Secret;

/// Idle connections are closed by us before common servers and load balancers (60 s) close them.
const IDLE_LIMIT: Duration = Duration::from_secs(25);

/// Header in which Conductor servers with authentication expect the token.
const TOKEN_HEADER: &str = "X-Authorization";

/// A request before it is sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// What the call does, in words that follow "failed to".
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) content_type: &'static str,
    pub(crate) body: Option<Vec<u8>>,
    /// Time that the server was asked to wait before it answers.
    pub(crate) server_wait: Duration,
}

/// The HTTP side of a client; clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: reqwest::Client,
    pub(crate) address: Address,
    request_timeout: Duration,
}

impl Transport {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls_config(options)?)
            .user_agent(concat!("perago/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.idle_connections)
            .pool_idle_timeout(IDLE_LIMIT)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .no_proxy();
        if !options.address.is_loopback() {
            for proxy in proxies(&options.proxies)? {
                builder = builder.proxy(proxy);
            }
        }
        let http = builder.build().map_err(|error| Error::options(deepest(&error)))?;
        Ok(Self { http, address: options.address.clone(), request_timeout: options.request_timeout })
    }

    /// Sends a request once and reads the whole answer, whatever its status.
    pub(crate) async fn send(&self, request: &Request, token: Option<&Secret>) -> Result<Reply, Error> {
        let limit = self.request_timeout.saturating_add(request.server_wait);
        let mut builder = self.http.request(request.method.clone(), request.url.clone()).timeout(limit);
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, request.content_type).body(body.clone());
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose()).map_err(|_| {
                self.fail(request, ErrorKind::Decode("the token is no header value".to_owned()))
            })?;
            value.set_sensitive(true);
            builder = builder.header(TOKEN_HEADER, value);
        }
        let response = builder.send().await.map_err(|error| self.fail(request, classify(&error, limit)))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| self.fail(request, classify(&error, limit)))?;
        Ok(Reply { status, body: body.into() })
    }

    /// An error of this server and request.
    pub(crate) fn fail(&self, request: &Request, kind: ErrorKind) -> Error {
        Error::new(request.operation, self.address.to_string(), kind)
    }
}

/// The class of a failed exchange.
fn classify(error: &reqwest::Error, limit: Duration) -> ErrorKind {
    let detail = deepest(error);
    if error.is_connect() {
        if has_tls_cause(error) { ErrorKind::Tls(detail) } else { ErrorKind::Connect(detail) }
    } else if error.is_timeout() {
        ErrorKind::Timeout(limit)
    } else if error.is_builder() {
        ErrorKind::Encode(detail)
    } else {
        ErrorKind::Interrupted(detail)
    }
}

/// The innermost cause, which is the one that says something; outer ones repeat the URL.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = None;
    while let Some(inner) = cause {
        text = Some(inner.to_string());
        cause = inner.source();
    }
    text.unwrap_or_else(
        || if error.is_timeout() { "timed out".to_owned() } else { "request failed".to_owned() },
    )
}

fn has_tls_cause(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    // An I/O error hides the error that it wraps from `source`.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.is_some_and(|wrapped| has_tls_cause(wrapped)) || error.source().is_some_and(has_tls_cause)
}

fn proxies(options: &ProxyOptions) -> Result<Vec<reqwest::Proxy>, Error> {
    let refuse = |name: &str| Error::options(format!("{name} is not the URL of a proxy"));
    let no_proxy = options.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
    let mut proxies = Vec::new();
    if let Some(url) = &options.http {
        proxies.push(reqwest::Proxy::http(url).map_err(|_| refuse("HTTP_PROXY"))?.no_proxy(no_proxy.clone()));
    }
    if let Some(url) = &options.https {
        proxies.push(reqwest::Proxy::https(url).map_err(|_| refuse("HTTPS_PROXY"))?.no_proxy(no_proxy));
    }
    Ok(proxies)
}

/// TLS by the ring provider and the system's trust store, with the extra authorities added.
///
/// A server without TLS gets an empty store: reading the system's costs megabytes and milliseconds.
fn tls_config(options: &ClientOptions) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let proxy_is_encrypted =
        options.proxies.http.as_deref().is_some_and(|url| url.trim_start().starts_with("https:"));
    if options.address.is_encrypted() || (proxy_is_encrypted && !options.address.is_loopback()) {
        roots.add_parsable_certificates(system_certificates());
        for file in &options.extra_ca_files {
            let (added, _) = roots.add_parsable_certificates(read_certificates(file)?);
            if added == 0 {
                return Err(Error::options(format!("{} holds no certificate in PEM form", file.display())));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::options(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The system's authorities, also when `SSL_CERT_FILE` or `SSL_CERT_DIR` would replace them: here they only add.
fn system_certificates() -> Vec<CertificateDer<'static>> {
    let mut certificates = rustls_native_certs::load_native_certs().certs;
    if openssl_probe::has_ssl_cert_env_vars() {
        for directory in openssl_probe::candidate_cert_dirs() {
            certificates.extend(rustls_native_certs::load_certs_from_paths(None, Some(directory)).certs);
        }
    }
    certificates
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut loaded = if file.is_dir() {
        rustls_native_certs::load_certs_from_paths(None, Some(file))
    } else {
        rustls_native_certs::load_certs_from_paths(Some(file), None)
    };
    match loaded.errors.pop() {
        Some(error) if loaded.certs.is_empty() => {
            Err(Error::options(format!("cannot read certificates from {}: {error}", file.display())))
        }
        _ => Ok(loaded.certs),
    }
}
