//! What the cache gave, as a response: OpenWeatherMap's bytes, with the headers that caches understand.

use arrayvec::ArrayString;
use axum::http::header::{AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::coding::negotiate;
use super::observe::{CACHE_STATUS, X_CACHE};
use super::problem::Problem;
use crate::cache::{Answer, Body, Content, GetError, Origin, Windows, age};
use crate::weather::SourceError;

/// The attribution that OpenWeatherMap's licence asks for, where every client can see it (RFC 8288).
const LICENCE: HeaderValue = HeaderValue::from_static(
    "<https://openweathermap.org/>; rel=\"license\"; title=\"Weather data provided by OpenWeather\"",
);

/// Why there is no answer, and the word of `X-Cache`.
pub(super) fn not_answered(error: GetError) -> (Response, &'static str) {
    // Those never left this service (RFC 9211, section 2.2).
    use SourceError::{NoKey, OverShare, Paused};
    let forwarded = match &error {
        GetError::Source(failure) => !matches!(failure.error, NoKey | OverShare { .. } | Paused { .. }),
        GetError::Overloaded => false,
        GetError::Lost | GetError::WaitTimeout => true,
    };
    let problem = Problem::from(error);
    let status = format!("stratus; {}detail={}", if forwarded { "fwd=miss; " } else { "" }, problem.code);
    let mut response = problem.into_response();
    came_about(&mut response, &status, "MISS");
    (response, "MISS")
}

/// The service made a mistake, and the word of `X-Cache`.
pub(super) fn broken() -> (Response, &'static str) {
    refused(Problem::internal())
}

/// A question that never reached the cache, and the word of `X-Cache`.
pub(super) fn refused(problem: Problem) -> (Response, &'static str) {
    let status = format!("stratus; detail={}", problem.code);
    let mut response = problem.into_response();
    came_about(&mut response, &status, "MISS");
    (response, "MISS")
}

/// Every header that an answer with weather has, the constant ones with their values.
pub(super) fn constant_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    for varying in [ETAG, CACHE_CONTROL, AGE, CACHE_STATUS, X_CACHE] {
        headers.insert(varying, HeaderValue::from_static(""));
    }
    headers.insert(LINK, LICENCE);
    headers
}

/// The answer for this caller, on top of the `constant` headers, and the word of `X-Cache`.
pub(super) fn answered(
    answer: &Answer,
    now_ms: u64,
    request: &HeaderMap,
    constant: HeaderMap,
) -> (Response, &'static str) {
    let ttl = answer.windows.ttl_secs(answer.fetched_at_ms, now_ms);
    let (mut response, upstream_status) = match &answer.content {
        Content::Weather(body) => {
            let mut response = represented(body, request, constant);
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, cache_control(&answer.windows, ttl));
            headers.insert(AGE, HeaderValue::from(age(answer.fetched_at_ms, now_ms).as_secs()));
            (response, 200)
        }
        Content::UnknownPlace(words) => {
            let status = words.as_ref().map_or(404, |words| words.status);
            (Problem::from(SourceError::UnknownLocation).words(words.clone()).into_response(), status)
        }
    };
    let (status, word) = cache_status(answer.origin, ttl, upstream_status);
    came_about(&mut response, &status, word);
    (response, word)
}

