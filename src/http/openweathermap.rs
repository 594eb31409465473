//! OpenWeatherMap's own paths: which they are, its errors in its own bytes, and what else its clients know it by.
//!
//! Clients compare these bytes, also whether `cod` is a number or a string, and look at the status. What the upstream itself
//! said is passed on as it is; here is what it would say of conditions that are ours.

use axum::body::Body;
use axum::http::header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_METHODS, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use super::problem::Problem;
use crate::weather::{Endpoint, Place, Refused, Shape, SourceError, Words};

/// Every JSON answer of OpenWeatherMap's has this type.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// What an answer of this endpoint is.
pub(super) fn media_type(endpoint: &Endpoint) -> HeaderValue {
    if endpoint.shape == Shape::Png { HeaderValue::from_static("image/png") } else { JSON }
}

/// Pages call OpenWeatherMap directly, and it lets them with three headers: these, and `Access-Control-Allow-Origin: *`.
pub(super) const CORS: [(HeaderName, HeaderValue); 2] = [
    (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST")),
];

// Its errors, byte for byte, with the links that they have today.
const INVALID_KEY: &str =
    r#"{"cod":401, "message": "Invalid API key. Please see https://openweathermap.org/faq#error401 for more info."}"#;
const NOT_IN_PLAN: &str = r#"{"cod":401, "message": "Please note that using One Call 3.0 requires a separate subscription to the One Call by Call plan. Learn more here https://openweathermap.org/price. If you have a valid subscription to the One Call by Call plan, but still receive this error, then please see https://openweathermap.org/faq#error401 for more info."}"#;
const BLOCKED: &str = r#"{"cod":429,"message":"Your account is temporary blocked due to exceeding of requests limitation of your subscription type. Please choose the proper subscription https://openweathermap.org/price"}"#;
const CITY_NOT_FOUND: &str = r#"{"cod":"404","message":"city not found"}"#;
const UNKNOWN_PATH: &str = r#"{"cod":"404","message":"Internal error"}"#;

/// In whose words errors are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Problem details, on our own paths.
    Own,
    /// OpenWeatherMap's, on its paths.
    OpenWeatherMap,
}

impl Dialect {
    /// That of a path.
    pub(super) fn of(path: &str) -> Self {
        let theirs = ["/data/", "/geo/", "/img/", "/map/"].iter().any(|root| path.starts_with(root));
        if theirs { Self::OpenWeatherMap } else { Self::Own }
    }
}

/// A request's target with one slash for several, if it leads to OpenWeatherMap's paths then: programs in use put a base URL
/// that ends with a slash before a path that begins with one, which OpenWeatherMap takes.
pub(super) fn with_single_slashes(target: &Uri) -> Option<Uri> {
    if !target.path().contains("//") {
        return None;
    }
    let mut path = String::with_capacity(target.path().len());
    for character in target.path().chars() {
        if character != '/' || !path.ends_with('/') {
            path.push(character);
        }
    }
    if Dialect::of(&path) == Dialect::Own {
        return None;
    }
    if let Some(query) = target.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(path.try_into().ok()?);
    Uri::from_parts(parts).ok()
}

/// An error of OpenWeatherMap's with a text of ours.
#[derive(Serialize)]
struct Error<'a> {
    cod: String,
    message: &'a str,
}

fn error(status: StatusCode, message: &str) -> Words {
    let error = Error { cod: status.as_str().to_owned(), message };
    // Two texts can always be written as JSON.
    let body = serde_json::to_vec(&error).unwrap_or_default();
    Words { status: status.as_u16(), body: body.into() }
}

/// What OpenWeatherMap would say.
pub(super) fn words(problem: &Problem) -> Words {
    let said = |status, body: &'static str| Words { status, body: Bytes::from_static(body.as_bytes()) };
    match problem.code {
        "missing-key" | "invalid-key" | "expired-key" | "upstream-rejected-key" => said(401, INVALID_KEY),
        "upstream-not-in-plan" => said(401, NOT_IN_PLAN),
        "rate-limited" | "upstream-budget-exhausted" => said(429, BLOCKED),
        "unknown-location" => said(404, CITY_NOT_FOUND),
        "not-found" => said(404, UNKNOWN_PATH),
        _ => error(problem.status, &problem.detail),
    }
}

/// The whole answer.
pub(super) fn render(problem: &Problem) -> Response {
    let Words { status, body } = problem.words.clone().unwrap_or_else(|| words(problem));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, Body::from(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    problem.complete(&mut response);
    response
}

/// A question that OpenWeatherMap would only refuse.
pub(super) fn refused(endpoint: &Endpoint, refused: Refused) -> Problem {
    let text = refused.to_string();
    match refused {
        Refused::UnknownPlace => {
            let named = matches!(endpoint.place, Place::Name | Place::Zip);
            let text = if named { "not found" } else { &text };
            Problem::from(SourceError::UnknownLocation).words(Some(error(StatusCode::NOT_FOUND, text)))
        }
        Refused::NothingToGeocode | Refused::Latitude | Refused::Longitude | Refused::Id => {
            Problem::invalid_location(&text).words(Some(error(StatusCode::BAD_REQUEST, &text)))
        }
        Refused::Parameter(_) | Refused::Mode(_) | Refused::Callback => {
            Problem::invalid_parameter(&text).words(Some(error(StatusCode::BAD_REQUEST, &text)))
        }
    }
}
