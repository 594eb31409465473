//! The calls that the plan gives are never exceeded: not by many callers or replicas, not by a restart, a purge or a clock
//! that is set. Who gets none is told so, and what is kept is still answered.
//!
//! A fifth of a minute belongs to the replicas, and of its part a new process may use a tenth, but at least one call.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, Method};

use crate::harness::{
    Answer, Inspector, ManualClock, Redis, Reply, ScriptedUpstream, Service, Setup, TcpProxy, answer, body,
};

/// Past freshness and the time in which a copy is given at once, within the time for which one is kept.
const STALE_AFTER: Duration = Duration::from_secs(361);
/// A minute, and the time from a permit to its call: the harness gives a connection ten seconds.
const A_MINUTE: RangeInclusive<u64> = 1..=71;
const PATIENCE: Duration = Duration::from_secs(60);

fn path(place: usize) -> String {
    format!("/weather/id:{place}")
}

async fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, body("x"))).await
}

/// Asks for these places, all at once.
async fn ask_at_once(service: &Service, places: impl IntoIterator<Item = usize>) -> Vec<Answer> {
    join_all(places.into_iter().map(async |place| service.get(&path(place)).await)).await
}

/// Another caller, by its address.
fn scanner() -> Client {
    let client = Client::builder().no_proxy().local_address(IpAddr::from(Ipv4Addr::new(127, 0, 0, 2)));
    client.build().expect("a client")
}

async fn ask_as(client: &Client, service: &Service, path: &str) -> Answer {
    answer(client.get(format!("http://{}{path}", service.public))).await
}

/// Refused for lack of budget, and told when to ask again.
fn is_refused(answer: &Answer, wait: RangeInclusive<u64>) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "upstream-budget-exhausted"), "{answer:?}");
    let told: u64 = answer.header("retry-after").parse().expect("a Retry-After");
    assert!(wait.contains(&told), "{told} s");
}

/// Asks for places that nobody has asked for: none of them costs a call.
async fn are_all_refused(upstream: &ScriptedUpstream, service: &Service, places: RangeInclusive<usize>) {
    let calls = upstream.calls();
    ask_at_once(service, places).await.iter().for_each(|answer| is_refused(answer, A_MINUTE));
    assert_eq!(upstream.calls(), calls);
}

/// A Redis in which a fleet has been at work for long, and copies of places that are stale by its clock. Nothing of the
/// minute is taken.
async fn used_redis(upstream: &ScriptedUpstream, places: usize) -> (Redis, ManualClock) {
    let mut redis = Redis::start().await;
    let mut inspector = Inspector::enter(&mut redis).await;
    let mut founder = Setup::redis(upstream, &redis).start().await;
    founder.store_up().await;
    for place in 1..=places {
        assert_eq!(founder.get(&path(place)).await.status, 200);
    }
    let noted = async { while inspector.names().await.len() < 2 {} };
    tokio::time::timeout(PATIENCE, noted).await.expect("the notes of a new fleet");
    let clock = founder.clock.clone();
    assert!(founder.stop().await);
    inspector.end_first_minute().await;
    clock.advance(STALE_AFTER);
    (redis, clock)
}

fn budget(setup: Setup, per_minute: u32, max_replicas: u32) -> Setup {
    setup.set("upstream.budget_per_minute", per_minute).set("upstream.max_replicas", max_replicas)
}

/// Starts it on a Redis that is up.
async fn on_redis(clock: &ManualClock, setup: Setup) -> Service {
    let mut service = setup.clock(clock).start().await;
    service.store_up().await;
    service
}

// The minute.

