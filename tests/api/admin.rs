//! What operators ask: health, metrics, status, purge.

use std::time::Duration;

use futures_util::FutureExt;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Gate, Redis, Reply, ScriptedUpstream, Service, Setup, TcpProxy, answer, body};

const TOKEN: &str = "a-token-for-tests";

async fn purge(service: &Service, token: &str, body: serde_json::Value) -> Answer {
    answer(service.admin_request(Method::POST, "/purge").bearer_auth(token).json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_status_and_metrics_are_open_on_the_admin_listener_only() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    service.get("/weather/London").await;
    assert_eq!(service.admin_get("/livez").await.text(), "alive\n");
    assert_eq!(service.admin_get("/readyz").await.text(), "ready\n");
    let status = service.admin_get("/status").await.json();
    assert_eq!(status["store"], json!({"kind": "memory", "state": "up"}));
    assert_eq!((&status["upstream"]["key"], &status["stopping"]), (&json!(true), &json!(false)));
    assert_eq!(service.metric(r#"stratus_cache_answers_total{result="miss"}"#).await, 1);
    assert_eq!(service.metric(r#"stratus_upstream_calls_total{outcome="ok"}"#).await, 1);
    let type_ = service.admin_get("/metrics").await.header("content-type").to_owned();
    assert!(type_.starts_with("application/openmetrics-text"), "{type_}");
    assert_eq!(service.admin_get("/weather/London").await.code(), "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_forgets_every_variant_of_one_place_and_no_other() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    let service = Setup::redis(&upstream, &redis).start().await;
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    let london = ["/weather/London", "/weather/London?units=imperial&lang=de", "/weather/London?lang=zh-tw"];
    for path in london.iter().chain(&["/weather/Paris"]) {
        service.get(path).await;
    }
    let purged = purge(&service, token.trim(), json!({"location": " LONDON "})).await;
    assert_eq!((purged.status.as_u16(), purged.json()), (200, json!({"purged": 3})));
    assert_eq!(service.get("/weather/Paris").await.x_cache(), "HIT");
    for path in london {
        assert_eq!(service.get(path).await.x_cache(), "MISS", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_everything_reaches_all_replicas_and_new_records_live() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    let one = Setup::redis(&upstream, &redis).start().await;
    let two = Setup::redis(&upstream, &redis).clock(&one.clock).start().await;
    for path in ["/weather/London", "/weather/Paris"] {
        one.get(path).await;
        assert_eq!(two.get(path).await.x_cache(), "HIT");
    }
    one.clock.advance(Duration::from_secs(1));
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    assert_eq!(purge(&one, token.trim(), json!({"all": true})).await.json(), json!({"purged": "all"}));
    one.clock.advance(Duration::from_secs(1));
    assert_eq!(one.get("/weather/London").await.x_cache(), "MISS");
    forgets(&two, "/weather/Paris").await;
    assert_eq!(two.get("/weather/London").await.x_cache(), "HIT", "what came after the purge");
}

/// Asks until the answer is no copy any more: the replica looks for purges by others twice a second.
async fn forgets(replica: &Service, path: &str) {
    let forgotten = async { while replica.get(path).await.x_cache() != "MISS" {} };
    tokio::time::timeout(Duration::from_secs(20), forgotten).await.expect("a purge reaches every replica");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_reaches_the_memory_of_this_replica_at_once_and_of_the_others_soon() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    let setup = || Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20);
    let one = setup().start().await;
    let two = setup().clock(&one.clock).start().await;
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    for what in [json!({"location": "London"}), json!({"all": true})] {
        for replica in [&one, &two] {
            replica.get("/weather/London").await;
            assert!(replica.get("/weather/London").await.header("cache-status").ends_with("detail=memory"));
        }
        one.clock.advance(Duration::from_secs(1));
        assert_eq!(purge(&one, token.trim(), what).await.status, 200);
        assert_eq!(one.metric("stratus_memory_entries").await, 0);
        forgets(&two, "/weather/London").await;
        one.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_needs_the_token_and_a_body_it_understands() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).set("admin.token", TOKEN).start().await;
    service.get("/weather/London").await;
    for token in ["", "wrong", "a-token-for-test", "a-token-for-tests2"] {
        let refused = purge(&service, token, json!({"all": true})).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "invalid-key"), "{token}");
    }
    for bad in
        [json!({}), json!([]), json!({"all": false}), json!({"location": "London", "all": true}), json!({"x": 1})]
    {
        let refused = purge(&service, TOKEN, bad.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid-body"), "{bad}");
    }
    assert_eq!(purge(&service, TOKEN, json!({"location": "91,0"})).await.code(), "invalid-location");
    assert_eq!(purge(&service, TOKEN, json!({"location": "x".repeat(5_000)})).await.code(), "invalid-body");
    let lower_case = service.admin_request(Method::POST, "/purge").header("authorization", format!("bearer {TOKEN}"));
    assert_eq!(answer(lower_case.json(&json!({"location": "Paris"}))).await.status, 200);
    assert_eq!(service.get("/weather/London").await.x_cache(), "HIT");

    let without = Setup::memory(&upstream).start().await;
    let refused = purge(&without, "", json!({"all": true})).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "admin-token-not-set"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_before_a_purge_is_not_stored_after_it() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("old")))).await;
    let service = Setup::memory(&upstream).set("admin.token", TOKEN).start().await;
    let purging = async {
        upstream.wait_for_calls(1).await;
        assert_eq!(purge(&service, TOKEN, json!({"location": "London"})).await.status, 200);
        gate.open();
    };
    let (asked_before, ()) = tokio::join!(service.get("/weather/London"), purging);
    assert_eq!(asked_before.header("cache-status"), "stratus; fwd=miss; fwd-status=200");
    upstream.reply(Reply::json(200, body("new")));
    assert_eq!(service.get("/weather/London").await.text(), body("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_purged_is_no_fallback_for_those_who_wait_and_others_are() {
    for (purged, expected) in [("London", 502), ("Paris", 200)] {
        let (gate, upstream) = (Gate::new(), ScriptedUpstream::start(Reply::json(200, body("London"))).await);
        let service = Setup::memory(&upstream).set("admin.token", TOKEN).start().await;
        service.get("/weather/London").await;
        service.clock.advance(Duration::from_secs(400));
        upstream.reply(Reply::gated(gate.clone(), Reply::json(500, "")));
        let purging = async {
            upstream.wait_for_calls(2).await;
            assert_eq!(purge(&service, TOKEN, json!({"location": purged})).await.status, 200);
            let (asked_after, ()) = tokio::join!(service.get("/weather/London"), async { gate.open() });
            asked_after
        };
        let (asked_before, asked_after) = tokio::join!(service.get("/weather/London"), purging);
        assert_eq!((asked_before.status.as_u16(), asked_after.status.as_u16()), (expected, expected), "{purged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_cannot_reach_redis_says_so() {
    let (upstream, mut redis) = (ScriptedUpstream::start(Reply::json(200, body("London"))).await, Redis::start().await);
    let mut service = Setup::redis(&upstream, &redis).start().await;
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    redis.server.stop().await;
    service.store_down().await;
    for what in [json!({"location": "London"}), json!({"all": true})] {
        let refused = purge(&service, token.trim(), what).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "store-unavailable"));
        assert!(!refused.header("retry-after").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_cannot_reach_redis_leaves_what_is_in_memory() {
    let (upstream, mut redis) = (ScriptedUpstream::start(Reply::json(200, body("London"))).await, Redis::start().await);
    let mut service = Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20).start().await;
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    service.get("/weather/London").await;
    redis.server.stop().await;
    service.store_down().await;
    for what in [json!({"location": "London"}), json!({"location": "Paris"}), json!({"all": true})] {
        assert_eq!(purge(&service, token.trim(), what).await.code(), "store-unavailable");
        // It said that nothing was purged, and there is no other copy.
        assert_eq!(service.get("/weather/London").await.x_cache(), "HIT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_reaches_a_replica_that_has_not_got_the_newest_key_yet() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    let setup = || Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20);
    let mut old = setup().start().await;
    old.store_up().await;
    let keys = std::fs::read_to_string(redis.secret("encryption-keys")).expect("the keys");
    let newest = stratus::crypto::generate_key_line().expect("a key");
    let both = redis.secret("both-keys");
    provision_key_file(&both, &format!("{}\n{keys}", newest.as_str()));
    let mut new = setup().set("encryption.keys_file", both.display()).clock(&old.clock).start().await;
    new.store_up().await;

    assert_eq!(old.get("/weather/London").await.x_cache(), "MISS");
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    assert_eq!(purge(&new, token.trim(), json!({"location": "London"})).await.json(), json!({"purged": 1}));
    forgets(&old, "/weather/London").await;
}

fn provision_key_file(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("a key file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("for its owner only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_goes_on_when_the_operator_hangs_up() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    let setup = || Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20);
    let mut replica = setup().start().await;
    replica.store_up().await;
    let cache = setup().clock(&replica.clock).cache().await;
    assert_eq!(replica.get("/weather/London").await.x_cache(), "MISS");
    // Begun, and dropped while Redis is asked.
    assert!(cache.purge(&"London".parse().expect("a place")).now_or_never().is_none());
    forgets(&replica, "/weather/London").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_holds_up_nobody_who_asks_how_it_stands() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("x"))).await, Redis::start().await);
    let proxy = TcpProxy::start(redis.server.port()).await;
    // Longer than any answer here is waited for.
    let setup = Setup::redis_through(&upstream, &redis, proxy.port()).set("redis.command_timeout_ms", 600_000);
    let mut service = setup.start().await;
    service.store_up().await;
    proxy.freeze();
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        assert_eq!(service.admin_get(path).await.status.as_u16(), 200, "{path}");
    }
    proxy.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_looked_at_ten_times_a_minute_and_logged_without_the_token() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("x"))).await;
    let program = Setup::memory(&upstream).set("admin.token", TOKEN).program().await;
    let wrong = "canary-of-a-wrong-token";
    let try_with = async |token: &str| {
        let request = program.admin_request(Method::POST, "/purge").bearer_auth(token).json(&json!({"all": true}));
        answer(request).await
    };
    // Who brings none tries none.
    for _ in 0..20 {
        let none = answer(program.admin_request(Method::POST, "/purge").json(&json!({"all": true}))).await;
        assert_eq!((none.status.as_u16(), none.code().as_str()), (401, "invalid-key"));
    }
    assert_eq!(try_with(TOKEN).await.status, 200);
    for _ in 0..10 {
        assert_eq!(try_with(wrong).await.code(), "invalid-key");
    }
    for token in [wrong, TOKEN] {
        let refused = try_with(token).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "rate-limited"));
        let wait: u64 = refused.header("retry-after").parse().expect("seconds");
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(answer(program.admin_request(Method::GET, "/status")).await.status, 200, "what needs no token goes on");
    let lines = program.stop().await;
    let told = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        (told("a wrong admin token"), told("none from there is looked at"), told(wrong)),
        (10, 1, 0),
        "{lines:#?}"
    );
}
