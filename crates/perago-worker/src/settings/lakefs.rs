//! Settings of the lakeFS server.

use std::path::PathBuf;
use std::time::Duration;

use perago_lakefs::{Address, ClientOptions, Credentials, ProxyOptions, RetryOptions, Secret};
use perago_workspace::TransferOptions;

use super::conductor::{extra_ca_files, proxies, refuse_placeholder};
use super::environment::Environment;
use super::error::SettingsError;
use super::modes::on_or_off;
use super::quantities::{integer, short_duration};

/// Default of `PERAGO_LAKEFS_STALL_TIMEOUT`.
pub const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Default of `PERAGO_LAKEFS_RETRIES`: together 16 s on average.
pub const DEFAULT_RETRIES: u32 = 8;

const NAMES: [&str; 3] = [
    "LAKECTL_SERVER_ENDPOINT_URL",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY",
];

/// Where lakeFS is and how to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeFsSettings {
    /// Server URL as written.
    pub endpoint_url: String,
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Whether objects may move directly between us and the object store.
    pub presign: bool,
    /// Longest time in which a transfer may move no byte.
    pub stall_timeout: Duration,
    /// Repetitions of a failed call after the first try.
    pub retries: u32,
    /// Proxies of the environment.
    pub proxies: ProxyOptions,
    /// Additional certificate authorities.
    pub extra_ca_files: Vec<PathBuf>,
}

impl LakeFsSettings {
    /// Options of a client for this server.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn client_options(&self) -> Result<ClientOptions, SettingsError> {
        let address = Address::parse(&self.endpoint_url).map_err(|error| {
            let unusable = SettingsError::value(NAMES[0], &format!("cannot be used: {error}"));
            unusable.with_hint("it is the server's URL, such as http://localhost:8000")
        })?;
        let credentials = Credentials {
            access_key_id: Secret::new(self.access_key_id.clone()),
            secret_access_key: self.secret_access_key.clone(),
        };
        Ok(ClientOptions {
            presign: self.presign,
            stall_timeout: self.stall_timeout,
            retry: RetryOptions { attempts: self.retries, ..RetryOptions::default() },
            proxies: self.proxies.clone(),
            extra_ca_files: self.extra_ca_files.clone(),
            ..ClientOptions::new(address, credentials)
        })
    }

    /// How the files of workspaces are moved to and from this server.
    pub fn transfer_options(&self) -> TransferOptions {
        TransferOptions { stall_timeout: self.stall_timeout, ..TransferOptions::default() }
    }
}

/// Reads the settings: all three variables or none.
///
/// # Errors
/// When some are missing (blank counts as missing), a placeholder was left in place, or a `PERAGO_LAKEFS_*` variable
/// has a value of another form.
pub fn parse(environment: &Environment) -> Result<Option<LakeFsSettings>, SettingsError> {
    let presign = on_or_off("PERAGO_LAKEFS_PRESIGN", environment)?;
    let stall_timeout = stall_timeout(environment)?;
    let retries = retries(environment)?;
    let values = NAMES.map(|name| environment.filled(name));
    if let [Some(endpoint_url), Some(access_key_id), Some(secret_access_key)] = values {
        for (name, value) in NAMES.iter().zip([endpoint_url, access_key_id, secret_access_key]) {
            refuse_placeholder(name, value)?;
        }
        return Ok(Some(LakeFsSettings {
            endpoint_url: endpoint_url.to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: Secret::new(secret_access_key),
            presign,
            stall_timeout,
            retries,
            proxies: proxies(environment),
            extra_ca_files: extra_ca_files(environment),
        }));
    }
    if values.iter().all(Option::is_none) {
        return Ok(None);
    }
    let missing: Vec<_> =
        NAMES.iter().zip(values).filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    Err(SettingsError::missing(format!("LakeFS config is incomplete; missing {}", missing.join(", "))))
}

fn stall_timeout(environment: &Environment) -> Result<Duration, SettingsError> {
    const NAME: &str = "PERAGO_LAKEFS_STALL_TIMEOUT";
    environment.get(NAME).map_or(Ok(DEFAULT_STALL_TIMEOUT), |text| short_duration(NAME, text))
}

fn retries(environment: &Environment) -> Result<u32, SettingsError> {
    const NAME: &str = "PERAGO_LAKEFS_RETRIES";
    environment.get(NAME).map_or(Ok(DEFAULT_RETRIES), |text| integer(NAME, text, 0..=100))
}
