//! Stale instead of slow, and stale instead of broken; what is unknown is remembered for a while; what was fetched
//! together does not end together.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::{Gate, Redis, Reply, ScriptedUpstream, Service, Setup, body};

const UNKNOWN: &str = r#"{"cod":"404","message":"city not found"}"#;
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is a hit again: until a call behind an answer has been stored.
async fn renewed(service: &Service, path: &str) -> String {
    let renewed = async {
        loop {
            let answer = service.get(path).await;
            if answer.x_cache() == "HIT" {
                return answer.text().to_owned();
            }
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("a renewed record in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_little_stale_nobody_waits_and_one_call_renews_it_for_all() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("old"))).await, Redis::start().await);
    let service = Setup::redis(&upstream, &redis).start().await;
    service.get("/weather/Rome").await;
    let gate = Gate::new();
    upstream.reply(Reply::gated(gate.clone(), Reply::json(200, body("new"))));

    service.clock.advance(Duration::from_secs(300));
    for _ in 0..20 {
        // The upstream does not answer yet, and all the same nobody waits.
        let stale = service.get("/weather/Rome").await;
        assert_eq!((stale.status.as_u16(), stale.x_cache(), stale.text()), (200, "STALE", body("old").as_str()));
        assert_eq!(stale.header("cache-status"), "stratus; hit; ttl=-1; detail=redis");
        assert_eq!((stale.header("age"), &stale.header("cache-control")[..18]), ("300", "public, max-age=0,"));
    }
    upstream.wait_for_calls(2).await;
    gate.open();
    assert_eq!(renewed(&service, "/weather/Rome").await, body("new"));
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_renewal_harms_nobody_and_the_next_one_succeeds() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("old"))).await;
    let service = Setup::memory(&upstream).start().await;
    service.get("/weather/Rome").await;
    upstream.reply(Reply::json(500, ""));
    service.clock.advance(Duration::from_secs(330));
    assert_eq!(service.get("/weather/Rome").await.x_cache(), "STALE");
    upstream.wait_for_calls(2).await;
    upstream.reply(Reply::json(200, body("new")));
    let mut loads = 0;
    while loads < 1 {
        loads = service.metric(r#"stratus_cache_loads_total{outcome="failed"}"#).await;
    }
    service.clock.advance(Duration::from_secs(1));
    assert_eq!(renewed(&service, "/weather/Rome").await, body("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_needs_an_answer_joins_the_call_that_renews_it() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("old"))).await;
    let service = Setup::memory(&upstream).start().await;
    service.get("/weather/Rome").await;
    let gate = Gate::new();
    upstream.reply(Reply::gated(gate.clone(), Reply::json(200, body("new"))));
    service.clock.advance(Duration::from_secs(330));
    assert_eq!(service.get("/weather/Rome").await.x_cache(), "STALE");
    upstream.wait_for_calls(2).await;

    // Too old by now to be given as it is: this one waits, for the same call.
    service.clock.advance(Duration::from_secs(60));
    let (waited, ()) = tokio::join!(service.get("/weather/Rome"), async { gate.open() });
    assert_eq!((waited.status.as_u16(), waited.text()), (200, body("new").as_str()));
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_place_is_remembered_and_asked_again_after_its_time() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(404, UNKNOWN)).await, Redis::start().await);
    let service = Setup::redis(&upstream, &redis).set("cache.not_found_secs", 60).start().await;
    let first = service.get("/weather/Atlantis").await;
    assert_eq!(first.header("cache-status"), "stratus; fwd=miss; fwd-status=404; stored");
    service.clock.advance(Duration::from_secs(59));
    let second = service.get("/weather/atlantis").await;
    assert_eq!((second.status.as_u16(), second.code().as_str(), second.x_cache()), (404, "unknown-location", "HIT"));
    assert_eq!(second.header("cache-status"), "stratus; hit; ttl=1; detail=redis");
    assert_eq!(upstream.calls(), 1);
    assert_eq!(service.metric(r#"stratus_cache_answers_total{result="negative"}"#).await, 1);

    upstream.reply(Reply::json(200, body("Atlantis")));
    service.clock.advance(Duration::from_secs(1));
    assert_eq!(service.get("/weather/Atlantis").await.text(), body("Atlantis"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_became_unknown_is_unknown_and_no_old_copy_is_given() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let service = Setup::memory(&upstream).start().await;
    service.get("/weather/Rome").await;
    upstream.reply(Reply::json(404, UNKNOWN));
    service.clock.advance(Duration::from_secs(361));
    assert_eq!(service.get("/weather/Rome").await.code(), "unknown-location");
    upstream.reply(Reply::json(500, ""));
    assert_eq!(service.get("/weather/Rome").await.code(), "unknown-location");
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_errors_are_never_remembered_and_unknown_places_only_if_wanted() {
    let upstream = ScriptedUpstream::start(Reply::json(404, UNKNOWN)).await;
    let service = Setup::memory(&upstream).set("cache.not_found_secs", 0).start().await;
    let first = service.get("/weather/Atlantis").await;
    assert_eq!(first.header("cache-status"), "stratus; fwd=miss; fwd-status=404");
    assert_eq!(service.get("/weather/Atlantis").await.x_cache(), "MISS");
    assert_eq!(upstream.calls(), 2);

    for status in [401, 429, 500, 503] {
        let service = Setup::memory(&upstream).start().await;
        upstream.reply(Reply::json(status, ""));
        service.get("/weather/Rome").await;
        upstream.reply(Reply::json(200, body("Rome")));
        assert_eq!(service.get("/weather/Rome").await.x_cache(), "MISS", "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_fetched_together_end_spread_and_alike_on_every_replica() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    let one = Setup::redis(&upstream, &redis).set("cache.jitter_percent", 50).start().await;
    let two = Setup::redis(&upstream, &redis).set("cache.jitter_percent", 50).clock(&one.clock).start().await;
    let mut ends = BTreeSet::new();
    for id in 1..=30 {
        let path = format!("/weather/id:{id}");
        one.get(&path).await;
        let (on_one, on_two) = (one.get(&path).await, two.get(&path).await);
        assert_eq!((on_one.x_cache(), on_two.x_cache()), ("HIT", "HIT"));
        assert_eq!(on_one.header("cache-status"), on_two.header("cache-status"));
        let ttl = on_one.header("cache-status").split("ttl=").nth(1).and_then(|rest| rest.split(';').next());
        let ttl: u64 = ttl.expect("a ttl").parse().expect("a number");
        assert!((150..=300).contains(&ttl), "{ttl}");
        ends.insert(ttl);
    }
    assert!(ends.len() > 15, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_the_future_is_a_counted_miss_and_is_replaced() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    let ahead = Setup::redis(&upstream, &redis).start().await;
    ahead.clock.advance(Duration::from_secs(61));
    ahead.get("/weather/Rome").await;
    let right = Setup::redis(&upstream, &redis).start().await;
    assert_eq!(right.get("/weather/Rome").await.x_cache(), "MISS");
    assert_eq!(right.metric(r#"stratus_records_not_opened_total{reason="from_the_future"}"#).await, 1);
    assert_eq!(right.get("/weather/Rome").await.x_cache(), "HIT");

    // A little ahead is what clocks are.
    right.clock.advance(Duration::from_secs(30));
    ahead.get("/weather/Oslo").await;
    assert_eq!(
        (right.get("/weather/Oslo").await.x_cache(), right.get("/weather/Oslo").await.header("age")),
        ("HIT", "0")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_upstream_is_dead_every_warmed_place_is_answered_and_marked_to_the_end_of_the_window() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    for memory_max_bytes in [0, 1 << 20] {
        let service = Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", memory_max_bytes).start().await;
        let paths: Vec<_> = (1..=12).map(|id| format!("/weather/id:{memory_max_bytes}{id}?units=imperial")).collect();
        for path in &paths {
            assert_eq!(service.get(path).await.x_cache(), "MISS");
        }
        upstream.stop();
        service.clock.advance(Duration::from_secs(300));
        // 60 s of renewal and 3600 s in which a copy is given because the upstream fails.
        for _ in 0..6 {
            for path in &paths {
                let stale = service.get(path).await;
                assert_eq!((stale.status.as_u16(), stale.x_cache()), (200, "STALE"), "{stale:?}");
                assert!(stale.header("cache-status").contains("; ttl=-"), "{stale:?}");
            }
            service.clock.advance(Duration::from_secs(610));
        }
        assert_eq!(service.get(&paths[0]).await.code(), "upstream-unavailable");
        upstream.restart().await;
    }
}
