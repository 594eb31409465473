//! An endpoint that the plan of our key does not have is told so and left alone; all others go on, and another key may do.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{body_of, is_an_error, parameter, says};
use crate::harness::{API_KEY, Redis, Reply, ScriptedUpstream, Service, Setup, answer};

const NOT_IN_PLAN: &str = r#"{"cod":401, "message": "This needs a subscription of its own."}"#;
const ONECALL: &str = "/data/3.0/onecall";
const TOKEN: &str = "a-token-for-tests";
const LEFT_ALONE: Duration = Duration::from_mins(10);
const FIRST: &str = "canary0first0key0of0the0vault";
const SUBSCRIBED: &str = "canary0subscribed0key0of0the0vault";

fn onecall(latitude: usize) -> String {
    format!("{ONECALL}?lat={latitude}&lon=1")
}

/// An upstream with One Call for one key only.
async fn upstream() -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| {
        let subscribed = parameter(request, "appid") == Some(SUBSCRIBED);
        if request.path.contains("onecall") && !subscribed {
            Reply::json(401, NOT_IN_PLAN)
        } else {
            Reply::json(200, body_of(&request.path))
        }
    });
    upstream
}

async fn put(service: &Service, id: &str, secret: &str) {
    let request = service.admin_request(Method::PUT, &format!("/credentials/{id}")).bearer_auth(TOKEN);
    let put = answer(request.json(&json!({"secret": secret, "ttl_secs": 86_400}))).await;
    assert!(put.status.is_success(), "{put:?}");
}

