//! The weather as a card for people in a terminal: plain text, at most 8 lines of at most 60 columns, for who asks for it by
//! `format=text` or likes `text/plain` better than JSON.
//!
//! It says what the answer says and in its units, and nothing that changes while the answer does not (its age, say, which
//! the headers tell), so that it has a strong entity tag of its own. There are no colours: a card is also piped, kept and
//! mailed, and a server does not know where its bytes end up.

mod accept;
mod facts;
mod picture;
mod text;

use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use super::answer;
use crate::cache::{Answer, Body, Content};
use crate::weather::{Endpoint, Format, Query, Units, WEATHER};
use facts::Facts;

/// What a card, and an error in a sentence, is.
pub(super) const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// What stands in the last line, as OpenWeatherMap's licence asks for.
const ATTRIBUTION: &str = "Weather data provided by OpenWeather (openweathermap.org)";
/// In its place where there is nothing to attribute.
const SIMULATED: &str = "Simulated weather: made up by this service, none of it real";
/// Where there is weather, but nothing in it that a card could show.
const NOTHING: &str = "Nothing here fits on a card: ask with ?format=json";
/// Where what stands beside a picture begins, so that cards can be read one under another.
const BESIDE: usize = picture::COLUMNS + 1;

/// The form that `endpoint` is asked for in, on our own path: by the parameter, or else by `Accept`. All but the weather of
/// now is JSON, whatever is asked for.
pub(super) fn format(endpoint: &Endpoint, parameters: &str, headers: &HeaderMap) -> Format {
    if endpoint != WEATHER {
        return Format::Json;
    }
    Format::asked_in(parameters).unwrap_or_else(|| accept::negotiate(headers))
}

/// Adds that an answer depends on `Accept`, to that of an endpoint that has two forms.
pub(super) fn vary(endpoint: &Endpoint, headers: &mut HeaderMap) {
    if endpoint == WEATHER {
        headers.append(VARY, HeaderValue::from(ACCEPT));
    }
}

/// In which form an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As OpenWeatherMap sent it.
    Sent,
    /// As a card in these units.
    Card(Units),
}

impl Form {
    /// That of the answer to `query`.
    pub(super) fn new(format: Format, query: &Query) -> Self {
        match format {
            Format::Json => Self::Sent,
            Format::Text => Self::Card(Units::of(query)),
        }
    }

    /// What it was asked for as; errors are told in it, too.
    pub(super) fn format(self) -> Format {
        match self {
            Self::Sent => Format::Json,
            Self::Card(_) => Format::Text,
        }
    }

    /// As [`answer::answered`], in this form.
    pub(super) fn answered(
        self,
        answer: &Answer,
        now_ms: u64,
        request: &HeaderMap,
        mut constant: HeaderMap,
    ) -> (Response, &'static str) {
        let Self::Card(units) = self else { return answer::answered(answer, now_ms, request, constant) };
        constant.insert(CONTENT_TYPE, PLAIN_TEXT);
        let mut answer = answer.clone();
        if let Content::Weather(body) = &answer.content {
            answer.content = Content::Weather(Body::plain(card(&body.bytes(), units).into()));
        }
        answer::answered(&answer, now_ms, request, constant)
    }
}

/// The card of an answer in these units.
fn card(body: &[u8], units: Units) -> String {
    let said = serde_json::from_slice(body).unwrap_or_default();
    let facts = Facts::read(&said, units);
    let mut lines: Vec<String> = facts.place.into_iter().collect();
    let width = if facts.picture.is_some() { BESIDE } else { 0 };
    for (number, row) in facts.picture.unwrap_or_default().into_iter().enumerate() {
        let beside = facts.beside.get(number).map_or("", String::as_str);
        let line = format!("{row:width$}{beside}");
        if !line.trim().is_empty() {
            lines.push(line.trim_end().to_owned());
        }
    }
    lines.extend(facts.sun);
    if lines.is_empty() {
        lines.push(NOTHING.to_owned());
    }
    lines.push(if facts.simulated { SIMULATED } else { ATTRIBUTION }.to_owned());
    let mut card = String::new();
    for line in lines {
        card.push_str(&text::shortened(&line, text::COLUMNS));
        card.push('\n');
    }
    card
}

#[cfg(test)]
mod tests;
