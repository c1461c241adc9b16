//! The object store behind signed URLs, in S3's manner: `/object-store/BUCKET/KEY?X-Amz-…`.

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use time::OffsetDateTime;
use time::macros::format_description;
use url::form_urlencoded::Serializer;

use super::objects::{http_date, put_header};
use super::parameters::Query;
use super::reading::{Wanted, wanted};
use super::uploads::take_body;
use crate::access::same;
use crate::shared::{Shared, now};
use crate::storage::ReadBlob;
use crate::store::{Change, StoredObject};

/// Where the object store lies on a server.
pub(crate) const PREFIX: &str = "/object-store";
/// Seconds that a signed URL lives.
const LIFE: i64 = 15 * 60;
const SIGNATURE: &str = "&X-Amz-Signature=";

pub(super) fn routes() -> Router<Shared> {
    Router::new().route(&format!("{PREFIX}/{{*key}}"), any(serve))
}

/// What a signed URL permits.
pub(super) enum Purpose<'a> {
    /// Reading an object, which is saved under the last part of its path.
    Read { path: &'a str },
    /// Writing it.
    Write,
    /// Writing a part of it.
    Part { upload: &'a str, number: usize },
}

/// Signs a URL for an address; answers it with the time at which it ends to work, in epoch seconds.
pub(super) fn sign(
    shared: &Shared,
    headers: &HeaderMap,
    address: &str,
    purpose: &Purpose<'_>,
) -> (String, i64) {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let seconds = now() / 1000;
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let date = date.format(&form).unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let key = address.split_once("://").map_or(address, |(_, key)| key);
    let mut url = url::Url::parse("http://localhost").unwrap_or_else(|_| unreachable!("a constant URL"));
    url.set_path(&format!("{PREFIX}/{key}"));
    let mut query = Serializer::new(String::new());
    query
        .append_pair("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
        .append_pair("X-Amz-Credential", &format!("embedded/{}/us-east-1/s3/aws4_request", &date[..8]))
        .append_pair("X-Amz-Date", &date)
        .append_pair("X-Amz-Expires", &LIFE.to_string())
        .append_pair("X-Amz-SignedHeaders", "host");
    let method = match purpose {
        Purpose::Read { path } => {
            let name = path.rsplit('/').next().unwrap_or_default();
            query.append_pair("response-content-disposition", &format!("attachment; filename={name}"));
            query.append_pair("x-id", "GetObject");
            "GET"
        }
        Purpose::Write => {
            query.append_pair("x-id", "PutObject");
            "PUT"
        }
        Purpose::Part { upload, number } => {
            query.append_pair("partNumber", &number.to_string());
            query.append_pair("uploadId", upload);
            query.append_pair("x-id", "UploadPart");
            "PUT"
        }
    };
    let query = query.finish();
    let text = format!("{method}\n{}\n{query}", url.path());
    let signature = shared.storage().read(|store| store.sign(&text));
    (format!("http://{host}{}?{query}{SIGNATURE}{signature}", url.path()), seconds + LIFE)
}

/// A refusal in XML. One for a wrong signature does not speak of the object.
fn refused(status: StatusCode, code: &str, message: &str, key: &str) -> Response {
    let (bucket, name) = key.split_once('/').unwrap_or((key, ""));
    let object = if status == StatusCode::FORBIDDEN {
        String::new()
    } else {
        format!("<Key>{}</Key><BucketName>{}</BucketName>", escaped(name), escaped(bucket))
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{}</Message>{object}\
         <Resource>/{}</Resource><Region>us-east-1</Region><RequestId>{}</RequestId><HostId>embedded</HostId></Error>",
        escaped(message),
        escaped(key),
        uuid::Uuid::new_v4(),
    );
    let mut response = (status, body).into_response();
    let is_wrong_signature = code == "SignatureDoesNotMatch";
    let content_type = if is_wrong_signature { "text/xml; charset=utf-8" } else { "application/xml" };
    put_header(&mut response, header::CONTENT_TYPE, content_type);
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn missing(key: &str) -> Response {
    refused(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.", key)
}

async fn serve(State(shared): State<Shared>, OriginalUri(uri): OriginalUri, request: Request) -> Response {
    let query = uri.query().unwrap_or_default();
    let key = uri.path().strip_prefix(PREFIX).unwrap_or_default().trim_start_matches('/');
    // The key as it was before it was put into a URL: what the address holds.
    let Ok(key) = percent_decoded(key) else { return missing("") };
    let (signed, given) = query.rsplit_once(SIGNATURE).unwrap_or((query, ""));
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let text = format!("{method}\n{}\n{signed}", uri.path());
    if !same(&shared.storage().read(|store| store.sign(&text)), given) {
        let message = "The request signature we calculated does not match the signature you provided. \
                       Check your key and signing method.";
        return refused(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message, &key);
    }
    let parameters = Query::parse(signed);
    if is_over(&parameters) {
        return refused(StatusCode::FORBIDDEN, "AccessDenied", "Request has expired", &key);
    }
    let address = format!("{}{key}", shared.storage().kind().scheme());
    match *request.method() {
        Method::GET | Method::HEAD => read(&shared, (&address, &key), request.headers()),
        Method::PUT => write(&shared, (address, &key), &parameters, request.into_body()).await,
        _ => {
            let message = "The specified method is not allowed against this resource.";
            refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message, &key)
        }
    }
}

fn percent_decoded(text: &str) -> Result<String, std::string::FromUtf8Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first == b'%').then(|| after.get(..2)).flatten();
        let escape = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes)
}

