//! Errors as callers see them: RFC 9457 problem details with a stable code. The only place that turns the errors of the
//! modules into status and code; what is internal stays in the log.

use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::card::PLAIN_TEXT;
use crate::cache::{GetError, StoreError};
use crate::credentials::{BadId, VaultError};
use crate::weather::{Failure, ParameterError, SourceError, Words};

/// How long a caller should wait when it is not known how long something lasts.
const SHORT_WAIT: Duration = Duration::from_secs(5);
/// Loads take some hundred milliseconds: after this time other callers have gone.
const OVERLOAD_WAIT: Duration = Duration::from_secs(1);
/// An operator has to act; asking every few seconds helps nobody.
const OPERATOR_WAIT: Duration = Duration::from_secs(60);

const MISSING_KEY: &str = "missing-key";

/// An error on its way to a caller. It becomes a body where the request id is known, in `observe`.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    title: &'static str,
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
    /// What OpenWeatherMap says, or would say, for callers on its own paths.
    pub(super) words: Option<Words>,
}

/// An error as problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct Body<'a> {
    /// `urn:stratus:problem:` and the code.
    r#type: String,
    /// What is wrong, in a few words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What is wrong and what to do, for people.
    detail: &'a str,
    /// What is wrong, for programs.
    code: &'a str,
    /// The request's name in the log: `X-Request-Id`.
    request_id: &'a str,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), retry_after: None, words: None }
    }

    pub(super) fn words(self, words: Option<Words>) -> Self {
        Self { words, ..self }
    }

    fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(super) fn not_found() -> Self {
        let detail = "there is nothing at this address; weather is at /weather/London, and OpenWeatherMap's own paths begin with /data/ or /geo/";
        Self::new(StatusCode::NOT_FOUND, "not-found", "No such address", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "this address does not take that method; the Allow header lists those it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    pub(super) fn invalid_location(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-location", "Invalid location", detail)
    }

    pub(super) fn invalid_parameter(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", "Invalid parameter", detail)
    }

    pub(super) fn internal() -> Self {
        let detail = "the service made a mistake; the request id helps its operator to find it";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    pub(super) fn request_timeout() -> Self {
        let detail = "the answer took too long";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", "Upstream timeout", detail)
    }

    pub(super) fn invalid_key(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid-key", "Invalid key", detail)
    }

    pub(super) fn missing_key() -> Self {
        let detail = "this service asks for a consumer key: send it as `Authorization: Bearer` or as `X-API-Key`";
        Self::new(StatusCode::UNAUTHORIZED, MISSING_KEY, "Missing key", detail)
    }

    pub(super) fn expired_key() -> Self {
        let detail = "this consumer key's time is over; the operator of this service has to give a new one";
        Self::new(StatusCode::FORBIDDEN, "expired-key", "Expired key", detail)
    }

    pub(super) fn origin_not_allowed() -> Self {
        let detail = "this consumer key is not for pages of this origin; the operator of this service can add it";
        Self::new(StatusCode::FORBIDDEN, "origin-not-allowed", "Origin not allowed", detail)
    }

    pub(super) fn over_limit(retry_after: Duration) -> Self {
        let detail = "you have asked as often as you may for now; Retry-After says when to ask again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Rate limited", detail).retry_after(retry_after)
    }

    pub(super) fn too_many_tokens(retry_after: Duration) -> Self {
        let detail = "too many wrong admin tokens came from your address: for now none is looked at";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Rate limited", detail).retry_after(retry_after)
    }

    pub(super) fn too_many_watchers() -> Self {
        let detail = "as many dashboards are open as may be at once; close one, and try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many dashboards", detail).retry_after(SHORT_WAIT)
    }

    pub(super) fn admin_token_not_set() -> Self {
        let detail = "changing state is off: set admin.token_file to turn it on";
        Self::new(StatusCode::FORBIDDEN, "admin-token-not-set", "No admin token", detail)
    }

    /// Asked by a name that anybody may point at this machine.
    pub(super) fn no_token_for_names() -> Self {
        let detail =
            "without a token this is answered by an address or localhost, and to no other site: set admin.token_file";
        Self::new(StatusCode::FORBIDDEN, "admin-token-not-set", "No admin token", detail)
    }

    pub(super) fn invalid_body(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-body", "Invalid body", detail)
    }

    pub(super) fn no_tunnels() -> Self {
        let detail = "this service opens no tunnels: give the client this service's address in place of OpenWeatherMap's, \
                      or have it ask for http:// instead of https:// (with server.forward_proxy)";
        Self::new(StatusCode::NOT_IMPLEMENTED, "connect-not-supported", "No tunnels", detail)
    }

    pub(super) fn forward_proxy_off() -> Self {
        let detail =
            "this service is no proxy: ask it by its own address, or have its operator set server.forward_proxy";
        Self::new(StatusCode::FORBIDDEN, "forward-proxy-off", "Not a proxy", detail)
    }

    pub(super) fn forward_proxy_refused() -> Self {
        let detail = "as a proxy this service answers for nothing but OpenWeatherMap, and only http://; for all else, its own \
                      address included, the client has to use no proxy (NO_PROXY)";
        Self::new(StatusCode::FORBIDDEN, "forward-proxy-refused", "Not for this proxy", detail)
    }

    pub(super) fn no_credential() -> Self {
        let detail = "there is no credential of this id: it was never put, was removed, or is at its end";
        Self::new(StatusCode::NOT_FOUND, "not-found", "No such credential", detail)
    }

    pub(super) fn draining() -> Self {
        let detail = "the service is stopping";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "Stopping", detail).retry_after(SHORT_WAIT)
    }

    /// What a caller gets to read.
    pub(super) fn json(&self, request_id: &str) -> Vec<u8> {
        let body = Body {
            r#type: format!("urn:stratus:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
        };
        // Texts and a number can always be written as JSON.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The whole answer.
    pub(super) fn render(&self, request_id: &str) -> Response {
        let mut response = (self.status, self.json(request_id)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.complete(&mut response);
        response
    }

    /// The whole answer for people in a terminal: a sentence. The request id is in its header.
    pub(super) fn render_text(&self) -> Response {
        let mut response = (self.status, format!("{}: {}\n", self.code, self.detail)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, PLAIN_TEXT);
        self.complete(&mut response);
        response
    }

    /// Adds what says how to go on, whatever the body is.
    pub(super) fn complete(&self, response: &mut Response) {
        let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if unauthorized {
            // RFC 6750, section 3: what was not tried cannot have been wrong.
            let tried = if self.code == MISSING_KEY { "" } else { ", error=\"invalid_token\"" };
            let challenge = HeaderValue::try_from(format!("Bearer realm=\"stratus\"{tried}"));
            headers.extend(challenge.ok().map(|challenge| (WWW_AUTHENTICATE, challenge)));
        }
        if let Some(wait) = self.retry_after {
            // Rounded up: who comes a moment too early is refused again.
            let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(secs.max(1)));
        }
    }
}

