//! Answers in pages: the link to the next one leads back to where the caller came from, without a key; what it asks for then
//! reaches the upstream as it was.

use std::time::Duration;

use reqwest::Method;

use super::{decoded, has_their_headers, is_an_error, parameter};
use crate::harness::callers::{HttpsFiles, ask_h1, ask_h2, h2, shake};
use crate::harness::canaries::everything_of;
use crate::harness::{API_KEY, Canaries, Inspector, Redis, Reply, ScriptedUpstream, Service, Setup, answer, raw};

const PATH: &str = "/data/4.0/onecall/timeline/1h";
const FIRST: &str = "/data/4.0/onecall/timeline/1h?lat=51.51&lon=-0.13&units=metric";
/// What a link continues by, in the order in which it is asked.
const MORE: &str = "cursor=YWJjLzEyMw%3D%3D&lat=51.51&lon=-0.13&page=2&start=1790003600&units=metric";

fn page(next: &str) -> String {
    format!(r#"{{"lat":51.51,"lon":-0.13,"data":[{{"dt":1790000000,"temp":11.0}}],"next" : {next} , "x":"ü\/"}}"#)
}

/// A link as the upstream writes it.
fn link() -> String {
    format!(r#""https://api.openweathermap.org{PATH}?{MORE}&appid={API_KEY}""#)
}

async fn upstream(next: &str) -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, page(next))).await
}