#[tokio::test(flavor = "multi_thread")]
async fn of_many_cold_places_at_once_no_more_are_asked_for_than_the_budget_gives() {
    let upstream = upstream().await;
    let service = budget(Setup::memory(&upstream), 10, 1).start().await;
    let answers = ask_at_once(&service, 1..=30).await;
    let (got, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(got.len(), upstream.calls());
    // Misses of one caller alone may have to leave something for others.
    assert!((5..=10).contains(&got.len()), "{}", got.len());
    refused.into_iter().for_each(|answer| is_refused(answer, A_MINUTE));
}

#[tokio::test(flavor = "multi_thread")]
async fn misses_and_renewals_use_one_budget_up_and_not_one_call_more_is_made() {
    let upstream = upstream().await;
    let service = budget(Setup::memory(&upstream), 20, 1).start().await;
    for place in 1..=10 {
        assert_eq!(service.get(&path(place)).await.x_cache(), "MISS");
    }
    service.clock.advance(STALE_AFTER);
    assert!(ask_at_once(&service, 1..=10).await.iter().all(|answer| answer.status == 200));
    assert_eq!(upstream.calls(), 20);
    are_all_refused(&upstream, &service, 11..=40).await;
    assert!(ask_at_once(&service, 1..=10).await.iter().all(|answer| answer.x_cache() == "HIT"));
    // The next time there is no call left for them, and their copies are given.
    service.clock.advance(STALE_AFTER);
    let kept = ask_at_once(&service, 1..=10).await;
    assert!(kept.iter().all(|answer| (answer.x_cache(), answer.header("age")) == ("STALE", "361")));
    assert_eq!(upstream.calls(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_the_shared_part_of_the_budget_is_used_up_and_the_whole_is_never_exceeded() {
    let upstream = upstream().await;
    let (redis, clock) = used_redis(&upstream, 30).await;
    let service = on_redis(&clock, budget(Setup::redis(&upstream, &redis), 10, 1)).await;
    let answers = ask_at_once(&service, 1..=30).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let stale = answers.iter().filter(|answer| answer.x_cache() == "STALE").count();
    // 8 of 10 are shared, and of the other two a new process has one at most.
    assert_eq!((upstream.calls() - 30 + stale, stale >= 21), (30, true), "{stale}");
    assert!(stale <= 22, "{stale}");
    are_all_refused(&upstream, &service, 31..=60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_one_redis_share_one_budget() {
    let upstream = upstream().await;
    let (redis, clock) = used_redis(&upstream, 60).await;
    let one = on_redis(&clock, budget(Setup::redis(&upstream, &redis), 40, 2)).await;
    let two = on_redis(&clock, budget(Setup::redis(&upstream, &redis), 40, 2)).await;
    let (first, second) = tokio::join!(ask_at_once(&one, 1..=60), ask_at_once(&two, (1..=60).rev()));
    assert!(first.iter().chain(&second).all(|answer| answer.status == 200));
    // A slot that is claimed too slowly is lost.
    let calls = upstream.calls() - 60;
    assert!((20..=40).contains(&calls), "{calls}");
    for service in [&one, &two] {
        are_all_refused(&upstream, service, 61..=90).await;
    }
}

// What does not refill it.

#[tokio::test(flavor = "multi_thread")]
async fn no_purge_no_clock_no_restart_of_service_or_redis_refills_the_budget() {
    let upstream = upstream().await;
    let (mut redis, clock) = used_redis(&upstream, 20).await;
    // 5 are shared, and of its own one call a new process has none.
    let setup = || budget(Setup::redis(&upstream, &redis), 10, 5);
    let mut service = on_redis(&clock, setup()).await;
    ask_at_once(&service, 1..=20).await;
    assert_eq!(upstream.calls(), 25);
    are_all_refused(&upstream, &service, 100..=110).await;

    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    let purge = service.admin_request(Method::POST, "/purge").bearer_auth(token.trim());
    assert_eq!(answer(purge.json(&serde_json::json!({"all": true}))).await.status, 200);
    are_all_refused(&upstream, &service, 1..=20).await;

    let day = Duration::from_secs(86_400);
    clock.advance(day);
    are_all_refused(&upstream, &service, 120..=130).await;
    clock.set_back(2 * day);
    are_all_refused(&upstream, &service, 140..=150).await;
    clock.advance(day);

    for restart in 0..3 {
        assert!(service.stop().await);
        service = on_redis(&clock, setup()).await;
        are_all_refused(&upstream, &service, 200 + 20 * restart..=210 + 20 * restart).await;
    }
    redis.lose_everything(&mut service, &[]).await;
    are_all_refused(&upstream, &service, 300..=310).await;
    let other = on_redis(&clock, budget(Setup::redis(&upstream, &redis), 10, 5)).await;
    are_all_refused(&upstream, &other, 320..=330).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_restarted_again_and_again_makes_no_more_calls_than_the_budget_gives() {
    let upstream = upstream().await;
    let (redis, clock) = used_redis(&upstream, 20).await;
    for restart in 0..6 {
        let service = on_redis(&clock, budget(Setup::redis(&upstream, &redis), 10, 1)).await;
        ask_at_once(&service, 1..=20).await;
        let calls = upstream.calls() - 20;
        assert!((8..=10).contains(&calls), "{calls} of 10 calls of a minute after {restart} restarts");
        assert!(service.stop().await);
    }
}

// Day and month.

#[tokio::test(flavor = "multi_thread")]
async fn a_day_and_a_month_have_caps_of_their_own_until_their_end() {
    let upstream = upstream().await;
    // The clock begins on 21 September at 14:13:20.
    for (key, window, left_secs) in [("budget_per_day", "day", 35_260), ("budget_per_month", "month", 812_860)] {
        let (calls, name) = (upstream.calls(), format!("upstream.{key}"));
        let service = Setup::memory(&upstream).set(&name, 3).start().await;
        for place in 1..=3 {
            assert_eq!(service.get(&path(place)).await.status, 200);
        }
        for place in 4..=10 {
            is_refused(&service.get(&path(place)).await, left_secs - 60..=left_secs);
        }
        assert_eq!(upstream.calls() - calls, 3);
        let left = format!(r#"stratus_upstream_budget_left{{window="{window}"}}"#);
        let refused = format!(r#"stratus_upstream_permits_refused_total{{reason="{window}"}}"#);
        assert_eq!((service.metric(&left).await, service.metric(&refused).await), (0, 7));
        assert_eq!(service.get(&path(1)).await.x_cache(), "HIT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_for_the_same_place_is_still_told_how_long_the_day_lasts() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set("upstream.budget_per_day", 1).start().await;
    service.get(&path(1)).await;
    for _ in 0..3 {
        is_refused(&service.get(&path(2)).await, 35_200..=35_260);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_a_day_are_counted_for_all_replicas_and_beyond_restarts_of_service_and_redis() {
    let upstream = upstream().await;
    let (mut redis, clock) = used_redis(&upstream, 0).await;
    let mut services = Vec::new();
    for place in [10, 20, 30, 40] {
        // All of them are shared: a fifth of 4 is none.
        let setup = Setup::redis(&upstream, &redis).set("upstream.budget_per_day", 4);
        let mut service = on_redis(&clock, setup).await;
        for place in [place, place + 1] {
            let answer = service.get(&path(place)).await;
            match place {
                0..30 => assert_eq!(answer.status, 200),
                30..40 => is_refused(&answer, 34_700..=35_260),
                // After a loss nobody is served from Redis for a minute.
                _ => is_refused(&answer, 1..=73),
            }
        }
        if place == 30 {
            // The day on which the clock begins.
            redis.lose_everything(&mut service, &["budget day 2026-09-21"]).await;
        }
        services.push(service);
    }
    assert_eq!(upstream.calls(), 4);
}

// Without Redis.

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_new_process_makes_the_calls_of_its_own_part_and_no_more() {
    let upstream = upstream().await;
    // A fifth for 4 replicas, and of each part a tenth for a new process.
    for (per_minute, own) in [(40, 1), (400, 2), (4_000, 20)] {
        let mut redis = Redis::start().await;
        redis.server.stop().await;
        let mut service = budget(Setup::redis(&upstream, &redis), per_minute, 4).start().await;
        service.store_down().await;
        let calls = upstream.calls();
        // Twice: when calls are short, who asks for a place for the first time has to ask again.
        let mut answers = ask_at_once(&service, 1..=30).await;
        answers.extend(ask_at_once(&service, 31..=60).await);
        answers.extend(ask_at_once(&service, 31..=60).await);
        assert_eq!(upstream.calls() - calls, own, "of {per_minute}");
        assert_eq!(answers.iter().filter(|answer| answer.status == 200 && answer.x_cache() == "MISS").count(), own);
        answers.iter().filter(|answer| answer.status != 200).for_each(|answer| is_refused(answer, A_MINUTE));
        assert_eq!(service.admin_get("/status").await.json()["upstream"]["budget"]["own_part_only"], true);
    }
}

// Fair shares.

/// A scanner asks for places that there are not, one after the other, and after some is refused with this status; how many
/// calls it got.
async fn scan(service: &Service, refused: u16) -> usize {
    let (scanner, mut got) = (scanner(), 0);
    for place in 0..40 {
        let answer = ask_as(&scanner, service, &format!("/weather/madeup{place}")).await;
        match (answer.status.as_u16(), answer.code().as_str()) {
            (404, "unknown-location") if got == place => got += 1,
            (429, "rate-limited") if refused == 429 => {
                let wait: u64 = answer.header("retry-after").parse().expect("a Retry-After");
                assert!(A_MINUTE.contains(&wait), "{wait}");
            }
            _ if refused == 503 => is_refused(&answer, A_MINUTE),
            other => panic!("{other:?} for {place}"),
        }
    }
    got
}

/// Made-up names are unknown; there are places with an id.
async fn upstream_of_few_places() -> ScriptedUpstream {
    let upstream = upstream().await;
    upstream.reply_with(|request| match request.query[0].0.as_str() {
        "q" => Reply::json(404, r#"{"cod":"404","message":"city not found"}"#),
        _ => Reply::json(200, body("x")),
    });
    upstream
}

/// They get calls although somebody else has asked for many.
async fn are_served(service: &Service, places: RangeInclusive<usize>) {
    for place in places {
        let mut answer = service.get(&path(place)).await;
        if answer.header("retry-after") == "1" {
            // When calls are short, who asks for a place for the first time has to ask again.
            answer = service.get(&path(place)).await;
        }
        assert_eq!(answer.status.as_u16(), 200, "{place}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_made_up_places_has_a_share_of_its_own_and_others_are_still_served() {
    let upstream = upstream_of_few_places().await;
    let service = budget(Setup::memory(&upstream), 20, 1).start().await;
    are_served(&service, 1..=1).await;
    let got = scan(&service, 429).await;
    assert!((1..=10).contains(&got), "{got} of 20");
    are_served(&service, 2..=4).await;
    assert!(upstream.calls() <= 20, "{}", upstream.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_the_only_caller_is_refused_for_lack_of_budget_and_not_for_its_share() {
    let upstream = upstream_of_few_places().await;
    let service = budget(Setup::memory(&upstream), 20, 1).start().await;
    let got = scan(&service, 503).await;
    assert_eq!((got, upstream.calls() <= 20), (upstream.calls(), true), "{got} of 20");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_made_up_places_all_at_once_has_no_more_than_its_share_either() {
    let upstream = upstream_of_few_places().await;
    let (redis, clock) = used_redis(&upstream, 0).await;
    let proxy = TcpProxy::start(redis.server.port()).await;
    // All 20 are shared.
    let service = &on_redis(&clock, budget(Setup::redis_through(&upstream, &redis, proxy.port()), 20, 20)).await;
    are_served(service, 1..=1).await;
    let scanner = &scanner();
    let paths: Vec<_> = (0..60).map(|place| format!("/weather/madeup{place}")).collect();
    proxy.freeze();
    let all_wait = async {
        while service.metric("stratus_http_requests_in_flight").await != 61 {}
        proxy.thaw();
    };
    tokio::join!(join_all(paths.iter().map(|path| ask_as(scanner, service, path))), all_wait);
    assert!(upstream.calls() <= 11, "it has {} of 20", upstream.calls() - 1);
    are_served(service, 2..=4).await;
}

// What is told of it.

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_what_is_left_and_how_often_there_was_nothing() {
    let upstream = upstream().await;
    let service = budget(Setup::memory(&upstream), 20, 1).set("upstream.budget_per_day", 100).start().await;
    for place in 1..=10 {
        service.get(&path(place)).await;
        let budget = &service.admin_get("/status").await.json()["upstream"]["budget"];
        assert_eq!(budget["minute"], serde_json::json!({"limit": 20, "left": 20 - place}));
        assert_eq!(budget["day"], serde_json::json!({"limit": 100, "left": 100 - place}));
        assert_eq!(budget["own_part_only"], false);
        assert_eq!(service.metric(r#"stratus_upstream_budget_left{window="minute"}"#).await, 20 - place as u64);
    }
    let refused =
        async |reason| service.metric(&format!(r#"stratus_upstream_permits_refused_total{{reason="{reason}"}}"#)).await;
    assert_eq!(refused("minute").await, 0);
    service.clock.advance(STALE_AFTER);
    ask_at_once(&service, 1..=10).await;
    service.clock.advance(STALE_AFTER);
    ask_at_once(&service, 11..=15).await;
    assert_eq!(
        (refused("rare").await, service.metric(r#"stratus_upstream_budget_left{window="minute"}"#).await),
        (5, 0)
    );
    ask_at_once(&service, 11..=15).await;
    assert_eq!(refused("minute").await, 5);
}
