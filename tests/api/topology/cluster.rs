//! Keys that are spread over several servers, move from one to another, and lose their server.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use stratus::limits::{Limits, Meter, Verdict};
use stratus::telemetry::Metrics;

use super::{Fleet, PLACES, examined, paths, setup, told, weather};
use crate::harness::cluster::Cluster;
use crate::harness::{ManualClock, Redis, ScriptedUpstream, Service, Setup};

fn on(redis: &Cluster) -> impl Fn(&ScriptedUpstream) -> Setup {
    let (secrets, nodes) = (redis.secrets(), redis.addresses());
    // One of them knows the others.
    move |upstream| setup(upstream, &secrets, "cluster", &nodes[..1])
}

async fn started(setup: Setup) -> Service {
    let mut service = setup.start().await;
    service.store_up().await;
    service
}

fn from_redis(answer: &crate::harness::Answer) -> bool {
    answer.header("cache-status").contains("detail=redis")
}

/// The keys of each primary.
async fn keys(redis: &Cluster) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for node in &redis.nodes[..3] {
        all.push(node.run(&["KEYS", "*"]).await.expect("keys"));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn records_purges_credentials_and_the_budget_are_shared_wherever_their_keys_are() {
    let redis = Cluster::start().await;
    let upstream = weather().await;
    let (one, other) = (started(on(&redis)(&upstream)).await, started(on(&redis)(&upstream)).await);
    for path in paths(PLACES) {
        assert_eq!(one.get(&path).await.header("x-cache"), "MISS");
        assert!(from_redis(&other.get(&path).await), "{path}");
    }
    assert_eq!(upstream.calls(), PLACES);
    let keys = keys(&redis).await;
    assert!(keys.iter().all(|keys| keys.len() > PLACES / 10), "every node has some of them");
    let with_budget = keys.iter().filter(|keys| keys.iter().any(|key| key.starts_with("stratus:{")));
    assert_eq!(with_budget.count(), 1, "what the budget keeps is lost together or not at all");

    let token = std::fs::read_to_string(redis.secrets().join("admin-token")).expect("the token");
    let admin = |method, path: &str| one.admin_request(method, path).bearer_auth(token.trim());
    let purged = admin(Method::POST, "/purge").json(&json!({"location": "place7"})).send().await.expect("an answer");
    assert_eq!(purged.status(), 200);
    assert_eq!(other.get("/weather/place7").await.header("x-cache"), "MISS");
    let secret = json!({"secret": "another-key", "ttl_secs": 60});
    let put = admin(Method::PUT, "/credentials/openweathermap/second").json(&secret).send().await.expect("an answer");
    assert!(put.status().is_success(), "{put:?}");
    let seen = other.admin_request(Method::GET, "/credentials/openweathermap/second").bearer_auth(token.trim());
    assert_eq!(seen.send().await.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_a_caller_holds_over_replicas_although_its_buckets_are_on_different_nodes() {
    let redis = Cluster::start().await;
    let (upstream, clock) = (weather().await, ManualClock::new());
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let notes = on(&redis)(&upstream).clock(&clock).notebook().await;
        replicas.push((Limits::new(notes, 2, Metrics::new()), Meter::new("caller".to_owned(), 60)));
    }
    let mut granted = 0;
    // A minute of asking for twice the limit.
    for step in 0..60 {
        let (limits, meter) = &replicas[step % 2];
        for _ in 0..2 {
            granted += u32::from(matches!(limits.take(meter).await, Verdict::Granted(_)));
        }
        clock.advance(Duration::from_millis(990));
    }
    assert!((45..=60).contains(&granted), "{granted} of 60");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_being_moved_is_found_where_it_is_and_new_ones_are_put_where_they_will_be() {
    let redis = Cluster::start().await;
    let upstream = weather().await;
    let one = started(on(&redis)(&upstream)).await;
    assert_eq!(one.get("/weather/London").await.header("x-cache"), "MISS");
    let record = keys(&redis).await.into_iter().enumerate().find_map(|(node, keys)| {
        // Of all that is there now a record is what has neither a tag nor a short value; the newest key is enough here.
        keys.into_iter().find(|key| !key.contains('{')).map(|key| (node, key))
    });
    let (from, key) = record.expect("a record");
    let (slot, to) = (redis.slot_of(&key).await, (from + 1) % 3);

    redis.begin_move(slot, to).await;
    assert!(from_redis(&one.get("/weather/London").await), "it has not moved yet");
    redis.move_keys(slot, to).await;
    assert!(from_redis(&one.get("/weather/London").await), "ASK is followed");
    assert_eq!(one.metric("stratus_store_up").await, 1);
    redis.finish_move(slot, to).await;
    assert!(from_redis(&one.get("/weather/London").await), "MOVED is followed");
    assert_eq!((upstream.calls(), one.metric("stratus_store_up").await), (1, 1));
    assert_eq!(redis.nodes[to].run::<usize>(&["EXISTS", &key]).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_move_under_load_cost_nobody_an_answer_and_no_record() {
    let redis = Cluster::start().await;
    let mut fleet = Fleet::start(on(&redis)).await;
    let load = fleet.load();
    load.more(250).await;
    let mut slots = Vec::new();
    for (node, keys) in keys(&redis).await.into_iter().enumerate() {
        for key in keys.iter().take(6) {
            slots.push((redis.slot_of(key).await, (node + 1) % 3));
        }
    }
    slots.sort_unstable();
    slots.dedup();
    for (slot, to) in slots {
        redis.reshard([slot], to).await;
    }
    fleet.store_up().await;
    fleet.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_under_load_costs_nobody_an_answer_and_no_call_beyond_the_budget() {
    let mut redis = Cluster::start().await;
    let mut fleet = Fleet::start(on(&redis)).await;
    let load = fleet.load();
    load.more(500).await;

    // The one that has the budget.
    let keys = keys(&redis).await;
    let old = keys.iter().position(|keys| keys.iter().any(|key| key.contains('{'))).expect("the budget");
    let slot = redis.slot_of(keys[old].iter().find(|key| key.contains('{')).expect("a key")).await;
    redis.kill(old);
    let killed = Instant::now();
    fleet.store_down().await;
    redis.wait_promoted(slot, old).await;
    told("Cluster: from the kill until all nodes agree on another primary", killed);
    let promoted = Instant::now();
    fleet.store_up().await;
    told("Cluster: from then until all replicas use it", promoted);
    load.more(250).await;
    redis.restart(old).await;
    redis.wait_ok().await;
    fleet.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_on_what_is_left_of_a_cluster_and_says_what_is_missing() {
    let mut redis = Cluster::start().await;
    let upstream = weather().await;
    let replica = redis.replica_of(0).await;
    redis.kill(replica);
    redis.kill(0);
    let seeds = redis.addresses();
    let mut service = setup(&upstream, &redis.secrets(), "cluster", &seeds).start().await;
    service.store_down_because("of 16384 slots have no node that can be reached").await;
    for path in paths(PLACES) {
        assert_eq!(service.get(&path).await.status, 200, "{path}");
    }
    redis.restart(0).await;
    redis.wait_ok().await;
    service.store_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_cluster_is_said_with_the_fix() {
    let mut redis = Cluster::start().await;
    let upstream = weather().await;
    let findings = examined(on(&redis)(&upstream)).await;
    assert_eq!(findings[0].verdict.as_deref(), Ok("3 primaries have 16384 of 16384 slots"));
    assert_eq!(findings.len(), 1 + 3 * 3, "each of them: reachable, rights, default user: {findings:?}");
    assert!(findings.iter().all(|finding| finding.verdict.is_ok() && finding.note.is_none()), "{findings:?}");

    // A cluster that is taken for something else, and something else that is taken for a cluster.
    let single = || Setup::with_secrets(&upstream, &redis.secrets(), redis.nodes[0].port);
    let verdict = examined(single()).await[0].verdict.clone().unwrap_err();
    assert_eq!(verdict.what, "Redis is a node of a Redis Cluster");
    assert!(verdict.fix.contains("redis.topology = \"cluster\""), "{verdict:?}");
    single().start().await.store_down_because("is a node of a Redis Cluster").await;
    let alone = Redis::start().await;
    let taken = || setup(&upstream, &alone.secret(""), "cluster", &[format!("127.0.0.1:{}", alone.server.port())]);
    let without_rights = examined(taken()).await[0].verdict.clone().unwrap_err();
    assert_eq!(without_rights.fix, "its ACL needs +cluster|slots +asking");

    for node in 0..redis.nodes.len() {
        redis.kill(node);
    }
    let findings = examined(on(&redis)(&upstream)).await;
    assert_eq!(findings[0].verdict.clone().unwrap_err().what, "Redis cannot be reached");
    let mut service = on(&redis)(&upstream).set("redis.require_least_privilege", false).start().await;
    service.store_down_because("cannot be reached").await;
    assert_eq!(service.get("/weather/London").await.status, 200);
}
