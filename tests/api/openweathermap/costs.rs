//! What a question costs, how long its answer is good, and what a purge of a place removes.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{EACH, body_of, everything, says, service_on_everything};
use crate::harness::{Answer, PATIENCE, Redis, Reply, ScriptedUpstream, Service, Setup, answer};

async fn minute_left(service: &Service) -> u64 {
    let status = service.admin_get("/status").await.json();
    status["upstream"]["budget"]["minute"]["left"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_costs_a_call_for_each_id_and_everything_else_one() {
    let upstream = everything().await;
    let service = Setup::memory(&upstream).set("upstream.budget_per_minute", 6_000).start().await;
    for (ids, calls) in [("1", 1), ("1,2", 2), ("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20", 20)] {
        let before = minute_left(&service).await;
        assert_eq!(service.get(&format!("/data/2.5/group?id={ids}")).await.status, 200);
        assert_eq!(before - minute_left(&service).await, calls, "{ids}");
        assert_eq!(service.get(&format!("/data/2.5/group?id={ids}&units=x")).await.x_cache(), "HIT");
    }
    assert_eq!(upstream.calls(), 3);
    for case in EACH.iter().filter(|case| !case.question.contains("group")) {
        let before = minute_left(&service).await;
        assert_eq!(service.get(case.question).await.status, 200);
        assert_eq!(before - minute_left(&service).await, 1, "{}", case.question);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_for_which_there_are_not_calls_enough_takes_none_of_those_that_are_left() {
    let upstream = everything().await;
    let setup = Setup::memory(&upstream).set("upstream.budget_per_minute", 10).set("upstream.max_replicas", 1);
    let service = setup.start().await;
    let before = minute_left(&service).await;
    for first in 1..=5 {
        let ids: Vec<_> = (first..first + 20).map(|id| id.to_string()).collect();
        let refused = service.get(&format!("/data/2.5/group?id={}", ids.join(","))).await;
        says(&refused, 429, super::BLOCKED);
        assert!(super::retry_after(&refused) >= 1);
    }
    assert_eq!((upstream.calls(), minute_left(&service).await), (0, before));
    assert_eq!(service.get("/data/2.5/weather?q=London").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_has_its_own_freshness_and_is_renewed_after_it() {
    let (upstream, service) = service_on_everything().await;
    for case in &EACH {
        let calls = upstream.calls();
        let miss = service.get(case.question).await;
        let told = format!("public, max-age={}, stale-while-revalidate=60, stale-if-error=3600", case.fresh);
        assert_eq!((miss.status.as_u16(), miss.header("cache-control")), (200, told.as_str()), "{}", case.question);
        service.clock.advance(Duration::from_secs(case.fresh - 1));
        let hit = service.get(case.question).await;
        let told = "public, max-age=1, stale-while-revalidate=60, stale-if-error=3600";
        assert_eq!((hit.x_cache(), hit.header("cache-control")), ("HIT", told), "{}", case.question);
        assert_eq!(upstream.calls(), calls + 1, "{}", case.question);
        service.clock.advance(Duration::from_secs(1));
        assert_eq!(service.get(case.question).await.x_cache(), "STALE", "{}", case.question);
        upstream.wait_for_calls(calls + 2).await;
        assert_eq!(renewed(&service, case.question).await.text(), case.body);
        service.clock.advance(Duration::from_secs(100_000));
    }
}

/// Asks until a call behind an answer has brought a new one.
async fn renewed(service: &Service, path: &str) -> Answer {
    let renewed = async {
        loop {
            let answer = service.get(path).await;
            if answer.x_cache() == "HIT" {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("a renewed record in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_freshness_of_the_weather_is_that_of_everything_that_would_be_fresh_for_less() {
    let upstream = everything().await;
    let service = Setup::memory(&upstream).set("cache.fresh_secs", 1_000).start().await;
    for case in &EACH {
        let max_age = format!("public, max-age={},", case.fresh.max(1_000));
        let given = service.get(case.question).await;
        assert!(given.header("cache-control").starts_with(&max_age), "{}: {given:?}", case.question);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_no_place_is_called_so_is_remembered_with_its_bytes_for_its_own_time() {
    let upstream = ScriptedUpstream::start(Reply::json(200, "[]")).await;
    let service = Setup::memory(&upstream).set("cache.not_found_secs", 120).start().await;
    let path = "/geo/1.0/direct?q=Atlantis&limit=5";
    for x_cache in ["MISS", "HIT", "HIT"] {
        let none = service.get(path).await;
        says(&none, 200, "[]");
        assert_eq!(none.x_cache(), x_cache);
    }
    service.clock.advance(Duration::from_secs(119));
    assert_eq!((service.get(path).await.x_cache(), upstream.calls()), ("HIT", 1));
    service.clock.advance(Duration::from_secs(1));
    upstream.reply(Reply::json(200, body_of("/geo/1.0/direct")));
    let found = service.get(path).await;
    assert_eq!((found.x_cache(), found.text(), upstream.calls()), ("MISS", body_of("/geo/1.0/direct"), 2));
    // A search that finds nothing is an answer like others.
    upstream.reply(Reply::json(200, r#"{"message":"accurate","cod":"200","count":0,"list":[]}"#));
    let search = service.get("/data/2.5/find?q=Atlantis").await;
    assert_eq!((search.status.as_u16(), &search.header("cache-control")[..19]), (200, "public, max-age=300"));
}

async fn purge(service: &Service, redis: &Redis, location: &str) -> Value {
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    let request = service.admin_request(Method::POST, "/purge").bearer_auth(token.trim());
    let purged = answer(request.json(&json!({"location": location}))).await;
    assert_eq!(purged.status, 200, "{purged:?}");
    purged.json()["purged"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_a_place_removes_all_that_is_known_of_it_on_every_replica_and_nothing_else() {
    let (upstream, redis) = (everything().await, Redis::start().await);
    let setup = || Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 16 << 20);
    let mut one = setup().start().await;
    one.store_up().await;
    let mut other = setup().clock(&one.clock).start().await;
    other.store_up().await;
    let by_name = [
        "/data/2.5/weather?q=London",
        "/forecast/London",
        "/data/2.5/forecast?q=London&cnt=40&units=imperial&lang=de",
        "/data/2.5/forecast/daily?q=London&cnt=16",
        "/data/2.5/find?q=London&cnt=7",
        "/data/2.5/history/city?q=London&type=hour&start=1700000000&end=1700003600",
        "/geo/1.0/direct?q=London&limit=5",
    ];
    let by_point = [
        "/data/2.5/weather?lat=51.51&lon=-0.13",
        "/air/51.51,-0.13",
        "/data/3.0/onecall?lat=51.51&lon=-0.13&exclude=daily,current&lang=pt_br&units=metric",
        "/data/3.0/onecall/overview?lat=51.51&lon=-0.13",
        "/data/3.0/onecall/timemachine?lat=51.51&lon=-0.13&dt=1700000000",
        "/data/4.0/onecall/timeline/1h?lat=51.51&lon=-0.13",
        "/data/2.5/uvi?lat=51.51&lon=-0.13",
    ];
    let paris = "/data/2.5/weather?q=Paris";
    for (location, paths) in [("London", by_name), ("51.5099,-0.1301", by_point)] {
        for path in paths.iter().chain([&paris]) {
            for replica in [&one, &other] {
                assert_eq!(replica.get(path).await.status, 200, "{path}");
            }
        }
        // The weather of now is removed and counted.
        assert_eq!(purge(&one, &redis, location).await, 1);
        assert_eq!(one.get(paris).await.x_cache(), "HIT");
        // The other replica looks for purges twice a second; what it asks for then is new.
        let forgotten = async { while other.get(paths[0]).await.x_cache() != "MISS" {} };
        tokio::time::timeout(PATIENCE, forgotten).await.expect("a purge reaches every replica");
        for path in &paths[1..] {
            assert_eq!(other.get(path).await.x_cache(), "MISS", "{path}");
        }
        for path in paths {
            let again = one.get(path).await;
            assert!(again.header("cache-status").ends_with("detail=redis"), "{path}: {again:?}");
        }
    }
}
