//! Requests as callers and operators may write them: every answer is one of the contract, and none repeats anything of its
//! request but a well-formed request id.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use secrecy::SecretString;
use stratus::cache::{Cache, CacheConfig, Policy};
use stratus::clock::Clock;
use stratus::consumers::{Consumers, PER_MINUTE, entry, generate_key, parse};
use stratus::credentials::Vault;
use stratus::crypto::{Keyring, generate_key_line};
use stratus::http::{
    AccessConfig, AdminState, ForwardProxy, ForwardedHeader, Guard, Routes, ServerConfig, TrustedProxies, Watchers,
    WrongTokens, admin, fuzzing, public,
};
use stratus::limits::Limits;
use stratus::reload::{Live, Reloader};
use stratus::store::{Notebook, Store, StoreConfig};
use stratus::telemetry::{BreakerReport, BudgetReport, Metrics, Traces, UpstreamReport, WindowReport};
use stratus::weather::{Fetched, Fetching, Purpose, Query, Source, SourceError};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::input::Input;

/// Stands in a request wherever its input has a `~`, and in nothing of ours.
const CANARY: &str = "zqCanary7x";
const ORIGIN: &str = "https://app.example";
const LIMIT: Duration = Duration::from_secs(5);
const MOST_BYTES: usize = 1 << 20;
/// Of callers' answers; 500 is the service's own mistake and none of the contract.
const PUBLIC: [u16; 12] = [200, 304, 400, 401, 403, 404, 405, 429, 501, 502, 503, 504];
/// Of operators' answers.
const OPERATORS: [u16; 11] = [200, 201, 204, 400, 401, 403, 404, 405, 429, 503, 507];
/// The proxy that is believed.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One service with three sets of public routes: any origin may read the answers of the first, one that of the second,
/// which is a proxy, too, and only one who has a key those of the third.
struct Service {
    runtime: Runtime,
    open: Routes,
    listed: Routes,
    closed: Routes,
    operators: Routes,
    /// Of the operators, random in each process.
    token: String,
    /// Of a consumer, likewise.
    key: String,
    /// Each request of an operator comes from another address, so that none is refused for the wrong tokens of others.
    requests: u32,
}

/// The first line is `a` (any origin), `l` (listed origin), `k` (with a key) or `o` (operators), the method and the address;
/// then there are header lines, and after an empty one the body. A `^` is the operators' token, a `|` a consumer's key.
pub fn check(data: &[u8]) {
    static SERVICE: OnceLock<Mutex<Service>> = OnceLock::new();
    let service = SERVICE.get_or_init(|| Mutex::new(Service::start()));
    let mut service = service.lock().unwrap_or_else(PoisonError::into_inner);
    service.requests = service.requests.wrapping_add(1);
    let service = &*service;

    let text = replaced(data, b'~', CANARY);
    let mut input = Input::new(&text);
    let mut line = Input::new(input.until(b"\n"));
    let routes = line.until(b" ");
    let (Ok(method), Ok(uri)) = (Method::from_bytes(line.until(b" ")), Uri::try_from(line.rest())) else { return };
    let headers = headers(&mut input, &service.token, &service.key);
    let mut request = Request::new(Body::from(input.rest().to_vec()));
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method.clone(), uri, headers.clone());

    let public = routes != b"o";
    let (response, body) = service.runtime.block_on(async {
        let response = match routes {
            b"o" => fuzzing::answer(&service.operators, request, Ipv4Addr::from_bits(service.requests).into()).await,
            b"l" => fuzzing::answer(&service.listed, request, PROXY).await,
            b"k" => fuzzing::answer(&service.closed, request, PROXY).await,
            _ => fuzzing::answer(&service.open, request, PROXY).await,
        };
        let (parts, body) = response.into_parts();
        // A stream of events has no end.
        let is_stream = parts.headers.get(CONTENT_TYPE).is_some_and(|type_| type_ == "text/event-stream");
        let body = if is_stream { Body::empty() } else { body };
        let body = to_bytes(body, MOST_BYTES).await.expect("a body that is there already");
        (Response::from_parts(parts, ()), String::from_utf8_lossy(&body).into_owned())
    });
    let allowed: &[u16] = if public { &PUBLIC } else { &OPERATORS };
    assert!(allowed.contains(&response.status().as_u16()), "{response:?} {body}");
    let id = has_its_id(&headers, &response);
    repeats_nothing(&response, &body, &id, &[&service.token, &service.key]);
    if response.status().is_client_error() || response.status().is_server_error() {
        is_a_problem(&response, &method, &body, &id);
    } else if public {
        assert!(routes != b"k" || brings(&headers, &service.key) || method == Method::OPTIONS, "{headers:?}");
        is_what_was_accepted(&headers, &response);
    } else {
        is_authorised(&headers, &response, &body, &service.token);
    }
}

