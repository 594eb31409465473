//! What keeps the upstream from being asked in vain: pauses after a 429, a 401 and many failures, a pause for each place,
//! few retries, and renewals before anybody has to wait for them. What is answered meanwhile says its age.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::program::parsed;
use crate::harness::{Answer, Gate, Redis, Reply, ScriptedUpstream, Service, Setup, body};

/// Past freshness and the time in which a copy is given at once, within the time for which one is kept.
const STALE_SECS: u64 = 361;
const PATIENCE: Duration = Duration::from_secs(60);
const LOADS_DONE: &str = r#"stratus_cache_loads_total{outcome="done"}"#;
const LOADS_FAILED: &str = r#"stratus_cache_loads_total{outcome="failed"}"#;
const RETRIES: &str = "stratus_upstream_retries_total";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn path(place: usize) -> String {
    format!("/weather/id:{place}")
}

fn weather(name: &str) -> Reply {
    Reply::json(200, body(name))
}

fn limited() -> Reply {
    Reply::json(429, r#"{"cod":429,"message":"Your account is temporary blocked"}"#)
}

async fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(weather("old")).await
}

/// How often a place was asked about.
fn calls_for(upstream: &ScriptedUpstream, place: usize) -> usize {
    let id = ("id".to_owned(), place.to_string());
    upstream.requests().iter().filter(|request| request.query.contains(&id)).count()
}

/// The copy, marked as what it is.
fn is_given(answer: &Answer, x_cache: &str, age_secs: u64) {
    let given = (answer.status.as_u16(), answer.x_cache(), answer.header("age"));
    assert_eq!(given, (200, x_cache, age_secs.to_string().as_str()), "{answer:?}");
}

/// Refused with this code; when to ask again.
fn is_refused(answer: &Answer, code: &str) -> u64 {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, code), "{answer:?}");
    answer.header("retry-after").parse().expect("a Retry-After")
}

async fn breaker(service: &Service) -> Value {
    service.admin_get("/status").await.json()["upstream"]["breaker"].clone()
}

/// Waits until a metric has this value.
async fn until(service: &Service, metric: &str, value: u64) {
    let reached = async { while service.metric(metric).await != value {} };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "{metric} is {}, not {value}", service.metric(metric).await);
}

// 429.

