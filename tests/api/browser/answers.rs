//! How an answer came about is shown as it was.

use std::time::Duration;

use super::{Stage, weather};
use crate::harness::{Redis, Reply, ScriptedUpstream, Setup};

/// Which level is marked as the one that had the answer.
const LEVEL: &str = "return document.querySelector('#levels [aria-current]').dataset.level";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn a_miss_then_a_hit_then_nothing_new_then_a_stale_copy_are_told_apart() {
    let stage = Stage::new().await;
    stage.open_london().await;
    stage.browser.shows("result", "MISS").await;
    stage.browser.shows("result-words", "OpenWeatherMap was asked, and the answer is kept").await;
    stage.browser.shows("cache-status", "stratus; fwd=miss; fwd-status=200; stored").await;
    stage.browser.shows("bytes", &format!("{} bytes", weather("London").len())).await;
    assert_eq!(stage.browser.run(LEVEL).await, "source");
    assert!(stage.browser.text("etag").await.starts_with('"'));
    assert_eq!(stage.browser.text("limit").await, "none");

    stage.browser.click("#search button").await;
    stage.browser.shows("result", "HIT").await;
    stage.browser.shows("result-words", "From this service’s memory. OpenWeatherMap was not asked.").await;
    assert_eq!(stage.browser.run(LEVEL).await, "memory");

    stage.service.clock.advance(Duration::from_secs(100));
    stage.ask_again().await;
    stage.browser.shows("bytes", "unchanged, 0 bytes").await;
    stage.browser.shows("result-words", "Unchanged").await;
    stage.browser.shows("age", "100 s").await;
    // Of five minutes two thirds were left when it came.
    let bar = "(() => {
        const bar = document.getElementById('bar');
        const share = bar.firstElementChild.getBoundingClientRect().width / bar.clientWidth;
        return bar.ariaValueMax === '300' && +bar.ariaValueNow <= 200 && share > 0 && share < .67;
    })()";
    stage.browser.until("a bar of two thirds", bar).await;

    stage.upstream.reply(Reply::json(500, ""));
    stage.service.clock.advance(Duration::from_secs(210));
    stage.ask_again().await;
    stage.browser.shows("result", "STALE").await;
    stage.browser.shows("result-words", "A copy that is a little old").await;
    stage.browser.shows("left", "Past its time: the next question renews it").await;
    stage.browser.shows("name", "London").await;
    let results = stage.browser.run("return [...document.querySelectorAll('#log b')].map((b) => b.textContent)").await;
    assert_eq!(results, serde_json::json!(["STALE", "HIT", "HIT", "MISS"]));
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn freshness_runs_down_before_the_eyes_and_at_its_end_the_next_question_is_said_to_renew_it() {
    let stage = Stage::with(|setup| setup.set("cache.fresh_secs", 3)).await;
    stage.open_london().await;
    stage.browser.shows("left", "Its time is over: the next question renews it").await;
    let gone = "document.getElementById('bar').firstElementChild.getBoundingClientRect().width < 1";
    stage.browser.until("an empty bar", gone).await;
    assert_eq!(stage.browser.run("return document.getElementById('bar').ariaValueNow").await, "0");
    stage.service.clock.advance(Duration::from_secs(3));
    // By now it is stale for the service, too, and renewed behind the answer.
    stage.ask_again().await;
    stage.browser.shows("result", "STALE").await;
    stage.upstream.wait_for_calls(2).await;
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn an_answer_out_of_redis_is_said_to_be_from_there() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, weather("London"))).await, Redis::start().await);
    let service = Setup::redis(&upstream, &redis).start().await;
    let stage = Stage { upstream, service, browser: super::harness::Browser::start().await };
    stage.open_london().await;
    stage.browser.shows("result", "MISS").await;
    stage.ask_again().await;
    stage.browser.shows("result", "HIT").await;
    stage.browser.shows("result-words", "From Redis, where it lies sealed.").await;
    assert_eq!(stage.browser.run(LEVEL).await, "redis");
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn weather_that_is_made_up_is_marked() {
    let simulated = |setup: Setup| setup.set("upstream.api_key", "").set("upstream.simulate_without_key", true);
    let stage = Stage::with(simulated).await;
    stage.open("#London").await;
    stage.browser.shows("simulated", "Simulated").await;
    stage.browser.shows("result-words", "The simulated OpenWeatherMap was asked").await;
    stage.quiet().await;
}
