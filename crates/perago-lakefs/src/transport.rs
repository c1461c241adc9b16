//! One request to one answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perago_http::Address;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::options::{ClientOptions, Credentials};
use crate::reply::Reply;
use crate::signed_url::SignedUrl;

/// Path of the API below a server's address.
const API: [&str; 2] = ["api", "v1"];

/// A request before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// What the call does, in words that follow "failed to".
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    /// Limit of this call, where it is not that of every call.
    pub(crate) limit: Option<Duration>,
}

impl Request {
    pub(crate) fn header(&mut self, name: HeaderName, value: &str) -> Result<(), ErrorKind> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| ErrorKind::Encode(format!("the header {name} would hold a forbidden character")))?;
        self.headers.insert(name, value);
        Ok(())
    }
}

/// The HTTP side of a client; clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: reqwest::Client,
    pub(crate) address: Address,
    base: Url,
    authorization: HeaderValue,
    pub(crate) options: Arc<ClientOptions>,
    stores: Arc<Mutex<HashMap<String, reqwest::Client>>>,
}

impl Transport {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, Error> {
        let address = options.address.clone();
        let http = options.connection(address.clone()).http_client();
        let http = http.map_err(|error| Error::options(error.to_string()))?;
        let plain = address.join(&[]);
        let has_api = plain.path().trim_end_matches('/').ends_with("/api/v1");
        let base = if has_api { plain } else { address.join(&API) };
        Ok(Self {
            http,
            address,
            base,
            authorization: authorization(&options.credentials)?,
            options: Arc::new(options.clone()),
            stores: Arc::default(),
        })
    }

    /// The URL of `segments` below the API.
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, ErrorKind> {
        // These would walk to another route.
        if let Some(bad) = segments.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(ErrorKind::Encode(format!("{bad:?} is no name of a repository, branch or commit")));
        }
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Ok(url)
    }

    /// Sends a request to lakeFS once and reads the whole answer, whatever its status.
    pub(crate) async fn send(&self, request: &Request) -> Result<Reply, Error> {
        let limit = request.limit.unwrap_or(self.options.request_timeout);
        let mut builder = self.authorised(request).timeout(limit);
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let fail = |error| self.fail(request, ErrorKind::of_exchange(&error, limit));
        let response = builder.send().await.map_err(fail)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(fail)?;
        Ok(Reply { status, body: body.into() })
    }

    /// A request to lakeFS with credentials, without time limit and body.
    pub(crate) fn authorised(&self, request: &Request) -> reqwest::RequestBuilder {
        self.http
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .header(AUTHORIZATION, self.authorization.clone())
    }

    /// A request to the object store: the URL is the permission, and our credentials are none of its business.
    pub(crate) fn to_store(
        &self,
        operation: &'static str,
        method: Method,
        url: &SignedUrl,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let store = url.store().map_err(|error| {
            Error::new(operation, self.address.to_string(), ErrorKind::Decode(error.to_string()))
        })?;
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let name = store.to_string();
        let known = stores.get(&name).cloned();
        let http = if let Some(http) = known {
            http
        } else {
            let http = self.options.connection(store).http_client();
            let http = http.map_err(|error| Error::options(error.to_string()))?;
            stores.insert(name, http.clone());
            http
        };
        Ok(http.request(method, url.expose().clone()))
    }

    /// An error of this server and request.
    pub(crate) fn fail(&self, request: &Request, kind: ErrorKind) -> Error {
        Error::new(request.operation, self.address.to_string(), kind)
    }
}

fn authorization(credentials: &Credentials) -> Result<HeaderValue, Error> {
    let pair = format!("{}:{}", credentials.access_key_id.expose(), credentials.secret_access_key.expose());
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| Error::options("the lakeFS credentials cannot be sent in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
