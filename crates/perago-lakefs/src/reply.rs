//! A received answer and how it is read.

use perago_http::excerpt;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ErrorKind;

/// Status and body of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// lakeFS's error body; a merge conflict answers with `reference` instead.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    message: Option<String>,
    reference: Option<String>,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The failure that a status outside 2xx means.
    pub(crate) fn failure(&self) -> ErrorKind {
        let parsed = serde_json::from_slice::<ErrorBody>(&self.body).ok();
        let from_lakefs =
            parsed.as_ref().is_some_and(|body| body.message.is_some() || body.reference.is_some());
        let text = parsed
            .and_then(|body| body.message)
            .unwrap_or_else(|| if from_lakefs { String::new() } else { self.foreign_words() });
        let message = excerpt(&text);
        match self.status {
            401 => ErrorKind::Authentication { status: self.status, message },
            status => ErrorKind::Status { status, message, from_lakefs },
        }
    }

    /// Reads the body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ErrorKind> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ErrorKind::Decode(format!("{error}{}", self.seen())))
    }

    /// Reads the body as the bare text in which lakeFS returns the id of a new branch's commit.
    pub(crate) fn text(&self) -> Result<String, ErrorKind> {
        let text = std::str::from_utf8(&self.body).map_err(|error| ErrorKind::Decode(error.to_string()))?;
        Ok(text.trim().trim_matches('"').to_owned())
    }

    /// What an object store says in XML, or else the body as it is.
    fn foreign_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner.to_owned())
        };
        match (element("Code"), element("Message")) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            _ => text.into_owned(),
        }
    }

    fn seen(&self) -> &'static str {
        match self.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => " (the body is empty)",
            Some(b'<') => " (the body looks like HTML)",
            Some(_) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reply;
    use crate::error::ErrorKind;

    fn failure(status: u16, body: &str) -> ErrorKind {
        Reply { status, body: body.as_bytes().to_vec() }.failure()
    }

    #[test]
    fn a_conflict_is_from_lakefs_without_words() {
        let ErrorKind::Status { status: 409, message, from_lakefs: true } =
            failure(409, r#"{"reference":""}"#)
        else {
            panic!("expected a status");
        };
        assert_eq!(message, "");
    }

    #[test]
    fn a_store_speaks_xml() {
        let body =
            "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>Not there.</Message></Error>";
        let ErrorKind::Status { message, from_lakefs: false, .. } = failure(404, body) else {
            panic!("expected a status");
        };
        assert_eq!(message, "NoSuchKey: Not there.");
    }
}
