//! What is wrong is told in OpenWeatherMap's form, also where OpenWeatherMap had no part in it; and a copy is better than an
//! error.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;

use super::{
    BLOCKED, CITY_NOT_FOUND, EACH, INVALID_KEY, LONDON, UNKNOWN_PATH, body_of, endpoint, get_the_long_way,
    has_their_headers, is_an_error, retry_after, says, service_on_everything,
};
use crate::harness::{API_KEY, Answer, Gate, Reply, ScriptedUpstream, Service, Setup, answer};

const LONDON_PATH: &str = "/data/2.5/weather";
const PAGES: &str = "/data/4.0/onecall/timeline/1h?lat=51.51&lon=-0.13";

/// On the short way, on the long one, and where answers come in pages.
async fn each_way(service: &Service, place: usize) -> [Answer; 3] {
    let path = format!("/data/2.5/weather?id={place}");
    let pages = format!("/data/4.0/onecall/timeline/1h?lat={}&lon=1", place % 90);
    [service.get(&path).await, get_the_long_way(service, &path).await, service.get(&pages).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_its_limit_is_told_that_it_is_blocked_and_until_when() {
    let upstream = super::everything().await;
    let service = Setup::memory(&upstream).set("access.anonymous_per_minute", 2).start().await;
    for _ in 0..2 {
        assert_eq!(service.get(LONDON).await.status, 200);
    }
    for refused in each_way(&service, 1).await {
        says(&refused, 429, BLOCKED);
        assert!((1..=63).contains(&retry_after(&refused)), "{refused:?}");
        assert_eq!(
            (refused.header("cache-control"), refused.header("ratelimit-policy")),
            ("no-store", "\"address\";q=2;w=60")
        );
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_budget_is_spent_what_is_not_kept_is_blocked_and_what_is_kept_is_answered() {
    let upstream = super::everything().await;
    let setup = Setup::memory(&upstream).set("upstream.budget_per_minute", 10).set("upstream.max_replicas", 1);
    let service = setup.start().await;
    assert_eq!(service.get(LONDON).await.status, 200);
    let paths: Vec<_> = (1..=20).map(|place| format!("/data/2.5/weather?id={place}")).collect();
    let answers = join_all(paths.iter().map(|path| service.get(path))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(refused.len() >= 11, "{}", refused.len());
    for refused in refused {
        says(refused, 429, BLOCKED);
        assert!((1..=71).contains(&retry_after(refused)), "{refused:?}");
    }
    assert!(upstream.calls() <= 10);
    assert_eq!(service.get(LONDON).await.x_cache(), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_away_fails_or_talks_nonsense_is_an_error_in_json() {
    for (reply, status) in [
        (Reply::json(502, "<html><body>502 Bad Gateway</body></html>"), 503),
        (Reply::json(500, "<html>"), 502),
        (Reply::json(404, "<html>404 page not found</html>"), 502),
        (Reply::json(200, "<html>"), 502),
        (Reply::json(200, "[]"), 502),
        (Reply::json(200, r#"{"cod":200}"#), 502),
        (Reply::json(302, "").header("Location", "https://elsewhere.example/"), 502),
    ] {
        let upstream = ScriptedUpstream::start(reply).await;
        let service = Setup::memory(&upstream).start().await;
        for failed in each_way(&service, 1).await {
            is_an_error(&failed, status);
        }
    }
    let (upstream, service) = service_on_everything().await;
    upstream.stop();
    // Until the upstream is left alone, and then.
    for place in 1..=12 {
        for failed in each_way(&service, place).await {
            is_an_error(&failed, 503);
            assert!(retry_after(&failed) >= 1);
        }
    }
    upstream.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_repeats_our_key_in_an_error_is_not_quoted() {
    for (status, cod, instead) in [(404, r#""404""#, CITY_NOT_FOUND), (401, "401", INVALID_KEY), (429, "429", BLOCKED)]
    {
        let words = format!(r#"{{"cod":{cod},"message":"not with appid={API_KEY}"}}"#);
        let upstream = ScriptedUpstream::start(Reply::json(status, words)).await;
        let service = Setup::memory(&upstream).start().await;
        for failed in [service.get(LONDON).await, service.get(LONDON).await] {
            says(&failed, status, instead);
        }
        assert_eq!(upstream.calls(), 1);
    }
    let words = format!(r#"{{"cod":"500","message":"{API_KEY}"}}"#);
    let upstream = ScriptedUpstream::start(Reply::json(500, words)).await;
    let failed = Setup::memory(&upstream).start().await.get(LONDON).await;
    is_an_error(&failed, 502);
    assert!(!failed.text().contains(API_KEY), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_hangs_is_a_timeout_and_so_is_a_question_that_takes_too_long() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    let slow = Setup::memory(&upstream).set("upstream.timeout_ms", 200).start().await;
    let setup = Setup::memory(&upstream).set("upstream.timeout_ms", 600_000);
    let limited = setup.set("server.request_timeout_ms", 200).start().await;
    for service in [&slow, &limited] {
        for failed in each_way(service, 1).await {
            is_an_error(&failed, 504);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_for_the_upstream_the_service_is_unavailable_and_a_refused_one_is_401() {
    let upstream = ScriptedUpstream::start(Reply::json(401, INVALID_KEY)).await;
    let keyless = Setup::memory(&upstream).set("admin.token", "token").set("upstream.api_key", "").start().await;
    for failed in each_way(&keyless, 1).await {
        is_an_error(&failed, 503);
        assert_eq!(retry_after(&failed), 60);
    }
    assert_eq!(upstream.calls(), 0);
    let service = Setup::memory(&upstream).start().await;
    for _ in 0..2 {
        for refused in [service.get(LONDON).await, get_the_long_way(&service, LONDON).await] {
            says(&refused, 401, INVALID_KEY);
            assert_eq!((refused.header("cache-control"), refused.x_cache()), ("no-store", "MISS"));
        }
    }
    assert_eq!(upstream.calls(), 1, "it is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_when_too_many_wait_is_sent_away() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body_of(LONDON_PATH)))).await;
    let service = Setup::memory(&upstream).set("cache.max_waiters", 1).start().await;
    let others = async {
        upstream.wait_for_calls(1).await;
        for refused in each_way(&service, 1).await {
            is_an_error(&refused, 503);
            assert_eq!(retry_after(&refused), 1);
        }
        gate.open();
    };
    let (waited, ()) = tokio::join!(service.get(LONDON), others);
    says(&waited, 200, body_of(LONDON_PATH));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_when_too_many_are_being_answered_gets_what_is_in_memory_or_is_sent_away() {
    let (upstream, service) = {
        let upstream = super::everything().await;
        let service = Setup::memory(&upstream).set("server.max_requests_in_flight", 1).start().await;
        (upstream, service)
    };
    for known in [LONDON, PAGES] {
        assert_eq!(service.get(known).await.status, 200);
    }
    let gate = Gate::new();
    upstream.reply(Reply::gated(gate.clone(), Reply::json(200, body_of(LONDON_PATH))));
    let others = async {
        upstream.wait_for_calls(3).await;
        for refused in each_way(&service, 1).await {
            is_an_error(&refused, 503);
            assert_eq!(retry_after(&refused), 1);
        }
        for known in [LONDON, PAGES] {
            assert_eq!(service.get(known).await.x_cache(), "HIT");
        }
        gate.open();
    };
    let (waited, ()) = tokio::join!(service.get("/data/2.5/weather?q=Oslo"), others);
    says(&waited, 200, body_of(LONDON_PATH));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_every_origin_may_read_answers_and_errors_unless_origins_are_listed() {
    let upstream = super::everything().await;
    let preflight = async |service: &Service, origin: &str| {
        let request = service.request(Method::OPTIONS, LONDON).header("origin", origin);
        answer(request.header("access-control-request-method", "GET")).await
    };
    let open = Setup::memory(&upstream).start().await;
    let allowed = preflight(&open, "https://app.example").await;
    assert_eq!((allowed.status.as_u16(), allowed.header("access-control-allow-origin")), (200, "*"));
    // OpenWeatherMap names POST in its answers; who asks before that is told what is true.
    let methods: Vec<_> = allowed.headers.get_all("access-control-allow-methods").iter().collect();
    assert_eq!(methods, ["GET,HEAD"]);

    let listed = Setup::memory(&upstream).set("server.allow_origins", "https://app.example").start().await;
    for (origin, told) in [("https://app.example", "https://app.example"), ("https://evil.example", "")] {
        assert_eq!(preflight(&listed, origin).await.header("access-control-allow-origin"), told);
        for path in [LONDON, PAGES, "/data/2.5/weather?q=", "/data/2.5/nothing"] {
            let given = answer(listed.request(Method::GET, path).header("origin", origin)).await;
            assert_eq!(given.header("access-control-allow-origin"), told, "{path}");
            assert_eq!(given.header("access-control-allow-credentials"), "", "{path}");
            assert_eq!(given.header("content-type"), "application/json; charset=utf-8", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_nothing_and_for_other_methods_the_answer_is_theirs_too() {
    let (upstream, service) = service_on_everything().await;
    for path in [
        "/data/2.5/",
        "/data/",
        "/geo/",
        "/geo/1.0/",
        "/data/3.0/weather",
        "/data/2.5/weather//x",
        "/data/2.5/Weather?q=London",
        "//data/2.5/nothing?q=London",
        "/data/2.5/weather%2F?q=London",
        "/data/2.5/onecall/nothing?lat=1&lon=1",
        "/geo/1.0/nothing?q=London&appid=x",
    ] {
        for answered in [service.get(path).await, get_the_long_way(&service, path).await] {
            says(&answered, 404, UNKNOWN_PATH);
        }
    }
    for path in [LONDON, PAGES, "/geo/1.0/direct?q=London"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let refused = answer(service.request(method, path)).await;
            is_an_error(&refused, 405);
            assert_eq!(refused.header("allow"), "GET,HEAD");
        }
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn xml_html_and_padding_are_refused_on_every_path_that_could_have_them() {
    let (upstream, service) = service_on_everything().await;
    for case in &EACH {
        for wrong in ["mode=xml", "mode=HTML", "callback=show", "mode=xml&mode=json"] {
            is_an_error(&service.get(&format!("{}&{wrong}", case.question)).await, 400);
        }
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_dead_is_given_when_the_upstream_fails_and_when_there_is_no_call_for_it() {
    let (upstream, service) = service_on_everything().await;
    for case in &EACH {
        upstream.reply_with(|request| Reply::json(200, body_of(&request.path)));
        // However long the upstream was left alone after the one before.
        service.clock.advance(Duration::from_secs(100_000));
        assert_eq!(service.get(case.question).await.x_cache(), "MISS", "{}", case.question);
        upstream.reply(Reply::json(500, r#"{"cod":"500","message":"Internal error: 500001"}"#));
        service.clock.advance(Duration::from_secs(case.fresh + 61));
        let stale = service.get(case.question).await;
        assert_eq!((stale.status.as_u16(), stale.x_cache(), stale.text()), (200, "STALE", case.body));
        assert_eq!(stale.header("age"), (case.fresh + 61).to_string());
        has_their_headers(&stale);
        service.clock.advance(Duration::from_secs(3_600));
        let dead = service.get(case.question).await;
        assert_eq!((dead.status.as_u16(), dead.x_cache()), (500, "MISS"), "{}", endpoint(case.question).name);
    }
}