/// The page as it has to arrive at a caller who came by this origin.
fn on(origin: &str) -> String {
    page(&format!(r#""{origin}{PATH}?{MORE}""#))
}

/// Asks over plain HTTP with this head, and gives the body.
async fn body_for(service: &Service, head: &str) -> String {
    let text = raw(service, format!("GET {head}Connection: close\r\n\r\n").as_bytes()).await;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 200 OK"), "{text}");
    body.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_leads_to_where_the_caller_came_from_and_has_no_key() {
    let upstream = upstream(&link()).await;
    let service = Setup::memory(&upstream).set("server.forward_proxy", true).start().await;
    let address = service.public.to_string();
    let given = service.get(FIRST).await;
    assert_eq!((given.status.as_u16(), given.text()), (200, on(&format!("http://{address}")).as_str()));
    has_their_headers(&given);
    for (request, origin) in [
        (format!("{FIRST} HTTP/1.1\r\nHost: weather.example\r\n"), "http://weather.example"),
        (format!("{FIRST} HTTP/1.1\r\nHost: weather.example:8080\r\n"), "http://weather.example:8080"),
        (format!("{FIRST} HTTP/1.1\r\nHost: [2001:db8::1]:3000\r\n"), "http://[2001:db8::1]:3000"),
        (format!("http://api.openweathermap.org{FIRST} HTTP/1.1\r\nHost: proxy\r\n"), "http://api.openweathermap.org"),
        // Who does not say where it came from gets a link that leads there all the same (RFC 3986, section 4.2).
        (format!("{FIRST} HTTP/1.0\r\n"), ""),
        (format!("{FIRST} HTTP/1.1\r\nHost: \r\n"), ""),
        (format!("{FIRST} HTTP/1.1\r\nHost: user:word@evil.example\r\n"), ""),
        (format!("{FIRST} HTTP/1.1\r\nHost: a\"b\r\n"), ""),
        (format!("{FIRST} HTTP/1.1\r\nHost: a/b\r\n"), ""),
        (format!("{FIRST} HTTP/1.1\r\nHost: a b\r\n"), ""),
    ] {
        assert_eq!(body_for(&service, &request).await, on(origin), "{request}");
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_the_page_before_is_treated_alike_wherever_it_stands() {
    let written = |origin: &str, start: u32, key: &str| {
        format!(r#""{origin}{PATH}?lat=51.51&lon=-0.13&start={start}&units=metric{key}""#)
    };
    let pages = |origin: &str, key: &str| {
        let (prev, next) = (written(origin, 1, key), written(origin, 2, key));
        [
            format!(r#"{{"prev":{prev},"data":[],"next":{next}}}"#),
            format!(r#"{{"next":{next},"data":[], "prev": {prev} }}"#),
        ]
    };
    let theirs = pages("https://api.openweathermap.org", &format!("&appid={API_KEY}"));
    for (number, sent) in theirs.into_iter().enumerate() {
        let upstream = ScriptedUpstream::start(Reply::json(200, sent)).await;
        let service = Setup::memory(&upstream).start().await;
        let expected = pages(&format!("http://{}", service.public), "");
        for _ in 0..2 {
            assert_eq!(service.get(FIRST).await.text(), expected[number]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_is_believed_the_link_is_https_if_it_says_so() {
    let upstream = upstream(&link()).await;
    let origin = |scheme: &str| on(&format!("{scheme}://weather.example"));
    for (header, value, theirs) in [
        ("x-forwarded-for", "X-Forwarded-Proto: https", "https"),
        ("x-forwarded-for", "X-Forwarded-Proto: http, HTTPS", "https"),
        ("x-forwarded-for", "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http", "http"),
        ("x-forwarded-for", "X-Forwarded-Proto: gopher", "http"),
        ("x-forwarded-for", "Forwarded: proto=https", "http"),
        ("forwarded", "Forwarded: for=192.0.2.1;proto=http, for=192.0.2.2; Proto=\"https\"", "https"),
        ("forwarded", "X-Forwarded-Proto: https", "http"),
    ] {
        let head = format!("{FIRST} HTTP/1.1\r\nHost: weather.example\r\n{value}\r\n");
        let setup = || Setup::memory(&upstream).set("server.forwarded_header", header);
        let believed = setup().set("server.trusted_proxies", "127.0.0.1").start().await;
        assert_eq!(body_for(&believed, &head).await, origin(theirs), "{value}");
        let nobody = setup().start().await;
        assert_eq!(body_for(&nobody, &head).await, origin("http"), "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_the_link_is_https_in_both_protocols() {
    let upstream = upstream(&link()).await;
    let files = HttpsFiles::make();
    let service = files.on(Setup::memory(&upstream)).start().await;
    let mut stream = shake(service.public, &files.h1_caller()).await.expect("a handshake");
    let answered = ask_h1(&mut stream, FIRST).await;
    assert!(answered.ends_with(&on("https://test")), "{answered}");
    let stream = shake(service.public, &files.h2_caller()).await.expect("a handshake");
    let answered = ask_h2(&h2(stream, &h2::client::Builder::new()).await, FIRST).await.expect("an answer");
    assert_eq!((answered.status.as_u16(), answered.body), (200, on("https://127.0.0.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_the_link_gets_the_next_page_by_all_that_the_link_says_and_each_page_is_kept() {
    let upstream = upstream(&link()).await;
    let service = Setup::memory(&upstream).start().await;
    let first = service.get(FIRST).await.json();
    let next = first["next"].as_str().expect("a link").strip_prefix(&format!("http://{}", service.public));
    let next = next.expect("our origin").to_owned();
    upstream.reply(Reply::json(200, page("null")));
    for x_cache in ["MISS", "HIT"] {
        let second = service.get(&format!("{next}&appid=whatever")).await;
        assert_eq!((second.status.as_u16(), second.x_cache(), second.text()), (200, x_cache, page("null").as_str()));
    }
    let requests = upstream.requests();
    assert_eq!(requests[1].target, format!("{PATH}?{MORE}&appid={API_KEY}"));
    assert_eq!((requests.len(), service.get(FIRST).await.x_cache()), (2, "HIT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_key_in_a_link_is_nowhere_in_answers_in_memory_or_in_redis() {
    let (upstream, mut redis) = (upstream(&link()).await, Redis::start().await);
    let mut inspector = Inspector::enter(&mut redis).await;
    let mut service = Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20).start().await;
    service.store_up().await;
    let mut given = Vec::new();
    for from in ["stored", "memory"] {
        given.push(service.get(FIRST).await);
        assert!(given[given.len() - 1].header("cache-status").ends_with(from), "{given:?}");
    }
    let record = inspector.records().await;
    assert_eq!(record.len(), 1);
    let keys = std::fs::read_to_string(redis.secret("encryption-keys")).expect("the keys");
    let ring = stratus::crypto::Keyring::parse(&keys).expect("good keys");
    let parameters = FIRST.split_once('?').expect("parameters").1;
    let query = stratus::weather::Query::openweathermap(super::endpoint(FIRST), parameters).expect("a question");
    let sealed = inspector.value(&record[0]).await;
    let opened = ring.open(&ring.names(&query.subject()).remove(0), &sealed, service.clock.clock().now_ms());
    let opened = opened.expect("a record of ours").content;
    assert!(String::from_utf8_lossy(&opened).contains("cursor="), "it is the page");
    let key = Canaries::texts([API_KEY]);
    key.absent_from("answers", &everything_of(&given));
    key.absent_from("the record, opened", &opened);
    key.absent_from("Redis", &sealed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_elsewhere_or_hides_the_key_is_not_passed_on() {
    for next in [
        format!("https://api.openweathermap.org/data/4.0/onecall/current?lat=1&lon=1&appid={API_KEY}"),
        format!("https://evil.example{PATH}?lat=51.51&lon=-0.13"),
        format!("http://user:word@api.openweathermap.org{PATH}?lat=51.51&lon=-0.13"),
        format!("https://api.openweathermap.org{PATH}?lat=51.51&lon=-0.13&key={API_KEY}"),
        format!("https://api.openweathermap.org/{API_KEY}{PATH}?lat=51.51&lon=-0.13"),
        "https://api.openweathermap.org/".to_owned(),
        "javascript:alert(1)".to_owned(),
        "https://[".to_owned(),
        // Here following it would ask for something else than it says.
        format!("https://api.openweathermap.org{PATH}?page=2"),
        format!("https://api.openweathermap.org{PATH}?lat=51.51&lon=-0.13&cursor={}", "x".repeat(2_000)),
    ] {
        let upstream = upstream(&format!("\"{next}\"")).await;
        let service = Setup::memory(&upstream).start().await;
        let refused = service.get(FIRST).await;
        is_an_error(&refused, 502);
        assert!(!refused.text().contains(API_KEY), "{refused:?}");
        // It is no answer, so it is asked for again when that may help.
        upstream.reply(Reply::json(200, page("null")));
        service.clock.advance(Duration::from_secs(120));
        assert_eq!(service.get(FIRST).await.text(), page("null"), "{next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_link_is_the_upstreams_byte_for_byte() {
    for body in
        [page("null"), page("\"\""), page("7"), page("{\"href\":\"/x\"}"), page("\"\"").replace("next", "other")]
    {
        let upstream = ScriptedUpstream::start(Reply::json(200, body.clone())).await;
        let service = Setup::memory(&upstream).start().await;
        for x_cache in ["MISS", "HIT"] {
            let given = service.get(FIRST).await;
            assert_eq!((given.status.as_u16(), given.x_cache(), given.text()), (200, x_cache, body.as_str()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_link_is_one_too_and_a_page_is_the_same_for_whoever_has_it_already() {
    let upstream = upstream(&format!("\"{PATH}?{MORE}\"")).await;
    let service = Setup::memory(&upstream).start().await;
    let given = service.get(FIRST).await;
    assert_eq!(given.text(), on(&format!("http://{}", service.public)));
    let known = service.request(Method::GET, FIRST).header("if-none-match", given.header("etag"));
    assert_eq!(answer(known).await.status, 304);
    let elsewhere = service.request(Method::GET, FIRST).header("host", "other.example");
    let elsewhere = answer(elsewhere.header("if-none-match", given.header("etag"))).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.text()), (200, on("http://other.example").as_str()));
    let head = answer(service.request(Method::HEAD, FIRST)).await;
    assert_eq!(
        (head.header("content-length"), head.header("etag")),
        (&*given.body.len().to_string(), given.header("etag"))
    );
    for coding in ["gzip", "br", "zstd"] {
        let coded = answer(service.request(Method::GET, FIRST).header("accept-encoding", coding)).await;
        assert_eq!(decoded(coded.header("content-encoding"), &coded.body), given.body, "{coding}");
        assert_ne!((coding, coded.header("etag")), (coded.header("content-encoding"), given.header("etag")));
    }
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(parameter(&upstream.requests()[0], "appid"), Some(API_KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_two_links_of_one_name_is_not_passed_on() {
    for twice in [
        format!(r#"{{"next":"https://evil.example/?a=1","data":[],"next":{}}}"#, link()),
        format!(r#"{{"n\u0065xt":"https://evil.example/?a=1","data":[],"next":{}}}"#, link()),
        format!(r#"{{"prev":{},"data":[],"prev":null}}"#, link().replace(API_KEY, "%6Bey")),
    ] {
        let upstream = ScriptedUpstream::start(Reply::json(200, twice)).await;
        let service = Setup::memory(&upstream).start().await;
        is_an_error(&service.get(FIRST).await, 502);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_made_for_each_origin_and_anew_when_the_upstream_says_something_else() {
    let upstream = upstream(&link()).await;
    let service = Setup::memory(&upstream).start().await;
    let from = |host: &str| service.request(Method::GET, FIRST).header("host", host.to_owned());
    for _ in 0..3 {
        for host in ["one.example", "two.example"] {
            assert_eq!(answer(from(host)).await.text(), on(&format!("http://{host}")));
        }
    }
    let other = |origin: &str| page(&format!("\"{origin}{PATH}?lat=51.51&lon=-0.13&page=9\""));
    upstream.reply(Reply::json(200, other("https://api.openweathermap.org")));
    service.clock.advance(Duration::from_secs(100_000));
    for host in ["one.example", "two.example"] {
        assert_eq!(answer(from(host)).await.text(), other(&format!("http://{host}")));
    }
}
