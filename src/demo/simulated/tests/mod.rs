//! The simulated service as a client sees it: errors and headers here, whole bodies by family of endpoints.

mod air;
mod current;
mod forecast;
mod geo;
mod onecall;
mod recorded;

use axum::body::Body;
use axum::http::{Method, Request as HttpRequest};
use http_body_util::BodyExt;
use regex::Regex;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

const NOW: i64 = 1_727_074_026;

/// How the real service never spells a number: `1.0`, `1.50`, `1.23456`, `1e5`.
const BAD_NUMBER: &str = r"\.0+[,}\]]|\.\d*0[,}\]]|\.\d{5}|[eE][+-]?\d";

/// Endpoints that want coordinates.
const BY_POSITION: [&str; 18] = [
    "/data/2.5/air_pollution",
    "/data/2.5/air_pollution/forecast",
    "/data/2.5/air_pollution/history",
    "/data/2.5/uvi",
    "/data/2.5/uvi/forecast",
    "/data/2.5/uvi/history",
    "/data/2.5/find",
    "/data/2.5/onecall/timemachine",
    "/data/3.0/onecall",
    "/data/3.0/onecall/timemachine",
    "/data/3.0/onecall/day_summary",
    "/data/3.0/onecall/overview",
    "/data/4.0/onecall/current",
    "/data/4.0/onecall/timeline/1min",
    "/data/4.0/onecall/timeline/15min",
    "/data/4.0/onecall/timeline/1h",
    "/data/4.0/onecall/timeline/1day",
    "/geo/1.0/reverse",
];

/// Endpoints that take a place by name.
const BY_NAME: [&str; 6] = [
    "/data/2.5/weather",
    "/data/2.5/forecast",
    "/data/2.5/forecast/hourly",
    "/data/2.5/forecast/daily",
    "/data/2.5/forecast/climate",
    "/data/2.5/history/city",
];

/// The body of an answer with status 200.
fn ok(path: &str, query: &str, unix: i64) -> String {
    let reply = reply(path, &format!("{query}&appid=demo"), unix);
    assert_eq!(reply.status, StatusCode::OK, "{path}?{query}: {}", reply.body);
    reply.body
}

/// The same, read.
fn get(path: &str, query: &str, unix: i64) -> Value {
    serde_json::from_str(&ok(path, query, unix)).expect("bodies are JSON")
}

fn refused(path: &str, query: &str, status: u16, body: &str) {
    let reply = reply(path, &format!("{query}&appid=demo"), NOW);
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (status, body), "{path}?{query}");
}

/// A query that every endpoint can answer.
const ANY: &str = "lat=51.5085&lon=-0.1257&id=2643743&zip=10018,US&bbox=-10,30,30,60,10";

#[test]
fn every_endpoint_wants_a_key_and_then_a_place() {
    assert_eq!(ENDPOINTS.len(), 28);
    for (path, _) in ENDPOINTS {
        for query in ["", ANY, "appid=", "lat=fake&lon=fake"] {
            let got = reply(path, query, NOW);
            assert_eq!((got.status.as_u16(), got.body.as_str()), (401, INVALID_KEY), "{path}?{query}");
        }
        refused(path, "", 400, NOTHING_TO_GEOCODE);
        refused(path, "lat=&lon=&q=&id=&zip=&bbox=", 400, NOTHING_TO_GEOCODE);
    }
}

#[test]
fn wrong_places_are_refused_as_the_real_service_does() {
    for path in BY_POSITION.into_iter().chain(BY_NAME) {
        refused(path, "lat=9999999&lon=-9999999", 400, WRONG_LATITUDE);
        refused(path, "lat=fake&lon=1", 400, WRONG_LATITUDE);
        refused(path, "lat=1&lon=180.1", 400, WRONG_LONGITUDE);
        refused(path, "lat=1", 400, NOTHING_TO_GEOCODE);
    }
    for path in BY_NAME {
        refused(path, "q=Atlantis", 404, CITY_NOT_FOUND);
        refused(path, "id=0", 404, CITY_NOT_FOUND);
        refused(path, "zip=10018,USA", 404, CITY_NOT_FOUND);
    }
}