/// Lines that are no headers are left out, as a listener would refuse them.
fn headers(input: &mut Input<'_>, token: &str, key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    loop {
        let line = input.until(b"\n");
        if line.is_empty() || headers.len() > 64 {
            return headers;
        }
        let mut line = Input::new(line);
        let (name, value) = (line.until(b": "), replaced(&replaced(line.rest(), b'^', token), b'|', key));
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(&value)) {
            headers.append(name, value);
        }
    }
}

fn replaced(data: &[u8], placeholder: u8, text: &str) -> Vec<u8> {
    data.split(|byte| *byte == placeholder).collect::<Vec<_>>().join(text.as_bytes())
}

/// The caller's first one if it is well-formed, else one of ours; gives it.
fn has_its_id(request: &HeaderMap, response: &Response<()>) -> String {
    let well_formed = |id: &[u8]| {
        (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    };
    let ids: Vec<_> = response.headers().get_all("x-request-id").iter().map(HeaderValue::as_bytes).collect();
    let [id] = ids[..] else { panic!("not one request id: {response:?}") };
    match request.get("x-request-id").map(HeaderValue::as_bytes).filter(|own| well_formed(own)) {
        Some(own) => assert_eq!(id, own),
        None => assert!(id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit), "{response:?}"),
    }
    String::from_utf8_lossy(id).into_owned()
}

/// Whether the key is in one of the two headers for it.
fn brings(request: &HeaderMap, key: &str) -> bool {
    let has = |value: &HeaderValue| {
        value.as_bytes().ends_with(key.as_bytes()) || value.as_bytes().trim_ascii() == key.as_bytes()
    };
    ["authorization", "x-api-key"].iter().any(|name| request.get(*name).is_some_and(has))
}

fn repeats_nothing(response: &Response<()>, body: &str, id: &str, secrets: &[&str]) {
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        assert!(name == "x-request-id" || !value.contains(CANARY), "{name}: {value}");
        // An id is the caller's choice, so it may be the token.
        assert!(name == "x-request-id" || !secrets.iter().any(|secret| value.contains(secret)), "{name}: {value}");
    }
    let rest = body.replace(&format!("\"request_id\":\"{id}\""), "");
    assert!(!rest.contains(CANARY) && !secrets.iter().any(|secret| rest.contains(secret)), "{body}");
}