/// The keys that One Call was asked with so far.
fn asked_with(upstream: &ScriptedUpstream) -> Vec<String> {
    let requests = upstream.requests().into_iter().filter(|request| request.path == ONECALL);
    requests.map(|request| parameter(&request, "appid").expect("a key").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_the_plan_does_not_have_is_left_alone_for_ten_minutes_and_nothing_else_is() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).start().await;
    for latitude in [1, 1, 2, 3] {
        let refused = service.get(&onecall(latitude)).await;
        says(&refused, 401, NOT_IN_PLAN);
        assert_eq!((refused.x_cache(), refused.header("cache-control")), ("MISS", "no-store"));
    }
    // The older path is the same endpoint.
    says(&service.get("/data/2.5/onecall?lat=4&lon=1").await, 401, NOT_IN_PLAN);
    assert_eq!(upstream.calls(), 1);
    assert_eq!(service.get("/data/2.5/weather?q=London").await.status, 200);
    assert_eq!(service.get("/weather/Paris").await.status, 200);
    assert_eq!(service.admin_get("/readyz").await.text(), "ready\n");
    // Another endpoint has to find out for itself.
    says(&service.get("/data/3.0/onecall/overview?lat=1&lon=1").await, 401, NOT_IN_PLAN);
    assert_eq!(upstream.calls(), 4);

    service.clock.advance(LEFT_ALONE - Duration::from_secs(1));
    says(&service.get(&onecall(1)).await, 401, NOT_IN_PLAN);
    assert_eq!(upstream.calls(), 4);
    service.clock.advance(Duration::from_secs(1));
    says(&service.get(&onecall(1)).await, 401, NOT_IN_PLAN);
    says(&service.get(&onecall(2)).await, 401, NOT_IN_PLAN);
    assert_eq!(upstream.calls(), 5);
    // The subscription was taken meanwhile.
    service.clock.advance(LEFT_ALONE);
    upstream.reply(Reply::json(200, body_of(ONECALL)));
    says(&service.get(&onecall(1)).await, 200, body_of(ONECALL));
    says(&service.get(&onecall(2)).await, 200, body_of(ONECALL));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_ends_that_at_once_and_is_the_one_that_is_asked_with() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set("admin.token", TOKEN).start().await;
    says(&service.get(&onecall(1)).await, 401, NOT_IN_PLAN);
    put(&service, "openweathermap", SUBSCRIBED).await;
    says(&service.get(&onecall(1)).await, 200, body_of(ONECALL));
    assert_eq!(asked_with(&upstream), [API_KEY, SUBSCRIBED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_keys_the_one_whose_plan_has_it_is_used_and_the_others_serve_all_else() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set("admin.token", TOKEN).start().await;
    put(&service, "openweathermap/1", FIRST).await;
    put(&service, "openweathermap/2", SUBSCRIBED).await;
    for latitude in 1..=6 {
        says(&service.get(&onecall(latitude)).await, 200, body_of(ONECALL));
    }
    let with = |key: &str| asked_with(&upstream).iter().filter(|asked| *asked == key).count();
    assert_eq!((with(FIRST), with(SUBSCRIBED), with(API_KEY)), (1, 6, 0), "the other one is tried once");
    let states = service.admin_get("/status").await.json()["credentials"].clone();
    assert_eq!((&states[0]["state"], &states[1]["state"]), (&json!("in_use"), &json!("in_use")));
    for place in ["a", "b"] {
        assert_eq!(service.get(&format!("/data/2.5/weather?q={place}")).await.status, 200);
    }
    let asked: Vec<_> =
        upstream.requests().iter().rev().take(2).map(|it| parameter(it, "appid").map(str::to_owned)).collect();
    assert!(asked.contains(&Some(FIRST.to_owned())) && asked.contains(&Some(SUBSCRIBED.to_owned())), "{asked:?}");

    // A subscription may have been taken for it meanwhile.
    service.clock.advance(LEFT_ALONE);
    for latitude in 11..=16 {
        says(&service.get(&onecall(latitude)).await, 200, body_of(ONECALL));
    }
    assert_eq!((with(FIRST), with(SUBSCRIBED), with(API_KEY)), (2, 12, 0));
    // When the one that has it is gone, it is found out of the last one, too, and then nobody is asked.
    let gone = service.admin_request(Method::DELETE, "/credentials/openweathermap/2").bearer_auth(TOKEN);
    assert_eq!(answer(gone).await.status, 204);
    for latitude in 21..=23 {
        says(&service.get(&onecall(latitude)).await, 401, NOT_IN_PLAN);
    }
    assert_eq!((with(FIRST), with(SUBSCRIBED), with(API_KEY)), (2, 12, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_given_though_the_plan_has_ended_and_the_other_replica_is_told_the_same() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let setup = || Setup::redis(&upstream, &redis);
    let mut one = setup().start().await;
    one.store_up().await;
    let mut other = setup().clock(&one.clock).start().await;
    other.store_up().await;
    upstream.reply(Reply::json(200, body_of(ONECALL)));
    assert_eq!(one.get(&onecall(1)).await.x_cache(), "MISS");
    upstream.reply(Reply::json(401, NOT_IN_PLAN));
    one.clock.advance(Duration::from_secs(661));
    for replica in [&one, &other] {
        let stale = replica.get(&onecall(1)).await;
        assert_eq!((stale.status.as_u16(), stale.x_cache(), stale.text()), (200, "STALE", body_of(ONECALL)));
        says(&replica.get(&onecall(2)).await, 401, NOT_IN_PLAN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_where_every_plan_has_the_endpoint_is_about_the_key() {
    let upstream = ScriptedUpstream::start(Reply::json(401, super::INVALID_KEY)).await;
    let service = Setup::memory(&upstream).start().await;
    says(&service.get("/data/2.5/forecast?q=London").await, 401, super::INVALID_KEY);
    says(&service.get("/data/2.5/weather?q=London").await, 401, super::INVALID_KEY);
    assert!(service.admin_get("/readyz").await.text().contains("refuses the key"));
    assert_eq!(upstream.calls(), 1);
    // And on our own paths it is what it is there.
    let own = service.get("/forecast/London").await;
    assert_eq!((own.status.as_u16(), own.code().as_str()), (502, "upstream-rejected-key"));
    is_an_error(&service.get("/data/2.5/weather?q=London&mode=xml").await, 400);
}
