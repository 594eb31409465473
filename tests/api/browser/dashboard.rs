//! The operators' dashboard in a real browser.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use stratus::consumers::entry;

use super::harness::{Browser, Key, Look};
use crate::harness::{Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

const TOKEN: &str = "a-token-for-tests";
const KEY: &str = "the key of a kiosk";
const LOOKS: [Look; 4] = [Look::DESKTOP, Look::DESKTOP.dark(), Look::PHONE, Look::PHONE.dark()];

async fn weather() -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, body("London"))).await
}

async fn open(browser: &Browser, service: &Service) {
    browser.open(&format!("http://{}/", service.admin)).await;
}

/// Asks for London as the kiosk.
async fn ask(service: &Service) {
    let request = service.request(Method::GET, "/weather/London").bearer_auth(KEY);
    assert_eq!(answer(request).await.status, 200);
}

fn consumers(dir: &Path) -> String {
    let file = dir.join("consumers.toml");
    std::fs::write(&file, entry("kiosk", 60, KEY.as_bytes(), Some("2026-09-30"))).expect("a file");
    file.display().to_string()
}

/// The page had nothing to complain of, asked nobody but its own origin, and left nothing in the browser.
async fn well_behaved(browser: &Browser, service: &Service) {
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    let sent = browser.requests().await;
    // A browser begins with a page of its own.
    let sent: Vec<_> = sent.iter().filter(|request| request.url.scheme() != "chrome").collect();
    assert!(sent.len() >= 2, "the page and its stream: {sent:?}");
    for request in sent {
        assert_eq!(request.url.port(), Some(service.admin.port()), "{request:?}");
        assert_eq!(request.url.host_str(), Some("127.0.0.1"), "{request:?}");
    }
    assert_eq!(browser.left_behind().await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn the_dashboard_asks_for_the_token_and_then_shows_figures_that_follow_what_happens() {
    let (upstream, dir) = (weather().await, tempfile::tempdir().expect("a folder"));
    let setup = Setup::memory(&upstream).set("admin.token", TOKEN);
    let service = setup.set("access.consumers_file", consumers(dir.path())).start().await;
    let browser = Browser::start().await;
    open(&browser, &service).await;
    browser.shows("door", "Admin token").await;
    assert_eq!(browser.text("board").await, "", "no figure is there before the token is");
    // By keyboard only: the field has the focus.
    browser.type_text("wrong").await;
    browser.press(&[Key::Enter]).await;
    browser.shows("door-fault", "not the token").await;
    browser.type_text(TOKEN).await;
    browser.press(&[Key::Enter]).await;
    browser.shows("link", "Live").await;
    browser.shows("verdict", "A consumer is without a key soon").await;
    for _ in 0..4 {
        ask(&service).await;
    }
    browser.shows("ratio", "75").await;
    browser.shows("consumers", "4 / 60").await;
    browser.shows("store", "Memory: up").await;
    browser.shows("breaker", "Called as needed").await;
    browser.until("a line", "document.querySelectorAll('#ratio-chart path').length === 2").await;
    assert!(!browser.address().await.as_str().contains(TOKEN));
    well_behaved(&browser, &service).await;
    browser.reload().await;
    browser.shows("door", "Admin token").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn the_dashboard_shows_a_redis_that_is_away_with_its_fix_until_it_is_back() {
    let (upstream, mut redis) = (weather().await, Redis::start().await);
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    let mut service = Setup::redis(&upstream, &redis).start().await;
    service.store_up().await;
    let browser = Browser::start().await;
    open(&browser, &service).await;
    browser.shows("door", "Admin token").await;
    browser.type_text(token.trim()).await;
    browser.press(&[Key::Enter]).await;
    browser.shows("store", "Redis: up").await;
    browser.shows("verdict", "All is well").await;
    browser.shows("certificates", "of Redis itself").await;
    redis.server.stop().await;
    browser.shows("store", "Redis: away").await;
    browser.shows("verdict", "Redis is away").await;
    let status = service.admin_get("/status").await.json();
    browser.shows("store-fix", status["store"]["fix"].as_str().expect("a fix")).await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    redis.restart().await;
    browser.shows("store", "Redis: up").await;
    well_behaved(&browser, &service).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn the_dashboard_tells_when_it_is_not_heard_and_comes_back_by_itself() {
    let upstream = weather().await;
    let service = Setup::memory(&upstream).start().await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(service.admin_request(Method::GET, "/events").send().await.expect("a stream"));
    }
    let browser = Browser::start().await;
    open(&browser, &service).await;
    browser.shows("link", "as many dashboards are open as may be").await;
    browser.shows("link-wait", "trying again in").await;
    drop(others);
    browser.shows("link", "Live").await;
    browser.shows("verdict", "All is well").await;
    well_behaved(&browser, &service).await;
    assert!(service.stop().await);
    browser.shows("link", "trying again in").await;
    browser.shows("now", "Try now").await;
    let pale = "document.getElementById('board').classList.contains('old')";
    browser.until("figures that are marked as old", pale).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn the_dashboard_has_no_barriers_and_fits_a_phone_whatever_it_shows() {
    let upstream = weather().await;
    let dir = tempfile::tempdir().expect("a folder");
    let setup = Setup::memory(&upstream).set("access.consumers_file", consumers(dir.path()));
    let service = setup.set("admin.token", TOKEN).start().await;
    let browser = Browser::start().await;
    open(&browser, &service).await;
    browser.shows("door", "Admin token").await;
    let fits = "return document.documentElement.scrollWidth <= window.innerWidth";
    for look in LOOKS {
        browser.look(look).await;
        assert_eq!(browser.barriers().await, Vec::<String>::new(), "{look:?}, asked for the token");
        assert_eq!(browser.run(fits).await, true, "{look:?}, asked for the token");
    }
    browser.type_text(TOKEN).await;
    browser.press(&[Key::Enter]).await;
    ask(&service).await;
    browser.shows("consumers", "1 / 60").await;
    for look in LOOKS {
        browser.look(look).await;
        assert_eq!(browser.barriers().await, Vec::<String>::new(), "{look:?}");
        assert_eq!(browser.run(fits).await, true, "{look:?}");
    }
    // From the beginning of the page the first stop leads past the heading, and every stop can be seen.
    browser.run("document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')").await;
    browser.press(&[Key::Tab]).await;
    assert_eq!(browser.run("return document.activeElement.className").await, "skip");
    let seen = "const style = getComputedStyle(document.activeElement);
                return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2";
    assert_eq!(browser.run(seen).await, true);
    browser.press(&[Key::Enter, Key::Tab]).await;
    assert_eq!(browser.run("return document.activeElement.getAttribute('aria-labelledby')").await, "h-consumers");
    assert_eq!(browser.run(seen).await, true);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn the_dashboard_reads_out_what_changes_and_not_each_second() {
    let upstream = weather().await;
    let service = Setup::memory(&upstream).start().await;
    let browser = Browser::start().await;
    open(&browser, &service).await;
    browser.shows("verdict", "All is well").await;
    let watch = "window.spoken = 0; window.looks = 0;
        const all = { subtree: true, childList: true, characterData: true };
        for (const node of document.querySelectorAll('[aria-live], [role=status], [role=alert]'))
          new MutationObserver((changes) => { window.spoken += changes.length; }).observe(node, all);
        new MutationObserver(() => { window.looks += 1; })
          .observe(document.getElementById('pace-chart'), { subtree: true, attributes: true });";
    browser.run(watch).await;
    service.get("/weather/London").await;
    browser.until("three further events", "window.looks >= 3").await;
    assert_eq!(browser.run("return window.spoken").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn what_a_hostile_name_says_stays_text_on_the_dashboard() {
    let upstream = weather().await;
    let dir = tempfile::tempdir().expect("a folder");
    let hostile = dir.path().join("<img src=x onerror=window.had=1>");
    std::fs::create_dir(&hostile).expect("a folder");
    let file = consumers(&hostile);
    let service = Setup::memory(&upstream).set("access.consumers_file", &file).start().await;
    let browser = Browser::start().await;
    open(&browser, &service).await;
    browser.shows("link", "Live").await;
    std::fs::write(&file, "not TOML").expect("a file");
    service.reloading.look().await;
    browser.shows("verdict", "<img src=x onerror=window.had=1>").await;
    assert_eq!(browser.run("return document.images.length + (window.had || 0)").await, 0);
    well_behaved(&browser, &service).await;
}
