//! Keys and the tokens made from them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Live tokens beyond this many are forgotten, the oldest first.
const MAXIMUM_TOKENS: usize = 10_000;

/// A key that clients must present, as `X-Authorization: SECRET` or by way of a token. Never printed.
#[derive(Clone)]
pub struct ApiKey {
    id: String,
    secret: String,
    token_life: Duration,
}

impl ApiKey {
    /// A key with its identifier; tokens made from it live for an hour.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: secret.into(), token_life: Duration::from_secs(3600) }
    }

    /// Lets tokens live for another time; a short one shows whether a client renews them.
    #[must_use]
    pub fn with_token_life(mut self, life: Duration) -> Self {
        self.token_life = life;
        self
    }
}

/// The key pair of the store's one user. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKey {
    id: String,
    secret: String,
}

impl StoreKey {
    /// The pair that a store on loopback takes when no key is set.
    pub const DEFAULT: &str = "perago-dev";

    /// A key pair.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: secret.into() }
    }

    pub(crate) fn matches(&self, id: &str, secret: &str) -> bool {
        same(id, &self.id) & same(secret, &self.secret)
    }
}

impl Default for StoreKey {
    fn default() -> Self {
        Self::new(Self::DEFAULT, Self::DEFAULT)
    }
}

impl From<&ApiKey> for StoreKey {
    fn from(key: &ApiKey) -> Self {
        Self::new(key.id.clone(), key.secret.clone())
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoreKey").finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiKey").finish_non_exhaustive()
    }
}

/// The key of a server and its live tokens.
#[derive(Debug)]
pub(crate) struct Access {
    key: ApiKey,
    tokens: Mutex<VecDeque<(String, Instant)>>,
}

impl Access {
    pub(crate) fn new(key: ApiKey) -> Self {
        Self { key, tokens: Mutex::default() }
    }

    /// Makes a token for the right key.
    pub(crate) fn issue(&self, id: &str, secret: &str) -> Option<String> {
        if !(same(id, &self.key.id) & same(secret, &self.key.secret)) {
            return None;
        }
        let token = Uuid::new_v4().to_string();
        let mut tokens = self.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tokens.len() >= MAXIMUM_TOKENS {
            tokens.pop_front();
        }
        tokens.push_back((token.clone(), Instant::now() + self.key.token_life));
        Some(token)
    }

    /// Whether a request that presents this text may pass.
    pub(crate) fn accepts(&self, presented: &str) -> bool {
        if same(presented, &self.key.secret) {
            return true;
        }
        let now = Instant::now();
        let mut tokens = self.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tokens.retain(|(_, end)| *end > now);
        tokens.iter().any(|(token, _)| same(token, presented))
    }
}

/// Compares without telling by its duration where the texts differ.
pub(crate) fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left.bytes().zip(right.bytes()).fold(0, |difference, (left, right)| difference | (left ^ right))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_secret_and_live_tokens_only() {
        let access = Access::new(ApiKey::new("id", "secret"));
        assert!(access.accepts("secret"));
        assert!(!access.accepts("id") && !access.accepts(""));
        assert_eq!(access.issue("id", "other"), None);
        let token = access.issue("id", "secret").unwrap();
        assert!(access.accepts(&token));
        let expired = Access::new(ApiKey::new("id", "secret").with_token_life(Duration::ZERO));
        let token = expired.issue("id", "secret").unwrap();
        assert!(!expired.accepts(&token));
    }

    #[test]
    fn a_key_is_never_printed() {
        assert!(!format!("{:?}", Access::new(ApiKey::new("the-id", "the-secret"))).contains("the-"));
    }
}
