//! Queries and bodies, checked as the server's schema checks them and refused in its words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use crate::store::{PageRequest, StoreError};

/// Rows of a page unless asked for otherwise.
const DEFAULT_AMOUNT: usize = 100;
const MOST_ROWS: i64 = 1000;

/// The parameters of a query.
pub(super) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = StoreError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StoreError> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    /// Reads a query; a parameter with a broken escape is not there, as for the server.
    pub(super) fn parse(query: &str) -> Self {
        let whole = query.split('&').filter(|pair| has_whole_escapes(pair));
        let pairs = whole.flat_map(|pair| url::form_urlencoded::parse(pair.as_bytes()));
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// A parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, StoreError> {
        match self.first(name) {
            None => Err(refused(name, "value is required but missing")),
            Some("") => Err(refused(name, "empty value is not allowed")),
            Some(value) => Ok(value),
        }
    }

    /// A parameter that is true or false.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, StoreError> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "True" | "TRUE" | "t" | "T" | "1") => Ok(Some(true)),
            Some("false" | "False" | "FALSE" | "f" | "F" | "0") => Ok(Some(false)),
            Some(value) => Err(refused(name, &format!("value {value}: an invalid boolean: invalid syntax"))),
        }
    }

    /// A parameter that is a whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, StoreError> {
        let parsed = self.get(name).map(|value| {
            value
                .parse()
                .map_err(|_| refused(name, &format!("value {value}: an invalid integer: invalid syntax")))
        });
        parsed.transpose()
    }

    /// Rows of a page.
    pub(super) fn amount(&self) -> Result<usize, StoreError> {
        match self.number("amount")? {
            Some(amount) if amount > MOST_ROWS => {
                Err(refused("amount", &format!("number must be at most {MOST_ROWS}")))
            }
            Some(amount) if amount > 0 => Ok(amount as usize),
            _ => Ok(DEFAULT_AMOUNT),
        }
    }

    /// Which page is asked for.
    pub(super) fn page(&self) -> Result<PageRequest, StoreError> {
        let text = |name| self.get(name).unwrap_or_default().to_owned();
        Ok(PageRequest {
            prefix: text("prefix"),
            delimiter: text("delimiter"),
            after: text("after"),
            amount: self.amount()?,
        })
    }
}

pub(super) fn refused(name: &str, reason: &str) -> StoreError {
    StoreError::invalid(format!("parameter \"{name}\" in query has an error: {reason}"))
}

fn has_whole_escapes(text: &str) -> bool {
    let digits = |at: usize| {
        let two = text.as_bytes().get(at + 1..at + 3);
        two.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    text.match_indices('%').all(|(at, _)| digits(at))
}

/// A JSON object as a request's body.
pub(super) struct JsonBody(Option<Value>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = StoreError;

    async fn from_request(request: Request, state: &S) -> Result<Self, StoreError> {
        let given = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let given = given.unwrap_or_default().to_owned();
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| StoreError::invalid(error.to_string()))?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        let refused =
            |reason: Cow<'_, str>| StoreError::invalid(format!("request body has an error: {reason}"));
        if !given.trim_start().to_ascii_lowercase().starts_with("application/json") {
            return Err(refused(format!("header Content-Type has unexpected value \"{given}\"").into()));
        }
        let parsed = serde_json::from_slice(&body);
        parsed.map(|value| Self(Some(value))).map_err(|error| {
            let reason = if error.is_eof() { "unexpected EOF".to_owned() } else { error.to_string() };
            refused(format!("failed to decode request body: {reason}").into())
        })
    }
}

impl JsonBody {
    /// The fields of an object that must be there; `schema` is its name in the API.
    pub(super) fn fields(self, schema: &'static str) -> Result<Fields, StoreError> {
        match self.0 {
            Some(value) => Fields::of(value, schema),
            None => Err(StoreError::invalid("request body has an error: value is required but missing")),
        }
    }

