//! Every answer that can come: its status, its headers, its body with an example of each kind.

use axum::http::StatusCode as S;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, RETRY_AFTER, WWW_AUTHENTICATE,
};
use serde_json::Value;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat};
use utoipa::openapi::{
    ComponentsBuilder, Content, ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Responses, ResponsesBuilder,
    Schema,
};

use super::super::openweathermap::{self, Dialect};
use super::super::problem::Problem;
use super::headers::{ALWAYS, OF_DATA, OF_OPENWEATHERMAP, OF_WEATHER, with};
use super::problems::{PROBLEM, THEIRS, example, of_callers, of_status};
use super::schema::{named, string};
use super::{Keys, bodies, examples};
use crate::weather::{Endpoint, Refused, Shape, WEATHER};

const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Whether an answer has a body: to a HEAD none has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    With,
    Without,
}

/// The statuses of errors on a path that weather is at.
fn errors(keys: Keys) -> impl Iterator<Item = S> {
    let of_keys = [S::UNAUTHORIZED, S::FORBIDDEN].into_iter().filter(move |_| keys != Keys::None);
    let others = [
        S::BAD_REQUEST,
        S::NOT_FOUND,
        S::METHOD_NOT_ALLOWED,
        S::TOO_MANY_REQUESTS,
        S::INTERNAL_SERVER_ERROR,
        S::BAD_GATEWAY,
        S::SERVICE_UNAVAILABLE,
        S::GATEWAY_TIMEOUT,
    ];
    others.into_iter().chain(of_keys)
}

/// The answers that many paths have in common.
pub(super) fn add(mut components: ComponentsBuilder, keys: Keys) -> ComponentsBuilder {
    for dialect in [Dialect::Own, Dialect::OpenWeatherMap] {
        components = components.response(name(S::NOT_MODIFIED, dialect, Bodies::Without), unchanged(dialect));
        for status in errors(keys) {
            for bodies in [Bodies::With, Bodies::Without] {
                components = components.response(name(status, dialect, bodies), error(status, dialect, bodies));
            }
        }
    }
    components
}

/// How it is called among them.
fn name(status: S, dialect: Dialect, bodies: Bodies) -> String {
    let whose = if dialect == Dialect::Own { "Own" } else { "OpenWeatherMap" };
    let empty = if bodies == Bodies::With { "" } else { "Empty" };
    format!("{whose}{}{empty}", status.as_u16())
}

/// On a path that weather is at, in whose words errors are.
pub(super) fn data(endpoint: &Endpoint, dialect: Dialect, keys: Keys, bodies: Bodies) -> Responses {
    let mut answer = weather(endpoint, dialect);
    if bodies == Bodies::With {
        answer = match (bodies::of(endpoint), dialect) {
            (None, _) => answer.content("image/png", image()),
            (Some(schema), Dialect::Own) => answer.content(JSON, json(schema, endpoint)),
            (Some(schema), Dialect::OpenWeatherMap) => answer.content(JSON, json(bodies::or_error(schema), endpoint)),
        };
        if (endpoint, dialect) == (WEATHER, Dialect::Own) {
            let card = ContentBuilder::new().schema(Some(string())).example(Some(examples::CARD.into()));
            answer = answer.content(TEXT, card.build());
        }
    }
    let unchanged = Ref::from_response_name(name(S::NOT_MODIFIED, dialect, Bodies::Without));
    let responses = ResponsesBuilder::new().response("200", answer).response("304", unchanged);
    let error = |responses: ResponsesBuilder, status: S| {
        responses.response(status.as_str(), Ref::from_response_name(name(status, dialect, bodies)))
    };
    errors(keys).fold(responses, error).build()
}

fn json(schema: RefOr<Schema>, endpoint: &Endpoint) -> Content {
    ContentBuilder::new().schema(Some(schema)).example(examples::of(endpoint)).build()
}

/// On a page.
pub(super) fn page(media_type: &str, what: &str, bodies: Bodies) -> Responses {
    let mut headers = ALWAYS.to_vec();
    headers.extend([ETAG, CACHE_CONTROL]);
    if media_type == "text/html" {
        headers.push(CONTENT_SECURITY_POLICY);
    }
    let mut answer = with(ResponseBuilder::new().description(what), &headers);
    answer = with(answer, &[CONTENT_ENCODING]);
    if bodies == Bodies::With {
        let schema = if media_type == JSON { super::schema::object([], []) } else { string() };
        answer = answer.content(media_type, ContentBuilder::new().schema(Some(schema)).build());
    }
    let unchanged = with(ResponseBuilder::new().description("You have it already."), &headers);
    let refused = of_status(S::METHOD_NOT_ALLOWED);
    let content = with_examples(ContentBuilder::new().schema(Some(named(PROBLEM))), examples_of(&refused));
    let mut refusal = with(ResponseBuilder::new().description(titles(&refused)), &ALWAYS);
    refusal = with(refusal, &[ALLOW, CACHE_CONTROL]);
    if bodies == Bodies::With {
        refusal = refusal.content(PROBLEM_JSON, content.build());
    }
    ResponsesBuilder::new()
        .response("200", answer)
        .response("304", unchanged)
        .response(S::METHOD_NOT_ALLOWED.as_str(), refusal)
        .build()
}

