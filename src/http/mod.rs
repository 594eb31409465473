//! HTTP: the two listeners, their routes and the one list of middleware.
//!
//! `direct`: plain questions, let in by `guard`. Everything else: `observe` (id, log line, metrics, error bodies) → time
//! limit → CORS → route → `guard` → handler.

mod admin;
mod attempts;
mod coding;
mod credentials;
mod direct;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod guard;
mod listener;
mod observe;
mod peer;
mod problem;
mod weather;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AGE, AUTHORIZATION, CACHE_CONTROL, ETAG, IF_NONE_MATCH, LINK, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::SecretString;
use tower::ServiceBuilder;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::cache::Cache;
use crate::reload::Live;
use crate::telemetry::Metrics;
pub use admin::AdminState;
pub use attempts::WrongTokens;
use direct::Direct;
pub use direct::Routes;
pub use guard::{AccessConfig, Guard};
pub use listener::{HEADER_TIMEOUT, Limits, WRITE_TIMEOUT, serve};
pub use peer::{ForwardedHeader, TrustedProxies};
use problem::Problem;

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

/// The public listener.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// From a request's head to its answer.
    pub request_timeout: Duration,
    /// Open connections at most; further ones wait.
    pub max_connections: usize,
    /// How long requests in flight may take when the service stops.
    pub drain: Duration,
    /// Origins whose pages may read the answers; `*` is any.
    pub allow_origins: Vec<String>,
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
pub fn public(config: &ServerConfig, guard: Guard, cache: Cache, metrics: Arc<Metrics>) -> Routes {
    let any_origin = config.allow_origins.iter().any(|origin| origin == "*");
    let guard = Arc::new(guard);
    let direct = Direct::new(Arc::clone(&guard), cache.clone(), Arc::clone(&metrics), any_origin);
    let routes = Router::new()
        .route("/weather/", get(weather::weather))
        .route("/weather/{location}", get(weather::weather))
        // Only round what there is: what is not there costs nothing.
        .route_layer(from_fn_with_state(Arc::clone(&guard), guard::guard))
        .with_state(cache);
    let cors = cors(&config.allow_origins, any_origin, guard);
    Routes::new(with_middleware(routes, config.request_timeout, metrics, cors), direct)
}

/// The operators' routes.
pub fn admin(state: AdminState, request_timeout: Duration) -> Router {
    let metrics = Arc::clone(&state.metrics);
    // No origin may read them: a page in an operator's browser must not.
    with_middleware(admin::routes(state), request_timeout, metrics, CorsLayer::new())
}

/// The one list, outermost first.
fn with_middleware(routes: Router, request_timeout: Duration, metrics: Arc<Metrics>, cors: CorsLayer) -> Router {
    routes
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(
            ServiceBuilder::new()
                // Sees everything, also what the others refuse.
                .layer(from_fn_with_state(metrics, observe::observe))
                // Nobody waits for ever, whatever a handler waits for.
                .layer(from_fn_with_state(request_timeout, time_limit))
                // Browsers ask before they ask.
                .layer(cors),
        )
}

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
