//! What goes wrong is told in sentences, and over when it is over, without a reload.

use std::time::Duration;

use stratus::consumers::{KeyDigest, generate_key};

use super::harness::{Browser, Key};
use super::{Stage, weather};
use crate::harness::{Reply, ScriptedUpstream, Setup, TcpProxy};

/// What a countdown says, as a number.
const LEFT: &str = r"Number(/\d+/.exec(document.getElementById('trouble-wait').textContent)?.[0] ?? NaN)";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn who_asks_too_often_is_told_and_sees_the_seconds_run_down_beside_what_was_there() {
    let stage = Stage::with(|setup| setup.set("access.anonymous_per_minute", 2)).await;
    stage.open_london().await;
    stage.browser.shows("limit", "1 of 2 left for the next").await;
    stage.ask_again().await;
    stage.browser.click("#again").await;
    stage.browser.shows("trouble-title", "That was often").await;
    stage.browser.shows("trouble-words", "What you see below is from before.").await;
    stage.browser.shows("trouble-wait", "You may ask again in").await;
    let left = stage.browser.run(&format!("return {LEFT}")).await.as_f64().expect("seconds");
    assert!((1.0..=63.0).contains(&left), "{left}");
    stage.browser.until("the seconds run down", &format!("{LEFT} < {left}")).await;
    assert!(stage.browser.text("name").await.contains("London"));
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn a_service_that_is_gone_is_told_and_found_again_by_itself_and_by_the_button() {
    let upstream = ScriptedUpstream::start(Reply::json(200, weather("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    let between = TcpProxy::start(service.public.port()).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://127.0.0.1:{}/#London", between.port())).await;
    browser.shows("name", "London").await;
    for by_itself in [true, false] {
        between.cut();
        browser.click("#again").await;
        browser.shows("trouble-title", "The service does not answer").await;
        browser.shows("trouble-words", "What you see below is from before.").await;
        browser.shows("trouble-wait", "Asking again in").await;
        between.mend().await;
        if !by_itself {
            browser.run("document.getElementById('retry').click()").await;
        }
        browser.until("it is found again", "document.getElementById('trouble').hidden").await;
        browser.shows("result", "HIT").await;
    }
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|line| line.contains("net::ERR_")), "{complaints:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn an_upstream_that_is_gone_is_told_and_asked_for_again_when_the_answer_said() {
    let stage = Stage::new().await;
    stage.upstream.stop();
    stage.open("#London").await;
    stage.browser.shows("trouble-title", "OpenWeatherMap cannot be reached").await;
    stage.browser.shows("trouble-detail", "upstream-unavailable · HTTP 503").await;
    stage.browser.shows("trouble-wait", "Asking again in").await;
    stage.upstream.restart().await;
    // The service leaves it alone for a while.
    stage.service.clock.advance(Duration::from_secs(120));
    stage.browser.shows("name", "London").await;
    assert_eq!(stage.browser.text("trouble").await, "");
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn a_key_is_asked_for_where_one_is_needed_and_is_kept_nowhere_but_in_the_page() {
    let key = generate_key().expect("random bytes").to_string();
    let consumers = tempfile::NamedTempFile::new().expect("a file");
    let digest = KeyDigest::of(key.as_bytes());
    let entry = format!("[[consumer]]\nname = \"kiosk\"\nper_minute = 60\nkeys = [{{ sha256 = \"{digest}\" }}]\n");
    std::fs::write(consumers.path(), entry).expect("a file");
    let stage = Stage::with(|setup| {
        setup.set("access.required", true).set("access.consumers_file", consumers.path().display())
    });
    let stage = stage.await;
    stage.open("#London").await;
    stage.browser.shows("key-why", "This service answers only those who have a key.").await;
    // The field has the focus already.
    for wrong in ["nonsense", "schlüssel"] {
        stage.browser.until("the field has the focus", "document.activeElement.id === 'consumer-key'").await;
        stage.browser.type_text(wrong).await;
        stage.browser.press(&[Key::Enter]).await;
        stage.browser.shows("trouble-title", "This key is not accepted").await;
    }
    stage.browser.type_text(&key).await;
    stage.browser.press(&[Key::Enter]).await;
    stage.browser.shows("name", "London").await;
    stage.browser.shows("limit", "59 of 60 left").await;
    assert_eq!(stage.browser.text("key").await, "");
    assert_eq!(stage.browser.run("return document.activeElement.id").await, "again");

    assert!(!stage.browser.address().await.as_str().contains(&key));
    assert_eq!(stage.browser.left_behind().await, serde_json::json!([]));
    let fields = "return [...document.querySelectorAll('input')].map((field) => field.value).join()";
    assert!(!stage.browser.run(fields).await.to_string().contains(&key));
    let requests = stage.browser.requests().await;
    let with_key = requests.iter().filter(|sent| sent.headers.contains(&("x-api-key".to_owned(), key.clone())));
    assert_eq!(
        (with_key.count(), requests.iter().any(|sent| sent.url.as_str().contains(&key))),
        (1, false),
        "{requests:?}"
    );

    stage.browser.reload().await;
    stage.browser.shows("key", "Consumer key").await;
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn a_long_wait_is_told_in_hours_and_no_wait_at_all_is_no_reason_to_ask_without_end() {
    let stage = Stage::new().await;
    stage.open("").await;
    // What stands between the page and the service may say anything.
    let answers = |seconds: &str| {
        format!(
            "window.asked = 0; fetch = async () => {{ window.asked += 1; return new Response('{{}}', {{ status: 503,
             headers: {{ 'Content-Type': 'application/problem+json', 'Retry-After': '{seconds}' }} }}); }};"
        )
    };
    for (seconds, told) in [("259100", "Asking again in 3 days."), ("5300", "Asking again in 89 min."), ("40", " s.")] {
        stage.browser.run(&format!("{} location.hash = '#{seconds}'", answers(seconds))).await;
        stage.browser.shows("trouble-wait", told).await;
    }
    stage.browser.run(&format!("{} location.hash = '#none'", answers("0"))).await;
    stage.browser.shows("trouble-wait", "Asking again in 1 s.").await;
    stage.quiet().await;
}
