//! What callers can do with odd questions: whatever becomes of those, the others are answered.

use std::time::Duration;

use super::{body_of, is_an_error, says};
use crate::harness::{Reply, ScriptedUpstream, Service, Setup};

/// More than failures in a row that open the breaker.
const MANY: usize = 8;
const BAD_LIMIT: &str = r#"{"message":"exception: limit must be >=0","cod":"500"}"#;

/// An upstream that gives this reply below a path, and everything elsewhere.
async fn upstream(below: &'static str, reply: Reply) -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(move |request| match request.path.starts_with(below) {
        true => reply.clone(),
        false => Reply::json(200, body_of(&request.path)),
    });
    upstream
}

async fn weather_is_answered(service: &Service) {
    let weather = service.get("/data/2.5/weather?q=London").await;
    assert_eq!((weather.status.as_u16(), weather.x_cache()), (200, "MISS"), "{weather:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_the_upstream_trips_over_stop_no_others() {
    let upstream = upstream("/data/2.5/find", Reply::json(200, BAD_LIMIT)).await;
    let service = Setup::memory(&upstream).start().await;
    for count in 1..=MANY {
        says(&service.get(&format!("/data/2.5/find?lat=55.5&lon=37.5&cnt={count}")).await, 200, BAD_LIMIT);
    }
    weather_is_answered(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_is_left_alone_and_the_others_are_not() {
    let upstream = upstream("/data/2.5/forecast/hourly", Reply::json(502, "<html>")).await;
    let service = Setup::memory(&upstream).start().await;
    for count in 1..=MANY {
        is_an_error(&service.get(&format!("/data/2.5/forecast/hourly?q=London&cnt={count}")).await, 503);
    }
    let calls = upstream.calls();
    // Its own breaker knows: no further call goes there.
    is_an_error(&service.get("/data/2.5/forecast/hourly?q=London").await, 503);
    assert_eq!(upstream.calls(), calls);
    weather_is_answered(&service).await;
    // And it is tried again.
    upstream.reply_with(|request| Reply::json(200, body_of(&request.path)));
    service.clock.advance(Duration::from_secs(120));
    assert_eq!(service.get("/data/2.5/forecast/hourly?q=London").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_icon_that_is_forbidden_says_nothing_about_the_key() {
    let upstream = upstream("/img/", Reply::json(403, "<Error><Code>AccessDenied</Code></Error>")).await;
    let service = Setup::memory(&upstream).set("server.images", true).start().await;
    for number in 20..20 + MANY {
        assert_eq!(service.get(&format!("/img/wn/{number}d.png")).await.status, 404);
    }
    weather_is_answered(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_the_plan_does_not_have_says_nothing_about_the_key() {
    let upstream = upstream("/map/", Reply::json(401, super::INVALID_KEY)).await;
    let service = Setup::memory(&upstream).set("server.images", true).start().await;
    for number in 0..MANY {
        assert_eq!(service.get(&format!("/map/paid_layer/1/0/{number}.png")).await.status, 401);
    }
    weather_is_answered(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_before_the_upstream_that_forbids_a_question_closes_neither_its_endpoint_nor_others() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| match request.target.contains("script") {
        true => Reply::json(403, "<html>Access denied</html>"),
        false => Reply::json(200, body_of(&request.path)),
    });
    let service = Setup::memory(&upstream).start().await;
    for number in 0..MANY {
        let path = format!("/data/4.0/onecall/current?lat=1&lon=1&x=<script>{number}");
        is_an_error(&service.get(&path).await, 502);
    }
    assert_eq!(service.get("/data/4.0/onecall/current?lat=1&lon=1").await.status, 200);
    weather_is_answered(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_whose_links_cannot_be_passed_on_stop_no_other_questions() {
    let page = r#"{"data":[],"next":"https://api.openweathermap.org/data/4.0/onecall/current?page=2"}"#;
    let upstream = upstream("/data/4.0/", Reply::json(200, page)).await;
    let service = Setup::memory(&upstream).start().await;
    for number in 0..MANY {
        is_an_error(&service.get(&format!("/data/4.0/onecall/current?lat={number}&lon=1")).await, 502);
    }
    weather_is_answered(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_only_make_more_records_of_one_answer_cost_no_call() {
    let upstream = super::everything().await;
    let service = Setup::memory(&upstream).start().await;
    for path in ["/data/2.5/forecast?q=London&cnt=", "/data/2.5/find?q=London&cnt=", "/geo/1.0/direct?q=London&limit="]
    {
        assert_eq!(service.get(&format!("{path}-1")).await.x_cache(), "MISS");
        assert_eq!(service.get(&format!("{path}-10")).await.x_cache(), "HIT", "{path}");
    }
    for (path, most) in [("/data/2.5/forecast?q=London&cnt=", 40), ("/geo/1.0/direct?q=London&limit=", 5)] {
        assert_eq!(service.get(&format!("{path}{most}")).await.x_cache(), "MISS");
        for more in ["41", "1000", "18446744073709551615"] {
            assert_eq!(service.get(&format!("{path}{more}")).await.x_cache(), "HIT", "{path}{more}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_files_that_has_had_enough_says_nothing_about_the_account() {
    let upstream = upstream("/img/", Reply::json(429, "<html>")).await;
    let service = Setup::memory(&upstream).set("server.images", true).start().await;
    for number in 20..20 + MANY {
        assert!(service.get(&format!("/img/wn/{number}d.png")).await.status.is_server_error());
    }
    weather_is_answered(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_a_guard_before_the_upstream_takes_for_an_attack_does_not_cost_us_the_key() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| match request.target.contains("union") {
        true => Reply::json(403, "<html>Access denied</html>"),
        false => Reply::json(200, body_of(&request.path)),
    });
    let service = Setup::memory(&upstream).start().await;
    is_an_error(&service.get("/data/2.5/weather?q=x'+union+select+password--").await, 502);
    assert_eq!(service.admin_get("/readyz").await.text(), "ready\n");
    weather_is_answered(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_icon_does_not_vouch_for_a_key_with_which_nobody_asked() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| match request.path.starts_with("/img/") {
        true => Reply::json(200, &b"\x89PNG\r\n\x1a\n"[..]),
        false => Reply::json(401, super::INVALID_KEY),
    });
    let setup = Setup::memory(&upstream).set("server.images", true).set("upstream.api_key", "");
    let service = setup.set("admin.token", "a-token").start().await;
    let request = service.admin_request(reqwest::Method::PUT, "/credentials/openweathermap/1").bearer_auth("a-token");
    let put = crate::harness::answer(request.json(&serde_json::json!({"secret": "a-refused-key", "ttl_secs": 86_400})));
    assert!(put.await.status.is_success());
    says(&service.get("/data/2.5/weather?q=London").await, 401, super::INVALID_KEY);
    let state = || async { service.admin_get("/status").await.json()["credentials"][0]["state"].clone() };
    assert_eq!(state().await, "put_aside");
    service.clock.advance(Duration::from_secs(120));
    assert_eq!(service.get("/img/wn/10d.png").await.status, 200);
    assert_eq!(state().await, "put_aside");
    assert!(service.admin_get("/readyz").await.text().contains("refuses the key"));
}
