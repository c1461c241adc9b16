//! URLs that carry their own permission.

use std::fmt;

use perago_http::{Address, AddressError};
use url::Url;

/// A presigned URL. Whoever has it can read or write the object for some minutes, so its query is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(Url);

impl SignedUrl {
    /// Parses a URL given by the server; `None` for what is no `http` or `https` URL.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.host().is_some()).then_some(Self(url))
    }

    /// The URL itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &Url {
        &self.0
    }

    /// The store's address.
    pub(crate) fn store(&self) -> Result<Address, AddressError> {
        Address::parse(&self.0.origin().ascii_serialization())
    }

    /// The URL without its query: the same for every signature of one object.
    pub fn without_signature(&self) -> String {
        let mut shown = self.0.clone();
        shown.set_query(None);
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.into()
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SignedUrl({}?…)", self.without_signature())
    }
}

#[cfg(test)]
mod tests {
    use super::SignedUrl;

    #[test]
    fn a_signature_is_never_shown() {
        let url = SignedUrl::parse("https://store/bucket/key?X-Amz-Signature=hunter2").unwrap();
        assert_eq!(format!("{url:?}"), "SignedUrl(https://store/bucket/key?…)");
        assert_eq!(url.without_signature(), "https://store/bucket/key");
        assert!(SignedUrl::parse("s3://bucket/key").is_none());
    }
}
