//! The first asks the upstream, the others do not; what comes out is what came in, byte for byte.

use std::time::Duration;

use reqwest::Method;

use crate::harness::{Gate, Redis, Reply, ScriptedUpstream, Setup, answer, body};

#[tokio::test(flavor = "multi_thread")]
async fn the_second_answer_is_a_hit_from_redis_with_the_same_bytes() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("London"))).await, Redis::start().await);
    let service = Setup::redis(&upstream, &redis).start().await;

    let first = service.get("/weather/London").await;
    assert_eq!((first.status.as_u16(), first.x_cache()), (200, "MISS"));
    assert_eq!(first.header("cache-status"), "stratus; fwd=miss; fwd-status=200; stored");
    service.clock.advance(Duration::from_secs(88));
    let second = service.get("/weather/London").await;
    assert_eq!((second.status.as_u16(), second.x_cache()), (200, "HIT"));
    assert_eq!(second.header("cache-status"), "stratus; hit; ttl=212; detail=redis");
    assert_eq!(second.header("age"), "88");

    assert_eq!(first.text(), body("London"));
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("etag"), second.header("etag"));
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_survives_a_restart_of_the_service_with_its_age() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await, Redis::start().await);
    let first = Setup::redis(&upstream, &redis).start().await;
    let before = first.get("/weather/Oslo").await;
    let clock = first.clock.clone();
    assert!(first.stop().await);

    clock.advance(Duration::from_secs(100));
    let second = Setup::redis(&upstream, &redis).clock(&clock).start().await;
    let after = second.get("/weather/oslo").await;
    assert_eq!((after.x_cache(), after.header("age")), ("HIT", "100"));
    assert_eq!(before.body, after.body);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn freshness_ends_and_the_next_answer_is_new() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("one"))).await;
    let service =
        Setup::memory(&upstream).set("cache.fresh_secs", 60).set("cache.stale_while_revalidate_secs", 0).start().await;
    service.get("/weather/Rome").await;
    service.clock.advance(Duration::from_millis(59_999));
    assert_eq!(service.get("/weather/Rome").await.x_cache(), "HIT");

    upstream.reply(Reply::json(200, body("two")));
    service.clock.advance(Duration::from_millis(1));
    let renewed = service.get("/weather/Rome").await;
    assert_eq!((renewed.x_cache(), renewed.text()), ("MISS", body("two").as_str()));
    assert_eq!(service.get("/weather/Rome").await.x_cache(), "HIT");
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_copy_is_given_when_the_upstream_fails_and_not_after_its_end() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let service = Setup::memory(&upstream).start().await;
    service.get("/weather/Rome").await;
    upstream.reply(Reply::json(500, r#"{"cod":"500","message":"Internal error: 500001"}"#));

    service.clock.advance(Duration::from_secs(3_959));
    let stale = service.get("/weather/Rome").await;
    assert_eq!((stale.status.as_u16(), stale.x_cache(), stale.text()), (200, "STALE", body("Rome").as_str()));
    assert_eq!(stale.header("cache-status"), "stratus; hit; ttl=-3660; detail=memory");
    assert!(stale.header("cache-control").starts_with("public, max-age=0,"), "{stale:?}");

    service.clock.advance(Duration::from_secs(1));
    let dead = service.get("/weather/Rome").await;
    assert_eq!((dead.status.as_u16(), dead.code().as_str()), (502, "upstream-failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_one_place_share_a_record_and_units_and_languages_do_not() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("São Paulo"))).await;
    let service = Setup::memory(&upstream).start().await;
    for path in
        ["/weather/S%C3%A3o%20Paulo", "/weather/Sa%CC%83o+Paulo", "/weather/%20s%C3%A3o%20%20paulo?units=METRIC"]
    {
        assert_eq!(service.get(path).await.status, 200, "{path}");
    }
    assert_eq!(upstream.calls(), 1);
    for path in ["/weather/S%C3%A3o%20Paulo?units=imperial", "/weather/S%C3%A3o%20Paulo?lang=pt-BR"] {
        assert_eq!(service.get(path).await.x_cache(), "MISS", "{path}");
    }
    let asked = upstream.requests();
    assert!(asked[2].query.contains(&("lang".to_owned(), "pt_br".to_owned())), "{:?}", asked[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_ask_at_once_share_one_call() {
    let (gate, redis) = (Gate::new(), Redis::start().await);
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Lima")))).await;
    let service = Setup::redis(&upstream, &redis).start().await;
    let first = service.get("/weather/Lima");
    let others = futures_util::future::join_all((0..20).map(|_| service.get("/weather/Lima")));
    let (first, others, ()) = tokio::join!(first, others, async {
        upstream.wait_for_calls(1).await;
        gate.open();
    });
    assert!(others.iter().chain([&first]).all(|answer| answer.text() == body("Lima")));
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_nobody_with_it_and_its_answer_is_stored() {
    let (gate, redis) = (Gate::new(), Redis::start().await);
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Lima")))).await;
    let service = Setup::redis(&upstream, &redis).start().await;
    let leaving = tokio::spawn(service.request(Method::GET, "/weather/Lima").send());
    upstream.wait_for_calls(1).await;
    leaving.abort();
    assert!(leaving.await.is_err_and(|error| error.is_cancelled()));
    let staying = service.get("/weather/Lima");
    let (staying, ()) = tokio::join!(staying, async { gate.open() });
    assert_eq!(staying.text(), body("Lima"));
    assert_eq!(upstream.calls(), 1);
    assert_eq!(service.get("/weather/Lima").await.x_cache(), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_left_is_counted_and_no_longer_in_flight() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    let service = Setup::memory(&upstream).start().await;
    let leaving = tokio::spawn(service.request(Method::GET, "/weather/Lima").send());
    upstream.wait_for_calls(1).await;
    leaving.abort();
    let left = r#"stratus_http_requests_total{route="/weather/{location}",method="GET",status="499"}"#;
    let counted = async { while service.metric(left).await == 0 {} };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("the request is counted");
    // The one that asks for the metrics.
    assert_eq!(service.metric("stratus_http_requests_in_flight").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_answer_costs_no_body() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Bern"))).await;
    let service = Setup::memory(&upstream).start().await;
    let first = service.get("/weather/Bern").await;
    let again = service.request(Method::GET, "/weather/Bern").header("if-none-match", first.header("etag"));
    let unchanged = answer(again).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    for name in ["etag", "cache-control", "age", "cache-status", "x-cache"] {
        assert!(!unchanged.header(name).is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_the_headers_of_get_and_no_body() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Bern"))).await;
    let service = Setup::memory(&upstream).start().await;
    let head = answer(service.request(Method::HEAD, "/weather/Bern")).await;
    let get = service.get("/weather/Bern").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for name in ["content-type", "content-length", "etag", "link"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}
