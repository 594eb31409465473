//! Every answer that can come: its status, its headers, its body with an example of each kind.

use std::collections::BTreeMap;

use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, StatusCode as S};
use serde_json::Value;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat};
use utoipa::openapi::{Content, ContentBuilder, Response, ResponseBuilder, Responses, ResponsesBuilder};

use super::super::openweathermap;
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

/// On one of our own paths.
pub(super) fn own(endpoint: &Endpoint, keys: Keys, bodies: Bodies) -> Responses {
    let mut answer = weather(endpoint, "OpenWeatherMap's answer, byte for byte.", &[]);
    if bodies == Bodies::With {
        let mut content = ContentBuilder::new().schema(bodies::of(endpoint));
        content = content.example(examples::of(endpoint));
        answer = answer.content(JSON, content.build());
        if endpoint == WEATHER {
            let card = ContentBuilder::new().schema(Some(string())).example(Some(examples::CARD.into()));
            answer = answer.content(TEXT, card.build());
        }
    }
    let responses = ResponsesBuilder::new().response("200", answer).response("304", unchanged(&[]));
    errors(keys)
        .fold(responses, |responses, status| {
            let problems: Vec<_> = of_status(status).into_iter().filter(|problem| at_a_place(problem)).collect();
            let content = ContentBuilder::new().schema(Some(named(PROBLEM)));
            let examples = problems.iter().map(|problem| (problem.code, example(problem)));
            let content = with_examples(content, examples);
            responses.response(status.as_str(), error(status, &problems, &[], (PROBLEM_JSON, content), bodies))
        })
        .build()
}

/// On one of OpenWeatherMap's.
pub(super) fn openweathermap(endpoint: &Endpoint, keys: Keys, bodies: Bodies) -> Responses {
    let mut answer = weather(endpoint, "OpenWeatherMap's answer, byte for byte.", &OF_OPENWEATHERMAP);
    if bodies == Bodies::With {
        answer = match bodies::of(endpoint) {
            Some(schema) => {
                let content = ContentBuilder::new().schema(Some(bodies::or_error(schema)));
                answer.content(JSON, content.example(examples::of(endpoint)).build())
            }
            None => answer.content("image/png", image()),
        };
    }
    let responses = ResponsesBuilder::new().response("200", answer).response("304", unchanged(&OF_OPENWEATHERMAP));
    let said = said_by_openweathermap(endpoint);
    errors(keys)
        .fold(responses, |responses, status| {
            let problems: Vec<_> = of_status(status).into_iter().filter(|problem| at_a_place(problem)).collect();
            let content = ContentBuilder::new().schema(Some(named(THEIRS)));
            let content = with_examples(content, said.get(&status.as_u16()).into_iter().flatten().cloned());
            responses.response(status.as_str(), error(status, &problems, &OF_OPENWEATHERMAP, (JSON, content), bodies))
        })
        .build()
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
    let content = ContentBuilder::new().schema(Some(named(PROBLEM)));
    let content = with_examples(content, refused.iter().map(|problem| (problem.code, example(problem))));
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

fn weather(endpoint: &Endpoint, what: &str, also: &[HeaderName]) -> ResponseBuilder {
    let what = if endpoint.shape == Shape::Png { "The image." } else { what };
    let response = with(ResponseBuilder::new().description(what), &OF_WEATHER);
    let response = with(with(with(response, &[CONTENT_ENCODING]), &ALWAYS), &OF_DATA);
    with(response, also)
}

fn unchanged(also: &[HeaderName]) -> Response {
    let response =
        ResponseBuilder::new().description("You have this answer already: its `ETag` was in `If-None-Match`.");
    let response = with(with(with(response, &OF_WEATHER), &ALWAYS), &OF_DATA);
    with(response, also).build()
}

/// An error of a path that weather is at.
fn error(
    status: S,
    problems: &[Problem],
    also: &[HeaderName],
    (media_type, content): (&str, ContentBuilder),
    bodies: Bodies,
) -> Response {
    let mut response = with(with(ResponseBuilder::new().description(titles(problems)), &ALWAYS), &OF_DATA);
    response = with(with(response, &[CACHE_CONTROL]), also);
    response = match status {
        S::METHOD_NOT_ALLOWED => with(response, &[ALLOW]),
        S::UNAUTHORIZED => with(response, &[WWW_AUTHENTICATE]),
        S::TOO_MANY_REQUESTS | S::SERVICE_UNAVAILABLE => with(response, &[RETRY_AFTER]),
        _ => response,
    };
    if bodies == Bodies::With {
        response = response.content(media_type, content.build());
    }
    response.build()
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

/// Its errors by their status, as it would tell them.
fn said_by_openweathermap(endpoint: &Endpoint) -> BTreeMap<u16, Vec<(&'static str, Value)>> {
    let refused =
        [Refused::NothingToGeocode, Refused::Latitude].map(|refused| openweathermap::refused(endpoint, refused));
    let mut said: BTreeMap<_, Vec<(_, Value)>> = BTreeMap::new();
    for problem in refused.into_iter().chain(of_callers()).filter(at_a_place) {
        let words = problem.words.clone().unwrap_or_else(|| openweathermap::words(&problem));
        let told = serde_json::from_slice(&words.body).unwrap_or_default();
        let of_status = said.entry(words.status).or_default();
        if !of_status.iter().any(|(code, known)| *code == problem.code || *known == told) {
            of_status.push((problem.code, told));
        }
    }
    said
}

fn image() -> Content {
    let bytes = string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    ContentBuilder::new().schema(Some(bytes)).build()
}
