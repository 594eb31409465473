//! The vault: keys of the upstream that operators put there are used by every replica, and nobody sees them.

mod store;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::canaries::everything_of;
use crate::harness::proxy::locked;
use crate::harness::{API_KEY, Answer, PATIENCE, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

const TOKEN: &str = "a-token-for-tests";
const FIRST: &str = "canary0first0key0of0the0vault";
const SECOND: &str = "canary0second0key0of0the0vault";

/// An upstream that takes some keys and refuses all others.
struct Gatekeeper {
    upstream: ScriptedUpstream,
    good: Arc<Mutex<HashSet<String>>>,
}

impl Gatekeeper {
    async fn start(good: &[&str]) -> Self {
        let upstream = ScriptedUpstream::start(Reply::never()).await;
        let good = Arc::new(Mutex::new(good.iter().map(|key| (*key).to_owned()).collect::<HashSet<_>>()));
        let taken = Arc::clone(&good);
        upstream.reply_with(move |request| {
            let of = |name: &str| request.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
            let key = of("appid").expect("a key");
            if locked(&taken).contains(&key) {
                Reply::json(200, body(&of("q").expect("a place")))
            } else {
                Reply::json(401, r#"{"cod":401,"message":"Invalid API key"}"#)
            }
        });
        Self { upstream, good }
    }

    fn takes(&self, key: &str) {
        locked(&self.good).insert(key.to_owned());
    }

    /// The keys that it was asked with so far.
    fn keys(&self) -> Vec<String> {
        let key = |pairs: &[(String, String)]| pairs.iter().find(|(name, _)| name == "appid").expect("a key").1.clone();
        self.upstream.requests().iter().map(|request| key(&request.query)).collect()
    }
}

/// In memory, with the token.
async fn alone(gatekeeper: &Gatekeeper) -> Service {
    Setup::memory(&gatekeeper.upstream).set("admin.token", TOKEN).start().await
}

fn token_of(redis: &Redis) -> String {
    std::fs::read_to_string(redis.secret("admin-token")).expect("the token").trim().to_owned()
}

async fn put_with(service: &Service, token: &str, id: &str, body: &Value) -> Answer {
    let request = service.admin_request(Method::PUT, &format!("/credentials/{id}"));
    answer(request.bearer_auth(token).json(body)).await
}

async fn put(service: &Service, id: &str, secret: &str) -> Answer {
    put_with(service, TOKEN, id, &json!({"secret": secret})).await
}

async fn run(service: &Service, token: &str, method: Method, path: &str) -> Answer {
    answer(service.admin_request(method, path).bearer_auth(token)).await
}

async fn status(service: &Service) -> Value {
    service.admin_get("/status").await.json()["credentials"].clone()
}

async fn count(service: &Service, state: &str) -> u64 {
    service.metric(&format!("stratus_credentials{{state=\"{state}\"}}")).await
}

/// Asks for one new place after the other, until the upstream is asked with this key.
async fn until_asked_with(key: &str, service: &Service, gatekeeper: &Gatekeeper, places: &str) {
    let asked = async {
        for number in 0.. {
            let answer = service.get(&format!("/weather/{places} {number}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            if gatekeeper.keys().last().is_some_and(|last| last == key) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("never asked with {key}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_put_or_removed_on_one_replica_is_used_or_left_by_the_others() {
    let (gatekeeper, redis) = (Gatekeeper::start(&[API_KEY, FIRST, SECOND]).await, Redis::start().await);
    let setup = || Setup::redis(&gatekeeper.upstream, &redis);
    let one = setup().start().await;
    let other = setup().clock(&one.clock).start().await;
    let token = token_of(&redis);
    until_asked_with(API_KEY, &other, &gatekeeper, "before").await;

    let made = put_with(&one, &token, "openweathermap", &json!({"secret": FIRST, "ttl_secs": 60})).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    assert_eq!((&made["id"], &made["expires_in_secs"]), (&json!("openweathermap"), &json!(60)));
    until_asked_with(FIRST, &other, &gatekeeper, "put").await;
    let seen = run(&other, &token, Method::GET, "/credentials/openweathermap").await;
    assert_eq!((seen.status.as_u16(), seen.json()), (200, made.clone()));

    let replaced = put_with(&one, &token, "openweathermap", &json!({"secret": SECOND})).await;
    assert_eq!((replaced.status.as_u16(), &replaced.json()["expires_in_secs"]), (200, &json!(3_600)));
    assert_ne!(replaced.json()["reference"], made["reference"]);
    until_asked_with(SECOND, &other, &gatekeeper, "replaced").await;

    assert_eq!(run(&one, &token, Method::DELETE, "/credentials/openweathermap").await.status, 204);
    until_asked_with(API_KEY, &other, &gatekeeper, "removed").await;
    for replica in [&one, &other] {
        for method in [Method::GET, Method::DELETE] {
            let absent = run(replica, &token, method, "/credentials/openweathermap").await;
            assert_eq!((absent.status.as_u16(), absent.code().as_str()), (404, "not-found"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_vault_are_used_in_turn_until_they_end_and_then_that_of_the_configuration() {
    let gatekeeper = Gatekeeper::start(&[API_KEY, FIRST, SECOND]).await;
    let service = alone(&gatekeeper).await;
    put_with(&service, TOKEN, "openweathermap", &json!({"secret": FIRST, "ttl_secs": 60})).await;
    put_with(&service, TOKEN, "openweathermap/second", &json!({"secret": SECOND, "ttl_secs": 120})).await;
    put_with(&service, TOKEN, "another", &json!({"secret": "never0asked0with", "ttl_secs": 120})).await;
    for place in ["a", "b", "c", "d"] {
        assert_eq!(service.get(&format!("/weather/{place}")).await.status, 200);
    }
    let keys = gatekeeper.keys();
    assert_eq!(keys[..2].iter().collect::<HashSet<_>>().len(), 2, "{keys:?}");
    assert_eq!(keys[..2], keys[2..], "in turn");
    let states: Vec<_> =
        status(&service).await.as_array().expect("a list").iter().map(|c| c["state"].clone()).collect();
    assert_eq!(states, ["unused", "in_use", "in_use"]);
    assert_eq!((count(&service, "in_use").await, count(&service, "unused").await), (2, 1));

    service.clock.advance(Duration::from_secs(60));
    assert_eq!(run(&service, TOKEN, Method::GET, "/credentials/openweathermap").await.status, 404);
    service.get("/weather/e").await;
    service.clock.advance(Duration::from_secs(60));
    service.get("/weather/f").await;
    assert_eq!(gatekeeper.keys()[4..], [SECOND, API_KEY]);
    assert_eq!(run(&service, TOKEN, Method::GET, "/credentials").await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_put_aside_and_told_and_the_caller_gets_weather_by_the_next_one() {
    let gatekeeper = Gatekeeper::start(&[SECOND]).await;
    let setup = Setup::memory(&gatekeeper.upstream).set("admin.token", TOKEN).set("upstream.budget_per_minute", 600);
    let service = setup.start().await;
    let left = async || service.admin_get("/status").await.json()["upstream"]["budget"]["minute"]["left"].as_u64();
    let before = left().await;
    put_with(&service, TOKEN, "openweathermap/1", &json!({"secret": FIRST, "ttl_secs": 86_400})).await;
    put_with(&service, TOKEN, "openweathermap/2", &json!({"secret": SECOND, "ttl_secs": 86_400})).await;
    for place in ["a", "b", "c"] {
        assert_eq!(service.get(&format!("/weather/{place}")).await.status, 200, "{place}");
    }
    let keys = gatekeeper.keys();
    assert_eq!(keys.iter().filter(|key| *key == FIRST).count(), 1, "once, and then left alone: {keys:?}");
    assert_eq!(keys.len(), 4);
    let listed = run(&service, TOKEN, Method::GET, "/credentials").await.json();
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&json!("put_aside"), &json!("in_use")));
    assert_eq!(listed, status(&service).await);
    assert_eq!((count(&service, "put_aside").await, count(&service, "in_use").await), (1, 1));
    let breaker = service.admin_get("/status").await.json()["upstream"]["breaker"]["state"].clone();
    assert_eq!(breaker, "admitting", "another key works");
    assert_eq!(left().await, before.map(|before| before - 4), "each attempt had a permit of its own");

    // It is tried again after ten minutes, once in a turn.
    service.clock.advance(Duration::from_secs(600));
    for place in ["d", "e"] {
        assert_eq!(service.get(&format!("/weather/{place}")).await.status, 200, "{place}");
    }
    assert_eq!(gatekeeper.keys()[4..].iter().filter(|key| *key == FIRST).count(), 1);
    // Put anew, it is another one, be it the same secret.
    gatekeeper.takes(FIRST);
    put(&service, "openweathermap/1", FIRST).await;
    assert_eq!(count(&service, "put_aside").await, 0);
    for place in ["f", "g"] {
        service.get(&format!("/weather/{place}")).await;
    }
    assert!(gatekeeper.keys()[7..].contains(&FIRST.to_owned()), "{:?}", gatekeeper.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_last_key_is_refused_the_upstream_is_left_alone_until_there_is_a_new_one() {
    let gatekeeper = Gatekeeper::start(&[]).await;
    let service = alone(&gatekeeper).await;
    put(&service, "openweathermap", FIRST).await;
    for _ in 0..3 {
        let refused = service.get("/weather/Lima").await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (502, "upstream-rejected-key"));
    }
    assert_eq!(gatekeeper.keys(), [FIRST, API_KEY], "the configuration's is the last");
    assert!(service.admin_get("/readyz").await.text().contains("refuses the key"));
    gatekeeper.takes(SECOND);
    put(&service, "openweathermap", SECOND).await;
    assert_eq!(service.get("/weather/Lima").await.status, 200, "at once");
    assert_eq!(gatekeeper.keys().last().expect("a key"), SECOND);
    assert_eq!(service.admin_get("/readyz").await.text(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_put_on_one_replica_is_used_by_another_that_had_its_last_one_refused() {
    let (gatekeeper, redis) = (Gatekeeper::start(&[]).await, Redis::start().await);
    let setup = || Setup::redis(&gatekeeper.upstream, &redis);
    let mut one = setup().start().await;
    one.store_up().await;
    let token = token_of(&redis);
    put_with(&one, &token, "openweathermap", &json!({"secret": FIRST})).await;
    let mut other = setup().clock(&one.clock).start().await;
    other.store_up().await;
    for replica in [&one, &other, &other] {
        assert_eq!(replica.get("/weather/Lima").await.code(), "upstream-rejected-key");
    }
    let before = gatekeeper.keys();
    assert_eq!(before, [FIRST, API_KEY, FIRST], "of the second one it was told");
    gatekeeper.takes(SECOND);
    put_with(&one, &token, "openweathermap", &json!({"secret": SECOND})).await;
    let answered = async { while other.get("/weather/Lima").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, answered).await.expect("it is used there, too");
    assert_eq!(gatekeeper.keys()[before.len()..], [SECOND], "and nothing else was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_key_answers_as_soon_as_one_is_put_and_tries_a_refused_one_again() {
    let gatekeeper = Gatekeeper::start(&[]).await;
    let setup = Setup::memory(&gatekeeper.upstream).set("admin.token", TOKEN).set("upstream.api_key", "");
    let service = setup.start().await;
    assert_eq!(service.get("/weather/Lima").await.code(), "no-upstream-key");
    put(&service, "openweathermap", FIRST).await;
    assert_eq!(service.get("/weather/Lima").await.code(), "upstream-rejected-key");
    assert_eq!(service.get("/weather/Lima").await.code(), "upstream-rejected-key");
    assert_eq!(gatekeeper.keys(), [FIRST]);
    // Nothing else is left, so it is not put aside for longer than the breaker's pause: a minute and a tenth at most.
    gatekeeper.takes(FIRST);
    service.clock.advance(Duration::from_secs(67));
    assert_eq!(service.get("/weather/Lima").await.status, 200);
    assert_eq!(count(&service, "in_use").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_is_put_with_four_keys_at_most_and_the_next_one_with_the_others() {
    let gatekeeper = Gatekeeper::start(&[API_KEY]).await;
    let service = alone(&gatekeeper).await;
    for number in 0..6 {
        put(&service, &format!("openweathermap/{number}"), &format!("bad0key0number0{number}0of0the0vault")).await;
    }
    assert_eq!(service.get("/weather/a").await.code(), "upstream-rejected-key");
    assert_eq!(gatekeeper.keys().iter().collect::<HashSet<_>>().len(), 4);
    assert_eq!(service.get("/weather/b").await.status, 200);
    assert_eq!(gatekeeper.keys().len(), 7, "two more of the vault, and the configuration's");
    assert_eq!(gatekeeper.keys().iter().collect::<HashSet<_>>().len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_repeats_a_key_of_the_vault_is_not_passed_on() {
    let gatekeeper = Gatekeeper::start(&[]).await;
    gatekeeper.upstream.reply_with(|request| {
        let key = request.query.iter().find(|(name, _)| name == "appid").expect("a key").1.clone();
        Reply::json(200, body(&key))
    });
    let service = alone(&gatekeeper).await;
    put(&service, "openweathermap", FIRST).await;
    let answer = service.get("/weather/Lima").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream-invalid-response"));
    assert!(!String::from_utf8_lossy(&everything_of([&answer])).contains(FIRST));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_need_the_token_and_without_one_they_are_off() {
    let gatekeeper = Gatekeeper::start(&[]).await;
    let service = alone(&gatekeeper).await;
    let without = Setup::memory(&gatekeeper.upstream).start().await;
    put(&service, "openweathermap", FIRST).await;
    let routes = [
        (Method::GET, "/credentials"),
        (Method::GET, "/credentials/openweathermap"),
        (Method::PUT, "/credentials/openweathermap"),
        (Method::DELETE, "/credentials/openweathermap"),
    ];
    for (method, path) in routes {
        // After ten wrong ones none is looked at.
        for token in ["wrong", "a-token-for-test"] {
            let request = service.admin_request(method.clone(), path).json(&json!({"secret": SECOND}));
            let refused = answer(request.bearer_auth(token)).await;
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "invalid-key"), "{method} {path}");
        }
        assert_eq!(answer(service.admin_request(method.clone(), path)).await.status, 401, "{method} {path}");
        let refused = run(&without, TOKEN, method.clone(), path).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "admin-token-not-set"), "{method} {path}");
    }
    let listed = run(&service, TOKEN, Method::GET, "/credentials").await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "nothing was changed: {listed}");
    assert_eq!(service.get("/credentials").await.status, 404, "not on the public listener");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_or_an_id_that_is_no_good_is_refused_and_not_repeated() {
    let gatekeeper = Gatekeeper::start(&[]).await;
    let service = alone(&gatekeeper).await;
    let wrong = [
        json!({"secret": FIRST, "ttl_secs": 0}),
        json!({"secret": FIRST, "ttl_secs": 2_592_001}),
        json!({"secret": FIRST, "ttl_secs": -1}),
        json!({"secret": FIRST, "ttl_secs": "soon"}),
        json!({"secret": FIRST, "ttl_sec": 60}),
        json!({"secret": [FIRST]}),
        json!({"secret": format!("{FIRST} {FIRST}")}),
        json!({"secret": format!("{FIRST}\n")}),
        json!({"secret": FIRST.repeat(100)}),
        json!({"secret": FIRST.repeat(20)}),
        json!({"secret": ""}),
        json!({"key": FIRST}),
        json!(FIRST),
    ];
    for body in wrong {
        let refused = put_with(&service, TOKEN, "openweathermap", &body).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid-body"), "{body}");
        assert!(!refused.text().contains("canary"), "{}", refused.text());
    }
    let path = "/credentials/openweathermap";
    let cut = service.admin_request(Method::PUT, path).bearer_auth(TOKEN).body(format!("{{\"secret\":\"{FIRST}\""));
    let refused = answer(cut).await;
    assert_eq!(refused.code(), "invalid-body");
    assert!(!refused.text().contains("canary"), "{}", refused.text());
    for id in [FIRST.to_uppercase().as_str(), "a/b/c", "a//b", "a%20b", "%FF", "a/", &"x".repeat(65)] {
        for method in [Method::GET, Method::DELETE, Method::PUT] {
            let request = service.admin_request(method, &format!("/credentials/{id}")).bearer_auth(TOKEN);
            let refused = answer(request.json(&json!({"secret": FIRST}))).await;
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid-parameter"), "{id}");
            assert!(!refused.text().to_lowercase().contains("canary"), "{}", refused.text());
        }
    }
    assert_eq!(run(&service, TOKEN, Method::GET, "/credentials").await.json(), json!([]));
    assert_eq!(put(&service, "a/b%2D1", "s").await.json()["id"], "a/b-1");
}
