//! Three replicas on one Redis whose clocks are five seconds wrong, either way, so that two of them are ten seconds apart: no
//! harm comes of it. What takes hours or a store that keeps the same time is shown in `src/cache/fleet_tests.rs`,
//! `src/upstream/budget/promises_tests.rs` and `src/limits/promises_tests.rs`.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fleet::calls_of_a_load;
use crate::harness::{ManualClock, PATIENCE, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

const WRONG_BY_MS: [i64; 3] = [-5_000, 0, 5_000];
const STEP: Duration = Duration::from_secs(1);

struct Fleet {
    upstream: ScriptedUpstream,
    /// The right one.
    clock: ManualClock,
    token: String,
    replicas: Vec<Service>,
    _redis: Redis,
}

impl Fleet {
    async fn start(settings: impl Fn(Setup) -> Setup) -> Self {
        let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("old"))).await, Redis::start().await);
        let (clock, mut replicas) = (ManualClock::new(), Vec::new());
        for wrong_by_ms in WRONG_BY_MS {
            let setup = Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20);
            let mut replica = settings(setup).clock(&clock.wrong_by(wrong_by_ms)).start().await;
            replica.store_up().await;
            replicas.push(replica);
        }
        let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token").trim().to_owned();
        Self { upstream, clock, token, replicas, _redis: redis }
    }

    async fn purge(&self, replica: usize, what: Value) {
        let purge = self.replicas[replica].admin_request(Method::POST, "/purge").bearer_auth(&self.token).json(&what);
        assert_eq!(answer(purge).await.status, 200);
    }

    /// Waits until no replica has anything in memory.
    async fn all_forget(&self) {
        for replica in &self.replicas {
            let forgets = async { while replica.metric("stratus_memory_entries").await != 0 {} };
            timeout(PATIENCE, forgets).await.expect("a purge reaches every replica");
        }
    }

    /// What each replica answers.
    async fn all(&self, path: &str) -> Vec<String> {
        let answers = join_all(self.replicas.iter().map(|replica| replica.get(path))).await;
        answers.iter().map(|answer| answer.text().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_one_replica_is_a_hit_to_the_others_with_a_sound_age_and_no_more_freshness_than_is_set() {
    let fleet = Fleet::start(|setup| setup).await;
    for (writer, writer_wrong_by) in WRONG_BY_MS.into_iter().enumerate() {
        let path = format!("/weather/id:{}", writer + 1);
        assert_eq!(fleet.replicas[writer].get(&path).await.x_cache(), "MISS");
        for (reader, replica) in fleet.replicas.iter().enumerate() {
            let read = replica.get(&path).await;
            let age = (WRONG_BY_MS[reader] - writer_wrong_by).max(0) / 1_000;
            assert_eq!((read.x_cache(), read.header("age")), ("HIT", age.to_string().as_str()), "{writer} to {reader}");
            let fresh = format!("public, max-age={}, ", 300 - age);
            assert!(read.header("cache-control").starts_with(&fresh), "{writer} to {reader}: {read:?}");
        }
    }
    assert_eq!(fleet.upstream.calls(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_makes_no_more_requests_than_he_may_in_any_true_minute_over_all_replicas() {
    const PER_MINUTE: usize = 60;
    let settings = |setup: Setup| {
        setup.set("access.anonymous_per_minute", PER_MINUTE).set("upstream.max_replicas", WRONG_BY_MS.len())
    };
    let fleet = Fleet::start(settings).await;
    // How many were granted, second by second.
    let mut granted = Vec::new();
    for second in 0..200 {
        // Bursts and pauses.
        let burst = if second % 65 < 50 { 2 } else { 0 };
        let asked = fleet.replicas.iter().flat_map(|replica| (0..burst).map(move |_| replica.get("/weather/Oslo")));
        let answers = join_all(asked).await;
        assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status.as_u16())), "{answers:?}");
        granted.push(answers.iter().filter(|answer| answer.status == 200).count());
        fleet.clock.advance(STEP);
    }
    let most = granted.windows(60).map(|minute| minute.iter().sum::<usize>()).max().expect("minutes");
    let all: usize = granted.iter().sum();
    assert!(most <= PER_MINUTE && all > 2 * PER_MINUTE, "{most} in a minute, {all} in all: {granted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_is_obeyed_by_all_whoever_has_loaded_and_nothing_of_before_comes_back() {
    for (loader, purger) in [(2, 0), (0, 2), (2, 1), (1, 0)] {
        for what in [json!({"all": true}), json!({"location": "Rome"})] {
            let fleet = Fleet::start(|setup| setup).await;
            assert_eq!(fleet.replicas[loader].get("/weather/Rome").await.x_cache(), "MISS");
            assert_eq!(fleet.all("/weather/Rome").await, vec![body("old"); 3]);
            fleet.clock.advance(STEP);
            fleet.upstream.reply(Reply::json(200, body("new")));
            fleet.purge(purger, what).await;
            fleet.all_forget().await;
            let asked = Instant::now();
            // Now, and when the clock of every replica has passed that of any other.
            for _ in 0..3 {
                assert_eq!(fleet.all("/weather/Rome").await, vec![body("new"); 3], "{loader} loads, {purger} purges");
                fleet.clock.advance(8 * STEP);
            }
            let (calls, at_most) = (fleet.upstream.calls(), 1 + calls_of_a_load(asked.elapsed()));
            assert!((2..=at_most).contains(&calls), "{loader} loads, {purger} purges: {calls} calls");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_right_after_a_purge_is_a_hit_to_all_whoever_has_purged() {
    for (purger, loader) in [(2, 0), (0, 2), (2, 1), (1, 0)] {
        let fleet = Fleet::start(|setup| setup).await;
        fleet.all("/weather/Rome").await;
        fleet.purge(purger, json!({"all": true})).await;
        fleet.all_forget().await;
        let calls = fleet.upstream.calls();
        assert_eq!(fleet.replicas[loader].get("/weather/Rome").await.x_cache(), "MISS");
        for replica in &fleet.replicas {
            assert_eq!(replica.get("/weather/Rome").await.x_cache(), "HIT", "{purger} purges, {loader} loads");
        }
        assert_eq!(fleet.upstream.calls(), calls + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_the_same_to_all_replicas_and_what_is_put_or_removed_later_counts_whoever_did_it() {
    let fleet = Fleet::start(|setup| setup).await;
    let [behind, right, ahead] = &fleet.replicas[..] else { panic!("three") };
    let path = "/credentials/openweathermap";
    let with_token = |service: &Service, method| service.admin_request(method, path).bearer_auth(&fleet.token);
    for (replica, secret) in [(ahead, "canary0first"), (behind, "canary0second"), (right, "canary0third")] {
        let put = with_token(replica, Method::PUT).json(&json!({"secret": secret, "ttl_secs": 600}));
        let put = answer(put).await;
        let reference = put.json()["reference"].clone();
        assert!(put.status.is_success() && reference.is_string(), "{put:?}");
        for other in &fleet.replicas {
            let seen = answer(with_token(other, Method::GET)).await.json();
            assert_eq!(seen["reference"], reference, "{secret}");
            let left = seen["expires_in_secs"].as_u64().expect("seconds");
            assert!((590..=610).contains(&left), "{secret}: {left}");
        }
    }
    assert_eq!(answer(with_token(behind, Method::DELETE)).await.status, 204);
    for replica in &fleet.replicas {
        assert_eq!(answer(with_token(replica, Method::GET)).await.status, 404);
    }
}
