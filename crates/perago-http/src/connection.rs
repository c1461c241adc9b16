//! Connections to one server: proxies, trust, limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::address::Address;
use crate::exchange::deepest;
use crate::proxies::ProxyOptions;

/// Idle connections are closed by us before common servers and load balancers (60 s) close them.
const IDLE_LIMIT: Duration = Duration::from_secs(25);

/// How connections to one server are made.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// The server.
    pub address: Address,
    /// Proxies.
    pub proxies: ProxyOptions,
    /// PEM files with certificate authorities trusted in addition to the system's.
    pub extra_ca_files: Vec<PathBuf>,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// Idle connections kept open.
    pub idle_connections: usize,
    /// Whether HTTP/2 is offered to servers with TLS; without it every request in flight has its own connection.
    pub offers_http2: bool,
}

/// Why connections cannot be made as asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectionError(String);

impl ConnectionOptions {
    /// Builds an HTTP client that follows no redirects; nothing is sent yet.
    ///
    /// # Errors
    /// For an unusable proxy or certificate file.
    pub fn http_client(&self) -> Result<reqwest::Client, ConnectionError> {
        self.build(self.roots()?)
    }

    /// The same, trusting the authorities in `ca_file` (PEM) and no others.
    ///
    /// # Errors
    /// For an unusable proxy or certificate file.
    pub fn http_client_trusting_only(&self, ca_file: &Path) -> Result<reqwest::Client, ConnectionError> {
        let mut roots = rustls::RootCertStore::empty();
        add_certificates(&mut roots, ca_file)?;
        self.build(roots)
    }

    fn build(&self, roots: rustls::RootCertStore) -> Result<reqwest::Client, ConnectionError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls_config(roots)?)
            .user_agent(concat!("perago/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.connect_timeout)
            .pool_max_idle_per_host(self.idle_connections)
            .pool_idle_timeout(IDLE_LIMIT)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .no_proxy();
        if !self.address.is_loopback() {
            for proxy in proxies(&self.proxies)? {
                builder = builder.proxy(proxy);
            }
        }
        builder.build().map_err(|error| ConnectionError(deepest(&error)))
    }

    /// The system's trust store with the extra authorities added.
    ///
    /// A server without TLS gets an empty store: reading the system's costs megabytes and milliseconds.
    fn roots(&self) -> Result<rustls::RootCertStore, ConnectionError> {
        let mut roots = rustls::RootCertStore::empty();
        let proxy_is_encrypted =
            self.proxies.http.as_deref().is_some_and(|url| url.trim_start().starts_with("https:"));
        if self.address.is_encrypted() || (proxy_is_encrypted && !self.address.is_loopback()) {
            roots.add_parsable_certificates(system_certificates());
            for file in &self.extra_ca_files {
                add_certificates(&mut roots, file)?;
            }
        }
        Ok(roots)
    }

    /// TLS by the ring provider.
    fn tls_config(&self, roots: rustls::RootCertStore) -> Result<rustls::ClientConfig, ConnectionError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectionError(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if self.offers_http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(config)
    }
}

fn proxies(options: &ProxyOptions) -> Result<Vec<reqwest::Proxy>, ConnectionError> {
    let refuse = |name: &str| ConnectionError(format!("{name} is not the URL of a proxy"));
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

fn add_certificates(roots: &mut rustls::RootCertStore, file: &Path) -> Result<(), ConnectionError> {
    let (added, _) = roots.add_parsable_certificates(read_certificates(file)?);
    if added == 0 {
        return Err(ConnectionError(format!("{} holds no certificate in PEM form", file.display())));
    }
    Ok(())
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectionError> {
    let mut loaded = if file.is_dir() {
        rustls_native_certs::load_certs_from_paths(None, Some(file))
    } else {
        rustls_native_certs::load_certs_from_paths(Some(file), None)
    };
    match loaded.errors.pop() {
        Some(error) if loaded.certs.is_empty() => {
            Err(ConnectionError(format!("cannot read certificates from {}: {error}", file.display())))
        }
        _ => Ok(loaded.certs),
    }
}