/// The upstream says 429 for a minute, while 200 requests a second come for places that are no longer fresh.
async fn survives_a_minute_of_429(service: Service, upstream: &ScriptedUpstream) {
    const PLACES: usize = 50;
    for place in 1..=PLACES {
        assert_eq!(service.get(&path(place)).await.x_cache(), "MISS");
    }
    service.clock.advance(secs(STALE_SECS));
    upstream.reply(limited());
    // This one learns of it.
    is_given(&service.get(&path(1)).await, "STALE", STALE_SECS);
    for second in 0..60 {
        let answers = join_all((0..200).map(async |asked| service.get(&path(1 + asked % PLACES)).await)).await;
        answers.iter().for_each(|answer| is_given(answer, "STALE", STALE_SECS + second));
        assert_eq!(upstream.calls(), PLACES + 1, "in second {second}");
        service.clock.advance(secs(1));
    }
    upstream.reply(weather("new"));
    // Up to a tenth is added to the pause.
    service.clock.advance(secs(7));
    for place in 1..=PLACES {
        assert_eq!(service.get(&path(place)).await.text(), body("new"), "{place}");
        is_given(&service.get(&path(place)).await, "HIT", 0);
    }
    assert_eq!(upstream.calls(), 2 * PLACES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_costs_one_call_a_minute_and_every_warm_place_is_answered_meanwhile() {
    let upstream = upstream().await;
    survives_a_minute_of_429(Setup::memory(&upstream).start().await, &upstream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_costs_one_call_a_minute_and_every_warm_place_is_answered_meanwhile_with_redis() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let mut service = Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20).start().await;
    service.store_up().await;
    survives_a_minute_of_429(service, &upstream).await;
}

/// A service that was told 429 and to wait for ten minutes.
async fn told_to_wait_ten_minutes(upstream: &ScriptedUpstream) -> Service {
    upstream.reply(limited().header("Retry-After", "600"));
    let service = Setup::memory(upstream).start().await;
    let told = is_refused(&service.get(&path(1)).await, "upstream-budget-exhausted");
    assert!((600..=660).contains(&told), "{told}");
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_wait_after_a_429_is_kept_and_told_to_every_new_place() {
    let upstream = upstream().await;
    let service = told_to_wait_ten_minutes(&upstream).await;
    for (place, waited, left) in [(2, 0, 600..=660), (3, 300, 300..=360), (4, 299, 1..=61)] {
        service.clock.advance(secs(waited));
        let told = is_refused(&service.get(&path(place)).await, "upstream-budget-exhausted");
        assert!(left.contains(&told), "{told} after {waited} s");
        let breaker = breaker(&service).await;
        assert_eq!((&breaker["state"], &breaker["reason"]), (&"rejecting".into(), &"rate_limited".into()));
        assert_eq!(breaker["retry_in_secs"].as_u64().map(|left| left.max(1)), Some(told));
    }
    assert_eq!(upstream.calls(), 1);
    upstream.reply(weather("new"));
    service.clock.advance(secs(61));
    assert_eq!((service.get(&path(5)).await.text(), upstream.calls()), (body("new").as_str(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_during_the_pause_after_a_429_is_still_told_how_long_it_lasts() {
    let upstream = upstream().await;
    let service = told_to_wait_ten_minutes(&upstream).await;
    for place in [1, 1, 2, 2] {
        let told = is_refused(&service.get(&path(place)).await, "upstream-budget-exhausted");
        assert!((600..=660).contains(&told), "place {place}: {told}");
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_as_long_as_told_is_not_refused_again_for_the_same_429() {
    let upstream = upstream().await;
    let service = told_to_wait_ten_minutes(&upstream).await;
    let told = is_refused(&service.get(&path(2)).await, "upstream-budget-exhausted");
    upstream.reply(weather("new"));
    service.clock.advance(secs(told));
    let answer = service.get(&path(3)).await;
    assert_eq!(answer.status.as_u16(), 200, "after {told} s: {answer:?}");
}

// 401.

#[tokio::test(flavor = "multi_thread")]
async fn a_401_costs_one_call_a_minute_and_is_shown_until_the_key_is_good_again() {
    let rejected = || Reply::json(401, r#"{"cod":401,"message":"Invalid API key."}"#);
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).start().await;
    service.get(&path(1)).await;
    upstream.reply(rejected());
    let ready = async || {
        let ready = service.admin_get("/readyz").await;
        assert_eq!(ready.status.as_u16(), 200);
        ready.text().to_owned()
    };
    for second in 0..60 {
        for place in [2, 2, 3 + second] {
            let refused = service.get(&path(place)).await;
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (502, "upstream-rejected-key"));
        }
        is_given(&service.get(&path(1)).await, "HIT", second as u64);
        assert_eq!(upstream.calls(), 2, "in second {second}");
        service.clock.advance(secs(1));
        if second < 59 {
            assert!(ready().await.starts_with("ready, degraded: "));
            assert_eq!(service.metric(r#"stratus_upstream_paused{reason="key_rejected"}"#).await, 1);
        }
    }

    let gate = Gate::new();
    upstream.reply(Reply::gated(gate.clone(), weather("new")));
    service.clock.advance(secs(7));
    let (probe, ()) = tokio::join!(service.get("/weather/id:100"), async {
        upstream.wait_for_calls(3).await;
        for place in 101..110 {
            assert_eq!(service.get(&path(place)).await.code(), "upstream-rejected-key");
        }
        gate.open();
    });
    assert_eq!((probe.text(), upstream.calls()), (body("new").as_str(), 3));
    assert_eq!(ready().await, "ready\n");
    assert_eq!(service.metric(r#"stratus_upstream_paused{reason="key_rejected"}"#).await, 0);
    assert_eq!(service.get("/weather/id:200").await.text(), body("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_once_that_the_key_is_refused_however_many_ask() {
    let upstream = ScriptedUpstream::start(Reply::json(401, r#"{"cod":401}"#)).await;
    let program = Setup::memory(&upstream).program().await;
    for place in 1..=20 {
        assert_eq!(program.get(&path(place)).await.code(), "upstream-rejected-key");
    }
    let log = parsed(&program.stop().await);
    let trouble: Vec<_> = log.iter().filter(|line| line["level"] == "WARN" || line["level"] == "ERROR").collect();
    let told = trouble.iter().filter_map(|line| line["message"].as_str()).filter(|message| message.contains("401"));
    assert_eq!((told.count(), trouble.len(), upstream.calls()), (1, 1, 1), "{trouble:#?}");
}

// Many failures.

#[tokio::test(flavor = "multi_thread")]
async fn five_failures_in_a_row_pause_all_calls_until_one_probe_succeeds() {
    let upstream = ScriptedUpstream::start(Reply::json(500, "")).await;
    let service = Setup::memory(&upstream).start().await;
    for place in 1..=5 {
        assert_eq!(breaker(&service).await["state"], "admitting");
        assert_eq!(service.get(&path(place)).await.code(), "upstream-failed");
    }
    for place in 6..=20 {
        let wait = is_refused(&service.get(&path(place)).await, "upstream-unavailable");
        assert!((1..=60).contains(&wait), "{wait}");
    }
    let paused = breaker(&service).await;
    assert_eq!((&paused["state"], &paused["reason"]), (&"rejecting".into(), &"failing".into()));
    assert!(paused["retry_in_secs"].as_u64().is_some_and(|left| left <= 1), "{paused}");
    assert_eq!(upstream.calls(), 5);

    let gate = Gate::new();
    upstream.reply(Reply::gated(gate.clone(), weather("new")));
    service.clock.advance(secs(1));
    let (probe, ()) = tokio::join!(service.get("/weather/id:21"), async {
        upstream.wait_for_calls(6).await;
        for place in 22..=40 {
            let wait = is_refused(&service.get(&path(place)).await, "upstream-unavailable");
            assert!((1..=60).contains(&wait), "{wait}");
        }
        let probing = breaker(&service).await;
        assert_eq!((&probing["state"], &probing["reason"]), (&"probing".into(), &"failing".into()));
        gate.open();
    });
    assert_eq!((probe.text(), upstream.calls()), (body("new").as_str(), 6));
    assert_eq!(breaker(&service).await, serde_json::json!({"state": "admitting"}));
    assert_eq!(service.get("/weather/id:41").await.text(), body("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_while_the_probe_was_out_is_answered_once_it_has_succeeded() {
    for (status, failures) in [(500, 5), (429, 1), (401, 1)] {
        let upstream = ScriptedUpstream::start(Reply::json(status, r#"{"cod":0}"#)).await;
        let service = Setup::memory(&upstream).start().await;
        for place in 1..=failures {
            service.get(&path(place)).await;
        }
        let gate = Gate::new();
        upstream.reply(Reply::gated(gate.clone(), weather("new")));
        service.clock.advance(secs(67));
        let (probe, ()) = tokio::join!(service.get("/weather/id:10"), async {
            upstream.wait_for_calls(failures + 1).await;
            assert!(service.get("/weather/id:11").await.status.is_server_error(), "{status}");
            gate.open();
        });
        assert_eq!((probe.status.as_u16(), &breaker(&service).await["state"]), (200, &"admitting".into()));
        let answer = service.get("/weather/id:11").await;
        assert_eq!(answer.status.as_u16(), 200, "after {status}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_places_are_no_failures_however_many() {
    let upstream = ScriptedUpstream::start(Reply::json(404, r#"{"cod":"404","message":"city not found"}"#)).await;
    let service = Setup::memory(&upstream).start().await;
    for place in 1..=30 {
        assert_eq!(service.get(&path(place)).await.code(), "unknown-location");
    }
    assert_eq!((upstream.calls(), &breaker(&service).await["state"]), (30, &"admitting".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_fails_is_tried_once_after_each_growing_pause_however_often_it_is_asked_for() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set("cache.stale_while_revalidate_secs", 3_000).start().await;
    service.get(&path(1)).await;
    upstream.reply_with(|request| {
        let failing = request.query.contains(&("id".to_owned(), "1".to_owned()));
        if failing { Reply::json(500, "") } else { weather("other") }
    });
    let mut age = secs(300);
    service.clock.advance(age);
    let ask_often = async |age: Duration| {
        for _ in 0..20 {
            is_given(&service.get(&path(1)).await, "STALE", age.as_secs());
        }
    };
    for (tried, pause) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        ask_often(age).await;
        until(&service, LOADS_FAILED, tried as u64 + 1).await;
        assert_eq!(calls_for(&upstream, 1), 2 + tried, "{pause}");
        // Others succeed, so it is a matter of this place.
        for other in [2, 3] {
            assert_eq!(service.get(&path(10 * tried + other)).await.status, 200);
        }
        // Up to a quarter is taken off the pause.
        let held = secs(pause) * 3 / 4 - Duration::from_millis(1);
        service.clock.advance(held);
        ask_often(age + held).await;
        service.clock.advance(secs(pause) - held);
        age += secs(pause);
    }
    assert_eq!((calls_for(&upstream, 1), &breaker(&service).await["state"]), (9, &"admitting".into()));
}

// Retries.

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_closed_unanswered_is_made_once_more_and_the_caller_gets_weather() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).start().await;
    for place in 1..=10 {
        service.get(&path(place)).await;
    }
    upstream.once(Reply::raw(""));
    assert_eq!(service.get("/weather/id:11").await.text(), body("old"));
    assert_eq!((calls_for(&upstream, 11), service.metric(RETRIES).await), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_at_most_a_tenth_of_the_calls() {
    const QUESTIONS: usize = 30;
    let upstream = upstream().await;
    upstream.reply_with(|request| {
        let id = request.query.iter().find(|(name, _)| name == "id").and_then(|(_, id)| id.parse::<usize>().ok());
        if id.expect("a place") % 3 == 0 { Reply::raw("") } else { weather("x") }
    });
    let service = Setup::memory(&upstream).start().await;
    for place in 1..=QUESTIONS {
        let expected = if place % 3 == 0 { 503 } else { 200 };
        assert_eq!(service.get(&path(place)).await.status.as_u16(), expected);
        assert!(10 * (upstream.calls() - place) <= place, "{} calls for {place}", upstream.calls());
    }
    assert_eq!((upstream.calls(), service.metric(RETRIES).await), (QUESTIONS + 3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_has_answered_or_is_still_at_is_not_asked_twice() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set("upstream.timeout_ms", 6_000).start().await;
    for place in 1..=30 {
        service.get(&path(place)).await;
    }
    upstream.once(Reply::json(500, ""));
    assert_eq!(service.get("/weather/id:31").await.code(), "upstream-failed");
    upstream.once(Reply::never());
    assert_eq!(service.get("/weather/id:32").await.code(), "upstream-timeout");
    assert_eq!(service.get("/weather/id:33").await.status, 200);
    assert_eq!((upstream.calls(), service.metric(RETRIES).await), (33, 0));
}

// Refresh ahead.

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_asked_for_often_is_renewed_behind_hits_and_never_stale() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).start().await;
    service.get(&path(1)).await;
    let (mut age, mut loads) = (0, 1);
    for _ in 0..300 {
        service.clock.advance(secs(10));
        age += 10;
        is_given(&service.get(&path(1)).await, "HIT", age);
        // In the last tenth of 300 s.
        if age > 270 {
            loads += 1;
            until(&service, LOADS_DONE, loads).await;
            age = 0;
        }
    }
    assert_eq!((upstream.calls() as u64, loads), (loads, 1 + 3_000 / 280));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_rarely_asked_for_is_not_renewed_before_it_is_stale() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).start().await;
    service.get(&path(1)).await;
    service.clock.advance(secs(280));
    for _ in 0..3 {
        is_given(&service.get(&path(1)).await, "HIT", 280);
    }
    service.clock.advance(secs(20));
    is_given(&service.get(&path(1)).await, "STALE", 300);
    until(&service, LOADS_DONE, 2).await;
}
