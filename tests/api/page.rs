//! `GET /`, the page for people, as it goes over the wire; `browser` is about what it does there.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use regex::Regex;
use reqwest::Method;
use sha2::{Digest, Sha256};

use crate::harness::{Answer, Reply, ScriptedUpstream, Service, Setup, answer, body};

/// What a page may weigh, as it is.
const MAX_BYTES: usize = 60_000;

async fn service() -> (ScriptedUpstream, Service) {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    (upstream, service)
}

/// What stands between each of these tags, however the tag goes on.
fn elements<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let element = Regex::new(&format!("(?is)<{name}[^>]*>(.*?)</{name}")).expect("an expression");
    element.captures_iter(page).map(|found| found.get(1).expect("a group").as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_the_page_names_the_digests_of_the_very_script_and_style_that_are_sent() {
    let (_upstream, service) = service().await;
    let page = service.get("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let mut digests = Vec::new();
    for name in ["script", "style"] {
        let [text] = elements(page.text(), name)[..] else { panic!("one {name}") };
        assert!(text.len() > 1_000, "{name}");
        // A carriage return would be read as something else than it is hashed.
        assert!(!text.contains('\r'));
        digests.push(format!("{name}-src 'sha256-{}'", STANDARD.encode(Sha256::digest(text))));
    }
    let policy: Vec<_> = page.header("content-security-policy").split("; ").collect();
    let [script, style] = &digests[..] else { unreachable!("two elements") };
    let expected = [
        "default-src 'none'",
        script,
        style,
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ];
    assert_eq!(policy, expected);
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cross-origin-resource-policy"), "same-origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_small_and_whole_and_refers_to_nothing_elsewhere_but_by_one_link() {
    let (_upstream, service) = service().await;
    let page = service.get("/").await;
    assert!(page.body.len() < MAX_BYTES, "{} bytes", page.body.len());
    let attribute = |pattern: &str| {
        let attribute = Regex::new(pattern).expect("an expression");
        let found = attribute.captures_iter(page.text()).map(|found| found[1].to_owned());
        found.collect::<Vec<_>>()
    };
    assert_eq!(attribute(r#"(?i)\s((?:style|on[a-z]+)=["'][^"']*)"#), [""; 0]);
    assert_eq!(attribute(r#"(?i)\s(?:src|srcset|action|data|poster)=["']([^"']*)"#), [""; 0]);
    let elsewhere = |link: &&String| !(link.starts_with('#') || ["docs", "openapi.json"].contains(&link.as_str()));
    let links = attribute(r#"(?i)\shref=["']([^"']*)"#);
    let elsewhere: Vec<_> = links.iter().filter(elsewhere).collect();
    let [icon, licence] = elsewhere[..] else { panic!("{elsewhere:?}") };
    assert!(icon.starts_with("data:image/svg+xml,"), "{icon}");
    assert_eq!(licence, "https://openweathermap.org/");
    assert!(page.text().contains("Weather data provided by <a"));
    // What makes markup of text, or keeps something.
    let script = elements(page.text(), "script")[0];
    for never in
        ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Storage", "cookie", "indexedDB"]
    {
        assert!(!script.contains(never), "{never}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_compressed_if_wished_and_not_at_all_to_who_has_it() {
    let (_upstream, service) = service().await;
    let ask = async |method: Method, coding: &str, tag: &str| {
        let request = service.request(method, "/").header("accept-encoding", coding);
        answer(if tag.is_empty() { request } else { request.header("if-none-match", tag) }).await
    };
    let plain = ask(Method::GET, "identity", "").await;
    let packed = ask(Method::GET, "gzip", "").await;
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.body);
    println!("the page: {} bytes, {} as gzip", plain.body.len(), packed.body.len());
    assert!(packed.body.len() < plain.body.len() / 2);
    for (coding, of) in [("identity", &plain), ("gzip", &packed), ("br", &ask(Method::GET, "br", "").await)] {
        assert_eq!(of.header("content-encoding"), if coding == "identity" { "" } else { coding });
        assert_eq!((of.header("cache-control"), of.header("vary").contains("accept-encoding")), ("no-cache", true));
        let head = ask(Method::HEAD, coding, "").await;
        let same = |of: &Answer| (of.status, of.header("etag").to_owned(), of.header("content-length").to_owned());
        assert_eq!((same(&head), head.body.len()), (same(of), 0), "{coding}");
        for method in [Method::GET, Method::HEAD] {
            let known = ask(method, coding, of.header("etag")).await;
            assert_eq!((known.status.as_u16(), known.body.len()), (304, 0), "{coding}");
            assert_eq!(known.header("etag"), of.header("etag"));
            assert_eq!(known.header("content-security-policy"), plain.header("content-security-policy"));
        }
    }
    assert_eq!(ask(Method::GET, "identity", "\"other\"").await.status, 200);
    assert_eq!(ask(Method::POST, "identity", "").await.code(), "method-not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_no_key_and_counts_against_no_limit() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let keys = tempfile::NamedTempFile::new().expect("a file");
    let setup = Setup::memory(&upstream).set("access.anonymous_per_minute", 1).set("access.required", true);
    let service = setup.set("access.consumers_file", keys.path().display()).start().await;
    for _ in 0..5 {
        let page = service.get("/").await;
        assert_eq!((page.status.as_u16(), page.header("ratelimit")), (200, ""));
        // It is no answer about a place.
        assert_eq!((page.header("cache-status"), page.header("x-cache")), ("", ""));
    }
    assert_eq!(service.get("/weather/London").await.code(), "missing-key");
    assert_eq!(service.metric(r#"stratus_http_requests_total{route="/",method="GET",status="200"}"#).await, 5);
    assert_eq!(upstream.calls(), 0);
}
