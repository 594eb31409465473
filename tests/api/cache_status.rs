//! `Cache-Status` and `X-Cache` for every way an answer can come about (RFC 9211), and what else caches go by.

use std::time::Duration;

use reqwest::Method;

use crate::harness::{Answer, Gate, ManualClock, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

const UNKNOWN: &str = r#"{"cod":"404","message":"city not found"}"#;
const ROME: &str = "/weather/Rome";

#[track_caller]
fn came_about(answer: &Answer, x_cache: &str, cache_status: &str) {
    assert_eq!((answer.x_cache(), answer.header("cache-status")), (x_cache, cache_status), "{answer:?}");
}

/// A service whose upstream knows Rome, and its clock.
async fn service() -> (ScriptedUpstream, Service, ManualClock) {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let service = Setup::memory(&upstream).start().await;
    let clock = service.clock.clone();
    (upstream, service, clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_memory_through_all_its_ages() {
    let (upstream, service, clock) = service().await;
    came_about(&service.get(ROME).await, "MISS", "stratus; fwd=miss; fwd-status=200; stored");
    came_about(&service.get(ROME).await, "HIT", "stratus; hit; ttl=300; detail=memory");
    let tag = service.get(ROME).await.header("etag").to_owned();
    let unchanged = answer(service.request(Method::GET, ROME).header("if-none-match", tag)).await;
    assert_eq!(unchanged.status, 304);
    came_about(&unchanged, "HIT", "stratus; hit; ttl=300; detail=memory");

    upstream.reply(Reply::json(500, ""));
    clock.advance(Duration::from_secs(310));
    came_about(&service.get(ROME).await, "STALE", "stratus; hit; ttl=-11; detail=memory");
    clock.advance(Duration::from_secs(60));
    came_about(&service.get(ROME).await, "STALE", "stratus; hit; ttl=-71; detail=memory");
    upstream.reply(Reply::json(200, body("Rome")));
    // Not asked again before its pause is over.
    came_about(&service.get(ROME).await, "STALE", "stratus; hit; ttl=-71; detail=memory");
    clock.advance(Duration::from_secs(2));
    came_about(&service.get(ROME).await, "MISS", "stratus; fwd=stale; fwd-status=200; stored");
    came_about(&service.get(ROME).await, "HIT", "stratus; hit; ttl=300; detail=memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_redis_through_all_its_ages() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("Rome"))).await, Redis::start().await);
    let service = Setup::redis(&upstream, &redis).start().await;
    came_about(&service.get(ROME).await, "MISS", "stratus; fwd=miss; fwd-status=200; stored");
    came_about(&service.get(ROME).await, "HIT", "stratus; hit; ttl=300; detail=redis");
    upstream.reply(Reply::json(500, ""));
    service.clock.advance(Duration::from_secs(310));
    came_about(&service.get(ROME).await, "STALE", "stratus; hit; ttl=-11; detail=redis");
    service.clock.advance(Duration::from_secs(60));
    came_about(&service.get(ROME).await, "STALE", "stratus; hit; ttl=-71; detail=redis");
    upstream.reply(Reply::json(200, body("Rome")));
    service.clock.advance(Duration::from_secs(2));
    came_about(&service.get(ROME).await, "MISS", "stratus; fwd=stale; fwd-status=200; stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_levels_memory_answers_what_redis_gave_once() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("Rome"))).await, Redis::start().await);
    let setup = || Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20);
    let first = setup().start().await;
    first.get(ROME).await;
    let second = setup().clock(&first.clock).start().await;
    came_about(&second.get(ROME).await, "HIT", "stratus; hit; ttl=300; detail=redis");
    came_about(&second.get(ROME).await, "HIT", "stratus; hit; ttl=300; detail=memory");

    // Another replica has renewed it: no call is needed, and nobody gets the old one.
    first.clock.advance(Duration::from_secs(3_000));
    upstream.reply(Reply::json(200, body("new")));
    came_about(&first.get(ROME).await, "MISS", "stratus; fwd=stale; fwd-status=200; stored");
    let renewed = second.get(ROME).await;
    came_about(&renewed, "HIT", "stratus; hit; ttl=300; detail=redis");
    assert_eq!(renewed.text(), body("new"));
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_no_level_keeps() {
    let (upstream, mut redis) = (ScriptedUpstream::start(Reply::json(200, body("Rome"))).await, Redis::start().await);
    redis.server.stop().await;
    let without_memory = Setup::redis(&upstream, &redis).start().await;
    came_about(&without_memory.get(ROME).await, "MISS", "stratus; fwd=miss; fwd-status=200");
    let with_memory = Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20).start().await;
    came_about(&with_memory.get(ROME).await, "MISS", "stratus; fwd=miss; fwd-status=200; stored");
    came_about(&with_memory.get(ROME).await, "HIT", "stratus; hit; ttl=300; detail=memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_place_known_as_such() {
    let (upstream, service, clock) = service().await;
    upstream.reply(Reply::json(404, UNKNOWN));
    came_about(&service.get(ROME).await, "MISS", "stratus; fwd=miss; fwd-status=404; stored");
    clock.advance(Duration::from_secs(299));
    let known = service.get(ROME).await;
    assert_eq!((known.status.as_u16(), known.code().as_str()), (404, "unknown-location"));
    assert_eq!(known.json()["request_id"], known.header("x-request-id"));
    came_about(&known, "HIT", "stratus; hit; ttl=1; detail=memory");
    clock.advance(Duration::from_secs(1));
    came_about(&service.get(ROME).await, "MISS", "stratus; fwd=stale; fwd-status=404; stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_shared_with_others() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Rome")))).await;
    let service = Setup::memory(&upstream).set("cache.max_waiters", 2).start().await;
    let refused = async {
        upstream.wait_for_calls(1).await;
        while service.metric("stratus_cache_waiting").await < 2 {}
        let third = service.get(ROME).await;
        gate.open();
        third
    };
    let (one, two, third) = tokio::join!(service.get(ROME), service.get(ROME), refused);
    let mut came: Vec<_> = [&one, &two].map(|answer| answer.header("cache-status")).to_vec();
    came.sort_by_key(|status| status.len());
    let miss = "stratus; fwd=miss; fwd-status=200; stored";
    assert_eq!(came, [miss, &format!("{miss}; collapsed")]);
    assert_eq!((third.status.as_u16(), third.code().as_str()), (503, "overloaded"));
    assert_eq!(third.header("retry-after"), "1");
    came_about(&third, "MISS", "stratus; detail=overloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_whose_callers_left_are_bounded_too() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Rome")))).await;
    let service = Setup::memory(&upstream).set("cache.max_waiters", 1).start().await;
    tokio::select! {
        _ = service.get(ROME) => unreachable!("the upstream waits"),
        () = upstream.wait_for_calls(1) => {}
    }
    while service.metric("stratus_cache_waiting").await > 0 {}
    came_about(&service.get("/weather/Paris").await, "MISS", "stratus; detail=overloaded");
    let (joined, ()) = tokio::join!(service.get(ROME), async {
        while service.metric("stratus_cache_waiting").await < 1 {}
        gate.open();
    });
    came_about(&joined, "MISS", "stratus; fwd=miss; fwd-status=200; stored; collapsed");
    assert_eq!(upstream.calls(), 1);
    assert_eq!(service.get("/weather/Paris").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_with_nothing_to_fall_back_on() {
    let (upstream, service, _) = service().await;
    upstream.reply(Reply::json(500, ""));
    came_about(&service.get(ROME).await, "MISS", "stratus; fwd=miss; detail=upstream-failed");
    came_about(&service.get("/weather/%00").await, "MISS", "stratus; detail=invalid-location");
    came_about(&service.get("/weather/Rome?x=1").await, "MISS", "stratus; detail=invalid-parameter");
    let posted = answer(service.request(Method::POST, ROME)).await;
    came_about(&posted, "MISS", "stratus; detail=method-not-allowed");
    let keyless = Setup::memory(&upstream).set("upstream.api_key", "").start().await;
    came_about(&keyless.get(ROME).await, "MISS", "stratus; detail=no-upstream-key");
    assert_eq!(service.get("/nothing").await.header("cache-status"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_wish_for_a_new_answer_costs_no_call() {
    let (upstream, service, _) = service().await;
    service.get(ROME).await;
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("cache-control", "no-store"),
        ("cache-control", "max-age=0"),
        ("cache-control", "only-if-cached"),
        ("pragma", "no-cache"),
    ] {
        let asked = answer(service.request(Method::GET, ROME).header(name, value)).await;
        assert_eq!((asked.status.as_u16(), asked.x_cache()), (200, "HIT"), "{name}: {value}");
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_a_clock_that_was_set_back_counts_as_absent() {
    let (upstream, service, clock) = service().await;
    clock.advance(Duration::from_secs(86_400));
    service.get(ROME).await;
    clock.set_back(Duration::from_secs(86_400));
    upstream.reply(Reply::json(200, body("new")));
    came_about(&service.get(ROME).await, "MISS", "stratus; fwd=miss; fwd-status=200; stored");
    let kept = service.get(ROME).await;
    came_about(&kept, "HIT", "stratus; hit; ttl=300; detail=memory");
    assert_eq!(kept.text(), body("new"));
}

/// Names and values that do not depend on the request or the moment.
fn lasting(answer: &Answer) -> Vec<(String, String)> {
    let mut lasting: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().expect("a readable header").to_ascii_lowercase()))
        .collect();
    lasting.sort();
    lasting
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_way_gives_the_same_headers_as_the_long_way() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| {
        let asked = |place| request.query.iter().any(|(_, value)| value == place);
        match (asked("atlantis"), asked("mordor")) {
            (true, _) => Reply::json(404, UNKNOWN),
            (_, true) => Reply::json(500, ""),
            _ => Reply::json(200, body("Rome")),
        }
    });
    for origins in ["*", "https://app.example,https://two.example"] {
        let service = Setup::memory(&upstream).set("server.allow_origins", origins).start().await;
        for origin in [None, Some("https://two.example"), Some("https://evil.example")] {
            for (place, status) in [("Rome", 200), ("Atlantis", 404), ("Mordor", 502)] {
                let ask = |long: bool| {
                    let request = service.request(Method::GET, &format!("/weather/{place}"));
                    let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
                    // A length, even of no body, is odd enough.
                    answer(if long { request.header("content-length", "0") } else { request })
                };
                ask(false).await;
                let (short, long) = (ask(false).await, ask(true).await);
                assert_eq!(short.status, status);
                assert_eq!(lasting(&short), lasting(&long), "{origins} {origin:?} {place}");
                let allowed = match (origins, origin) {
                    ("*", _) => "*",
                    (_, Some("https://two.example")) => "https://two.example",
                    _ => "",
                };
                assert_eq!(short.header("access-control-allow-origin"), allowed);
                let (of_the_form, of_the_origin) = (status == 200, origins != "*");
                let vary = match (of_the_form, of_the_origin) {
                    (true, true) => "accept, origin",
                    (true, false) => "accept",
                    (false, true) => "origin",
                    (false, false) => "",
                };
                // In one line: there are caches that look at no other.
                assert_eq!((short.header("vary"), long.header("vary")), (vary, vary));
                assert_eq!(short.header("x-content-type-options"), "nosniff");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_answer_has_no_length_whichever_way_it_took() {
    let (_upstream, service, _) = service().await;
    service.get(ROME).await;
    for method in [Method::GET, Method::HEAD] {
        for odd in [None, Some(("content-length", "0"))] {
            let request = service.request(method.clone(), ROME).header("if-none-match", "*");
            let unchanged =
                answer(odd.into_iter().fold(request, |request, (name, value)| request.header(name, value))).await;
            assert_eq!((unchanged.status.as_u16(), unchanged.header("content-length")), (304, ""), "{method} {odd:?}");
        }
    }
}

/// A body that is worth compressing.
fn long_body() -> String {
    body(&"Llanfair".repeat(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_is_compressed_for_those_who_ask_and_each_form_has_its_own_tag() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, long_body())).await, Redis::start().await);
    let memory = Setup::memory(&upstream).start().await;
    let redis = Setup::redis(&upstream, &redis).start().await;
    for service in [&memory, &redis] {
        let ask = |accepted: &'static str, tag: String| {
            let request = service.request(Method::GET, ROME).header("if-none-match", tag);
            answer(if accepted.is_empty() { request } else { request.header("accept-encoding", accepted) })
        };
        let mut tags = std::collections::BTreeSet::new();
        for (accepted, coding) in [("", ""), ("gzip, deflate", "gzip"), ("gzip, br", "br"), ("zstd", "zstd"), ("x", "")]
        {
            let given = ask(accepted, "\"x\"".into()).await;
            assert_eq!((given.status.as_u16(), given.header("content-encoding")), (200, coding), "{accepted}");
            assert_eq!(given.header("vary"), "accept, accept-encoding");
            assert_eq!(given.header("content-length"), given.body.len().to_string());
            assert_eq!(decoded(coding, &given.body), long_body().as_bytes());
            let tag = given.header("etag").to_owned();
            let unchanged = ask(accepted, tag.clone()).await;
            assert_eq!((unchanged.status.as_u16(), unchanged.header("etag")), (304, tag.as_str()));
            assert_eq!(unchanged.header("vary"), "accept, accept-encoding");
            assert_eq!(unchanged.header("content-encoding"), "");
            tags.insert(tag);
        }
        assert_eq!(tags.len(), 4, "as they are, gzip, br, zstd");
        // Who has the bytes as they are, and could take them compressed, needs neither.
        let plain = ask("", "\"x\"".into()).await.header("etag").to_owned();
        assert_eq!(ask("br", plain.clone()).await.header("etag"), plain);
    }
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_body_is_sent_as_it_is() {
    let (_upstream, service, _) = service().await;
    let given = answer(service.request(Method::GET, ROME).header("accept-encoding", "gzip, br, zstd")).await;
    assert_eq!((given.header("content-encoding"), given.header("vary")), ("", "accept"));
    assert_eq!(given.text(), body("Rome"));
}

/// What a body in this coding says.
pub(crate) fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
        "br" => brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut plain),
        "zstd" => zstd::stream::copy_decode(bytes, &mut plain).map(|()| 0),
        _ => return bytes.to_vec(),
    }
    .expect("a whole body");
    plain
}
