//! The short way of the data route: a plain `GET` or `HEAD` of a place is answered here, without routing and layers, and
//! if memory has the answer, without waiting or a task. Whatever is odd or wrong about a request goes the long way
//! through the router, whose handler gives the same answers with the same headers.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_LENGTH, ORIGIN, TRANSFER_ENCODING, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use axum::{BoxError, Router};
use futures_util::FutureExt;
use futures_util::future::Either;
use tower::Service;

use super::observe::{Asked, Observation, WEATHER, X_REQUEST_ID, method, request_id, with_body};
use super::{EXPOSED, weather};
use crate::cache::Cache;
use crate::telemetry::Metrics;
use crate::weather::{Caller, Query};

/// An answer at once, or later.
pub(super) type Answering =
    Either<Ready<Result<Response, Infallible>>, Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>>;

/// All that a listener answers with.
pub struct Routes {
    direct: Option<Arc<Direct>>,
    router: Router,
}

/// Routes without a short way.
impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self { direct: None, router }
    }
}

impl Routes {
    pub(super) fn new(router: Router, direct: Direct) -> Self {
        Self { direct: Some(Arc::new(direct)), router }
    }

    /// Answers; what has to wait holds `held` until its answer.
    pub(super) fn answer<B, T>(&self, mut request: Request<B>, caller: Caller, held: impl FnOnce() -> T) -> Answering
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        T: Send + 'static,
    {
        if let Some(direct) = &self.direct
            // A fault of ours must not cost the caller the connection: the other ways of answering tell it.
            && let Some(question) = catch_unwind(AssertUnwindSafe(|| direct.question(&request))).unwrap_or_default()
        {
            let hit = catch_unwind(AssertUnwindSafe(|| direct.hit(&question, request.headers())));
            if let Some(response) = hit.unwrap_or_default() {
                return Either::Left(ready(Ok(response)));
            }
            let (direct, held) = (Arc::clone(direct), held());
            return Either::Right(Box::pin(async move {
                let _held = held;
                Ok(direct.wait(question, caller, request).await)
            }));
        }
        let (mut router, held) = (self.router.clone(), held());
        request.extensions_mut().insert(caller);
        let answer = router.call(request.map(Body::new));
        Either::Right(Box::pin(async move {
            let _held = held;
            let mut response = answer.await?;
            // To a HEAD, axum gives the length of what it holds: none here, which is not that of the body that the caller
            // has (RFC 9110, section 8.6).
            if response.status() == StatusCode::NOT_MODIFIED {
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            Ok(response)
        }))
    }
}

/// Answers plain questions.
pub(super) struct Direct {
    cache: Cache,
    metrics: Arc<Metrics>,
    /// What pages of other origins may read.
    cors: HeaderMap,
    /// The headers of every answer with weather, those with the same value for whoever asks already with it.
    constant: HeaderMap,
    any_origin: bool,
}

/// A plain question, read.
struct Question {
    began: Instant,
    method: &'static str,
    query: Query,
}

impl Question {
    fn asked(&self, headers: &HeaderMap) -> Asked {
        Asked { began: self.began, method: self.method, route: WEATHER, id: request_id(headers) }
    }
}

impl Direct {
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

    /// The question, if nothing about it is odd.
    fn question<B>(&self, request: &Request<B>) -> Option<Question> {
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
        Some(Question { began, method: method(request.method()), query })
    }

    /// The answer that memory has.
    fn hit(&self, question: &Question, headers: &HeaderMap) -> Option<Response> {
        let answer = self.cache.recall(&question.query)?;
        let asked = question.asked(headers);
        let (response, word) = weather::answered(&answer, self.cache.now_ms(), headers, self.constant.clone());
        let (response, code) = self.finished(response, &asked);
        asked.tell(&self.metrics, response.status().as_u16(), code, Some(word));
        Some(response)
    }

    /// The answer that memory does not have.
    async fn wait<B>(&self, question: Question, caller: Caller, request: Request<B>) -> Response {
        let observation = Observation::begin(&self.metrics, question.asked(request.headers()));
        let got = AssertUnwindSafe(self.cache.load(question.query, caller)).catch_unwind().await;
        let (response, word) = match got {
            Ok(Ok(answer)) => weather::answered(&answer, self.cache.now_ms(), request.headers(), self.constant.clone()),
            Ok(Err(error)) => weather::not_answered(error),
            Err(_) => weather::broken(),
        };
        let (response, code) = self.finished(response, &observation.asked);
        observation.end(response.status().as_u16(), code, Some(word));
        response
    }

    /// Gives an error its body, and every answer what the layers of the long way would add.
    fn finished(&self, response: Response, asked: &Asked) -> (Response, Option<&'static str>) {
        let (mut response, code) = with_body(response, asked.id());
        let headers = response.headers_mut();
        if code.is_some() {
            headers.extend(self.cors.clone());
        }
        headers.insert(X_REQUEST_ID, asked.id.clone());
        (response, code)
    }
}
