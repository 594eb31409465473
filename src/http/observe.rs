//! Outermost round every request: its id, its one log line, its metrics, and the body of its error.
//!
//! A location is private: the log line and the metrics name the route's template, never the path.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::card;
use super::forward::Refused;
use super::guard::AskedBy;
use super::openweathermap::{self, Dialect};
use super::problem::Problem;
use crate::telemetry::{Access, InFlight, Metrics, Span, Traces};
use crate::weather::{Endpoint, Format};

/// RFC 9211.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A caller's own id may have this many characters: room for a UUID, a trace id or a load balancer's id.
const MAX_REQUEST_ID: usize = 128;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// How a data route was answered, as its handler tells it to the log line.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheResult(pub(super) &'static str);

/// The status that is logged and counted for a request whose caller left before the answer (nginx's number for it; it
/// is never sent).
const CLIENT_LEFT: u16 = 499;

/// Whom requests are told to.
#[derive(Clone)]
pub(super) struct Observers {
    pub(super) metrics: Arc<Metrics>,
    pub(super) traces: Traces,
}

pub(super) async fn observe(State(observers): State<Observers>, request: Request, next: Next) -> Response {
    let Observers { metrics, traces } = observers;
    let path = request.uri().path();
    // What is refused for whom it is for is for no route of ours.
    let is_ours = request.extensions().get::<Refused>().is_none();
    let data = data_route(path).filter(|_| is_ours);
    let (began, method) = (Instant::now(), method(request.method()));
    let route = data.unwrap_or_else(|| route(&request));
    let span = traces.request(method, route, || traceparent(request.headers()));
    let (dialect, format, id) = (Dialect::of(path), format(&request), request_id(request.headers()));
    let asked = Asked { began, method, route, dialect, format, id, span: span.clone() };
    let observation = Observation::begin(&metrics, asked);
    let answered = AssertUnwindSafe(span.during(next.run(request))).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| Problem::internal().into_response());
    let (mut response, code) = with_body(response, &observation.asked);
    if data.is_some() {
        complete(response.headers_mut(), code);
    }
    response.headers_mut().insert(X_REQUEST_ID, observation.asked.id.clone());
    let cache = response.extensions().get::<CacheResult>().map(|result| result.0);
    let consumer = response.extensions().get::<AskedBy>().map(|asked_by| &*asked_by.0);
    observation.end(Told { status: response.status().as_u16(), code, cache, consumer });
    response
}

/// What is told of a request when it ends; dropped before that, the caller left.
pub(super) struct Observation {
    metrics: Arc<Metrics>,
    pub(super) asked: Asked,
    _in_flight: InFlight,
    ended: bool,
}

impl Observation {
    pub(super) fn begin(metrics: &Arc<Metrics>, asked: Asked) -> Self {
        Self { _in_flight: metrics.request_began(), metrics: Arc::clone(metrics), asked, ended: false }
    }

    pub(super) fn end(mut self, told: Told<'_>) {
        self.asked.tell(&self.metrics, told);
        self.ended = true;
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if !self.ended {
            let code = Some("client-left");
            self.asked.tell(&self.metrics, Told { status: CLIENT_LEFT, code, cache: None, consumer: None });
        }
    }
}

/// What became of a request.
pub(super) struct Told<'a> {
    pub(super) status: u16,
    /// Of an error.
    pub(super) code: Option<&'static str>,
    /// How a data route was answered.
    pub(super) cache: Option<&'static str>,
    /// Who asked, if it has a name.
    pub(super) consumer: Option<&'a str>,
}

impl<'a> Told<'a> {
    /// Of the answer of a data route.
    pub(super) fn of(
        response: &Response,
        code: Option<&'static str>,
        cache: &'static str,
        consumer: Option<&'a str>,
    ) -> Self {
        Self { status: response.status().as_u16(), code, cache: Some(cache), consumer }
    }
}

/// What is told of a request, whatever becomes of it.
pub(super) struct Asked {
    pub(super) began: Instant,
    pub(super) method: &'static str,
    pub(super) route: &'static str,
    pub(super) dialect: Dialect,
    /// In which errors are told on our own paths.
    pub(super) format: Format,
    pub(super) id: HeaderValue,
    pub(super) span: Span,
}

/// The template of the data route of a path, if it is one: a path is a place, which is private.
fn data_route(path: &str) -> Option<&'static str> {
    match Dialect::of(path) {
        Dialect::Own => Endpoint::own_at(path)?.0.own,
        Dialect::OpenWeatherMap => {
            let roots = ["/geo/{path}", "/img/{path}", "/map/{path}"].into_iter();
            let unknown =
                roots.chain(["/data/{path}"]).find(|root| path.starts_with(root.trim_end_matches("{path}")))?;
            Some(Endpoint::at(path).map_or(unknown, |endpoint| endpoint.paths[0]))
        }
    }
}

/// In which form a request wants its answer.
fn format(request: &Request) -> Format {
    let uri = request.uri();
    let Some((endpoint, _)) = Endpoint::own_at(uri.path()) else { return Format::Json };
    card::format(endpoint, uri.query().unwrap_or_default(), request.headers())
}

