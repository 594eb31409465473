//! The simulated service as a client sees it: whole bodies, errors, headers.

use axum::body::Body;
use axum::http::{Method, Request as HttpRequest};
use http_body_util::BodyExt;
use regex::Regex;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

const NOW: i64 = 1_727_074_026;

fn ok(query: &str, unix: i64) -> String {
    let reply = reply(&format!("{query}&appid=demo"), unix);
    assert_eq!(reply.status, StatusCode::OK, "{query}: {}", reply.body);
    reply.body
}

fn places() -> Vec<String> {
    let named = cities::CITIES.iter().map(|city| format!("q={},{}", city.name, city.country));
    let invented = (0..50).map(|n| format!("q=Town%20{n}"));
    let ids = (1..30).map(|n| format!("id={}", n * 7_919));
    let zips = (0..30).map(|n| format!("zip={},US", 10_000 + n * 331));
    let spots = (0..60).map(|n| format!("lat={}&lon={}", f64::from(n) * 3.017 - 90.0, f64::from(n) * 6.01 - 180.0));
    named.chain(invented).chain(ids).chain(zips).chain(spots).collect()
}

#[test]
fn every_body_is_complete_and_well_printed() {
    let places = places();
    assert!(places.len() >= 200);
    let bad_number = Regex::new(r"\.0+[,}\]]|\.\d*0[,}\]]|\.\d{5}|[eE][+-]?\d").unwrap();
    let text = Regex::new(r#""[^"]*""#).unwrap();
    let long_number = Regex::new(r"\.\d{3}").unwrap();
    for (n, place) in places.iter().enumerate() {
        for units in ["standard", "metric", "imperial"] {
            for hour in 0..12_i64 {
                let unix = NOW + hour * 7_200 + n as i64 * 1_234_567;
                let body = ok(&format!("{place}&units={units}"), unix);
                check(&body, units);
                let numbers = text.replace_all(&body, "");
                assert!(!bad_number.is_match(&numbers), "{body}");
                let (_, after_coord) = body.split_once("\"weather\"").unwrap();
                assert!(!long_number.is_match(after_coord), "{body}");
            }
        }
    }
}

fn check(body: &str, units: &str) {
    let json: Value = serde_json::from_str(body).unwrap();
    for path in [
        "/coord/lon",
        "/coord/lat",
        "/main/temp",
        "/main/feels_like",
        "/main/temp_min",
        "/main/temp_max",
        "/main/pressure",
        "/main/humidity",
        "/visibility",
        "/wind/speed",
        "/wind/deg",
        "/clouds/all",
        "/dt",
        "/sys/sunrise",
        "/sys/sunset",
        "/timezone",
        "/id",
    ] {
        assert!(json.pointer(path).is_some_and(Value::is_number), "{path} in {body}");
    }
    assert!(json["name"].is_string() && json["cod"] == 200 && json["base"] == "simulated");
    let temp = json["main"]["temp"].as_f64().unwrap();
    let (low, high, snow) = match units {
        "metric" => (-70.0, 55.0, 2.0),
        "imperial" => (-94.0, 131.0, 35.6),
        _ => (203.0, 328.0, 275.15),
    };
    assert!((low..high).contains(&temp), "{body}");
    if json.get("snow").is_some() {
        assert!(temp < snow && json["weather"][0]["main"] == "Snow", "{body}");
    }
    let icon = json["weather"][0]["icon"].as_str().unwrap();
    let (dt, sunrise, sunset) = (&json["dt"], &json["sys"]["sunrise"], &json["sys"]["sunset"]);
    let (dt, sunrise, sunset) = (dt.as_i64(), sunrise.as_i64(), sunset.as_i64());
    assert!(sunrise < sunset && dt.unwrap() % 600 == 0, "{body}");
    if sunrise <= dt && dt < sunset {
        assert!(icon.ends_with('d'), "{body}");
    }
    assert_eq!(condition_of(&json).icon(icon.ends_with('d')), icon);
}

fn condition_of(json: &Value) -> &'static conditions::Condition {
    let id = json["weather"][0]["id"].as_u64().unwrap();
    let known = conditions::Condition::of(u16::try_from(id).unwrap());
    assert_eq!(u64::from(known.id), id);
    assert_eq!(json["weather"][0]["main"], known.main);
    known
}

#[test]
fn fields_have_the_real_order() {
    let body = ok("q=London", NOW);
    let order = [
        "coord",
        "weather",
        "base",
        "main",
        "visibility",
        "wind",
        "clouds",
        "dt",
        "sys",
        "timezone",
        "id",
        "name",
        "cod",
    ];
    let found: Vec<usize> = order.iter().map(|key| body.rfind(&format!("\"{key}\":")).unwrap()).collect();
    // `main` and `id` occur inside other objects as well; their last place is the top-level one.
    assert!(found.is_sorted(), "{body}");
    assert!(body.starts_with(r#"{"coord":{"lon":-0.1257,"lat":51.5085},"weather":[{"id":"#));
    assert!(body.ends_with(r#""timezone":0,"id":2643743,"name":"London","cod":200}"#));
}

#[test]
fn the_same_question_has_the_same_answer() {
    assert_eq!(ok("q=London", NOW), ok("q=%20LONDON,gb&lang=xx&units=internal", NOW + 5));
    assert_eq!(ok("q=Nowhere%20Hills", NOW), ok("q=nowhere++hills", NOW));
    assert_eq!(ok("id=2643743", NOW), ok("q=London", NOW));
    assert_ne!(ok("q=London", NOW), ok("q=London", NOW + 600));
    assert_ne!(ok("q=London", NOW), ok("q=London&units=metric", NOW));
}

#[test]
fn descriptions_are_translated() {
    let describe = |lang: &str| {
        let json: Value = serde_json::from_str(&ok(&format!("q=Paris&lang={lang}"), NOW)).unwrap();
        json["weather"][0]["description"].as_str().unwrap().to_owned()
    };
    let english = describe("en");
    for lang in ["de", "FR", "es", "it", "pt_br", "ja"] {
        assert_ne!(describe(lang), english, "{lang}");
    }
    for lang in ["EN", "pt-BR", "tlh", ""] {
        assert_eq!(describe(lang), english, "{lang}");
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
        let got = reply(query, NOW);
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
    for (method, uri) in [
        (Method::GET, "/"),
        (Method::GET, "/data/2.5/"),
        (Method::GET, "/data/3.0/weather?q=London&appid=k"),
        (Method::POST, "/data/2.5/weather?q=London&appid=k"),
    ] {
        let (status, body, headers) = call(method, uri).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, UNKNOWN_PATH), "{uri}");
        assert_eq!(headers, expected);
    }
}
