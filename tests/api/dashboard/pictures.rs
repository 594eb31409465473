//! The pictures of the dashboard, taken of the real program with some minutes' worth of callers. `scripts/screenshots` runs this.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use stratus::consumers::entry;

use crate::browser::harness::{Browser, Key, Look};
use crate::harness::{Redis, Reply, ScriptedUpstream, Setup, body};

const APPS: [(&str, u32, Option<&str>); 4] = [
    ("kiosk-lobby", 600, Some("2027-06-01")),
    ("mobile-app", 3_000, None),
    ("home-assistant", 120, Some("2027-03-01")),
    ("old-widget", 60, Some("2027-02-01")),
];
/// How long there are callers before the pictures are taken, in events of a second.
const EVENTS: u32 = 100;

/// Asks for places as apps do, most for few of them, until it is dropped; or for new ones only.
async fn callers(public: SocketAddr, new_ones: bool) {
    let client = Client::builder().no_proxy().build().expect("a client");
    for number in 0_u32.. {
        let app = [1, 0, 1, 1, 3, 1, 0, 2, 1, 1][number as usize % 10];
        let place = if number.is_multiple_of(7) { number / 40 % 50 } else { number % 9 };
        let place = if new_ones { 1_000_000 + number } else { place };
        let request = client.get(format!("http://{public}/weather/id:{}", 2_643_743 + place));
        let _ = request.bearer_auth(APPS[app].0).send().await;
        // Busier and quieter.
        let wave = (f64::from(number) / 120.0).sin();
        tokio::time::sleep(Duration::from_secs_f64(0.05 + 0.03 * wave)).await;
    }
}

async fn picture(browser: &Browser, name: &str, look: Look) {
    let folder = std::env::var("STRATUS_PICTURES").expect("STRATUS_PICTURES: scripts/screenshots sets it");
    browser.look(look).await;
    browser.run("scrollTo(0, 0); document.activeElement.blur()").await;
    browser.until("no bar that is on its way", "document.getAnimations().length === 0").await;
    let file = Path::new(&folder).join(name).with_extension("png");
    std::fs::write(file, browser.picture().await).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes pictures: scripts/screenshots"]
async fn the_dashboard_has_its_pictures() {
    let mut redis = Redis::start().await;
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let consumers = redis.secret("consumers.toml");
    let entries = APPS.map(|(name, per_minute, ends)| entry(name, per_minute, name.as_bytes(), ends)).concat();
    std::fs::write(&consumers, entries).expect("a file");
    let setup = Setup::redis(&upstream, &redis).set("access.consumers_file", consumers.display());
    let setup = setup.set("upstream.budget_per_minute", 600).set("upstream.budget_per_day", 30_000);
    let setup = setup.set("upstream.budget_per_month", 1_000_000).set("cache.memory_max_bytes", 1 << 26);
    let program = setup.program().await;

    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", program.admin())).await;
    browser.shows("door", "Admin token").await;
    browser.type_text(std::fs::read_to_string(redis.secret("admin-token")).expect("the token").trim()).await;
    browser.press(&[Key::Enter]).await;
    browser.shows("link", "Live").await;
    let asking = tokio::spawn(callers(program.public(), false));
    browser
        .run(
            "window.looks = 0; new MutationObserver(() => { window.looks += 1; })
             .observe(document.getElementById('pace-chart'), { subtree: true, attributeFilter: ['d'] });",
        )
        .await;
    // Each wait in a browser has its end, and this one is longer.
    for events in (10..=EVENTS).step_by(10) {
        browser.until("callers for a while", &format!("window.looks >= {events}")).await;
    }
    picture(&browser, "dashboard", Look { height: 910, ..Look::DESKTOP }).await;
    picture(&browser, "dashboard-dark", Look { height: 910, ..Look::DESKTOP }.dark()).await;
    picture(&browser, "dashboard-phone", Look { height: 1_500, ..Look::PHONE }).await;
    upstream.reply(Reply::json(500, ""));
    let asking_for_new_ones = tokio::spawn(callers(program.public(), true));
    browser.shows("breaker", "Not called").await;
    // Not before: a replica that is alone has hardly a call left to find out that they fail.
    redis.server.stop().await;
    browser.shows("verdict", "Redis is away").await;
    picture(&browser, "dashboard-trouble", Look { height: 1_100, ..Look::DESKTOP }).await;
    for asking in [asking, asking_for_new_ones] {
        asking.abort();
    }
}
