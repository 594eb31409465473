//! OpenWeatherMap's own API at the host root: its clients find its answers, its errors and its headers there, byte for byte,
//! out of the same cache as on our own paths.

mod air;
mod appid;
mod conditions;
mod costs;
mod images;
mod isolation;
mod pages;
mod plans;
mod privacy;
mod recorded;
mod refusals;
mod sharing;

use std::io::Read;

use reqwest::Method;
use stratus::weather::{ENDPOINTS, Endpoint, Shape};

use crate::harness::upstream::Request;
use crate::harness::{Answer, Reply, ScriptedUpstream, Service, Setup, answer};

// OpenWeatherMap's errors, byte for byte.
const INVALID_KEY: &str =
    r#"{"cod":401, "message": "Invalid API key. Please see https://openweathermap.org/faq#error401 for more info."}"#;
const BLOCKED: &str = r#"{"cod":429,"message":"Your account is temporary blocked due to exceeding of requests limitation of your subscription type. Please choose the proper subscription https://openweathermap.org/price"}"#;
const CITY_NOT_FOUND: &str = r#"{"cod":"404","message":"city not found"}"#;
const UNKNOWN_PATH: &str = r#"{"cod":"404","message":"Internal error"}"#;

const LONDON: &str = "/data/2.5/weather?q=London&units=metric";

/// One question of an endpoint, a body such as it answers with, and how long that is fresh, in seconds.
struct Case {
    question: &'static str,
    body: &'static str,
    fresh: u64,
}

const fn case(question: &'static str, fresh: u64, body: &'static str) -> Case {
    Case { question, body, fresh }
}

const WEATHER: &str = r#"{"coord":{"lon":-0.13,"lat":51.51},"weather":[{"id":801,"main":"Clouds"}],"base":"stations","main":{"temp":12,"humidity":62},"visibility":10000,"id":2643743,"name":"London","cod":200}"#;
const FORECAST: &str = r#"{"cod":"200","message":0,"cnt":1,"list":[{"dt":1790000000,"main":{"temp":12},"dt_txt":"2026-09-21 15:00:00"}],"city":{"id":2643743}}"#;
const LIST: &str = r#"{"cnt":2,"list":[{"id":524901,"rain":null},{"id":703448}]}"#;
const AIR: &str = r#"{"coord":{"lon":-0.1,"lat":51.5},"list":[{"main":{"aqi":2},"components":{"co":200}}]}"#;
const UVS: &str = r#"[{"lat":37.75,"lon":-122.37,"value":4.5},{"lat":37.75,"lon":-122.37,"value":3}]"#;
const ONECALL: &str =
    r#"{"lat":51.51,"lon":-0.13,"timezone":"Europe/London","timezone_offset":3600,"current":{"temp":11}}"#;
const PAGE: &str = r#"{"lat":51.51,"lon":-0.13,"data":[{"dt":1790000000,"temp":11}]}"#;
const PLACES: &str =
    r#"[{"name":"London","local_names":{"ja":"ロンドン"},"lat":51.5073,"lon":-0.1276,"country":"GB"}]"#;