impl Asked {
    pub(super) fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// Counts the request and writes its one log line.
    pub(super) fn tell(&self, metrics: &Metrics, told: Told<'_>) {
        let Told { status, code, cache, consumer } = told;
        let took = self.began.elapsed();
        metrics.request_ended(self.route, self.method, status, took);
        self.span.answered(status, code);
        // Probes and scrapers ask every few seconds; their lines would bury the others.
        if matches!(self.route, "/livez" | "/readyz" | "/metrics") {
            tracing::debug!(target: "stratus::access", route = self.route, status, "probe");
            return;
        }
        let trace_id = self.span.trace_id();
        let access = Access {
            request_id: self.id(),
            trace_id: trace_id.as_deref(),
            method: self.method,
            route: self.route,
            status,
            code,
            cache,
            consumer,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        access.log();
    }
}

/// Gives an error its body; also the error's code for the log.
pub(super) fn with_body(response: Response, asked: &Asked) -> (Response, Option<&'static str>) {
    let Some(problem) = response.extensions().get::<Problem>() else { return (response, None) };
    let code = problem.code;
    let mut rendered = match asked.dialect {
        Dialect::OpenWeatherMap => openweathermap::render(problem),
        Dialect::Own if asked.format == Format::Text => problem.render_text(),
        Dialect::Own => problem.render(asked.id()),
    };
    let (parts, _) = response.into_parts();
    for (name, value) in &parts.headers {
        if name != axum::http::header::CONTENT_LENGTH {
            rendered.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    if let Some(result) = parts.extensions.get::<CacheResult>() {
        rendered.extensions_mut().insert(*result);
    }
    if let Some(asked_by) = parts.extensions.get::<AskedBy>() {
        rendered.extensions_mut().insert(asked_by.clone());
    }
    (rendered, Some(code))
}

/// Every answer of a data route says how it came about, also one that never reached the cache (RFC 9211, section 2).
fn complete(headers: &mut HeaderMap, code: Option<&'static str>) {
    if headers.contains_key(CACHE_STATUS) {
        return;
    }
    let status = code.map_or_else(|| "stratus".to_owned(), |code| format!("stratus; detail={code}"));
    headers.extend(HeaderValue::try_from(status).ok().map(|status| (CACHE_STATUS, status)));
    headers.insert(X_CACHE, HeaderValue::from_static("MISS"));
}

/// The trace that a caller has begun; of two there is no telling which is meant.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    all.next().filter(|_| all.next().is_none())?.to_str().ok()
}

/// The caller's own id if it is well-formed, else 128 random bits.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let well_formed = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
        (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(plain)
    };
    if let Some(id) = headers.get(X_REQUEST_ID).filter(well_formed) {
        return id.clone();
    }
    // An id only has to be different from others; it is no secret.
    let random = fastrand::u128(..);
    let digit = |place: usize| HEX[usize::try_from(random >> (4 * place) & 15).unwrap_or_default()];
    let id: [u8; 32] = std::array::from_fn(digit);
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// The template of the route. `MatchedPath` does not reach outside the router, so the router's layer looks it up.
fn route(request: &Request) -> &'static str {
    match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        Some("/docs" | "/docs/") => "/docs",
        Some("/docs/{file}") => "/docs/{file}",
        Some("/openapi.json") => "/openapi.json",
        Some("/") => "/",
        Some("/events") => "/events",
        Some("/livez") => "/livez",
        Some("/readyz") => "/readyz",
        Some("/metrics") => "/metrics",
        Some("/status") => "/status",
        Some("/purge") => "/purge",
        Some("/credentials") => "/credentials",
        Some("/credentials/{*id}") => "/credentials/{id}",
        _ => "other",
    }
}

/// Methods are free text on the wire, so a label has only the known ones.
pub(super) fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_becomes_a_problem_with_the_request_id_and_is_counted() {
        let metrics = Metrics::new();
        let observers = Observers { metrics: Arc::clone(&metrics), traces: Traces::default() };
        let app = Router::new()
            .route("/livez", get(|| async { panic!("a bug") as StatusOnly }))
            .layer(axum::middleware::from_fn_with_state(observers, observe));
        let request = Request::builder().uri("/livez").header("x-request-id", "abc").body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["x-request-id"], "abc");
        let body = axum::body::to_bytes(response.into_body(), 4_096).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["code"], &problem["request_id"]), (&"internal".into(), &"abc".into()));
        assert!(!problem["detail"].as_str().unwrap().contains("a bug"));
        assert!(metrics.render().contains(r#"route="/livez",method="GET",status="500"} 1"#));
    }

    type StatusOnly = axum::http::StatusCode;

    #[test]
    fn only_well_formed_ids_of_callers_are_kept() {
        let id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, text.parse().unwrap());
            request_id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(id("req-1.2:3"), "req-1.2:3");
        for bad in ["", "a b", "a\"b", "é", &"x".repeat(129)] {
            assert_eq!(id(bad).len(), 32, "{bad}");
            assert_ne!(id(bad), id(bad));
        }
    }
}
