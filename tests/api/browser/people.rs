//! Whoever sees, hears or moves less well can use the page, too: WCAG 2.2 AA.

use super::harness::{Key, Look};
use super::{Stage, harness::Browser};
use crate::harness::Reply;

/// Every look that the page is held to.
const LOOKS: [Look; 4] = [Look::DESKTOP, Look::DESKTOP.dark(), Look::PHONE, Look::PHONE.dark()];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn axe_finds_no_barrier_on_the_empty_page_with_weather_or_with_an_error_light_or_dark_wide_or_narrow() {
    let stage = Stage::new().await;
    stage.upstream.reply_with(|request| {
        let unknown = request.query.iter().any(|(_, value)| value == "atlantis");
        let (status, body) = if unknown {
            (404, r#"{"cod":"404","message":"city not found"}"#.to_owned())
        } else {
            (200, super::weather("London"))
        };
        Reply::json(status, body)
    });
    for look in LOOKS {
        stage.browser.look(look).await;
        for (fragment, id, words) in
            [("#", "welcome", "Try a place"), ("#London", "name", "London"), ("#Atlantis", "trouble", "No such place")]
        {
            stage.open(fragment).await;
            stage.browser.shows(id, words).await;
            assert_eq!(stage.browser.barriers().await, Vec::<String>::new(), "{look:?} {fragment}");
        }
    }
    // That it would find one.
    stage
        .browser
        .run("document.getElementById('place').labels[0].remove(); document.getElementById('place').placeholder = ''")
        .await;
    assert!(stage.browser.barriers().await.iter().any(|barrier| barrier.starts_with("label: ")));
    stage.quiet().await;
}

/// The least contrast of white with the sky behind it, which is a gradient: that axe-core cannot tell.
const LEAST_CONTRAST: &str = "
    const light = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
      .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
    const kinds = ['clear', 'clouds', 'rain', 'thunder', 'snow', 'mist'].flatMap((kind) => [kind + '-day', kind + '-night']);
    return Math.min(...kinds.flatMap((kind) => {
      document.body.dataset.sky = kind;
      const style = getComputedStyle(document.body);
      return ['--sky-1', '--sky-2'].map((name) => 1.05 / (light(style.getPropertyValue(name).trim()) + .05));
    }));";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn text_on_every_sky_can_be_read_and_nothing_is_wider_than_the_narrowest_phone() {
    let stage = Stage::new().await;
    // WCAG 1.4.10: 320 pixels are a window of 1280 at four times the size.
    stage.browser.look(Look { width: 320, ..Look::PHONE }).await;
    for (fragment, id) in [("#", "welcome"), ("#London", "name"), ("#a,b,c,d", "trouble")] {
        stage.open(fragment).await;
        stage.browser.shows(id, "").await;
        stage.browser.until(id, &format!("document.getElementById('{id}').checkVisibility()")).await;
        let width = stage.browser.run("return document.documentElement.scrollWidth").await;
        assert!(width.as_u64().is_some_and(|width| width <= 320), "{fragment}: {width}");
    }
    let contrast = stage.browser.run(LEAST_CONTRAST).await.as_f64().expect("a number");
    assert!(contrast >= 4.5, "{contrast}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn nothing_moves_for_who_prefers_less_motion() {
    let stage = Stage::new().await;
    let motion = "const style = (id) => getComputedStyle(document.getElementById(id));
        const bar = getComputedStyle(document.getElementById('bar').firstElementChild);
        return [style('answer').animationName, bar.transitionProperty]";
    for (still, expected) in [(false, ["appear", "transform"]), (true, ["none", "none"])] {
        stage.browser.look(Look { still, ..Look::DESKTOP }).await;
        stage.open_london().await;
        assert_eq!(stage.browser.run(motion).await, serde_json::json!(expected));
    }
}

/// What has the focus, and whether that can be seen.
async fn focus(browser: &Browser) -> (String, bool) {
    let script = "const it = document.activeElement;
        const seen = it.type === 'radio' ? it.nextElementSibling : it;
        const { outlineStyle, outlineWidth } = getComputedStyle(seen);
        return [it.id || it.value || it.textContent.trim(), outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2];";
    let told = browser.run(script).await;
    (told[0].as_str().expect("a name").to_owned(), told[1].as_bool().expect("yes or no"))
}

/// Goes on until this has the focus, past what can be seen to have it.
async fn tab_to(browser: &Browser, wanted: &str) {
    for _ in 0..20 {
        browser.press(&[Key::Tab]).await;
        let (name, seen) = focus(browser).await;
        assert!(seen, "{name} has the focus, and nobody sees it");
        if name == wanted {
            return;
        }
    }
    panic!("{wanted} is never reached");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn all_of_it_works_by_keyboard_alone_and_the_focus_is_seen_and_never_lost() {
    let stage = Stage::new().await;
    let browser = &stage.browser;
    stage.open("").await;
    browser.shows("welcome", "Try a place").await;
    tab_to(browser, "place").await;
    browser.type_text("London").await;
    browser.press(&[Key::Enter]).await;
    browser.shows("result", "MISS").await;
    tab_to(browser, "Show weather").await;
    tab_to(browser, "metric").await;
    browser.press(&[Key::Right]).await;
    browser.shows("temperature", "°F").await;
    assert_eq!(focus(browser).await, ("imperial".to_owned(), true));
    tab_to(browser, "again").await;
    browser.press(&[Key::Enter]).await;
    browser.shows("bytes", "unchanged, 0 bytes").await;
    assert_eq!(focus(browser).await, ("again".to_owned(), true));
    // Read out, once each.
    let spoken = browser.run("return document.getElementById('spoken').textContent").await;
    assert!(spoken.as_str().is_some_and(|spoken| spoken.starts_with("Unchanged. HIT")), "{spoken}");

    stage.upstream.stop();
    browser.run("location.hash = '#Rome'").await;
    browser.shows("trouble-title", "OpenWeatherMap cannot be reached").await;
    browser.run("document.getElementById('retry').focus()").await;
    stage.upstream.restart().await;
    stage.service.clock.advance(std::time::Duration::from_secs(120));
    browser.press(&[Key::Enter]).await;
    browser.shows("result", "MISS").await;
    assert_eq!(browser.run("return document.activeElement.id").await, "again");
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn what_vanishes_with_the_focus_gives_it_to_what_is_there_instead() {
    let stage = Stage::new().await;
    let browser = &stage.browser;
    let focused = "return document.activeElement.id";
    stage.open("").await;
    tab_to(browser, "Tokyo").await;
    browser.press(&[Key::Enter]).await;
    browser.shows("result", "MISS").await;
    assert_eq!(browser.run(focused).await, "again");
    // The weather is gone, and so is its button.
    browser.run("location.hash = '#a,b,c,d'").await;
    browser.shows("trouble", "not look like a place").await;
    assert_eq!(browser.run(focused).await, "place");
    // A page that has just been opened takes the focus from nobody.
    browser.open("about:blank").await;
    stage.open_london().await;
    assert_eq!(browser.run(focused).await, "");
    stage.quiet().await;
}
