//! What OpenWeatherMap would only refuse is refused here, in its words and without a call; and whatever a caller writes, the
//! upstream is asked only what its table of parameters has.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use stratus::weather::{Endpoint, Query, Shape};

use super::{CITY_NOT_FOUND, answering_in_json, has_their_headers, is_an_error, says, service_on_everything};
use crate::harness::{API_KEY, Answer, ScriptedUpstream, Service, answer};

const NOTHING: &str = r#"{"cod":"400","message":"Nothing to geocode"}"#;
const LATITUDE: &str = r#"{"cod":"400","message":"wrong latitude"}"#;
const LONGITUDE: &str = r#"{"cod":"400","message":"wrong longitude"}"#;

/// The parameters by which a place is told.
const PLACE: [&str; 5] = ["q", "id", "zip", "lat", "lon"];

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_a_place_or_with_an_impossible_one_is_refused_in_their_words_without_a_call() {
    let (upstream, service) = service_on_everything().await;
    let long = format!("/data/2.5/weather?q={}", "x".repeat(201));
    for (path, status, body) in [
        ("/data/2.5/weather", 400, NOTHING),
        ("/data/2.5/weather?", 400, NOTHING),
        ("/data/2.5/weather?q=", 400, NOTHING),
        ("/data/2.5/weather?q=%20%20&id=&zip=&units=metric", 400, NOTHING),
        ("/data/2.5/weather?q=,,", 400, NOTHING),
        ("/data/2.5/weather?Q=London", 400, NOTHING),
        ("/data/2.5/weather?lat=1", 400, NOTHING),
        ("/data/2.5/weather?lon=1", 400, NOTHING),
        ("/data/2.5/onecall?lat=&lon=&units=imperial", 400, NOTHING),
        ("/data/3.0/onecall?q=London", 400, NOTHING),
        ("/geo/1.0/direct?lat=1&lon=1", 400, NOTHING),
        ("/geo/1.0/zip?q=London", 400, NOTHING),
        ("/data/2.5/onecall?lat=9999999&lon=-9999999", 400, LATITUDE),
        ("/data/2.5/weather?lat=fake&lon=coordinates", 400, LATITUDE),
        ("/data/2.5/weather?lat=NaN&lon=0", 400, LATITUDE),
        ("/data/2.5/weather?lat=90.01&lon=0", 400, LATITUDE),
        ("/data/2.5/air_pollution?lat=0&lon=180.5", 400, LONGITUDE),
        ("/data/2.5/weather?lat=0&lon=inf", 400, LONGITUDE),
        ("/data/2.5/weather?lat=0&lon=51,5", 400, LONGITUDE),
        ("/geo/1.0/reverse?lat=0&lon=-181", 400, LONGITUDE),
        ("/data/2.5/weather?q=%3Cscript%3E", 404, CITY_NOT_FOUND),
        ("/data/2.5/weather?q=%FF%FE%00", 404, CITY_NOT_FOUND),
        (&long, 404, CITY_NOT_FOUND),
        ("/data/2.5/weather?zip=1;DROP", 404, CITY_NOT_FOUND),
        ("/geo/1.0/direct?q=%3Cb%3E", 404, r#"{"cod":"404","message":"not found"}"#),
        ("/geo/1.0/zip?zip=1,2,3", 404, r#"{"cod":"404","message":"not found"}"#),
    ] {
        let refused = service.get(path).await;
        says(&refused, status, body);
        assert_eq!((refused.x_cache(), refused.header("cache-control")), ("MISS", "no-store"), "{path}");
    }
    for path in [
        "/data/2.5/weather?id=abc",
        "/data/2.5/weather?id=0",
        "/data/2.5/weather?id=-5",
        "/data/2.5/weather?id=99999999999999999999999",
        "/data/2.5/forecast?q=London&cnt=x",
        "/data/2.5/forecast?q=London&cnt=1.5",
        "/data/2.5/group?id=1,x",
        "/data/2.5/group",
        "/data/2.5/group?id=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21",
        "/data/2.5/box/city?bbox=1,2,3,4,5,6",
        "/data/2.5/box/city?bbox=1,2,3",
        "/data/2.5/box/city?bbox=a",
        "/data/2.5/find?q=London&type=%3Cb%3E",
        "/data/3.0/onecall/timemachine?lat=1&lon=1",
        "/data/3.0/onecall/timemachine?lat=1&lon=1&dt=yesterday",
        "/data/3.0/onecall/day_summary?lat=1&lon=1&date=2024-2-29",
        "/data/3.0/onecall/day_summary?lat=1&lon=1&date=2024-02-29&tz=Paris",
    ] {
        is_an_error(&service.get(path).await, 400);
    }
    assert_eq!(upstream.calls(), 0);
}

/// Values as they are, and as they are not.
const VALUES: [&str; 28] = [
    "London",
    "51.51",
    "-0.13",
    "metric",
    "de",
    "1,2",
    "2643743",
    "94040,us",
    "2024-02-29",
    "+03:00",
    "",
    " ",
    "xml",
    "1e309",
    "-0",
    "NaN",
    "null",
    "../..",
    "{}",
    "[]",
    "1e5",
    "0x10",
    "\u{0}",
    "%",
    "&",
    "=",
    "'",
    "\r\nHost: x",
];

/// A value that a caller may have written, rightly or wrongly.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![select(&VALUES[..]).prop_map(str::to_owned), any::<i64>().prop_map(|n| n.to_string()), ".{0,40}"]
}

/// A parameter, by a name of the table or another one; written plainly or percent-encoded.
fn pair() -> impl Strategy<Value = String> {
    let others = ["appid", "APPID", "mode", "callback", "key", "a", "Q", "", "page", "q[]", "host"];
    let table = answering_in_json().flat_map(|endpoint| endpoint.parameters).map(|parameter| parameter.name);
    let names: Vec<_> = table.chain(PLACE).chain(PLACE).chain(others).collect();
    (select(names), value(), any::<bool>()).prop_map(|(name, value, encoded)| {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        if encoded { format!("{}={}", encode(name), encode(&value)) } else { format!("{name}={value}") }
    })
}

/// A question on one of the paths, with any parameters, often those that it needs.
fn question() -> impl Strategy<Value = String> {
    let path = select(answering_in_json().flat_map(|endpoint| endpoint.paths).copied().collect::<Vec<_>>());
    let place =
        select(&["", "q=London", "lat=1&lon=2", "lat=1&lon=2&dt=5&date=2024-02-29", "id=1,2&bbox=1,2", "zip=1"][..]);
    (path, place, prop::collection::vec(pair(), 0..6))
        .prop_map(|(path, place, pairs)| format!("{path}?{}", [&[place.to_owned()], &pairs[..]].concat().join("&")))
}

proptest! {
    /// Else what the upstream is asked, or a link that is followed, could be another record than what was asked here.
    #[test]
    fn what_the_upstream_is_asked_is_the_same_question_when_it_is_read_again(question in question()) {
        let (path, parameters) = question.split_once('?').expect("a question mark");
        let endpoint = Endpoint::at(path).expect("a path of the table");
        if let Ok(query) = Query::openweathermap(endpoint, parameters) {
            prop_assert_eq!(&Query::openweathermap(endpoint, query.parameters()), &Ok(query.clone()), "{}", query.subject());
            prop_assert!(query.calls() >= 1);
        }
    }
}

/// It is an answer, or an error in OpenWeatherMap's form that is no fault of ours.
fn is_in_form(answer: &Answer) {
    has_their_headers(answer);
    let said = answer.json();
    match answer.status.as_u16() {
        200 => assert!(said.is_array() || said.is_object(), "{answer:?}"),
        400 | 404 => assert_eq!(said["cod"], answer.status.as_str(), "{answer:?}"),
        _ => panic!("{answer:?}"),
    }
}

/// Every request has our key, and else only what the table has for its endpoint, each once.
fn asks_by_the_table(upstream: &ScriptedUpstream) {
    for request in upstream.requests() {
        let endpoint = Endpoint::at(&request.path).expect("a path of the table");
        assert_eq!(endpoint.paths[0], request.path);
        let (mut names, values): (Vec<_>, Vec<_>) = request.query.iter().cloned().unzip();
        assert_eq!((names.pop().as_deref(), values.last().map(String::as_str)), (Some("appid"), Some(API_KEY)));
        assert!(names.is_sorted_by(|one, next| one < next), "{request:?}");
        let in_table =
            |name: &str| PLACE.contains(&name) || endpoint.parameters.iter().any(|parameter| parameter.name == name);
        if endpoint.shape == Shape::Pages {
            assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("appid")), "{request:?}");
        } else {
            assert!(names.iter().all(|name| in_table(name)), "{request:?}");
        }
    }
}

#[test]
fn whatever_is_asked_gets_an_answer_or_an_error_in_form_and_the_upstream_is_asked_by_the_table() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (upstream, service): (ScriptedUpstream, Service) = runtime.block_on(service_on_everything());
    let config = Config { cases: 512, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&question(), |path| {
        let asked = std::panic::AssertUnwindSafe(|| runtime.block_on(answer(service.request(Method::GET, &path))));
        is_in_form(&asked.0());
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(upstream.calls() > 50, "{} of the questions were good", upstream.calls());
    asks_by_the_table(&upstream);
    runtime.block_on(service.stop());
}
