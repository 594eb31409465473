//! The weather as a card of text: who gets it, with which headers, and that it is the same record as the JSON.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, IF_NONE_MATCH};

use crate::harness::{Answer, Reply, ScriptedUpstream, Service, Setup, answer, body};

const LONDON: &str = "/weather/London";
const PLAIN: &str = "text/plain; charset=utf-8";
/// What a browser sends.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// The ways that a request can take: a length, even of no body, sends it the long one.
const WAYS: [Option<&str>; 2] = [None, Some("0")];

async fn service() -> (ScriptedUpstream, Service) {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    (upstream, service)
}

async fn ask(service: &Service, path: &str, accepted: &str, length: Option<&str>) -> Answer {
    let request = service.request(Method::GET, path).header(ACCEPT, accepted);
    answer(length.into_iter().fold(request, |request, length| request.header(CONTENT_LENGTH, length))).await
}

fn is_card(answer: &Answer) -> bool {
    answer.status == 200 && answer.header("content-type") == PLAIN && answer.text().starts_with("London, GB\n")
}

fn is_json(answer: &Answer) -> bool {
    answer.header("content-type") == "application/json; charset=utf-8" && answer.text() == body("London")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_likes_text_better_gets_a_card_and_everybody_else_what_the_upstream_sent() {
    let (upstream, service) = service().await;
    for way in WAYS {
        for accepted in ["text/plain", "text/*", "text/plain, application/json;q=0.9"] {
            assert!(is_card(&ask(&service, LONDON, accepted, way).await), "{accepted}");
        }
        for accepted in ["*/*", "application/json", BROWSER, "application/json, text/plain, */*", "text/html", "x", ""]
        {
            let given = ask(&service, LONDON, accepted, way).await;
            assert!(is_json(&given), "{accepted}: {given:?}");
            assert_eq!(given.header("vary"), "accept");
        }
    }
    assert!(is_json(&service.get(LONDON).await), "without a wish");
    assert_eq!(upstream.calls(), 1, "one record serves both");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parameter_is_stronger_than_the_header_and_is_no_part_of_the_question() {
    let (upstream, service) = service().await;
    for way in WAYS {
        assert!(is_card(&ask(&service, "/weather/London?format=text", BROWSER, way).await));
        assert!(is_json(&ask(&service, "/weather/London?format=json", "text/plain", way).await));
    }
    assert_eq!(upstream.calls(), 1);
    let imperial = service.get("/weather/London?units=imperial&format=text").await;
    assert!(imperial.text().contains("12.0 °F") && imperial.text().contains("mph"), "{}", imperial.text());
    let asked = upstream.requests();
    assert!(asked.iter().all(|request| !request.target.contains("format")), "{asked:?}");
    for wrong in ["xml", "TEXT", "", "json&format=text"] {
        let refused = service.get(&format!("/weather/London?format={wrong}")).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid-parameter"), "{wrong}");
    }
    let unknown = service.get("/weather/London?form=text").await;
    assert!(unknown.json()["detail"].as_str().is_some_and(|detail| detail.contains("`format`")), "{unknown:?}");
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_has_all_headers_of_its_answer_and_a_tag_of_its_own() {
    let (upstream, service) = service().await;
    for way in WAYS {
        service.get(LONDON).await;
        service.clock.advance(Duration::from_secs(30));
        let (card, json) = (ask(&service, LONDON, "text/plain", way).await, ask(&service, LONDON, "*/*", way).await);
        for name in ["cache-status", "x-cache", "age", "cache-control", "link", "vary", "x-content-type-options"] {
            assert!(!card.header(name).is_empty(), "{name}");
            assert_eq!(card.header(name), json.header(name), "{name}");
        }
        assert_eq!(card.header("content-length"), card.body.len().to_string());
        let tag = card.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag != json.header("etag"), "{tag}");

        // Who has the one form has not the other.
        for (accepted, tag, status) in
            [("text/plain", &*tag, 304), ("*/*", &*tag, 200), ("text/plain", json.header("etag"), 200)]
        {
            let request = service.request(Method::GET, LONDON).header(ACCEPT, accepted).header(IF_NONE_MATCH, tag);
            let request = way.into_iter().fold(request, |request, length| request.header(CONTENT_LENGTH, length));
            let given = answer(request).await;
            assert_eq!((given.status.as_u16(), given.header("vary")), (status, "accept"), "{accepted}");
        }
        // It does not change while the weather does not.
        service.clock.advance(Duration::from_secs(30));
        let later = ask(&service, LONDON, "text/plain", way).await;
        assert_eq!((later.header("etag"), later.text()), (tag.as_str(), card.text()));

        let head = answer(service.request(Method::HEAD, LONDON).header(ACCEPT, "text/plain")).await;
        assert_eq!((head.header("etag"), head.header("content-type"), head.body.len()), (tag.as_str(), PLAIN, 0));
        assert_eq!(head.header("content-length"), card.body.len().to_string());
        let packed = service.request(Method::GET, LONDON).header(ACCEPT, "text/plain").header(ACCEPT_ENCODING, "br");
        assert_eq!(answer(packed).await.body, card.body);
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_a_sentence_for_who_asks_for_text_and_problem_details_for_everybody_else() {
    let upstream = ScriptedUpstream::start(Reply::json(404, r#"{"cod":"404","message":"city not found"}"#)).await;
    let service = Setup::memory(&upstream).start().await;
    for way in WAYS {
        for (path, status, code) in [
            ("/weather/Atlantis", 404, "unknown-location"),
            ("/weather/London?units=kelvin", 400, "invalid-parameter"),
            ("/weather/%20", 400, "invalid-location"),
        ] {
            let told = ask(&service, path, "text/plain", way).await;
            assert_eq!((told.status.as_u16(), told.header("content-type")), (status, PLAIN), "{path}");
            assert!(told.text().starts_with(&format!("{code}: ")) && told.text().ends_with('\n'), "{told:?}");
            assert_eq!(told.text().lines().count(), 1);
            assert_eq!(told.header("cache-control"), "no-store");
            assert!(!told.header("x-request-id").is_empty());
            let problem = ask(&service, path, BROWSER, way).await;
            assert_eq!((problem.status.as_u16(), problem.code().as_str()), (status, code));
        }
        let told = ask(&service, "/weather/Atlantis?format=text", BROWSER, way).await;
        assert!(told.text().starts_with("unknown-location: "), "{told:?}");
        let problem = ask(&service, "/weather/London?format=xml", "*/*", way).await;
        assert_eq!(problem.code(), "invalid-parameter");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_weather_of_now_has_a_card() {
    let upstream = ScriptedUpstream::start(Reply::json(200, r#"{"cod":"200","list":[{"dt":1}]}"#)).await;
    let service = Setup::memory(&upstream).start().await;
    for path in ["/forecast/London", "/air/51.51,-0.13", "/data/2.5/forecast?q=London"] {
        let given = ask(&service, path, "text/plain", None).await;
        assert_eq!(given.header("content-type"), "application/json; charset=utf-8", "{path}");
        assert_eq!((given.status.as_u16(), given.header("vary")), (200, ""), "{path}");
    }
    let elsewhere = ask(&service, "/nowhere", "text/plain", None).await;
    assert_eq!(elsewhere.code(), "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_writes_cannot_reach_for_the_terminal() {
    let hostile = body(r"\u001b[2J\u001b]0;owned\u0007Lon\u202edon\r\nX-Evil: 1");
    let upstream = ScriptedUpstream::start(Reply::json(200, hostile.clone())).await;
    let service = Setup::memory(&upstream).start().await;
    for way in WAYS {
        let card = ask(&service, LONDON, "text/plain", way).await;
        assert!(card.text().starts_with("[2J]0;ownedLondon X-Evil: 1, GB\n"), "{:?}", card.text());
        assert!(!card.text().chars().any(|character| character.is_control() && character != '\n'), "{:?}", card.text());
        assert_eq!(ask(&service, LONDON, "*/*", way).await.text(), hostile);
    }
}