/// Hands the problem to `observe`, which knows the request id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ParameterError> for Problem {
    fn from(error: ParameterError) -> Self {
        let detail = error.to_string();
        match error {
            ParameterError::Location(_) | ParameterError::NoPoint => Self::invalid_location(&detail),
            _ => Self::invalid_parameter(&detail),
        }
    }
}

impl From<GetError> for Problem {
    fn from(error: GetError) -> Self {
        match error {
            GetError::Source(failure) => failure.into(),
            GetError::Lost => Self::internal(),
            GetError::WaitTimeout => Self::request_timeout(),
            GetError::Overloaded => {
                let detail = "too many callers wait for answers now; places asked for before are still answered";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail)
                    .retry_after(OVERLOAD_WAIT)
            }
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::from(failure.error).words(failure.words)
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        use StatusCode as S;
        match error {
            SourceError::UnknownLocation => {
                let detail = "OpenWeatherMap does not know this place; a country helps, as in London,GB";
                Self::new(S::NOT_FOUND, "unknown-location", "Unknown location", detail)
            }
            SourceError::NotInPlan => {
                let detail = "the plan of this service's key at OpenWeatherMap does not have this";
                Self::new(S::BAD_GATEWAY, "upstream-not-in-plan", "Not in the upstream's plan", detail)
            }
            SourceError::NoKey => {
                let detail = "this service has no key for OpenWeatherMap yet; its operator has to give one";
                Self::new(S::SERVICE_UNAVAILABLE, "no-upstream-key", "No upstream key", detail)
                    .retry_after(OPERATOR_WAIT)
            }
            SourceError::RejectedKey => {
                let detail = "OpenWeatherMap refuses this service's key; its operator has to replace it";
                Self::new(S::BAD_GATEWAY, "upstream-rejected-key", "Upstream rejected the key", detail)
            }
            SourceError::BudgetExhausted { retry_after } => {
                let detail =
                    "no more calls to OpenWeatherMap are possible now; places asked for before are still answered";
                Self::new(S::SERVICE_UNAVAILABLE, "upstream-budget-exhausted", "Upstream budget exhausted", detail)
                    .retry_after(retry_after)
            }
            SourceError::OverShare { retry_after } => {
                let detail = "you have asked for too many new places; places asked for before are still answered";
                Self::new(S::TOO_MANY_REQUESTS, "rate-limited", "Rate limited", detail).retry_after(retry_after)
            }
            SourceError::Paused { retry_after } => {
                let detail = "OpenWeatherMap has failed several times in a row and is left alone for a while";
                Self::new(S::SERVICE_UNAVAILABLE, "upstream-unavailable", "Upstream unavailable", detail)
                    .retry_after(retry_after)
            }
            SourceError::Timeout => {
                let detail = "OpenWeatherMap did not answer in time";
                Self::new(S::GATEWAY_TIMEOUT, "upstream-timeout", "Upstream timeout", detail)
            }
            SourceError::Unavailable => {
                let detail = "OpenWeatherMap cannot be reached";
                Self::new(S::SERVICE_UNAVAILABLE, "upstream-unavailable", "Upstream unavailable", detail)
                    .retry_after(SHORT_WAIT)
            }
            SourceError::Failed => {
                let detail = "OpenWeatherMap answered with an error of its own";
                Self::new(S::BAD_GATEWAY, "upstream-failed", "Upstream failed", detail)
            }
            SourceError::InvalidResponse => {
                let detail = "OpenWeatherMap answered with something that is not weather";
                Self::new(S::BAD_GATEWAY, "upstream-invalid-response", "Invalid response from upstream", detail)
            }
        }
    }
}

impl From<BadId> for Problem {
    fn from(error: BadId) -> Self {
        Self::invalid_parameter(&error.to_string())
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::BadSecret | VaultError::BadTtl => Self::invalid_body(&error.to_string()),
            VaultError::Full => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "vault-full", "Vault full", error.to_string())
            }
            VaultError::Store(_) => {
                let detail = "the store cannot be used now, or did not answer in time: whether it was done is not known, \
                              so try again; /status says why";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "Store unavailable", detail)
                    .retry_after(SHORT_WAIT)
            }
        }
    }
}

/// For purges.
impl From<StoreError> for Problem {
    fn from(_: StoreError) -> Self {
        let detail = "the store cannot be used now, so nothing was purged; /status says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "Store unavailable", detail)
            .retry_after(SHORT_WAIT)
    }
}