fn weather(endpoint: &Endpoint, dialect: Dialect) -> ResponseBuilder {
    let what = if endpoint.shape == Shape::Png { "The image." } else { "OpenWeatherMap's answer, byte for byte." };
    let response = with(ResponseBuilder::new().description(what), &OF_WEATHER);
    of_data(with(response, &[CONTENT_ENCODING]), dialect)
}

fn unchanged(dialect: Dialect) -> Response {
    let response =
        ResponseBuilder::new().description("You have this answer already: its `ETag` was in `If-None-Match`.");
    of_data(with(response, &OF_WEATHER), dialect).build()
}

/// With what every answer of a path has that weather is at.
fn of_data(response: ResponseBuilder, dialect: Dialect) -> ResponseBuilder {
    let response = with(with(response, &ALWAYS), &OF_DATA);
    if dialect == Dialect::OpenWeatherMap { with(response, &OF_OPENWEATHERMAP) } else { response }
}

/// An error of a path that weather is at.
fn error(status: S, dialect: Dialect, bodies: Bodies) -> Response {
    let problems: Vec<_> = of_status(status).into_iter().filter(at_a_place).collect();
    let mut response = of_data(ResponseBuilder::new().description(titles(&problems)), dialect);
    response = with(response, &[CACHE_CONTROL]);
    response = match status {
        S::METHOD_NOT_ALLOWED => with(response, &[ALLOW]),
        S::UNAUTHORIZED => with(response, &[WWW_AUTHENTICATE]),
        S::TOO_MANY_REQUESTS | S::SERVICE_UNAVAILABLE => with(response, &[RETRY_AFTER]),
        _ => response,
    };
    if bodies == Bodies::With {
        let (media_type, schema, examples) = match dialect {
            Dialect::Own => (PROBLEM_JSON, PROBLEM, examples_of(&problems)),
            Dialect::OpenWeatherMap => (JSON, THEIRS, said_by_openweathermap(status)),
        };
        let content = with_examples(ContentBuilder::new().schema(Some(named(schema))), examples);
        response = response.content(media_type, content.build());
        if dialect == Dialect::Own {
            let line = "On `/weather`, for those who asked for text.";
            let content = ContentBuilder::new().schema(Some(string().description(Some(line))));
            response = response.content(TEXT, content.build());
        }
    }
    response.build()
}

fn examples_of(problems: &[Problem]) -> Vec<(&'static str, Value)> {
    problems.iter().map(|problem| (problem.code, example(problem))).collect()
}

/// Whether it can be about a place, at a path that there is.
fn at_a_place(problem: &Problem) -> bool {
    !problem.code.starts_with("forward-proxy") && problem.code != "not-found"
}

/// What can be wrong, for people.
fn titles(problems: &[Problem]) -> String {
    let told = problems.iter().map(|problem| format!("`{}`: {}", problem.code, problem.detail));
    told.collect::<Vec<_>>().join("\n\n")
}

fn with_examples(content: ContentBuilder, examples: impl IntoIterator<Item = (&'static str, Value)>) -> ContentBuilder {
    content.examples_from_iter(
        examples.into_iter().map(|(code, value)| (code, ExampleBuilder::new().value(Some(value)).build())),
    )
}

/// Its errors of a status, as it would tell them.
fn said_by_openweathermap(status: S) -> Vec<(&'static str, Value)> {
    let refused =
        [Refused::NothingToGeocode, Refused::Latitude].map(|refused| openweathermap::refused(WEATHER, refused));
    let mut said: Vec<(_, Value)> = Vec::new();
    for problem in refused.into_iter().chain(of_callers()).filter(at_a_place) {
        let words = problem.words.clone().unwrap_or_else(|| openweathermap::words(&problem));
        let told = serde_json::from_slice(&words.body).unwrap_or_default();
        if words.status == status.as_u16() && !said.iter().any(|(code, known)| *code == problem.code || *known == told)
        {
            said.push((problem.code, told));
        }
    }
    said
}

fn image() -> Content {
    let bytes = string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    ContentBuilder::new().schema(Some(bytes)).build()
}