/// 200 with the bytes, as they are or compressed; or 304 if the caller has them already, in either form.
pub(super) fn represented(body: &Body, request: &HeaderMap, mut headers: HeaderMap) -> Response {
    let asked = if body.worth_encoding() { negotiate(request) } else { None };
    let encoded = asked.and_then(|coding| Some((coding, body.encoded(coding)?)));
    let mut tags = encoded.iter().map(|(_, encoded)| &encoded.tag).chain([body.tag()]);
    let known = tags.find(|tag| request.get_all(IF_NONE_MATCH).iter().any(|value| matches(value, tag)));

    let (status, tag, bytes) = match (known, &encoded) {
        (Some(tag), _) => {
            headers.remove(CONTENT_TYPE);
            (StatusCode::NOT_MODIFIED, tag, Bytes::new())
        }
        (None, Some((coding, encoded))) => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            (StatusCode::OK, &encoded.tag, encoded.bytes.clone())
        }
        (None, None) => (StatusCode::OK, body.tag(), body.bytes()),
    };
    // A tag is visible ASCII.
    headers.insert(ETAG, HeaderValue::from_maybe_shared(tag.clone()).unwrap_or(HeaderValue::from_static("")));
    if body.worth_encoding() {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
    let mut response = Response::new(if bytes.is_empty() { axum::body::Body::empty() } else { bytes.into() });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Adds how the answer came about, for programs and for people.
fn came_about(response: &mut Response, status: &str, word: &'static str) {
    response.headers_mut().insert(CACHE_STATUS, header(status));
    response.headers_mut().insert(X_CACHE, HeaderValue::from_static(word));
}

/// `If-None-Match` compares weakly (RFC 9110, section 13.1.2).
fn matches(value: &HeaderValue, etag: &[u8]) -> bool {
    let mut tags = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}

fn cache_control(windows: &Windows, ttl: i64) -> HeaderValue {
    let mut text = Text::new();
    let seconds = [
        ("public, max-age=", ttl.max(0).unsigned_abs()),
        (", stale-while-revalidate=", windows.stale_while_revalidate.as_secs()),
        (", stale-if-error=", windows.stale_if_error.as_secs()),
    ];
    for (name, seconds) in seconds {
        text.push_str(name);
        text.push_str(itoa::Buffer::new().format(seconds));
    }
    header(&text)
}

/// `Cache-Status` (RFC 9211) and `X-Cache`.
fn cache_status(origin: Origin, ttl: i64, upstream_status: u16) -> (Text, &'static str) {
    let mut text = Text::new();
    let word = match origin {
        Origin::Fresh(level) | Origin::Stale(level) => {
            text.push_str("stratus; hit; ttl=");
            text.push_str(itoa::Buffer::new().format(ttl));
            text.push_str("; detail=");
            text.push_str(level);
            if matches!(origin, Origin::Fresh(_)) { "HIT" } else { "STALE" }
        }
        Origin::Source { stale, stored, collapsed } => {
            text.push_str(if stale { "stratus; fwd=stale; fwd-status=" } else { "stratus; fwd=miss; fwd-status=" });
            text.push_str(itoa::Buffer::new().format(upstream_status));
            text.push_str(if stored { "; stored" } else { "" });
            text.push_str(if collapsed { "; collapsed" } else { "" });
            "MISS"
        }
    };
    (text, word)
}

/// A header's value while it is put together. The longest, `Cache-Control` with three numbers of 20 digits, has 118
/// characters.
type Text = ArrayString<128>;

/// For text that this file put together from ASCII.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_etag_is_strong_and_is_compared_weakly() {
        let tag = "\"RBNvo1WzZ4oRRq0W9-hknQ\"".to_owned();
        for (value, expected) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"x\", {tag}"), true),
            ("*".into(), true),
            ("\"x\"".into(), false),
        ] {
            assert_eq!(matches(&HeaderValue::try_from(value.as_str()).unwrap(), tag.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn cache_status_tells_every_origin_apart() {
        let status = |origin, ttl| {
            let (text, word) = cache_status(origin, ttl, 200);
            (text.to_string(), word)
        };
        assert_eq!(status(Origin::Fresh("redis"), 212), ("stratus; hit; ttl=212; detail=redis".into(), "HIT"));
        assert_eq!(status(Origin::Stale("memory"), -9), ("stratus; hit; ttl=-9; detail=memory".into(), "STALE"));
        let forwarded = |stale, stored, collapsed| status(Origin::Source { stale, stored, collapsed }, 300).0;
        assert_eq!(forwarded(false, true, false), "stratus; fwd=miss; fwd-status=200; stored");
        assert_eq!(forwarded(true, false, true), "stratus; fwd=stale; fwd-status=200; collapsed");
    }

    #[test]
    fn the_longest_header_has_room() {
        let windows =
            Windows { fresh: Duration::MAX, stale_while_revalidate: Duration::MAX, stale_if_error: Duration::MAX };
        assert!(cache_control(&windows, i64::MAX).to_str().unwrap().ends_with("=18446744073709551615"));
        assert!(cache_status(Origin::Stale("memory"), i64::MIN, 200).0.ends_with("; detail=memory"));
    }
}