    /// The fields of an object that may be absent.
    pub(super) fn optional_fields(self, schema: &'static str) -> Result<Fields, StoreError> {
        Fields::of(self.0.unwrap_or_else(|| Value::Object(Map::new())), schema)
    }

    /// The body as it is.
    pub(super) fn value(self) -> Value {
        self.0.unwrap_or_default()
    }
}

/// The fields of a JSON object.
pub(super) struct Fields {
    fields: Map<String, Value>,
    schema: &'static str,
}

impl Fields {
    fn of(value: Value, schema: &'static str) -> Result<Self, StoreError> {
        if let Value::Object(fields) = value {
            return Ok(Self { fields, schema });
        }
        Err(Self { fields: Map::new(), schema }.wrong("", "value must be an object"))
    }

    /// The refusal of a field, in the words of the server's schema check.
    pub(super) fn wrong(&self, field: &str, reason: &str) -> StoreError {
        StoreError::invalid(format!(
            "request body has an error: doesn't match schema #/components/schemas/{}: Error at \"/{field}\": {reason}",
            self.schema
        ))
    }

    fn required(&self, field: &str) -> Result<&Value, StoreError> {
        let value = self.fields.get(field);
        value.ok_or_else(|| self.wrong(field, &format!("property \"{field}\" is missing")))
    }

    /// A text that must be there.
    pub(super) fn text(&self, field: &str) -> Result<&str, StoreError> {
        self.required(field)?.as_str().ok_or_else(|| self.wrong(field, "value must be a string"))
    }

    /// A text that may be absent.
    pub(super) fn optional_text(&self, field: &str) -> Result<Option<&str>, StoreError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let text = value.as_str().ok_or_else(|| self.wrong(field, "value must be a string"));
                text.map(Some)
            }
        }
    }

    /// A whole number that may be absent.
    pub(super) fn optional_number(&self, field: &str) -> Result<Option<i64>, StoreError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value.as_i64().ok_or_else(|| self.wrong(field, "value must be an integer"));
                number.map(Some)
            }
        }
    }

    /// A whole number that must be there.
    pub(super) fn number(&self, field: &str) -> Result<i64, StoreError> {
        self.required(field)?.as_i64().ok_or_else(|| self.wrong(field, "value must be an integer"))
    }

    /// True where it says so.
    pub(super) fn flag(&self, field: &str) -> Result<bool, StoreError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(field, "value must be a boolean")),
        }
    }

    /// Texts by name; empty where absent.
    pub(super) fn texts(&self, field: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let entries = match self.fields.get(field) {
            None | Some(Value::Null) => return Ok(BTreeMap::new()),
            Some(Value::Object(entries)) => entries,
            Some(_) => return Err(self.wrong(field, "value must be an object")),
        };
        let texts = entries.iter().map(|(name, value)| match value.as_str() {
            Some(text) => Ok((name.clone(), text.to_owned())),
            None if value.is_null() => Err(self.wrong(&format!("{field}/{name}"), "Value is not nullable")),
            None => Err(self.wrong(&format!("{field}/{name}"), "value must be a string")),
        });
        texts.collect()
    }

    /// An array that must be there.
    pub(super) fn array(&self, field: &str) -> Result<&Vec<Value>, StoreError> {
        self.required(field)?.as_array().ok_or_else(|| self.wrong(field, "value must be an array"))
    }

    /// An object that must be there.
    pub(super) fn object(&self, field: &str, schema: &'static str) -> Result<Fields, StoreError> {
        Fields::of(self.required(field)?.clone(), schema)
    }

    /// An object that may be absent.
    pub(super) fn optional_object(
        &self,
        field: &str,
        schema: &'static str,
    ) -> Result<Option<Fields>, StoreError> {
        if self.has(field) { self.object(field, schema).map(Some) } else { Ok(None) }
    }

    /// Whether a field is there.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }
}
