//! What comes back from OpenWeatherMap, or from somebody else in its place: only weather is believed.

use std::collections::HashMap;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value;
use stratus::upstream::fuzzing::judge;
use stratus::weather::{ENDPOINTS, Endpoint, Failure, Shape, SourceError, WEATHER};

use super::input::Input;

const SHORTEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// The first line is a status and, after a space, a `Retry-After`; the rest is the body.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut head = Input::new(input.until(b"\n"));
    let status = std::str::from_utf8(head.until(b" ")).ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let (retry_after, body) = (head.rest(), input.rest());

    for endpoint in &ENDPOINTS {
        if judge(endpoint, status, body, retry_after).1.is_ok() {
            is_of_its_shape(endpoint, status, body);
        }
    }
    let (waiting, judged) = judge(WEATHER, status, body, retry_after);
    assert!((SHORTEST_WAIT..=LONGEST_WAIT).contains(&waiting), "{waiting:?}");
    if let Err(Failure { words: Some(words), .. }) = &judged {
        assert_eq!((words.status, &*words.body), (status, body), "its own words are passed on as they are");
    }
    match judged.map_err(|failure| failure.error) {
        Ok(()) => is_weather(status, body),
        Err(SourceError::BudgetExhausted { retry_after }) => assert_eq!(retry_after, waiting),
        Err(SourceError::UnknownLocation) => says_so_itself(status, body),
        Err(
            SourceError::RejectedKey | SourceError::Unavailable | SourceError::Failed | SourceError::InvalidResponse,
        ) => {}
        Err(other) => panic!("{other:?} is nothing that an answer can mean"),
    }
}

/// By another reading of the body than the one that is looked at.
fn is_weather(status: u16, body: &[u8]) {
    assert_eq!(status, 200);
    let text = std::str::from_utf8(body).expect("weather is UTF-8");
    let fields: HashMap<String, IgnoredAny> = serde_json::from_str(text).expect("weather is a JSON object");
    assert!(fields.contains_key("weather") && fields.contains_key("main"), "{text}");
    // That reading has a number beyond every float for an error, where the other one skips it.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    assert!(value["weather"].is_array() && value["main"].is_object(), "{text}");
    for code in [&value["cod"], &value["error"]] {
        assert!(code.is_null() || is(code, 200) || *code == value["error"] && is(&value["cod"], 200), "{text}");
    }
}

/// What is no JSON object of the shape of its endpoint, no array, and no image is no answer.
fn is_of_its_shape(endpoint: &Endpoint, status: u16, body: &[u8]) {
    assert_eq!(status, 200);
    match endpoint.shape {
        Shape::Png => assert!(body.starts_with(b"\x89PNG")),
        Shape::Array => {
            let places: Vec<HashMap<String, IgnoredAny>> = serde_json::from_slice(body).expect("objects");
            assert!(!places.is_empty());
        }
        Shape::Object(members) => {
            let fields: HashMap<String, IgnoredAny> = serde_json::from_slice(body).expect("a JSON object");
            assert!(members.iter().all(|(name, _)| fields.contains_key(*name)), "{}", endpoint.name);
        }
        Shape::Pages => {
            let fields: HashMap<String, IgnoredAny> = serde_json::from_slice(body).expect("a JSON object");
            assert!(fields.contains_key("data"));
        }
    }
}

/// That a place is unknown is remembered, so that it has to be said by OpenWeatherMap and not by a gateway.
fn says_so_itself(status: u16, body: &[u8]) {
    let fields: HashMap<String, IgnoredAny> = serde_json::from_slice(body).expect("its errors are JSON objects");
    assert!(matches!(status, 200 | 400 | 404), "{status}");
    assert!(fields.contains_key("cod") || fields.contains_key("error"));
}

fn is(code: &Value, number: u16) -> bool {
    code.as_u64() == Some(number.into()) || code.as_str().and_then(|text| text.parse().ok()) == Some(number)
}
