//! A place is searched for, and its weather is shown truly, whatever it is made of.

use serde_json::json;

use super::{Stage, weather};
use crate::harness::Reply;

const UNKNOWN: &str = r#"{"cod":"404","message":"city not found"}"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn a_place_is_searched_and_its_weather_is_shown_in_the_time_of_the_place() {
    let stage = Stage::new().await;
    stage.open("").await;
    stage.browser.shows("welcome", "Try a place").await;
    stage.search("London").await;
    stage.browser.shows("name", "London, GB").await;
    for (id, words) in [
        ("temperature", "12 °C"),
        ("description", "cattered clouds"),
        ("feels", "Feels like 0 °C"),
        ("observed", "15:13 local time (UTC+1)"),
        ("wind-speed", "3.6 m/s"),
        ("wind-words", "gentle breeze, from the south-east, gusts of 7.3 m/s"),
        ("sunrise", "07:25"),
        ("sunset", "19:40"),
        ("sun-words", "The sun is up; 12 h 15 min of daylight."),
        ("humidity", "62 %"),
        ("pressure", "1012 hPa"),
        ("visibility", "8.0 km"),
        ("clouds", "40 %"),
    ] {
        let text = stage.browser.text(id).await;
        assert!(text.contains(words), "{id}: {text}");
    }
    assert_eq!(stage.browser.text("simulated").await, "");
    assert_eq!(stage.browser.run("return document.body.dataset.sky").await, "clear-day");
    assert_eq!(stage.browser.run("return document.querySelectorAll('#icon use').length").await, 2);
    assert_eq!(
        stage.browser.run("return document.getElementById('arrow').getAttribute('transform')").await,
        "rotate(131 40 40)"
    );
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn units_are_switched_and_the_button_back_and_a_reload_find_the_same_question_again() {
    let stage = Stage::new().await;
    stage.upstream.reply_with(|request| {
        let imperial = request.query.contains(&("units".to_owned(), "imperial".to_owned()));
        let rome = request.query.iter().any(|(_, value)| value == "rome");
        let body = weather(if rome { "Rome" } else { "London" });
        Reply::json(200, if imperial { body.replace("12.4", "54.3") } else { body })
    });
    stage.open_london().await;
    stage.browser.click("#units [value=imperial]").await;
    stage.browser.shows("temperature", "54 °F").await;
    assert!(stage.browser.text("wind-speed").await.contains("mph"));
    assert!(stage.browser.text("visibility").await.contains("5.0 mi"));
    assert_eq!(stage.browser.address().await.fragment(), Some("London?units=imperial"));

    stage.search("Rome").await;
    stage.browser.shows("name", "Rome").await;
    stage.browser.shows("temperature", "54 °F").await;
    stage.browser.back().await;
    stage.browser.shows("name", "London").await;
    assert_eq!(stage.browser.run("return document.getElementById('place').value").await, "London");
    stage.browser.back().await;
    stage.browser.shows("temperature", "12 °C").await;
    assert_eq!(stage.browser.run("return document.querySelector('[value=metric]').checked").await, true);
    stage.browser.reload().await;
    stage.browser.shows("temperature", "12 °C").await;
    stage.browser.shows("name", "London").await;
    stage.browser.back().await;
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn a_place_that_nobody_knows_and_one_that_is_none_are_told_in_words_and_the_next_is_shown() {
    let stage = Stage::new().await;
    stage.upstream.once(Reply::json(404, UNKNOWN));
    stage.open("#Atlantis").await;
    stage.browser.shows("trouble-title", "No such place").await;
    stage.browser.shows("trouble-words", "A country may help, as in London,GB.").await;
    stage.browser.shows("trouble-detail", "unknown-location · HTTP 404").await;
    for nonsense in ["..", "...", "zip:?", "a,b,c,d", "91,0"] {
        stage.search(nonsense).await;
        stage.browser.shows("trouble-title", "That does not look like a place").await;
        stage.search("London").await;
        stage.browser.shows("name", "London").await;
        assert_eq!(stage.browser.text("trouble").await, "", "{nonsense}");
    }
    // Such an address can only have been typed.
    stage.open("#%E0%A4%A").await;
    stage.browser.shows("trouble-title", "That does not look like a place").await;
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn what_is_hostile_in_an_answer_is_shown_as_text_or_left_out() {
    let stage = Stage::new().await;
    let evil = r"<img src=x onerror='document.title=1'><script>document.title=2</script>";
    let mut body: serde_json::Value = serde_json::from_str(&weather("x")).expect("JSON");
    body["name"] = json!(evil);
    body["weather"] = json!([{"id": 800, "main": "Clear", "description": evil, "icon": "../../evil\"><b>"}, null, {"description": 3}]);
    body["sys"] = json!({"country": ["<b>"], "sunrise": "<b>", "sunset": 1e300});
    body["wind"] = json!({"speed": 1e9, "deg": -1e9, "gust": {}});
    body["timezone"] = json!("<b>");
    body["visibility"] = json!([1]);
    stage.upstream.reply(Reply::json(200, body.to_string()));
    stage.open("#London").await;
    stage.browser.shows("name", evil).await;
    stage.browser.shows("description", "onerror").await;
    assert_eq!(stage.browser.text("visibility").await, "–");
    assert_eq!(stage.browser.text("sunrise").await, "–");
    assert_eq!(
        stage.browser.run("return document.querySelectorAll('main img, main script, main b:not(#log b)').length").await,
        0
    );
    assert!(stage.browser.run("return document.title").await.as_str().is_some_and(|title| title.ends_with("Stratus")));
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn a_question_that_is_left_before_its_answer_is_there_is_over_and_no_failure() {
    let stage = Stage::new().await;
    stage.upstream.reply(Reply::never());
    for (place, left_for, id, words) in
        [("Rome", "#", "welcome", "Try a place"), ("Oslo", "#..", "trouble-title", "not look like a place")]
    {
        stage.open(&format!("#{place}")).await;
        stage.browser.until("it is asked", "'busy' in document.body.dataset").await;
        stage.browser.run(&format!("location.hash = '{left_for}'")).await;
        stage.browser.shows(id, words).await;
        stage.browser.until("nothing is asked", "!('busy' in document.body.dataset)").await;
        // What comes of the older question has come by now.
        stage.browser.run("return new Promise((done) => setTimeout(() => setTimeout(done)))").await;
        stage.browser.shows(id, words).await;
        assert!(!stage.browser.text("trouble").await.contains("does not answer"));
    }
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-pages"]
async fn the_title_of_the_window_is_never_that_of_another_place() {
    let stage = Stage::new().await;
    stage.open_london().await;
    assert_eq!(stage.browser.run("return document.title").await, "12 °C London, GB – Stratus");
    stage.search("a,b,c,d").await;
    stage.browser.shows("trouble-title", "not look like a place").await;
    assert_eq!(stage.browser.run("return document.title").await, "That does not look like a place – Stratus");
    stage.quiet().await;
}