#[test]
fn every_endpoint_says_that_it_is_simulated_and_prints_numbers_like_the_real_one() {
    let bad_number = Regex::new(BAD_NUMBER).unwrap();
    let text = Regex::new(r#""[^"]*""#).unwrap();
    for (path, _) in ENDPOINTS {
        let q = if ["/geo/1.0/direct", "/data/2.5/find"].contains(path) { "&q=London" } else { "" };
        for units in ["standard", "metric", "imperial"] {
            for hours in 0..8 {
                let query = format!("{ANY}{q}&units={units}");
                let body = ok(path, &query, NOW + hours * 1_234_567);
                let simulated = serde_json::from_str::<Value>(&body).unwrap()["base"] == "simulated";
                assert_eq!(simulated, body.starts_with('{'), "{body}");
                assert!(!body.starts_with("[]") && !body.contains("\"list\":[]"), "{path}: {body}");
                // Prints every number with a decimal point, also in the real service.
                if !path.ends_with("/day_summary") {
                    assert!(!bad_number.is_match(&text.replace_all(&body, "")), "{path}: {body}");
                }
            }
        }
    }
}

#[test]
fn every_endpoint_has_one_answer_for_as_long_as_its_rows_allow() {
    for (path, _) in ENDPOINTS {
        let seconds = match *path {
            "/data/3.0/onecall" | "/data/4.0/onecall/timeline/1min" => 60,
            "/data/4.0/onecall/timeline/15min" => 300,
            _ => 600,
        };
        for query in [format!("{ANY}&q=London"), format!("{ANY}&q=London&start=1726000000")] {
            let first = NOW - NOW % seconds;
            for unix in [first, first + seconds - 1] {
                assert_eq!(ok(path, &query, unix), ok(path, &query, NOW), "{path}?{query}");
            }
        }
    }
}

#[test]
fn the_end_of_time_and_nonsense_are_answered() {
    let nonsense =
        "cnt=x&limit=-1&start=99999999999999999999&end=-1&dt=x&date=2024-02-31&tz=%2B99&exclude=,&units=&lang=x";
    for (path, _) in ENDPOINTS {
        for unix in [i64::MIN, 0, 86_399, i64::MAX] {
            for query in [ANY, nonsense, "start=0&end=0&dt=0", "start=9999999999999&end=9999999999999&dt=9999999999999"]
            {
                let reply = reply(path, &format!("{ANY}&q=Oslo&appid=k&{query}"), unix);
                assert!(reply.status == StatusCode::OK, "{path}?{query} at {unix}: {}", reply.body);
                assert!(serde_json::from_str::<Value>(&reply.body).is_ok(), "{}", reply.body);
                assert!(reply.body.len() < 200_000, "{path}?{query} has {} bytes", reply.body.len());
            }
        }
    }
}

#[test]
fn errors_are_the_real_ones() {
    for (query, status, body) in [
        ("", 401, INVALID_KEY),
        ("q=London", 401, INVALID_KEY),
        ("q=London&appid=", 401, INVALID_KEY),
        ("lat=fake&lon=1", 401, INVALID_KEY),
        ("appid=k", 400, NOTHING_TO_GEOCODE),
        ("q=&lat=&lon=&APPID=k", 400, NOTHING_TO_GEOCODE),
        ("lat=5&appid=k", 400, NOTHING_TO_GEOCODE),
        ("lat=fake&lon=coordinates&AppId=k", 400, WRONG_LATITUDE),
        ("lat=1&lon=181&appid=k", 400, WRONG_LONGITUDE),
        ("q=Atlantis&appid=k", 404, CITY_NOT_FOUND),
        ("q=aTLANTIS%2Cgr&appid=k", 404, CITY_NOT_FOUND),
    ] {
        let got = reply("/data/2.5/weather", query, NOW);
        assert_eq!((got.status.as_u16(), got.body.as_str()), (status, body), "{query}");
    }
    assert_eq!((INVALID_KEY.len(), CITY_NOT_FOUND.len()), (107, 40));
}

async fn call(method: Method, uri: &str) -> (StatusCode, String, Vec<String>) {
    let request = HttpRequest::builder().method(method).uri(uri).body(Body::empty()).unwrap();
    let response = router().oneshot(request).await.unwrap();
    let header = |name| response.headers()[name].to_str().unwrap().to_owned();
    let headers = [
        "content-type",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
    ]
    .map(header);
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap(), headers.to_vec())
}

#[tokio::test]
async fn routes_and_headers() {
    let expected = ["application/json; charset=utf-8", "*", "true", "GET, POST"];
    let (status, body, headers) = call(Method::GET, "/data/2.5/weather?q=Tokyo&lang=ja&APPID=k").await;
    assert_eq!((status, headers), (StatusCode::OK, expected.map(String::from).to_vec()));
    assert!(body.contains(r#""id":1850144,"name":"Tokyo""#));
    assert_eq!(call(Method::HEAD, "/geo/1.0/zip?zip=10018&appid=k").await.0, StatusCode::OK);
    for (method, uri) in [
        (Method::GET, "/"),
        (Method::GET, "/data/2.5/"),
        (Method::GET, "/data/2.5/weather/?q=London&appid=k"),
        (Method::GET, "/data/3.0/weather?q=London&appid=k"),
        (Method::GET, "/data/2.5/onecall?lat=1&lon=1&appid=k"),
        (Method::GET, "/geo/1.0/zips?zip=1&appid=k"),
        (Method::POST, "/data/2.5/weather?q=London&appid=k"),
    ] {
        let (status, body, headers) = call(method, uri).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, UNKNOWN_PATH), "{uri}");
        assert_eq!(headers, expected);
    }
}