fn is_a_problem(response: &Response<()>, method: &Method, body: &str, id: &str) {
    let headers = response.headers();
    let openweathermap = headers["content-type"] == "application/json; charset=utf-8";
    let sentence = headers["content-type"] == "text/plain; charset=utf-8";
    if !openweathermap && !sentence {
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    if matches!(response.status().as_u16(), 429 | 503) {
        let wait: u64 = headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
        assert!(wait > 0);
    }
    // The router gives a HEAD no body, the short way one that the connection leaves out.
    if *method == Method::HEAD && body.is_empty() {
        return;
    }
    if sentence {
        let (code, detail) = body.split_once(": ").expect("a code and a sentence");
        assert!(!code.contains(' ') && detail.len() > 10 && detail.ends_with('\n'), "{body}");
        return;
    }
    let problem: serde_json::Value = serde_json::from_str(body).expect("a problem is JSON");
    if openweathermap {
        // OpenWeatherMap writes it now as a number, now as a string.
        let code = problem["cod"]
            .as_u64()
            .map_or_else(|| problem["cod"].as_str().map(str::to_owned), |code| Some(code.to_string()));
        assert_eq!(code.as_deref(), Some(response.status().as_str()), "{body}");
        return;
    }
    assert_eq!(problem["status"], response.status().as_u16());
    assert_eq!(problem["request_id"], id);
    assert!(problem["code"].as_str().is_some_and(|code| problem["type"] == format!("urn:stratus:problem:{code}")));
}

/// A coding only for who names it or anything, 304 only for who has something, and no origin but the one that may.
fn is_what_was_accepted(request: &HeaderMap, response: &Response<()>) {
    let said = |name: &str, part: &str| {
        let part = part.as_bytes();
        let has = |value: &HeaderValue| value.as_bytes().windows(part.len()).any(|w| w.eq_ignore_ascii_case(part));
        request.get_all(name).iter().any(has)
    };
    if let Some(coding) = response.headers().get("content-encoding") {
        let coding = coding.to_str().expect("ASCII");
        assert!(["br", "gzip", "zstd"].contains(&coding));
        assert!(said("accept-encoding", coding) || said("accept-encoding", "*"), "{request:?}");
    }
    if response.status() == 304 {
        let tag = response.headers()["etag"].to_str().expect("ASCII");
        assert!(said("if-none-match", tag) || said("if-none-match", "*"), "{request:?}");
    }
    if let Some(origin) = response.headers().get("access-control-allow-origin") {
        assert!(origin == "*" || origin == ORIGIN && said("origin", ORIGIN), "{request:?}");
    }
}

/// Nothing is purged, and no credential is put, shown or removed without the token.
fn is_authorised(request: &HeaderMap, response: &Response<()>, body: &str, token: &str) {
    assert!(!response.headers().contains_key("access-control-allow-origin"));
    let needs_token = ["{\"purged\"", "{\"expires_in_secs\"", "["].iter().any(|start| body.starts_with(start));
    if needs_token || matches!(response.status().as_u16(), 201 | 204) {
        let given = request.get("authorization").expect("a token").as_bytes();
        assert_eq!(given[7..], *token.as_bytes());
        assert!(given[..7].eq_ignore_ascii_case(b"bearer "));
    }
}

impl Service {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let token = generate_key_line().expect("random bytes").to_string();
        let _inside = runtime.enter();
        let (metrics, clock) = (Metrics::new(), Clock::system());
        let store = Store::start(StoreConfig::Memory, clock.clone(), Arc::clone(&metrics));
        let keyring = Arc::new(Keyring::ephemeral().expect("random bytes"));
        let notes = Notebook { store, keyring, clock: clock.clone() };
        let limits = Limits::new(notes.clone(), 1, Arc::clone(&metrics));
        let vault = Vault::start(notes.clone());
        let cache = Cache::start(settings(), notes, Arc::new(Stub), Arc::clone(&metrics));
        let key = generate_key().expect("random bytes").to_string();
        let guard = |required, anonymous_per_minute| {
            let access = access(&key, required, anonymous_per_minute);
            Guard::new(access, Arc::clone(&limits), clock.clone())
        };
        let server = |origin: &str, forward_proxy| ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            request_timeout: LIMIT,
            tls: None,
            max_connections: 1,
            max_connections_per_address: 1,
            max_requests_in_flight: 1,
            shutdown_delay: LIMIT,
            drain: LIMIT,
            images: true,
            allow_origins: vec![origin.to_owned()],
            forward_proxy,
        };
        let proxy = ForwardProxy::On { host: "127.0.0.1".to_owned(), port: None };
        let operators = AdminState {
            cache: cache.clone(),
            vault,
            metrics: Arc::clone(&metrics),
            token: Some(Live::new(SecretString::from(token.as_str()))),
            stopping: CancellationToken::new(),
            files: Reloader::default().start(),
            upstream: Arc::new(report),
            consumers: None,
            certificates: Arc::new(Vec::new),
            clock: clock.clone(),
            watchers: Watchers::default(),
            started: Instant::now(),
            wrong_tokens: WrongTokens::default(),
        };
        let public = |server: ServerConfig, guard: Guard| {
            public(&server, guard, cache.clone(), Arc::clone(&metrics), Traces::default())
        };
        Self {
            open: public(server("*", ForwardProxy::Off), guard(false, 0)),
            listed: public(server(ORIGIN, proxy), guard(false, 0)),
            closed: public(server("*", ForwardProxy::Off), guard(true, 1_000)),
            operators: admin(operators, LIMIT).into(),
            token,
            key,
            requests: 0,
            runtime,
        }
    }
}

