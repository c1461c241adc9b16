//! Settings of the lakeFS server.

use perago_conductor::Secret;

use super::conductor::refuse_placeholder;
use super::environment::Environment;
use super::error::SettingsError;

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
}

/// Reads the settings: all three variables or none.
///
/// # Errors
/// When some are missing (blank counts as missing) or a placeholder was left in place.
pub fn parse(environment: &Environment) -> Result<Option<LakeFsSettings>, SettingsError> {
    let values = NAMES.map(|name| environment.filled(name));
    if let [Some(endpoint_url), Some(access_key_id), Some(secret_access_key)] = values {
        for (name, value) in NAMES.iter().zip([endpoint_url, access_key_id, secret_access_key]) {
            refuse_placeholder(name, value)?;
        }
        return Ok(Some(LakeFsSettings {
            endpoint_url: endpoint_url.to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: Secret::new(secret_access_key),
        }));
    }
    if values.iter().all(Option::is_none) {
        return Ok(None);
    }
    let missing: Vec<_> =
        NAMES.iter().zip(values).filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    Err(SettingsError::missing(format!("LakeFS config is incomplete; missing {}", missing.join(", "))))
}
