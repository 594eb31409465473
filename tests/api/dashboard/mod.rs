//! The operators' dashboard: its page, and the stream of events behind it.

mod pictures;
mod stream;
mod telling;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Reply, ScriptedUpstream, Service, Setup, answer, body};

const TOKEN: &str = "a-token-for-tests";

/// Somebody who watches.
struct Watch {
    response: Response,
    text: String,
    /// All that has come.
    seen: Vec<u8>,
}

impl Watch {
    async fn begin(service: &Service, token: Option<&str>) -> Self {
        let request = service.admin_request(Method::GET, "/events");
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        let response = timeout(PATIENCE, request.send()).await.expect("an answer in time").expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), seen: Vec::new() }
    }

    /// The next event's id and what it says; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(u64, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let Some(data) = field("data") else { continue };
                let id = field("id").expect("an id").parse().expect("a number");
                return Some((id, serde_json::from_str(data).expect("JSON in one line")));
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("an event in time");
            let chunk = chunk.expect("a stream that ends in order")?;
            self.seen.extend_from_slice(&chunk);
            self.text += std::str::from_utf8(&chunk).expect("UTF-8");
        }
    }

    /// The next event of which this is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let (_, event) = self.next().await.expect("a further event");
                if is_so(&event) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {what}"))
    }
}

async fn weather() -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, body("London"))).await
}

/// What is between two texts; there is only one such place.
fn between<'a>(text: &'a str, [before, after]: [&str; 2]) -> &'a str {
    let (_, rest) = text.split_once(before).expect("a beginning");
    assert!(!rest.contains(before), "{before} twice");
    rest.split_once(after).expect("an end").0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_one_open_document_without_data_that_may_run_only_what_is_in_it() {
    let service = Setup::memory(&weather().await).set("admin.token", TOKEN).start().await;
    let page = service.admin_get("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    for (name, tags) in [("script-src", ["<script>", "</script>"]), ("style-src", ["<style>", "</style>"])] {
        let digest = STANDARD.encode(Sha256::digest(between(page.text(), tags)));
        assert!(policy.contains(&format!("{name} 'sha256-{digest}'; ")), "{name} {digest} in {policy}");
    }
    for rule in ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{rule} in {policy}");
    }
    assert!(!policy.contains("unsafe") && page.text().len() < 60_000, "{policy}");
    // Nothing is fetched from elsewhere, nothing is written where the policy would not let it run.
    let links = regex::Regex::new(r#"(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//"#).expect("a pattern");
    let handlers = regex::Regex::new(r#"<[^>]*\s(?:on[a-z]+|style)\s*="#).expect("a pattern");
    let markup = page.text().split("<script>").next().expect("markup").split("</style>").nth(1).expect("a body");
    assert!(!links.is_match(page.text()) && !handlers.is_match(markup));
    assert!(!page.text().contains("innerHTML") && !page.text().contains("localStorage"));

    let head = answer(service.admin_request(Method::HEAD, "/")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for path in ["/", "/events"] {
        let refused = answer(service.admin_request(Method::POST, path).bearer_auth(TOKEN)).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (405, "method-not-allowed"), "{path}");
        assert_eq!(refused.header("allow"), "GET,HEAD", "{path}");
    }
    assert_eq!(service.get("/events").await.code(), "not-found", "the stream is on the admin listener only");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_need_the_token_if_there_is_one_and_trying_tokens_is_limited() {
    let upstream = weather().await;
    let open = Setup::memory(&upstream).start().await;
    assert!(Watch::begin(&open, None).await.next().await.is_some(), "without a token it is as open as /status");

    let service = Setup::memory(&upstream).set("admin.token", TOKEN).start().await;
    assert!(Watch::begin(&service, Some(TOKEN)).await.next().await.is_some());
    let try_with = async |token: Option<&str>| {
        let request = service.admin_request(Method::GET, "/events");
        answer(token.into_iter().fold(request, |request, token| request.bearer_auth(token))).await
    };
    for _ in 0..12 {
        let none = try_with(None).await;
        assert_eq!((none.status.as_u16(), none.code().as_str()), (401, "invalid-key"));
    }
    for _ in 0..10 {
        assert_eq!(try_with(Some("wrong")).await.code(), "invalid-key");
    }
    for token in ["wrong", TOKEN] {
        assert_eq!(try_with(Some(token)).await.code(), "rate-limited", "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_no_page_of_another_site_can_watch_by_a_name_that_leads_here() {
    let service = Setup::memory(&weather().await).start().await;
    let status = async |host: &str| {
        let request = service.admin_request(Method::GET, "/events").header("host", host);
        timeout(PATIENCE, request.send()).await.expect("an answer in time").expect("an answer").status().as_u16()
    };
    for host in ["127.0.0.1:3001", "[::1]:3001", "localhost:8080", "LOCALHOST", "stratus.localhost"] {
        assert_eq!(status(host).await, 200, "{host}");
    }
    for host in ["rebound.example:3001", "localhost.example", "127.0.0.1.example", "a@b", ""] {
        assert_eq!(status(host).await, 403, "{host}");
    }
    for (site, expected) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)] {
        let request = service.admin_request(Method::GET, "/events").header("sec-fetch-site", site);
        assert_eq!(request.send().await.expect("an answer").status(), expected, "{site}");
    }
    let setup = Setup::memory(&weather().await).set("admin.token", TOKEN);
    let service = setup.start().await;
    let request = service.admin_request(Method::GET, "/events").header("host", "stratus.example").bearer_auth(TOKEN);
    assert_eq!(request.send().await.expect("an answer").status(), 200);
}
