//! Without a key the weather may be made up: that is said wherever somebody looks, and nothing of it is ever taken for real.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

const ID: &str = "/credentials/openweathermap";

/// An upstream that knows every place as `Oslo`, and a Redis.
async fn parts() -> (ScriptedUpstream, Redis) {
    (ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await, Redis::start().await)
}

/// A service that has no key of its own and may make the weather up.
fn keyless(upstream: &ScriptedUpstream, redis: &Redis) -> Setup {
    Setup::redis(upstream, redis).set("upstream.api_key", "").set("upstream.simulate_without_key", true)
}

fn is_simulated(answer: &Answer) -> bool {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["base"] == "simulated"
}

/// Asks for Oslo and compares what `X-Cache` says and whether the weather is made up.
async fn gives(service: &Service, x_cache: &str, simulated: bool) {
    let answer = service.get("/weather/Oslo").await;
    assert_eq!((answer.x_cache(), is_simulated(&answer)), (x_cache, simulated), "{answer:?}");
}

async fn status(service: &Service) -> Value {
    service.admin_get("/status").await.json()
}

async fn with_token(service: &Service, redis: &Redis, method: Method, body: &Value) -> Answer {
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    answer(service.admin_request(method, ID).bearer_auth(token.trim()).json(body)).await
}

async fn put(service: &Service, redis: &Redis) -> Value {
    let put = with_token(service, redis, Method::PUT, &json!({"secret": "canary0key0of0the0vault"})).await;
    assert_eq!(put.status, 201, "{put:?}");
    put.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_weather_is_simulated_and_the_log_and_the_status_say_so() {
    let (upstream, redis) = parts().await;
    let program = keyless(&upstream, &redis).program().await;
    assert!(is_simulated(&program.get("/weather/Oslo").await));
    let status = answer(program.admin_request(Method::GET, "/status")).await.json();
    assert_eq!((&status["upstream"]["simulated"], &status["upstream"]["key"]), (&json!(true), &json!(false)));
    let warnings = program.stop().await;
    let warnings: Vec<_> = warnings.iter().filter(|line| line.contains("SIMULATED") && line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("OPENWEATHERMAP_API_KEY"), "{warnings:?}");
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_simulated_is_never_given_as_real_nor_what_is_real_as_simulated() {
    let (upstream, redis) = parts().await;
    let simulating = keyless(&upstream, &redis).start().await;
    gives(&simulating, "MISS", true).await;
    let another = keyless(&upstream, &redis).start().await;
    gives(&another, "HIT", true).await;

    // The same Redis and the same encryption keys, now with a key; and both at once.
    let real = Setup::redis(&upstream, &redis).set("upstream.simulate_without_key", true).start().await;
    gives(&real, "MISS", false).await;
    assert_eq!(status(&real).await["upstream"]["simulated"], false);
    gives(&real, "HIT", false).await;
    gives(&simulating, "HIT", true).await;
    let later = keyless(&upstream, &redis).start().await;
    gives(&later, "HIT", true).await;
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_calls_take_nothing_from_the_budget_of_the_real_upstream() {
    let (upstream, redis) = parts().await;
    let limited = |setup: Setup| {
        let setup = setup.set("upstream.budget_per_minute", 100).set("upstream.budget_per_day", 1_000);
        setup.set("upstream.budget_per_month", 1_000)
    };
    let simulating = limited(keyless(&upstream, &redis)).start().await;
    for number in 0..10 {
        assert!(is_simulated(&simulating.get(&format!("/weather/Oslo {number}")).await));
    }
    // What is left after one real call on that Redis, and on one where nothing else ever was.
    let untouched = Redis::start().await;
    let mut left = Vec::new();
    for redis in [&redis, &untouched] {
        let real = limited(Setup::redis(&upstream, redis)).start().await;
        gives(&real, "MISS", false).await;
        left.push(status(&real).await["upstream"]["budget"].clone());
    }
    assert_eq!(left[0], left[1]);
    assert_ne!(left[0], status(&simulating).await["upstream"]["budget"], "the simulated ones do count, elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_put_while_the_weather_is_simulated_is_used_from_the_next_start_on_and_that_is_said() {
    let (upstream, redis) = parts().await;
    let simulating = keyless(&upstream, &redis).start().await;
    gives(&simulating, "MISS", true).await;
    let put = put(&simulating, &redis).await;
    assert!(put["note"].as_str().is_some_and(|note| note.contains("SIMULATED until")), "{put}");
    // Nothing is asked with it before: not even by who finds the record gone.
    let answer = simulating.get("/weather/Bergen").await;
    assert!(is_simulated(&answer), "{answer:?}");
    let now = status(&simulating).await;
    assert_eq!(
        (&now["upstream"]["simulated"], &now["credentials"][0]["state"]),
        (&json!(true), &json!("unused")),
        "{now}"
    );
    assert_eq!(upstream.calls(), 0);

    let restarted = keyless(&upstream, &redis).start().await;
    gives(&restarted, "MISS", false).await;
    let now = status(&restarted).await;
    assert_eq!((&now["upstream"]["simulated"], &now["credentials"][0]["state"]), (&json!(false), &json!("in_use")));
    let again = with_token(&restarted, &redis, Method::PUT, &json!({"secret": "canary0key0of0the0vault"})).await;
    assert_eq!(again.json()["note"], Value::Null, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_simulated_while_the_vault_cannot_be_asked_for_a_key() {
    let (upstream, mut redis) = parts().await;
    let setup = keyless(&upstream, &redis).set("redis.connect_timeout_ms", 500);
    redis.server.stop().await;
    let (ended, lines) = setup.run().ended().await;
    assert_eq!(ended.code(), Some(2), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("the vault cannot be asked for one")), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_simulated_unless_that_was_allowed() {
    let (upstream, redis) = parts().await;
    let service = keyless(&upstream, &redis).set("upstream.simulate_without_key", false).start().await;
    assert_eq!(service.get("/weather/Oslo").await.code(), "no-upstream-key");
    assert_eq!(status(&service).await["upstream"]["simulated"], false);
}
