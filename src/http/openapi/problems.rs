//! Errors: every problem that a caller of the public listener can meet, taken from where they are made.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use utoipa::PartialSchema;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ComponentsBuilder, ObjectBuilder, RefOr, Schema};

use super::super::problem::{Body, Problem};
use super::schema::{either, object, string};
use crate::cache::GetError;
use crate::weather::SourceError;

/// The names of the schemas of errors: ours, and OpenWeatherMap's.
pub(super) const PROBLEM: &str = "Problem";
pub(super) const THEIRS: &str = "OpenWeatherMapError";

/// What an example is told of: some request.
const REQUEST_ID: &str = "9c56cc51b374c3ba189210d5b6d4bf57";

/// One of each that a public path answers with.
pub(super) fn of_callers() -> Vec<Problem> {
    let retry_after = Duration::from_secs(30);
    let of_the_source = [
        SourceError::UnknownLocation,
        SourceError::NotInPlan,
        SourceError::NoKey,
        SourceError::RejectedKey,
        SourceError::BudgetExhausted { retry_after },
        SourceError::OverShare { retry_after },
        SourceError::Paused { retry_after },
        SourceError::Timeout,
        SourceError::Unavailable,
        SourceError::Failed,
        SourceError::InvalidResponse,
    ];
    let of_requests = [
        Problem::invalid_location(
            "the location has no letter; for a city id use id:2643743, for a postal code zip:94040,US",
        ),
        Problem::invalid_parameter("`units` is metric, imperial or standard"),
        Problem::missing_key(),
        Problem::invalid_key("nobody has this key: it may have been revoked"),
        Problem::expired_key(),
        Problem::origin_not_allowed(),
        Problem::forward_proxy_off(),
        Problem::forward_proxy_refused(),
        Problem::not_found(),
        Problem::method_not_allowed(),
        Problem::over_limit(retry_after),
        Problem::internal(),
        Problem::no_tunnels(),
        Problem::request_timeout(),
        Problem::from(GetError::Overloaded),
    ];
    of_requests.into_iter().chain(of_the_source.map(Problem::from)).collect()
}

/// Those of a status, one of each code.
pub(super) fn of_status(status: StatusCode) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    of_callers().into_iter().filter(|problem| problem.status == status && seen.insert(problem.code)).collect()
}

/// What a caller gets to read of it.
pub(super) fn example(problem: &Problem) -> Value {
    // What is written as JSON can be read as JSON.
    serde_json::from_slice(&problem.json(REQUEST_ID)).unwrap_or_default()
}

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    components.schema(PROBLEM, ours()).schema(THEIRS, theirs())
}

fn ours() -> RefOr<Schema> {
    let mut schema = Body::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        let codes: BTreeSet<_> = of_callers().iter().map(|problem| problem.code).collect();
        let code =
            string().enum_values(Some(codes)).description(Some("What is wrong, for programs: these never change."));
        object.properties.insert("code".to_owned(), code.into());
    }
    schema
}

fn theirs() -> ObjectBuilder {
    let code = either([Type::String, Type::Integer])
        .description(Some("The status, for some errors a number, for others a text."));
    let message = string().description(Some("What is wrong, for people."));
    object([("cod", code.into()), ("message", message.into())], [])
        .description(Some("An error as OpenWeatherMap tells it."))
}