fn is_over(parameters: &Query) -> bool {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = parameters.get("X-Amz-Date").unwrap_or_default();
    let signed = time::PrimitiveDateTime::parse(date, &form);
    signed.is_ok_and(|signed| signed.assume_utc().unix_timestamp() + LIFE < now() / 1000)
}

fn read(shared: &Shared, (address, key): (&str, &str), headers: &HeaderMap) -> Response {
    let stored = shared.storage().read(|store| store.object(address).cloned());
    let Some(stored) = stored else { return missing(key) };
    let Some(blobs) = shared.storage().blobs().open_object(&stored) else { return missing(key) };
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, range) = match wanted(range, stored.size) {
        Wanted::Whole | Wanted::Malformed(_) => (StatusCode::OK, 0..stored.size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Unsatisfiable { .. } | Wanted::EndOfNothing => {
            let message = "The requested range is not satisfiable";
            return refused(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message, key);
        }
    };
    let mut response = Response::new(Body::new(ReadBlob::new(blobs, &range)));
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        let shown = format!("bytes {}-{}/{}", range.start, range.end - 1, stored.size);
        put_header(&mut response, header::CONTENT_RANGE, &shown);
    }
    put_header(&mut response, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    put_header(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    put_header(&mut response, header::ETAG, &format!("\"{}\"", stored.tag));
    put_header(&mut response, header::ACCEPT_RANGES, "bytes");
    put_header(&mut response, header::LAST_MODIFIED, &http_date(now() / 1000));
    response
}

async fn write(shared: &Shared, (address, key): (String, &str), parameters: &Query, body: Body) -> Response {
    let storage = shared.storage();
    let arrived = match take_body(storage.blobs(), body).await {
        Ok(arrived) => arrived,
        Err(error) => {
            let message = error.message.unwrap_or_default();
            return refused(StatusCode::BAD_REQUEST, "IncompleteBody", &message, key);
        }
    };
    let number = parameters.number("partNumber").ok().flatten();
    let number = number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let changed = storage.receive(arrived, |store, object, _| {
        let tag = object.tag.clone();
        let changes = match parameters.get("uploadId") {
            Some(upload) => store.store_part(upload, number, object)?.1,
            None => vec![placed(address, object)],
        };
        Ok((tag, changes))
    });
    match changed {
        Ok(tag) => {
            let mut response = StatusCode::OK.into_response();
            put_header(&mut response, header::CONTENT_TYPE, "application/xml");
            put_header(&mut response, header::ETAG, &format!("\"{tag}\""));
            response
        }
        Err(error) if error.status == 404 => {
            let message = "The specified upload does not exist.";
            refused(StatusCode::NOT_FOUND, "NoSuchUpload", message, key)
        }
        Err(error) => {
            let message = error.message.unwrap_or_default();
            refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &message, key)
        }
    }
}

fn placed(address: String, object: StoredObject) -> Change {
    Change::ObjectStored { address, object }
}
