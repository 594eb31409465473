//! The operators' listener: health, metrics, status, purge; `credentials` and the `dashboard` are next door.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempts::WrongTokens;
use super::credentials;
use super::dashboard::{self, Watchers};
use super::guard::{Peer, bearer};
use super::page;
use super::problem::Problem;
use crate::cache::{Cache, StoreState};
use crate::clock::Clock;
use crate::consumers::Consumers;
use crate::credentials::Vault;
use crate::reload::{Live, Reloading};
use crate::telemetry::{CertificateReport, Metrics, UpstreamReport};
use crate::weather::{Caller, Location};

/// A purge names one place, a credential has 512 bytes at most; nothing longer belongs here.
const MAX_BODY_BYTES: usize = 4_096;

/// W3C Fetch Metadata: who has a browser ask.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the operators' routes look at.
#[derive(Clone)]
pub struct AdminState {
    /// The cache.
    pub cache: Cache,
    /// Secrets of other people's services.
    pub vault: Vault,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The token for the routes that change state; without one they are off.
    pub token: Option<Live<SecretString>>,
    /// Cancelled when the service stops.
    pub stopping: CancellationToken,
    /// How it stands with the settings that are made of files.
    pub files: Reloading,
    /// How it stands with the upstream.
    pub upstream: Arc<dyn Fn() -> UpstreamReport + Send + Sync>,
    /// Who has a key of its own, if anybody can have one.
    pub consumers: Option<Live<Consumers>>,
    /// When the certificates in use end.
    pub certificates: Arc<dyn Fn() -> Vec<CertificateReport> + Send + Sync>,
    /// Tells which of them have ended.
    pub clock: Clock,
    /// Who watches the dashboard.
    pub watchers: Watchers,
    /// When the service started.
    pub started: Instant,
    /// Who has tried wrong tokens.
    pub wrong_tokens: WrongTokens,
}

pub(super) fn routes(state: AdminState) -> Router {
    let with_token = Router::new()
        .route("/purge", post(purge))
        .route("/credentials", get(credentials::list))
        .route("/credentials/{*id}", get(credentials::look_up).put(credentials::put).delete(credentials::remove))
        .route_layer(from_fn_with_state(state.clone(), with_token));
    let with_token_if_set = Router::new()
        .route("/events", get(dashboard::events))
        .route_layer(from_fn_with_state(state.clone(), with_token_if_set));
    Router::new()
        .merge(with_token)
        .merge(with_token_if_set)
        .route("/", get(page::show).with_state(Arc::new(dashboard::page())))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state)
}

/// Ready until it stops. Not a matter of Redis: without it answers come from upstream, and one outage of Redis must not
/// take every replica out.
async fn readyz(State(state): State<AdminState>) -> Result<&'static str, Problem> {
    if state.stopping.is_cancelled() {
        Err(Problem::draining())
    } else if state.cache.source_rejects_key() {
        // Another replica would be no better off, and copies are still answered.
        Ok("ready, degraded: OpenWeatherMap refuses the key\n")
    } else {
        Ok("ready\n")
    }
}

async fn metrics(State(state): State<AdminState>) -> Response {
    let (entries, bytes) = state.cache.memory_size();
    state.metrics.set_memory(entries, bytes);
    state.metrics.set_waiting(state.cache.waiting());
    state.metrics.set_upstream(&(state.upstream)());
    state.metrics.set_oldest_answer(state.cache.oldest_answer());
    state.metrics.set_keys(&state.cache.keys());
    state.metrics.set_files_refused(state.files.refused());
    let consumers = state.consumers.as_ref().map(|consumers| consumers.load().ends(state.clock.now_ms()));
    state.metrics.set_endings(&(state.certificates)(), consumers.unwrap_or_default());
    let open_metrics = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(CONTENT_TYPE, open_metrics)], state.metrics.render()).into_response()
}

async fn status(State(state): State<AdminState>) -> Response {
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(standing(&state))).into_response()
}

