//! HTTP: the two listeners, their routes and the one list of middleware.
//!
//! `direct`: plain questions, let in by `guard`. Everything else: headers of every answer → `observe` (id, log line, metrics,
//! error bodies) → `forward` (what is not for us) → time limit → CORS → route → `guard` → handler.

mod admin;
mod answer;
mod attempts;
mod card;
mod coding;
mod credentials;
mod dashboard;
mod data;
mod direct;
mod docs;
mod forward;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod guard;
mod listener;
mod observe;
mod openapi;
mod openweathermap;
mod page;
mod pages;
mod peer;
mod problem;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, LINK, ORIGIN, REFERRER_POLICY,
    RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::SecretString;
use tower::ServiceBuilder;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::cache::Cache;
use crate::reload::Live;
use crate::telemetry::{Metrics, Traces};
use crate::weather::{ENDPOINTS, LOCATION};
pub use admin::AdminState;
pub use attempts::WrongTokens;
pub use dashboard::Watchers;
use data::Terms;
use direct::Direct;
pub use direct::Routes;
pub use forward::ForwardProxy;
pub use guard::{AccessConfig, Guard};
use listener::MAX_WAITING;
pub use listener::{BACKLOG, Exempt, Front, HEADER_TIMEOUT, Limits, WRITE_TIMEOUT, serve, serve_front};
use observe::Observers;
use openweathermap::Dialect;
use page::Page;
use pages::Pages;
pub use peer::{ForwardedHeader, TrustedProxies};
use problem::Problem;
pub use tls::{Handshakes, Tls, read_tls};

/// How long a browser may remember what a preflight request allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3_600);

/// What pages of other origins may read of an answer, beside its body.
const EXPOSED: [HeaderName; 10] = [
    AGE,
    CACHE_CONTROL,
    ETAG,
    LINK,
    RETRY_AFTER,
    observe::CACHE_STATUS,
    observe::X_CACHE,
    observe::X_REQUEST_ID,
    guard::RATELIMIT,
    guard::RATELIMIT_POLICY,
];

/// Fetch standard: which sites may load an answer. All: weather is public.
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What browsers may make of an answer, public or not: what it says it is (Fetch standard), and nothing that runs or
/// frames (CSP level 3): it is data. An answer that is a page says otherwise itself.
const HARMLESS: [(HeaderName, HeaderValue); 2] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];
/// The path of a request is a place, which is private: it goes into no `Referer`.
const PUBLIC: [(HeaderName, HeaderValue); 2] = [
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin")),
];
/// For a year (in seconds) by HTTPS only (RFC 6797). Without `includeSubDomains`: who runs the names below ours is not ours
/// to know, and a browser would cut them off for a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The public listener.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// From a request's head to its answer.
    pub request_timeout: Duration,
    /// HTTPS; without it, plain HTTP.
    pub tls: Option<Tls>,
    /// Open connections at most; see [`Limits::max_connections`].
    pub max_connections: usize,
    /// Of those for one address at most.
    pub max_connections_per_address: usize,
    /// Requests that wait for their answer at most.
    pub max_requests_in_flight: usize,
    /// How long callers are still let in and answered after the service has said that it is not ready any more.
    pub shutdown_delay: Duration,
    /// How long requests in flight may take after that.
    pub drain: Duration,
    /// Origins whose pages may read the answers; `*` is any.
    pub allow_origins: Vec<String>,
    /// Whether OpenWeatherMap's icons and map tiles are served, too.
    pub images: bool,
    /// Whether clients may take us for their proxy.
    pub forward_proxy: ForwardProxy,
}

impl ServerConfig {
    /// Sockets of callers that may be open at once, those that wait for a place included.
    pub fn sockets(&self) -> usize {
        self.max_connections + MAX_WAITING
    }
}

/// The operators' listener.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The token for the routes that change state.
    pub token: Option<Live<SecretString>>,
}

