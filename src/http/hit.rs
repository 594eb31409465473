//! The short way: a `GET` or `HEAD` of a place that memory can answer is answered here, without routing, waiting or
//! a task. Everything else, and whatever is odd about a request, goes the long way through the router, which gives the same
//! answer with the same headers.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_LENGTH, ORIGIN, TRANSFER_ENCODING, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use axum::response::Response;
use futures_util::future::Either;
use hyper::body::Incoming;
use tower::Service;

use super::observe::{Asked, WEATHER, X_REQUEST_ID, method, request_id, with_body};
use super::{EXPOSED, weather};
use crate::cache::Cache;
use crate::telemetry::Metrics;
use crate::weather::Query;

/// An answer at once, or later.
pub(super) type Answering =
    Either<Ready<Result<Response, Infallible>>, Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>>;

/// All that a listener answers with.
#[derive(Clone)]
pub struct Routes {
    hits: Option<Arc<Hits>>,
    router: Router,
}

/// Routes without a short way.
impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self { hits: None, router }
    }
}

impl Routes {
    pub(super) fn new(router: Router, hits: Hits) -> Self {
        Self { hits: Some(Arc::new(hits)), router }
    }

    /// Answers; what goes the long way holds `held` until its answer.
    pub(super) fn answer<T: Send + 'static>(&self, request: Request<Incoming>, held: impl FnOnce() -> T) -> Answering {
        // A fault of ours on the short way must not cost the caller the connection: the long way tells it.
        let short = || self.hits.as_ref()?.answer(&request);
        if let Some(response) = catch_unwind(AssertUnwindSafe(short)).unwrap_or_default() {
            return Either::Left(ready(Ok(response)));
        }
        let (mut router, held) = (self.router.clone(), held());
        let answer = router.call(request.map(Body::new));
        Either::Right(Box::pin(async move {
            let _held = held;
            answer.await
        }))
    }
}

/// Answers from memory.
pub(super) struct Hits {
    cache: Cache,
    metrics: Arc<Metrics>,
    /// What pages of other origins may read.
    cors: HeaderMap,
    /// The headers of every answer with weather, those with the same value for whoever asks already with it.
    constant: HeaderMap,
    any_origin: bool,
}

impl Hits {
    pub(super) fn new(cache: Cache, metrics: Arc<Metrics>, any_origin: bool) -> Self {
        let mut cors = HeaderMap::new();
        let exposed: Vec<_> = EXPOSED.iter().map(|name| name.as_str().to_owned()).collect();
        // Of header names, which are all visible ASCII.
        cors.extend(HeaderValue::try_from(exposed.join(",")).ok().map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names)));
        if any_origin {
            cors.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            cors.insert(VARY, HeaderValue::from_static("origin"));
        }
        let mut constant = weather::constant_headers();
        constant.extend(cors.clone());
        constant.insert(X_REQUEST_ID, HeaderValue::from_static(""));
        Self { cache, metrics, cors, constant, any_origin }
    }

    fn answer<B>(&self, request: &Request<B>) -> Option<Response> {
        let segment = request.uri().path().strip_prefix("/weather/")?;
        let headers = request.headers();
        let plain = matches!(*request.method(), Method::GET | Method::HEAD)
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
            // Which origin may read the answer is for the router's CORS layer to say.
            && (self.any_origin || !headers.contains_key(ORIGIN));
        if !plain || segment.contains('/') {
            return None;
        }
        let began = Instant::now();
        let query = Query::parse(segment, request.uri().query().unwrap_or_default()).ok()?;
        let answer = self.cache.recall(&query)?;
        let asked = Asked { began, method: method(request.method()), route: WEATHER, id: request_id(headers) };
        let (response, word) = weather::answered(&answer, self.cache.now_ms(), headers, self.constant.clone());
        let (mut response, code) = with_body(response, asked.id());
        if code.is_some() {
            response.headers_mut().extend(self.cors.clone());
        }
        response.headers_mut().insert(X_REQUEST_ID, asked.id.clone());
        asked.tell(&self.metrics, response.status().as_u16(), code, Some(word));
        Some(response)
    }
}