/// One consumer, who may ask as often as there is time for.
fn access(key: &str, required: bool, anonymous_per_minute: u32) -> AccessConfig {
    let entry = entry("one", *PER_MINUTE.end(), key.as_bytes(), None);
    let entries = parse(&entry).expect("an entry");
    let proxies = TrustedProxies { networks: vec![PROXY.into()], header: ForwardedHeader::Forwarded };
    AccessConfig { required, consumers: Some(Live::new(Consumers::new(entries, None))), anonymous_per_minute, proxies }
}

/// Freshness ends while a run of some minutes lasts; the memory level is small, so that it overflows.
fn settings() -> CacheConfig {
    let secs = Duration::from_secs;
    CacheConfig {
        policy: Policy {
            fresh: secs(20),
            stale_while_revalidate: secs(20),
            stale_if_error: secs(60),
            not_found: secs(20),
            jitter_percent: 10,
        },
        memory_max_bytes: 1 << 18,
        max_waiters: 16,
        wait_timeout: LIMIT,
        load_timeout: LIMIT,
    }
}

fn report() -> UpstreamReport {
    let window = WindowReport { limit: 60, left: 60 };
    UpstreamReport {
        key: true,
        simulated: false,
        breaker: BreakerReport { state: "admitting", reason: None, retry_in_secs: None },
        budget: BudgetReport { minute: window, day: None, month: None, own_part_only: false },
        adaptive_factor: 1.0,
        credentials: Vec::new(),
    }
}

/// Knows every place but those that are named after a failure.
struct Stub;

impl Source for Stub {
    fn fetch<'a>(&'a self, query: &'a Query, _: Purpose) -> Fetching<'a> {
        let retry_after = Duration::from_secs(90);
        let name = query.value("q").unwrap_or_default();
        let fetched = match &*name {
            "unknown" => Err(SourceError::UnknownLocation),
            "no key" => Err(SourceError::NoKey),
            "refused" => Err(SourceError::RejectedKey),
            "exhausted" => Err(SourceError::BudgetExhausted { retry_after }),
            "share" => Err(SourceError::OverShare { retry_after }),
            "paused" => Err(SourceError::Paused { retry_after }),
            "slow" => Err(SourceError::Timeout),
            "away" => Err(SourceError::Unavailable),
            "failed" => Err(SourceError::Failed),
            "invalid" => Err(SourceError::InvalidResponse),
            // Long enough to be compressed, or not.
            _ => Ok(r#"{"weather":[],"main":{}}"#.repeat(if name.len() == 6 { 64 } else { 4 })),
        };
        let fetched_at_ms = Clock::system().now_ms();
        Box::pin(async move { Ok(Fetched { body: fetched?.into(), fetched_at_ms }) })
    }
}