/// The public routes.
pub fn public(config: &ServerConfig, guard: Guard, cache: Cache, metrics: Arc<Metrics>, traces: Traces) -> Routes {
    let observers = Observers { metrics, traces };
    let any_origin = config.allow_origins.iter().any(|origin| origin == "*");
    let guard = Arc::new(guard);
    let mut always: HeaderMap = HARMLESS.into_iter().chain(PUBLIC).collect();
    if config.tls.is_some() {
        always.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    let direct = Direct::new(Arc::clone(&guard), cache.clone(), observers.clone(), any_origin, always.clone());
    // For whoever has no key yet, too: what these give is in memory and has no data.
    let pages = docs::routes(openapi::Terms { images: config.images, keys: guard.keys() })
        .route("/", get(page::show).with_state(Arc::new(Page::home())))
        .route_layer(from_fn(forward::only_ours));
    let mut routes = Router::new();
    for own in ENDPOINTS.iter().filter_map(|endpoint| endpoint.own) {
        routes = routes.route(own, get(data::own)).route(own.trim_end_matches(LOCATION), get(data::own));
    }
    let routes = routes
        .route("/data/{*path}", get(data::openweathermap))
        .route("/geo/{*path}", get(data::openweathermap))
        .route("/img/{*path}", get(data::openweathermap))
        .route("/map/{*path}", get(data::openweathermap))
        .layer(Extension(Terms {
            secure: config.tls.is_some(),
            images: config.images,
            pages: Arc::new(Pages::new()),
            guard: Arc::clone(&guard),
        }))
        // Only round what there is: what is not there costs nothing.
        .route_layer(from_fn_with_state(Arc::clone(&guard), guard::guard))
        .with_state(cache)
        .merge(pages);
    let cors = cors(&config.allow_origins, any_origin, guard);
    let always = Always { headers: always, openweathermap: any_origin };
    Routes::new(
        with_middleware(routes, config.request_timeout, observers, cors, always),
        direct,
        config.forward_proxy.clone(),
    )
}

/// The operators' routes.
pub fn admin(state: AdminState, request_timeout: Duration) -> Router {
    // Of scrapers and probes there is no trace: they would bury the others.
    let observers = Observers { metrics: Arc::clone(&state.metrics), traces: Traces::default() };
    // No origin may read them: a page in an operator's browser must not.
    let mut always: HeaderMap = HARMLESS.into_iter().collect();
    always.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let always = Always { headers: always, openweathermap: false };
    with_middleware(admin::routes(state), request_timeout, observers, CorsLayer::new(), always)
}

/// The one list, outermost first.
fn with_middleware(
    routes: Router,
    request_timeout: Duration,
    observers: Observers,
    cors: CorsLayer,
    always: Always,
) -> Router {
    routes
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(Arc::new(always), with_headers))
                // Sees everything, also what the others refuse.
                .layer(from_fn_with_state(observers, observe::observe))
                .layer(from_fn(forward::refuse))
                // Nobody waits for ever, whatever a handler waits for.
                .layer(from_fn_with_state(request_timeout, time_limit))
                // Browsers ask before they ask.
                .layer(cors),
        )
}

/// The headers of every answer.
struct Always {
    headers: HeaderMap,
    /// Whether those on OpenWeatherMap's paths have its own as well. If only some origins may read answers, they say so
    /// themselves.
    openweathermap: bool,
}

/// Adds the headers of every answer; one that says something else itself keeps that.
async fn with_headers(State(always): State<Arc<Always>>, request: Request, next: Next) -> Response {
    let openweathermap = always.openweathermap && Dialect::of(request.uri().path()) == Dialect::OpenWeatherMap;
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in &always.headers {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    answer::vary_in_one_line(headers);
    if openweathermap {
        for (name, value) in openweathermap::CORS {
            // What a preflight request is told of methods is meant.
            headers.entry(name).or_insert(value);
        }
    }
    response
}

/// On a request that may not wait for its answer, because too many wait already.
#[derive(Debug, Clone, Copy)]
struct Overload;

async fn time_limit(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::request_timeout().into_response(),
    }
}

fn cors(origins: &[String], any_origin: bool, guard: Arc<Guard>) -> CorsLayer {
    // What is the same for every origin must not be kept apart by origin in other caches.
    let (allowed, vary) = if any_origin {
        (AllowOrigin::any(), vec![])
    } else {
        let listed: Vec<_> = origins.iter().map(|origin| origin.clone().into_bytes()).collect();
        // A browser asks first, without a key, so any consumer's pages may; the guard knows which key goes with which.
        let allowed = move |origin: &HeaderValue, _: &_| {
            listed.iter().any(|listed| *listed == origin.as_bytes()) || guard.any_names(origin.as_bytes())
        };
        (AllowOrigin::predicate(allowed), vec![ORIGIN])
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .vary(vary)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([AUTHORIZATION, IF_NONE_MATCH, guard::X_API_KEY, observe::X_REQUEST_ID])
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT_MAX_AGE)
}
