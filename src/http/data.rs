//! The data routes, the long way: our own paths and OpenWeatherMap's, which lead to the same questions.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::card::{self, Form};
use super::forward::ForUpstream;
use super::guard::{Guard, Peer};
use super::observe::CacheResult;
use super::pages::Pages;
use super::problem::Problem;
use super::{Overload, answer, openweathermap};
use crate::cache::{Answer, Body, Cache, Content, GetError};
use crate::weather::{Caller, Endpoint, Location, ParameterError, Query, Shape, SourceError};

/// Who asks, and whether it may wait.
#[derive(Clone, Copy)]
struct Asking<'a> {
    cache: &'a Cache,
    caller: Caller,
    overload: bool,
}

impl Asking<'_> {
    async fn get(self, query: Query) -> Result<Answer, GetError> {
        match self.overload {
            false => self.cache.get(query, self.caller).await,
            true => self.cache.recall(&query).ok_or(GetError::Overloaded),
        }
    }

    /// The answer to `query` on our own path for whoever sent these headers.
    async fn respond_own(self, query: Query, form: Form, headers: &HeaderMap) -> Response {
        let mut constant = answer::constant_headers();
        card::vary(query.endpoint(), &mut constant);
        let (mut response, word) = match self.get(query).await {
            Ok(answer) => form.answered(&answer, self.cache.now_ms(), headers, constant),
            Err(error) => answer::not_answered(error),
        };
        response.extensions_mut().insert(CacheResult(word));
        response
    }

    /// The answer to `query` on OpenWeatherMap's for whoever sent these headers and came by this origin, if that matters.
    async fn respond(self, query: Query, headers: &HeaderMap, came_by: Option<(&Pages, &str)>) -> Response {
        let is_page = query.endpoint().shape == Shape::Pages;
        let mut constant = answer::constant_headers();
        constant.insert(CONTENT_TYPE, openweathermap::media_type(query.endpoint()));
        let (mut response, word) = match self.get(query).await {
            Ok(answer) => {
                let answer = match came_by {
                    Some((pages, origin)) if is_page => pages.on_origin(answer, origin),
                    _ => answer,
                };
                answer::answered(&answer, self.cache.now_ms(), headers, constant)
            }
            Err(error) => answer::not_answered(error),
        };
        response.extensions_mut().insert(CacheResult(word));
        response
    }
}

/// What the operator has decided about these paths, and what they have in common.
#[derive(Clone)]
pub(super) struct Terms {
    /// The listener speaks TLS.
    pub(super) secure: bool,
    /// Icons and tiles are served.
    pub(super) images: bool,
    /// Pages as they were given.
    pub(super) pages: Arc<Pages>,
    /// Knows which proxies are believed.
    pub(super) guard: Arc<Guard>,
}

/// One of our own paths.
pub(super) async fn own(
    State(cache): State<Cache>,
    Extension(caller): Extension<Caller>,
    overload: Option<Extension<Overload>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asking = Asking { cache: &cache, caller, overload: overload.is_some() };
    let Some((endpoint, segment)) = Endpoint::own_at(uri.path()) else {
        return Problem::not_found().into_response();
    };
    let parameters = uri.query().unwrap_or_default();
    let query = match Query::own(endpoint, segment, parameters) {
        Err(ParameterError::NoPoint) => match point(asking, segment).await {
            Ok(point) => Query::own(endpoint, &point.to_string(), parameters),
            Err(response) => return *response,
        },
        read => read,
    };
    match query {
        Ok(query) => {
            let form = Form::new(card::format(endpoint, parameters, &headers), &query);
            asking.respond_own(query, form, &headers).await
        }
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Where a place is that was named: that is a question, too, and its answer is kept for a day.
async fn point(asking: Asking<'_>, segment: &str) -> Result<Location, Box<Response>> {
    let location = Location::from_path(segment)
        .map_err(|error| Box::new(Problem::from(ParameterError::from(error)).into_response()))?;
    let Some(query) = Query::whereabouts(&location) else { return Ok(location) };
    let (mut response, word) = match asking.get(query).await {
        Ok(Answer { content: Content::Weather(body), .. }) => match coordinates(&body) {
            Some(point) => return Ok(point),
            None => answer::not_answered(SourceError::InvalidResponse.into()),
        },
        Ok(unknown) => answer::answered(&unknown, asking.cache.now_ms(), &HeaderMap::new(), answer::constant_headers()),
        Err(error) => answer::not_answered(error),
    };
    response.extensions_mut().insert(CacheResult(word));
    Err(Box::new(response))
}

/// The coordinates that an answer begins with.
fn coordinates(body: &Body) -> Option<Location> {
    let said: Value = serde_json::from_slice(&body.bytes()).ok()?;
    let place = said.get(0).unwrap_or(&said);
    let place = place.get("coord").unwrap_or(place);
    let degrees = |name: &str| place.get(name).and_then(Value::as_f64);
    format!("{},{}", degrees("lat")?, degrees("lon")?).parse().ok()
}

/// One of OpenWeatherMap's paths.
pub(super) async fn openweathermap(
    State(cache): State<Cache>,
    Extension(caller): Extension<Caller>,
    Extension(terms): Extension<Terms>,
    Extension(peer): Extension<Peer>,
    (overload, for_upstream): (Option<Extension<Overload>>, Option<Extension<ForUpstream>>),
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    // Who takes us for a proxy has asked for http:// and comes by it again, however it speaks to us; what stands in front of us
    // knows how its callers came.
    let told = || terms.guard.proxies().came_by_https(peer.0, &headers);
    let secure = for_upstream.is_none() && told().unwrap_or(terms.secure);
    let endpoint = Endpoint::at(uri.path()).filter(|endpoint| terms.images || endpoint.shape != Shape::Png);
    let Some(endpoint) = endpoint else { return Problem::not_found().into_response() };
    match Query::at(endpoint, uri.path(), uri.query().unwrap_or_default()) {
        Ok(query) => {
            let asking = Asking { cache: &cache, caller, overload: overload.is_some() };
            let origin = origin(&uri, &headers, secure);
            asking.respond(query, &headers, origin.as_deref().map(|origin| (&*terms.pages, origin))).await
        }
        Err(refused) => openweathermap::refused(endpoint, refused).into_response(),
    }
}

/// The origin that the caller came by, if it says so.
fn origin(uri: &Uri, headers: &HeaderMap, secure: bool) -> Option<String> {
    let host = headers.get(HOST).and_then(|host| Authority::from_str(host.to_str().ok()?).ok());
    let authority = uri.authority().cloned().or(host).filter(|authority| !authority.as_str().contains('@'))?;
    Some(format!("{}://{authority}", if secure { "https" } else { "http" }))
}
