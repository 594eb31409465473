//! The headers of answers. Each is described once and referred to by its name.

use axum::http::HeaderName;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, AGE, ALLOW,
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, LINK, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{ComponentsBuilder, Ref, ResponseBuilder};

use super::super::guard::{RATELIMIT, RATELIMIT_POLICY};
use super::super::observe::{CACHE_STATUS, X_CACHE, X_REQUEST_ID};
use super::schema::{integer, string};
use crate::cache::Coding;

/// On every answer.
pub(super) const ALWAYS: [HeaderName; 3] = [X_REQUEST_ID, ACCESS_CONTROL_ALLOW_ORIGIN, VARY];
/// On every answer of a path that weather is at.
pub(super) const OF_DATA: [HeaderName; 4] = [CACHE_STATUS, X_CACHE, RATELIMIT_POLICY, RATELIMIT];
/// On answers with weather, and on those that say that the caller has it already.
pub(super) const OF_WEATHER: [HeaderName; 4] = [ETAG, CACHE_CONTROL, AGE, LINK];
/// On every answer of OpenWeatherMap's paths, as there.
pub(super) const OF_OPENWEATHERMAP: [HeaderName; 2] = [ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_METHODS];

/// Adds headers to an answer.
pub(super) fn with(response: ResponseBuilder, names: &[HeaderName]) -> ResponseBuilder {
    names.iter().fold(response, |response, name| {
        response.header_ref(written(name), Ref::new(format!("#/components/headers/{}", written(name))))
    })
}

/// A name as people write it.
fn written(name: &HeaderName) -> String {
    let part = |part: &str| match part {
        "etag" => "ETag".to_owned(),
        "www" => "WWW".to_owned(),
        "api" => "API".to_owned(),
        "ratelimit" => "RateLimit".to_owned(),
        _ => part[..1].to_ascii_uppercase() + &part[1..],
    };
    name.as_str().split('-').map(part).collect::<Vec<_>>().join("-")
}

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    all().into_iter().fold(components, |components, (name, schema, example, description)| {
        let header =
            HeaderBuilder::new().schema(Some(schema)).description(Some(description)).example(Some(example.into()));
        components.header(written(&name), header.build())
    })
}

type Described = (HeaderName, ObjectBuilder, serde_json::Value, String);

fn all() -> Vec<Described> {
    let codings = Coding::ALL.map(Coding::name);
    let of_caching: [Described; 9] = [
        (
            ETAG,
            string(),
            "\"RBNvo1WzZ4oRRq0W9-hknQ\"".into(),
            told(
                "Which bytes these are: send it back in `If-None-Match`, and the answer is an empty 304 if they are still the same. A strong tag (RFC 9110).",
            ),
        ),
        (
            CACHE_CONTROL,
            string(),
            "public, max-age=212, stale-while-revalidate=60, stale-if-error=3600".into(),
            told("For how many seconds the answer is still fresh, and may be used longer; `no-store` on errors."),
        ),
        (AGE, integer().minimum(Some(0)), 88.into(), told("Seconds since OpenWeatherMap answered.")),
        (
            CACHE_STATUS,
            string(),
            "stratus; hit; ttl=212; detail=memory".into(),
            told("How the answer came about, for programs (RFC 9211). A stale copy is a `hit` with a negative `ttl`."),
        ),
        (
            X_CACHE,
            string().enum_values(Some(["HIT", "MISS", "STALE"])),
            "HIT".into(),
            told("The same in a word, for people."),
        ),
        (
            LINK,
            string(),
            "<https://openweathermap.org/>; rel=\"license\"; title=\"Weather data provided by OpenWeather\"".into(),
            told("Whose data it is: the attribution that OpenWeatherMap's licence asks for (RFC 8288)."),
        ),
        (
            VARY,
            string(),
            "accept-encoding".into(),
            told("On which headers of the request the answer depends; left out if on none."),
        ),
        (
            CONTENT_ENCODING,
            string().enum_values(Some(codings)),
            Coding::Brotli.name().into(),
            told("How the bytes are compressed, if `Accept-Encoding` asked for it and it pays."),
        ),
        (RETRY_AFTER, integer().minimum(Some(1)), 5.into(), told("After how many seconds it is worth asking again.")),
    ];
    let others: [Described; 9] = [
        (
            X_REQUEST_ID,
            string().min_length(Some(1)).max_length(Some(128)),
            "9c56cc51b374c3ba189210d5b6d4bf57".into(),
            told("The request's name in the log: yours, if you sent a well-formed one, or a new one."),
        ),
        (
            RATELIMIT_POLICY,
            string(),
            "\"address\";q=600;w=60".into(),
            told(
                "Your limit: `q` requests in `w` seconds, of your `address` or of your key (`consumer`). Left out where there is none (draft-ietf-httpapi-ratelimit-headers).",
            ),
        ),
        (
            RATELIMIT,
            string(),
            "\"address\";r=597;t=60".into(),
            told("What is left of it: `r` requests; all are back after `t` seconds."),
        ),
        (ACCESS_CONTROL_ALLOW_ORIGIN, string(), "*".into(), told("Whose pages may read the answer.")),
        (ACCESS_CONTROL_ALLOW_CREDENTIALS, string(), "true".into(), told("As OpenWeatherMap has it.")),
        (
            ACCESS_CONTROL_ALLOW_METHODS,
            string(),
            "GET, POST".into(),
            told("As OpenWeatherMap has it; nothing but GET and HEAD is answered."),
        ),
        (ALLOW, string(), "GET,HEAD".into(), told("The methods that the address takes.")),
        (WWW_AUTHENTICATE, string(), "Bearer realm=\"stratus\"".into(), told("How a key is sent (RFC 6750).")),
        (
            CONTENT_SECURITY_POLICY,
            string(),
            "default-src 'none'; script-src 'self'".into(),
            told("What the page may load: only from here."),
        ),
    ];
    of_caching.into_iter().chain(others).collect()
}

fn told(description: &str) -> String {
    description.to_owned()
}
