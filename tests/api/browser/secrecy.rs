//! What the page asks, keeps and lets run: its own service, nothing, and itself.

use super::Stage;
use super::harness::{Browser, PATIENCE, runs};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn the_page_asks_its_own_service_and_nobody_else_and_nothing_of_it_stays_in_the_browser() {
    let stage = Stage::new().await;
    stage.open_london().await;
    let first = stage.browser.run("return performance.getEntriesByType('resource')[0].responseEnd").await;
    let requests = stage.browser.requests().await;
    let targets: Vec<_> = requests.iter().map(|sent| sent.url.path()).collect();
    assert_eq!(targets, ["/", "/weather/London"], "one for the page, one for the weather");
    println!(
        "the page: {} requests, {} bytes over the wire for the page and {} for the weather, heads included; first weather after {} ms",
        requests.len(),
        requests[0].bytes,
        requests[1].bytes,
        first.as_f64().unwrap_or_default().round(),
    );

    stage.search("Rome").await;
    stage.browser.until("the next", "document.querySelectorAll('#log li').length === 2").await;
    stage.ask_again().await;
    stage.search("..").await;
    stage.browser.shows("trouble", "place").await;
    for sent in stage.browser.requests().await.iter().chain(&requests) {
        let origin = (sent.url.host_str(), sent.url.port());
        assert_eq!(origin, (Some("127.0.0.1"), Some(stage.service.public.port())), "{sent:?}");
        let tells = |(name, value): &(String, String)| matches!(&**name, "referer" | "cookie") && !value.is_empty();
        assert!(!sent.headers.iter().any(tells), "{sent:?}");
    }
    assert_eq!(stage.browser.left_behind().await, serde_json::json!([]));
    stage.quiet().await;
    // That it would be noticed.
    stage.browser.run("localStorage.place = 'London'; new Image().src = 'http://127.0.0.1:9/'").await;
    assert_eq!(stage.browser.left_behind().await, serde_json::json!(["place"]));
    stage.browser.complains_of("Content Security Policy").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn nothing_runs_on_the_page_but_its_own_script_and_no_text_becomes_markup() {
    let stage = Stage::new().await;
    stage.open_london().await;
    stage.quiet().await;
    for attempt in [
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.insertAdjacentHTML('beforeend', '<img src=x>')",
        "const s = document.createElement('script'); s.text = 'document.title = 1'; document.body.append(s)",
        "document.body.setAttribute('onclick', 'document.title = 1')",
    ] {
        let failed = stage.browser.run(&format!("try {{ {attempt}; return false; }} catch {{ return true; }}")).await;
        assert_eq!(failed, true, "{attempt}");
    }
    for attempt in [
        "document.body.setAttribute('style', 'display: none')",
        "document.head.append(document.createElement('style')); document.head.lastChild.textContent = '* { display: none }'",
        "document.body.append(document.createElement('iframe')); document.body.lastChild.src = 'http://127.0.0.1:9/'",
        "fetch('http://127.0.0.1:9/').catch(() => 0)",
        "document.body.append(document.createElement('base')); document.body.lastChild.href = 'http://127.0.0.1:9/'",
    ] {
        stage.browser.complaints().await;
        stage.browser.run(attempt).await;
        stage.browser.complains_of("Content Security Policy").await;
    }
    assert!(stage.browser.text("name").await.contains("London"), "it is all still there");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn a_browser_ends_with_its_test_even_if_that_fails() {
    let processes = tokio::spawn(async {
        let browser = Browser::start().await;
        browser.open("data:text/html,x").await;
        let processes = browser.processes();
        // What a failed test does, without its report.
        drop(browser);
        processes
    });
    let processes = processes.await.expect("a browser");
    assert!(processes.len() > 3, "the driver, the browser and its parts: {processes:?}");
    let ended = async {
        while processes.iter().any(|pid| runs(*pid)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("all of them end");
}
