//! `stratus check` and everything but Redis: the upstream, its key, the clock, the ports, the collector.

use std::net::TcpListener;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::DATE;

use super::harness::{Folder, Ran, Settings, Upstream, free_address, run, stratus, text};

/// On the in-memory store, so that only the upstream matters.
fn settings(upstream: &str) -> Settings {
    Settings::memory()
        .set("upstream.base_url", upstream)
        .set("upstream.api_key", "canary0key")
        .set("upstream.connect_timeout_ms", 20_000)
        .set("upstream.timeout_ms", 20_000)
        .set("server.request_timeout_ms", 30_000)
}

fn check(settings: &Settings) -> Ran {
    let ran = settings.run(&["check"]);
    ran.shows_no_secret();
    ran
}

/// Exactly one line tells of a fault, and this is it.
fn one_fault(ran: &Ran, line: &str) {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    let failed: Vec<_> = ran.stdout.lines().filter_map(|line| line.strip_prefix("FAIL  ")).collect();
    assert_eq!(failed, [line], "{ran:?}");
}

fn answering(status: StatusCode, body: &'static str) -> Upstream {
    Upstream::start(Router::new().fallback(move || async move { (status, body) }))
}

#[test]
fn records_in_memory_are_fine() {
    let upstream = Upstream::simulated();
    let ran = check(&settings(&upstream.url()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("ok    store: memory: records end with the process"), "{ran:?}");
    assert!(ran.stdout.lines().all(|line| line.starts_with("ok    ")), "{ran:?}");
}

#[test]
fn a_refused_key_is_told() {
    let body = r#"{"cod":401, "message": "Invalid API key: canary0key"}"#;
    let upstream = answering(StatusCode::UNAUTHORIZED, body);
    one_fault(
        &check(&settings(&upstream.url())),
        "upstream: OpenWeatherMap refuses the key; correct upstream.api_key_file; a new key works after up to two hours",
    );
}

#[test]
fn a_spent_limit_and_other_answers_are_told_apart() {
    let upstream = answering(StatusCode::TOO_MANY_REQUESTS, r#"{"cod":429,"message":"canary0key"}"#);
    let ran = check(&settings(&upstream.url()));
    one_fault(
        &ran,
        "upstream: the key's calls are used up; wait, or get a plan with more: https://openweathermap.org/price",
    );
    let upstream = Upstream::simulated();
    let ran = check(&settings(&format!("{}/elsewhere", upstream.url())));
    one_fault(&ran, "upstream: answers with status 404; is upstream.base_url right?");
}

#[test]
fn an_upstream_that_is_away_or_silent_is_told_and_the_clock_is_not_compared() {
    let ran = check(&settings(&format!("http://{}", free_address())));
    one_fault(&ran, "upstream: cannot be reached; check upstream.base_url, upstream.ca_file and the network");
    assert!(ran.stdout.contains("note  clock: not compared"), "{ran:?}");

    let upstream = Upstream::start(Router::new().fallback(std::future::pending::<StatusCode>));
    let ran = check(&settings(&upstream.url()).set("upstream.timeout_ms", 200));
    one_fault(&ran, "upstream: does not answer in time; see upstream.connect_timeout_ms and upstream.timeout_ms");
}

#[test]
fn a_missing_key_is_told_though_the_service_would_start() {
    let upstream = Upstream::simulated();
    let ran = check(&settings(&upstream.url()).set("upstream.api_key", ""));
    let keys = "give upstream.api_key_file; keys: https://openweathermap.org/appid";
    one_fault(&ran, &format!("upstream: there is no key to ask with; {keys}"));
}

#[test]
fn a_missing_key_is_no_fault_where_the_weather_is_simulated_then() {
    let upstream = Upstream::simulated();
    let ran = check(&settings(&upstream.url()).set("upstream.api_key", "").set("upstream.simulate_without_key", true));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let line = ran.stdout.lines().find(|line| line.starts_with("ok    upstream: ")).expect("a line");
    assert!(line.contains("SIMULATED") && line.contains("upstream.api_key_file"), "{line}");
}

#[test]
fn an_authority_that_is_no_certificate_is_told_and_refused() {
    let (folder, upstream) = (Folder::new(), Upstream::simulated());
    let file = folder.write("ca.crt", "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n");
    let settings = settings(&upstream.url()).set("upstream.ca_file", text(&file));
    for command in ["check", "serve"] {
        settings.run(&[command]).refused("upstream.ca_file", "holds no usable certificate: give a PEM file");
    }
}

const WEATHER: &str = r#"{"weather":[],"main":{},"cod":200}"#;

#[test]
fn a_page_that_is_not_weather_is_told() {
    let upstream = Upstream::start(Router::new().fallback(|| async { "<html>please log in</html>" }));
    let what = "upstream: answers with something that is not weather";
    one_fault(
        &check(&settings(&upstream.url())),
        &format!("{what}; is upstream.base_url right, or is a proxy in between?"),
    );
}

#[test]
fn a_clock_that_is_off_is_told() {
    let past = [(DATE, "Sat, 21 Nov 2020 12:00:00 GMT")];
    let upstream = Upstream::start(Router::new().fallback(move || async move { (past, WEATHER) }));
    let ran = check(&settings(&upstream.url()));
    let failed: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with("FAIL  ")).collect();
    assert_eq!(failed.len(), 1, "{ran:?}");
    assert!(failed[0].starts_with("FAIL  clock: is ") && failed[0].ends_with("; turn on time synchronisation"));
}

#[test]
fn ports_in_use_are_told_and_may_be_the_service_itself() {
    let upstream = Upstream::simulated();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ran = check(&settings(&upstream.url()).set("admin.listen", taken.local_addr().unwrap()));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let told = ran.stdout.lines().find(|line| line.starts_with("FAIL  addresses: admin.listen: ")).expect("a line");
    assert!(told.ends_with("if that is a running Stratus, all is well"), "{told}");
}

#[test]
fn a_faulty_configuration_is_refused_before_anything_is_looked_at() {
    let ran = run(&mut stratus(&["check"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    for key in ["redis.password: ", "redis.ca_file: ", "encryption.keys: "] {
        let told = ran.faults().into_iter().find(|line| line.starts_with(key));
        assert!(told.is_some_and(|line| line.contains("stratus init")), "{key}: {ran:?}");
    }
    assert_eq!(ran.faults().len(), 3, "{ran:?}");
}

#[test]
fn a_collector_is_asked_whether_it_takes_traces() {
    let upstream = Upstream::simulated();
    let with = |endpoint: &str| check(&settings(&upstream.url()).set("telemetry.otlp_endpoint", endpoint));
    let ran = with(&answering(StatusCode::OK, "").url());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("ok    telemetry.otlp_endpoint: the collector takes traces"), "{ran:?}");
    one_fault(
        &with(&answering(StatusCode::NOT_FOUND, "").url()),
        "telemetry.otlp_endpoint: the collector answers with status 404; give the base address of OTLP over HTTP, usually \
         of port 4318",
    );
    one_fault(
        &with(&answering(StatusCode::UNAUTHORIZED, "").url()),
        "telemetry.otlp_endpoint: the collector answers with status 401; no credential is sent: name a collector of yours \
         that adds it on the way",
    );
    one_fault(
        &with(&format!("http://{}", free_address())),
        "telemetry.otlp_endpoint: the collector cannot be reached; is it running, and is that OTLP over HTTP (usually port \
         4318; 4317 is gRPC's)?",
    );
}
