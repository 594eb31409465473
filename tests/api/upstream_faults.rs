//! Whatever the upstream does wrong: the caller gets the contract's error or a stale copy, nothing bad is stored, and
//! neither the key nor the upstream's own words come out.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{API_KEY, Answer, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

/// In everything the upstream says that is not weather.
pub(crate) const WORDS: &str = "canary-words-of-the-upstream";
/// Past the time in which a copy is given anyway, within the time for which one is kept.
const STALE_AFTER: Duration = Duration::from_secs(361);
/// Longer than the upstream is left alone for any fault.
const LEFT_ALONE: Duration = Duration::from_secs(1_000);

/// What the upstream does, and the status and code that a caller gets for it.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) reply: Reply,
    status: u16,
    code: &'static str,
}

impl Fault {
    fn new(name: &'static str, reply: Reply, status: u16, code: &'static str) -> Self {
        Self { name, reply, status, code }
    }
}

/// An error body as the real API writes it.
fn error_body(cod: &str) -> String {
    format!(r#"{{"cod":{cod},"message":"{WORDS} {API_KEY}"}}"#)
}

/// Weather in every respect, but for its size: `padding` more bytes.
fn padded(padding: usize) -> String {
    body("Oslo").replacen('{', &format!(r#"{{"padding":"{}","#, " ".repeat(padding)), 1)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut input = gzip.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(text.as_bytes()).expect("gzip reads"));
        gzip.wait_with_output().expect("gzip's output").stdout
    })
}

/// The upstream says itself that something is wrong.
fn told_faults() -> Vec<Fault> {
    let told =
        |name, status, cod, expected, code| Fault::new(name, Reply::json(status, error_body(cod)), expected, code);
    let limited = || Reply::json(429, error_body("429"));
    vec![
        told("401", 401, "401", 502, "upstream-rejected-key"),
        told("403", 403, "403", 502, "upstream-rejected-key"),
        told("404, cod as a string", 404, r#""404""#, 404, "unknown-location"),
        told("404, cod as a number", 404, "404", 404, "unknown-location"),
        told("400, nothing to geocode", 400, r#""400""#, 404, "unknown-location"),
        told("200 with 404 inside", 200, r#""404""#, 404, "unknown-location"),
        Fault::new("200 with an error 404", Reply::json(200, r#"{"error":"404"}"#), 404, "unknown-location"),
        told("200 with 401 inside", 200, "401", 502, "upstream-rejected-key"),
        Fault::new("429", limited(), 503, "upstream-budget-exhausted"),
        Fault::new("429, soon", limited().header("Retry-After", "3"), 503, "upstream-budget-exhausted"),
        Fault::new("429, later", limited().header("Retry-After", "600"), 503, "upstream-budget-exhausted"),
        Fault::new("404 of a gateway", Reply::json(404, "<html>not found</html>"), 502, "upstream-failed"),
        Fault::new("400 of a gateway", Reply::json(400, ""), 502, "upstream-failed"),
        told("500", 500, r#""500""#, 502, "upstream-failed"),
        told("502", 502, "502", 503, "upstream-unavailable"),
        told("503", 503, "503", 503, "upstream-unavailable"),
        told("504", 504, "504", 503, "upstream-unavailable"),
        Fault::new(
            "500 cut short",
            Reply::raw("HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n<"),
            502,
            "upstream-failed",
        ),
    ]
}

/// What comes is not weather.
fn garbled_faults() -> Vec<Fault> {
    let garbled = |name, reply| Fault::new(name, reply, 502, "upstream-invalid-response");
    let html = format!("<html>{WORDS}</html>");
    let truncated = body(WORDS).trim_end_matches('}').to_owned();
    let deep = format!(r#"{{"weather":[],"main":{{"{WORDS}":{}"#, "[".repeat(100_000));
    let not_utf8 = body("Osl\u{f8}").into_bytes().into_iter().filter(|byte| *byte != 0xc3).collect::<Vec<_>>();
    let gzipped = |bytes: Vec<u8>| Reply::json(200, bytes).header("Content-Encoding", "gzip");
    vec![
        garbled("HTML", Reply::json(200, html).header("Content-Type", "text/html")),
        garbled("truncated JSON", Reply::json(200, truncated)),
        garbled("JSON nested deeply", Reply::json(200, deep)),
        garbled("JSON that is not UTF-8", Reply::json(200, not_utf8)),
        garbled("weather without a forecast", Reply::json(200, r#"{"cod":200}"#)),
        garbled("no bytes", Reply::json(200, "")),
        Fault::new("204", Reply::json(204, ""), 502, "upstream-failed"),
        garbled("10 MB", Reply::json(200, padded(10 << 20))),
        garbled("a body without end", Reply::endless(format!(r#"{{"{WORDS}":"#).repeat(100))),
        garbled("a gzip bomb", gzipped(gzip(&padded(64 << 20)))),
        garbled("gzip that is none", gzipped(body(WORDS).into())),
        garbled("closing in the body", Reply::close_mid_body(4_096, body(WORDS))),
        Fault::new("closing at once", Reply::raw(""), 503, "upstream-unavailable"),
        garbled("another protocol", Reply::raw(format!("SSH-2.0-{WORDS}\r\n\r\n"))),
    ]
}

pub(crate) fn faults() -> Vec<Fault> {
    told_faults().into_iter().chain(garbled_faults()).collect()
}

/// The answer is this problem of the contract and says nothing of what happened behind.
fn assert_problem(name: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{name}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{name}");
    assert_eq!(problem["type"], format!("urn:stratus:problem:{code}"), "{name}");
    assert_eq!(problem["request_id"], answer.header("x-request-id"), "{name}");
    let why = match (status, code) {
        // The status that the upstream sent (RFC 9211, section 2.4), with which the name of the fault begins; of words that
        // repeat our key nothing is kept.
        (404, _) => ["404", &name[..3]]
            .iter()
            .flat_map(|sent| ["miss", "stale"].map(|why| format!("stratus; fwd={why}; fwd-status={sent}")))
            .collect(),
        (_, "no-upstream-key") => vec![format!("stratus; detail={code}")],
        _ => vec![format!("stratus; fwd=miss; detail={code}")],
    };
    assert!(why.contains(&answer.header("cache-status").to_owned()), "{name}: {answer:?}");
    let text = format!("{answer:?} {}", answer.text());
    assert!(!text.contains(API_KEY) && !text.contains(WORDS), "{name}: {text}");
    let wait: u64 = answer.header("retry-after").parse().unwrap_or(0);
    let expected = match (status, code) {
        (503, "upstream-budget-exhausted") => 60..=3_600,
        (503, _) => 1..=60,
        _ => 0..=0,
    };
    assert!(expected.contains(&wait), "{name}: {answer:?}");
}

/// Nothing was kept of a failure: the next question goes to the upstream and gets the right bytes.
async fn assert_nothing_stored(name: &str, service: &Service) {
    // However long the upstream was left alone.
    service.clock.advance(LEFT_ALONE);
    let next = service.get("/weather/Oslo").await;
    assert_eq!((next.status.as_u16(), next.x_cache()), (200, "MISS"), "{name}");
    assert_eq!(next.text(), body("Oslo"), "{name}");
}

async fn service_of(upstream: &ScriptedUpstream) -> Service {
    // An unknown place is remembered, too, and that is another file's promise.
    Setup::memory(upstream).set("cache.not_found_secs", 0).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_the_contracts_error_and_leaves_nothing_behind() {
    for Fault { name, reply, status, code } in faults() {
        let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
        let service = service_of(&upstream).await;
        upstream.once(reply);
        assert_problem(name, &service.get("/weather/Oslo").await, status, code);
        assert_nothing_stored(name, &service).await;
        assert_eq!(upstream.calls(), 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_copy_is_better_than_every_fault_but_an_unknown_place() {
    for Fault { name, reply, code, .. } in faults() {
        let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
        let service = service_of(&upstream).await;
        service.get("/weather/Oslo").await;
        service.clock.advance(STALE_AFTER);
        upstream.once(reply);
        let answer = service.get("/weather/Oslo").await;
        if code == "unknown-location" {
            assert_problem(name, &answer, 404, code);
        } else {
            assert_eq!((answer.status.as_u16(), answer.x_cache()), (200, "STALE"), "{name}");
            assert_eq!((answer.text(), answer.header("age")), (body("Oslo").as_str(), "361"), "{name}");
        }
        assert_nothing_stored(name, &service).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_never_answers_is_a_timeout_or_a_stale_copy() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    let service = Setup::memory(&upstream).set("upstream.timeout_ms", 200).start().await;
    assert_problem("never", &service.get("/weather/Oslo").await, 504, "upstream-timeout");
    let slow = Setup::memory(&upstream).set("upstream.timeout_ms", 6_000).start().await;
    upstream.reply(Reply::json(200, body("Oslo")));
    assert_nothing_stored("never", &slow).await;
    slow.clock.advance(STALE_AFTER);
    upstream.reply(Reply::never());
    assert_eq!(slow.get("/weather/Oslo").await.x_cache(), "STALE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_refuses_connections_is_unavailable_or_a_stale_copy() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = service_of(&upstream).await;
    upstream.stop();
    assert_problem("refused", &service.get("/weather/Oslo").await, 503, "upstream-unavailable");
    upstream.restart().await;
    assert_nothing_stored("refused", &service).await;
    service.clock.advance(STALE_AFTER);
    upstream.stop();
    assert_eq!(service.get("/weather/Oslo").await.x_cache(), "STALE");
    upstream.restart().await;
    assert_nothing_stored("refused", &service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_wait_that_the_upstream_asks_for_is_passed_on() {
    let limited = Reply::json(429, error_body("429")).header("Retry-After", "600");
    let upstream = ScriptedUpstream::start(limited).await;
    let answer = service_of(&upstream).await.get("/weather/Oslo").await;
    // And a little longer, by chance, so that a fleet does not come back in step.
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((600..=660).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_never_follows_a_redirect() {
    let elsewhere = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/data/2.5/weather?{WORDS}", elsewhere.url());
        let redirect = Reply::json(status, error_body(&status.to_string())).header("Location", &to);
        let upstream = ScriptedUpstream::start(redirect).await;
        let service = service_of(&upstream).await;
        assert_problem("redirect", &service.get("/weather/Oslo").await, 502, "upstream-failed");
        upstream.reply(Reply::json(200, body("Oslo")));
        assert_nothing_stored("redirect", &service).await;
    }
    assert_eq!(elsewhere.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_comes_out_as_it_was_before() {
    let compressed = Reply::json(200, gzip(&body("Oslo"))).header("Content-Encoding", "gzip");
    let upstream = ScriptedUpstream::start(compressed).await;
    let service = service_of(&upstream).await;
    for x_cache in ["MISS", "HIT"] {
        let answer = service.get("/weather/Oslo").await;
        assert_eq!((answer.x_cache(), answer.text()), (x_cache, body("Oslo").as_str()));
        assert_eq!(answer.header("content-encoding"), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_asked_and_what_is_kept_is_still_answered() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await, Redis::start().await);
    let with_key = Setup::redis(&upstream, &redis).start().await;
    assert_nothing_stored("no key", &with_key).await;
    let clock = with_key.clock.clone();

    let service = Setup::redis(&upstream, &redis).set("upstream.api_key", "").clock(&clock).start().await;
    assert_problem("no key", &service.get("/weather/Rome").await, 503, "no-upstream-key");
    assert_eq!(service.get("/weather/Oslo").await.x_cache(), "HIT");
    clock.advance(STALE_AFTER);
    assert_eq!(service.get("/weather/Oslo").await.x_cache(), "STALE");
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_key_once_and_nothing_of_the_caller() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = service_of(&upstream).await;
    let mut request = service.request(reqwest::Method::GET, "/weather/Oslo?lang=de&units=imperial");
    for name in ["user-agent", "accept", "accept-language", "authorization", "x-api-key", "cookie", "referer", "origin"]
        .into_iter()
        .chain(["x-forwarded-for", "forwarded", "x-request-id", "traceparent", "if-none-match", "cache-control", "via"])
    {
        request = request.header(name, "canary-of-the-caller");
    }
    assert_eq!(answer(request).await.status, 200);

    let asked = upstream.requests().remove(0);
    assert_eq!(asked.query.iter().filter(|(name, _)| name == "appid").count(), 1, "{asked:?}");
    assert!(asked.query.contains(&("appid".to_owned(), API_KEY.to_owned())), "{asked:?}");
    assert!(!format!("{asked:?}").contains("canary-of-the-caller"), "{asked:?}");
    let mut names: Vec<_> = asked.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"]);
    let agent = asked.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
    assert!(agent.is_some_and(|(_, value)| value.starts_with("stratus/")), "{asked:?}");
}
