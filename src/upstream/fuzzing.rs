//! What the fuzz targets reach of this module and nobody else does: the functions are private, and there is no other way to
//! give them any bytes (docs/fuzzing.md).

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use url::Url;

use super::openweather;
use crate::weather::{Endpoint, Failure, Query};

/// The address of a question.
pub fn request_url(mut base: Url, query: &Query, key: &str) -> Url {
    openweather::write_request(&mut base, query, key);
    base
}

/// How long a `Retry-After` makes callers wait, and what the answer means.
pub fn judge(endpoint: &Endpoint, status: u16, body: &[u8], retry_after: &[u8]) -> (Duration, Result<(), Failure>) {
    let mut headers = HeaderMap::new();
    // Bytes that are no header value never come this far.
    headers.extend(HeaderValue::from_bytes(retry_after).ok().map(|value| (RETRY_AFTER, value)));
    let retry_after = openweather::retry_after(&headers);
    (retry_after, openweather::judge(endpoint, status, &Bytes::copy_from_slice(body), retry_after))
}
