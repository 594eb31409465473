//! `GET /weather/{location}`: a question in, OpenWeatherMap's bytes out, with the headers that caches understand.

use axum::extract::{RawQuery, State};
use axum::http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::observe::{CACHE_STATUS, CacheResult, X_CACHE};
use super::problem::Problem;
use crate::cache::{Answer, Body, Cache, Content, GetError, Origin, Windows, age};
use crate::weather::{Query, SourceError};

/// The attribution that OpenWeatherMap's licence asks for, where every client can see it (RFC 8288).
const LICENCE: HeaderValue = HeaderValue::from_static(
    "<https://openweathermap.org/>; rel=\"license\"; title=\"Weather data provided by OpenWeather\"",
);

pub(super) async fn weather(
    State(cache): State<Cache>,
    uri: Uri,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
) -> Response {
    let segment = uri.path().strip_prefix("/weather/").unwrap_or_default();
    let query = match Query::parse(segment, parameters.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return Problem::from(error).into_response(),
    };
    match cache.get(query).await {
        Ok(answer) => {
            let (mut response, word) = answered(&answer, cache.now_ms(), &headers);
            response.extensions_mut().insert(CacheResult(word));
            response
        }
        Err(error) => {
            let problem = Problem::from(error);
            // Those two never left this service (RFC 9211, section 2.2).
            let forwarded = !matches!(error, GetError::Overloaded | GetError::Source(SourceError::NoKey));
            let why = if forwarded { "fwd=miss; " } else { "" };
            let status = format!("stratus; {why}detail={}", problem.code);
            let mut response = problem.into_response();
            came_about(&mut response, status, "MISS");
            response.extensions_mut().insert(CacheResult("MISS"));
            response
        }
    }
}

/// The answer's own headers and body, and the word of `X-Cache`.
pub(super) fn answered(answer: &Answer, now_ms: u64, request: &HeaderMap) -> (Response, &'static str) {
    let ttl = answer.windows.ttl_secs(answer.fetched_at_ms, now_ms);
    let (mut response, upstream_status) = match &answer.content {
        Content::Weather(body) => {
            let age = age(answer.fetched_at_ms, now_ms).as_secs();
            (weather_body(body, request, cache_control(&answer.windows, ttl), age), 200)
        }
        Content::UnknownPlace => (Problem::from(SourceError::UnknownLocation).into_response(), 404),
    };
    let (status, word) = cache_status(answer.origin, ttl, upstream_status);
    came_about(&mut response, status, word);
    (response, word)
}

/// 200 with the body, or 304 if the caller has it already.
fn weather_body(body: &Body, request: &HeaderMap, cache_control: String, age: u64) -> Response {
    let unchanged = request.get_all(IF_NONE_MATCH).iter().any(|value| matches(value, body.tag()));
    let mut response =
        if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { body.bytes().clone().into_response() };
    let headers = response.headers_mut();
    if unchanged {
        headers.remove(CONTENT_TYPE);
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    }
    headers.insert(ETAG, HeaderValue::from_maybe_shared(body.tag().clone()).unwrap_or(HeaderValue::from_static("")));
    headers.insert(CACHE_CONTROL, header(cache_control));
    headers.insert(AGE, HeaderValue::from(age));
    headers.insert(LINK, LICENCE);
    response
}

/// Adds how the answer came about, for programs and for people.
fn came_about(response: &mut Response, status: String, word: &'static str) {
    response.headers_mut().insert(CACHE_STATUS, header(status));
    response.headers_mut().insert(X_CACHE, HeaderValue::from_static(word));
}

/// `If-None-Match` compares weakly (RFC 9110, section 13.1.2).
fn matches(value: &HeaderValue, etag: &[u8]) -> bool {
    let mut tags = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}

fn cache_control(windows: &Windows, ttl: i64) -> String {
    format!(
        "public, max-age={}, stale-while-revalidate={}, stale-if-error={}",
        ttl.max(0),
        windows.stale_while_revalidate.as_secs(),
        windows.stale_if_error.as_secs()
    )
}

/// `Cache-Status` (RFC 9211) and `X-Cache`.
fn cache_status(origin: Origin, ttl: i64, upstream_status: u16) -> (String, &'static str) {
    match origin {
        Origin::Fresh(level) => (format!("stratus; hit; ttl={ttl}; detail={level}"), "HIT"),
        Origin::Stale(level) => (format!("stratus; hit; ttl={ttl}; detail={level}"), "STALE"),
        Origin::Source { stale, stored, collapsed } => {
            let why = if stale { "stale" } else { "miss" };
            let stored = if stored { "; stored" } else { "" };
            let collapsed = if collapsed { "; collapsed" } else { "" };
            (format!("stratus; fwd={why}; fwd-status={upstream_status}{stored}{collapsed}"), "MISS")
        }
    }
}

/// For text that this file put together from ASCII.
fn header(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            cache_status(Origin::Fresh("redis"), 212, 200),
            ("stratus; hit; ttl=212; detail=redis".into(), "HIT")
        );
        assert_eq!(
            cache_status(Origin::Stale("redis"), -9, 200),
            ("stratus; hit; ttl=-9; detail=redis".into(), "STALE")
        );
        let status = |stored, collapsed| cache_status(Origin::Source { stale: false, stored, collapsed }, 300, 200).0;
        assert_eq!(status(true, false), "stratus; fwd=miss; fwd-status=200; stored");
        assert_eq!(status(false, true), "stratus; fwd=miss; fwd-status=200; collapsed");
    }
}