/// How everything stands, for operators.
pub(super) fn standing(state: &AdminState) -> Value {
    let store_state = state.cache.store_state().borrow().clone();
    let store = match store_state {
        StoreState::Connecting => json!({"kind": state.cache.store_kind(), "state": "connecting"}),
        StoreState::Up => json!({"kind": state.cache.store_kind(), "state": "up"}),
        StoreState::Down { reason, fix } => {
            json!({"kind": state.cache.store_kind(), "state": "down", "reason": reason, "fix": fix})
        }
    };
    let upstream = (state.upstream)();
    let now_secs = state.clock.now_ms() / 1_000;
    let ends_in = |end| i64::try_from(end).unwrap_or(i64::MAX).saturating_sub_unsigned(now_secs);
    let certificates: BTreeMap<_, _> =
        (state.certificates)().into_iter().map(|report| (report.name, ends_in(report.ends_at_secs))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_secs": state.started.elapsed().as_secs(),
        "stopping": state.stopping.is_cancelled(),
        "store": store,
        "credentials": upstream.credentials,
        "upstream": upstream,
        "keys": state.cache.keys(),
        "files": state.files.states(),
        "certificates_end_in_secs": certificates,
        "oldest_answer_age_secs": state.cache.oldest_answer().as_secs(),
    })
}

/// Exactly one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    location: Option<String>,
    all: Option<bool>,
}

async fn purge(State(state): State<AdminState>, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let form = "the body is {\"location\":\"London\"} or {\"all\":true}";
    let body = body.map_err(|_| Problem::invalid_body(form))?;
    let purge: Purge = serde_json::from_slice(&body).map_err(|_| Problem::invalid_body(form))?;
    let answer = match (purge.location, purge.all) {
        (Some(location), None) => {
            let location: Location =
                location.parse().map_err(|error| Problem::from(crate::weather::ParameterError::Location(error)))?;
            json!({"purged": state.cache.purge(&location).await?})
        }
        (None, Some(true)) => {
            state.cache.purge_all().await?;
            json!({"purged": "all"})
        }
        _ => return Err(Problem::invalid_body(form)),
    };
    tracing::info!(all = purge.all.is_some(), "purged by an operator");
    Ok(Json(answer).into_response())
}

/// The same if there is a token; else everybody, as far as they reach the listener. But pages of other sites must not, which
/// could have their own name point here (DNS rebinding) or lead a browser here to take the places: so only who asks by an address, or
/// `localhost`, and is not sent by another site (W3C Fetch Metadata).
async fn with_token_if_set(
    state: State<AdminState>,
    peer: Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if state.token.is_none() {
        let host = request.headers().get(HOST).and_then(|host| Authority::from_str(host.to_str().ok()?).ok());
        return match host {
            Some(host) if is_ours(host.host()) && !is_sent_by_others(request.headers()) => Ok(next.run(request).await),
            _ => Err(Problem::no_token_for_names()),
        };
    }
    with_token(state, peer, request, next).await
}

/// Whether a host is none that a stranger can have named: an address, or what never leaves this machine (RFC 6761, section 6.3).
fn is_ours(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

/// Whether a browser says that another site has led it here.
fn is_sent_by_others(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none")
}

/// Lets only those through who have the token. Compares in constant time: how long it takes says nothing about the token.
async fn with_token(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let token = state.token.as_ref().ok_or_else(Problem::admin_token_not_set)?.get();
    let (caller, now) = (Caller::from(peer.0), Instant::now());
    if let Some(wait) = state.wrong_tokens.refused_for(caller, now) {
        return Err(Problem::too_many_tokens(wait));
    }
    let given = request.headers().get(AUTHORIZATION);
    let matches =
        |token: &[u8]| given.and_then(|given| bearer(given.as_bytes())).is_some_and(|given| given.ct_eq(token).into());
    if matches(token.expose_secret().as_bytes()) {
        return Ok(next.run(request).await);
    }
    if given.is_some() {
        let is_last = state.wrong_tokens.note(caller, now);
        tracing::warn!(from = %peer.0, "a wrong admin token");
        if is_last {
            tracing::warn!(from = %peer.0, "too many wrong admin tokens: none from there is looked at for a minute");
        }
    }
    Err(Problem::invalid_key("this needs the header `Authorization: Bearer <admin token>`"))
}