/// One of every endpoint that answers in JSON.
const EACH: [Case; 28] = [
    case("/data/2.5/weather?q=London", 300, WEATHER),
    case("/data/2.5/forecast?id=2643743&cnt=3", 1_800, FORECAST),
    case("/data/2.5/forecast/hourly?lat=51.51&lon=-0.13&cnt=96", 1_800, FORECAST),
    case("/data/2.5/forecast/daily?q=London&cnt=16&lang=fr", 1_800, FORECAST),
    case("/data/2.5/forecast/climate?zip=94040,us", 3_600, FORECAST),
    case("/data/2.5/air_pollution?lat=51.5&lon=-0.1", 1_800, AIR),
    case("/data/2.5/air_pollution/forecast?lat=51.5&lon=-0.1", 1_800, AIR),
    case("/data/2.5/air_pollution/history?lat=51.5&lon=-0.1&start=1606223802&end=1606482999", 3_600, AIR),
    case("/data/2.5/find?lat=55.5&lon=37.5&cnt=7&type=like", 300, FORECAST),
    case("/data/2.5/group?id=524901,703448", 300, LIST),
    case("/data/2.5/box/city?bbox=12,32,15,37,10&cluster=yes", 300, LIST),
    case("/data/2.5/history/city?q=London&type=hour&start=1606223802&cnt=1", 3_600, FORECAST),
    case("/data/2.5/uvi?lat=37.75&lon=-122.37", 3_600, r#"{"lat":37.75,"lon":-122.37,"value":4.25}"#),
    case("/data/2.5/uvi/forecast?lat=37.75&lon=-122.37&cnt=2", 3_600, UVS),
    case("/data/2.5/uvi/history?lat=37.75&lon=-122.37&start=1498049953&end=1498481991", 86_400, UVS),
    case("/data/3.0/onecall?lat=51.51&lon=-0.13&exclude=minutely,hourly", 600, ONECALL),
    case("/data/3.0/onecall/timemachine?lat=51.51&lon=-0.13&dt=1589173200", 3_600, PAGE),
    case("/data/2.5/onecall/timemachine?lat=51.51&lon=-0.13&dt=1589173200", 3_600, ONECALL),
    case(
        "/data/3.0/onecall/day_summary?lat=51.51&lon=-0.13&date=2024-02-29&tz=%2B03:00",
        3_600,
        r#"{"lat":51.51,"lon":-0.13,"tz":"+03:00","date":"2024-02-29","units":"standard"}"#,
    ),
    case(
        "/data/3.0/onecall/overview?lat=51.51&lon=-0.13",
        3_600,
        r#"{"lat":51.51,"lon":-0.13,"weather_overview":"Mild, with a light breeze."}"#,
    ),
    case("/data/4.0/onecall/current?lat=51.51&lon=-0.13", 300, PAGE),
    case("/data/4.0/onecall/timeline/1min?lat=51.51&lon=-0.13", 300, PAGE),
    case("/data/4.0/onecall/timeline/15min?lat=51.51&lon=-0.13", 900, PAGE),
    case("/data/4.0/onecall/timeline/1h?lat=51.51&lon=-0.13", 1_800, PAGE),
    case("/data/4.0/onecall/timeline/1day?lat=51.51&lon=-0.13", 1_800, PAGE),
    case("/geo/1.0/direct?q=London&limit=5", 86_400, PLACES),
    case("/geo/1.0/reverse?lat=51.5073&lon=-0.1276", 86_400, PLACES),
    case(
        "/geo/1.0/zip?zip=E14,GB",
        86_400,
        r#"{"zip":"E14","name":"London","lat":51.4969,"lon":-0.0087,"country":"GB"}"#,
    ),
];

fn answering_in_json() -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().filter(|endpoint| endpoint.shape != Shape::Png)
}

/// The endpoint of a question.
fn endpoint(question: &str) -> &'static Endpoint {
    Endpoint::at(question.split('?').next().unwrap_or_default()).expect("one of OpenWeatherMap's paths")
}

/// A body such as the endpoint of this path answers with.
fn body_of(path: &str) -> &'static str {
    let wanted = Endpoint::at(path).expect("one of OpenWeatherMap's paths");
    EACH.iter().find(|case| endpoint(case.question) == wanted).expect("a case of every endpoint").body
}

/// An upstream that answers every question of every endpoint.
async fn everything() -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| Reply::json(200, body_of(&request.path)));
    upstream
}

/// A service on such an upstream, in memory.
async fn service_on_everything() -> (ScriptedUpstream, Service) {
    let upstream = everything().await;
    let service = Setup::memory(&upstream).start().await;
    (upstream, service)
}

/// Asks on the long way: a length sends a request there.
async fn get_the_long_way(service: &Service, path: &str) -> Answer {
    answer(service.request(Method::GET, path).header("content-length", "0")).await
}

/// It has this status and these bytes, and the headers that every answer of OpenWeatherMap's has, once each.
#[track_caller]
fn says(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status.as_u16(), answer.text()), (status, body), "{answer:?}");
    has_their_headers(answer);
}

#[track_caller]
fn has_their_headers(answer: &Answer) {
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, POST"),
    ] {
        let values: Vec<_> = answer.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name} of {answer:?}");
    }
}

/// It is an error in OpenWeatherMap's form, with a text of ours, and nobody keeps it.
#[track_caller]
fn is_an_error(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    has_their_headers(answer);
    let said = answer.json();
    assert_eq!(said["cod"], status.to_string(), "{answer:?}");
    assert!(said["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer:?}");
    assert_eq!((answer.header("cache-control"), answer.x_cache()), ("no-store", "MISS"), "{answer:?}");
    assert!(!answer.header("cache-status").contains("stored"), "{answer:?}");
}

/// The seconds after which it may be asked again.
#[track_caller]
fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {answer:?}"))
}

/// The value of a parameter that the upstream was asked with.
fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
        "br" => brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut plain),
        "zstd" => zstd::stream::copy_decode(bytes, &mut plain).map(|()| 0),
        _ => return bytes.to_vec(),
    }
    .expect("a whole body");
    plain
}

#[test]
fn there_is_a_case_of_every_endpoint() {
    for wanted in answering_in_json() {
        let cases = EACH.iter().filter(|case| endpoint(case.question) == wanted).count();
        assert_eq!(cases, 1, "{}", wanted.name);
    }
}
