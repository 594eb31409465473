//! The headers of answers. Each is described once and referred to by its name.

use axum::http::HeaderName;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, AGE, ALLOW,
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, LINK, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
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

use Form::{OneOf, Seconds, Text};

/// What a header's value may be.
enum Form {
    Text,
    /// A number of seconds, this at least.
    Seconds(u32),
    OneOf(&'static [&'static str]),
}

/// A header, its value's form and an example of it, and what it says.
type Described = (HeaderName, Form, &'static str, &'static str);

const CODINGS: &[&str] = &[Coding::Brotli.name(), Coding::Zstd.name(), Coding::Gzip.name()];

#[rustfmt::skip]
const OF_CACHING: [Described; 9] = [
    (ETAG, Text, "\"RBNvo1WzZ4oRRq0W9-hknQ\"",
     "Which bytes these are: send it back in `If-None-Match`, and the answer is an empty 304 if they are still the same. A \
      strong tag (RFC 9110)."),
    (CACHE_CONTROL, Text, "public, max-age=212, stale-while-revalidate=60, stale-if-error=3600",
     "For how many seconds the answer is still fresh, and may be used longer; `no-store` on errors."),
    (AGE, Seconds(0), "88", "Seconds since OpenWeatherMap answered."),
    (CACHE_STATUS, Text, "stratus; hit; ttl=212; detail=memory",
     "How the answer came about, for programs (RFC 9211). A stale copy is a `hit` with a negative `ttl`."),
    (X_CACHE, OneOf(&["HIT", "MISS", "STALE"]), "HIT", "The same in a word, for people."),
    (LINK, Text, "<https://openweathermap.org/>; rel=\"license\"; title=\"Weather data provided by OpenWeather\"",
     "Whose data it is: the attribution that OpenWeatherMap's licence asks for (RFC 8288)."),
    (VARY, Text, "accept-encoding", "On which headers of the request the answer depends; left out if on none."),
    (CONTENT_ENCODING, OneOf(CODINGS), Coding::Brotli.name(),
     "How the bytes are compressed, if `Accept-Encoding` asked for it and it pays."),
    (RETRY_AFTER, Seconds(1), "5", "After how many seconds it is worth asking again."),
];

#[rustfmt::skip]
const OTHERS: [Described; 9] = [
    (X_REQUEST_ID, Text, "9c56cc51b374c3ba189210d5b6d4bf57",
     "The request's name in the log: yours, if you sent a well-formed one, or a new one."),
    (RATELIMIT_POLICY, Text, "\"address\";q=600;w=60",
     "Your limit: `q` requests in `w` seconds, of your `address` or of your key (`consumer`). Left out where there is none \
      (draft-ietf-httpapi-ratelimit-headers)."),
    (RATELIMIT, Text, "\"address\";r=597;t=60", "What is left of it: `r` requests; all are back after `t` seconds."),
    (ACCESS_CONTROL_ALLOW_ORIGIN, Text, "*", "Whose pages may read the answer."),
    (ACCESS_CONTROL_ALLOW_CREDENTIALS, Text, "true", "As OpenWeatherMap has it."),
    (ACCESS_CONTROL_ALLOW_METHODS, Text, "GET, POST",
     "As OpenWeatherMap has it; nothing but GET and HEAD is answered."),
    (ALLOW, Text, "GET,HEAD", "The methods that the address takes."),
    (WWW_AUTHENTICATE, Text, "Bearer realm=\"stratus\"", "How a key is sent (RFC 6750)."),
    (CONTENT_SECURITY_POLICY, Text, "default-src 'none'; script-src 'self'", "What the page may load: only from here."),
];

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    OF_CACHING.into_iter().chain(OTHERS).fold(components, |components, (name, form, example, description)| {
        let (schema, example) = match form {
            Text => (string(), Value::from(example)),
            OneOf(words) => (string().enum_values(Some(words.iter().copied())), example.into()),
            Seconds(least) => {
                (integer().minimum(Some(f64::from(least))), example.parse::<u32>().unwrap_or(least).into())
            }
        };
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).example(Some(example));
        components.header(written(&name), header.build())
    })
}
