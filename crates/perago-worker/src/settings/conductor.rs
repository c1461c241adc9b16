//! Settings of the Conductor server.

use std::fmt;
use std::path::PathBuf;

use perago_conductor::{Address, ClientOptions, Credentials, ProxyOptions, Secret};

use super::environment::Environment;
use super::error::SettingsError;

const SERVER_URL: &str = "CONDUCTOR_SERVER_URL";
const AUTH_KEY: &str = "CONDUCTOR_AUTH_KEY";
const AUTH_SECRET: &str = "CONDUCTOR_AUTH_SECRET";

/// What copied example files leave where a real value belongs.
pub(crate) const PLACEHOLDER: &str = "replace-me";

/// Where the Conductor server is and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConductorSettings {
    /// API base as written, without outer blanks.
    pub server_url: String,
    /// Key and secret, for servers that ask for them.
    pub credentials: Option<Credentials>,
    /// Proxies of the environment.
    pub proxies: ProxyOptions,
    /// Additional certificate authorities.
    pub extra_ca_files: Vec<PathBuf>,
}

impl ConductorSettings {
    /// Options of a client for this server.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn client_options(&self) -> Result<ClientOptions, SettingsError> {
        let address = Address::parse(&self.server_url).map_err(|error| {
            let unusable = SettingsError::value(SERVER_URL, &format!("cannot be used: {error}"));
            unusable.with_hint("it is the API base, such as http://localhost:8080/api")
        })?;
        Ok(ClientOptions {
            credentials: self.credentials.clone(),
            proxies: self.proxies.clone(),
            extra_ca_files: self.extra_ca_files.clone(),
            ..ClientOptions::new(address)
        })
    }
}

impl fmt::Debug for ConductorSettings {
    /// Leaves out the server URL, which may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConductorSettings")
            .field("credentials", &self.credentials)
            .field("proxies", &self.proxies)
            .field("extra_ca_files", &self.extra_ca_files)
            .finish_non_exhaustive()
    }
}

/// Reads the settings; `None` when there is no server URL.
///
/// # Errors
/// For a placeholder left in place and for one of key and secret without the other.
pub fn parse(environment: &Environment) -> Result<Option<ConductorSettings>, SettingsError> {
    let Some(server_url) = environment.filled(SERVER_URL) else {
        return Ok(None);
    };
    refuse_placeholder(SERVER_URL, server_url)?;
    Ok(Some(ConductorSettings {
        server_url: server_url.to_owned(),
        credentials: credentials(environment)?,
        proxies: proxies(environment),
        extra_ca_files: extra_ca_files(environment),
    }))
}

pub(crate) fn refuse_placeholder(name: &str, value: &str) -> Result<(), SettingsError> {
    if value == PLACEHOLDER {
        return Err(SettingsError::value(name, "must be replaced with a real value"));
    }
    Ok(())
}

fn credentials(environment: &Environment) -> Result<Option<Credentials>, SettingsError> {
    let incomplete = |missing: &str| {
        SettingsError::missing(format!("Conductor authentication is incomplete; missing {missing}"))
    };
    match (environment.filled(AUTH_KEY), environment.filled(AUTH_SECRET)) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(incomplete(AUTH_KEY)),
        (Some(_), None) => Err(incomplete(AUTH_SECRET)),
        (Some(key), Some(secret)) => {
            refuse_placeholder(AUTH_KEY, key)?;
            refuse_placeholder(AUTH_SECRET, secret)?;
            Ok(Some(Credentials { key: Secret::new(key), secret: Secret::new(secret) }))
        }
    }
}

/// Proxies by the conventional variables.
pub fn proxies(environment: &Environment) -> ProxyOptions {
    ProxyOptions::from_lookup(|name| environment.get(name).map(str::to_owned))
}

/// Files with certificate authorities trusted beside the system's.
pub fn extra_ca_files(environment: &Environment) -> Vec<PathBuf> {
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
        .iter()
        .filter_map(|name| environment.filled(name))
        .map(PathBuf::from)
        .collect()
}
