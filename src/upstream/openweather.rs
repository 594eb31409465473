//! What OpenWeatherMap is asked and what its answers mean, by its documentation and by recorded answers.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use crate::weather::{Hundredths, Location, Query, SourceError};

/// After a 429 callers are told to wait at least this long: the limit is per minute and account.
const LEAST_WAIT: Duration = Duration::from_secs(60);
/// A longer `Retry-After` than this is taken for an error.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Writes the path and the parameters of the question and, last, the key into `url`.
pub(super) fn write_request(url: &mut Url, query: &Query, key: &str) {
    let path = format!("{}/data/2.5/weather", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let mut pairs = url.query_pairs_mut();
    match &query.location {
        Location::Name(name) => pairs.append_pair("q", name),
        Location::Id(id) => pairs.append_pair("id", &id.to_string()),
        Location::Zip { code, country } => pairs.append_pair("zip", &format!("{code},{country}")),
        Location::Coordinates { latitude, longitude } => pairs
            .append_pair("lat", &Hundredths(*latitude).to_string())
            .append_pair("lon", &Hundredths(*longitude).to_string()),
    };
    pairs.append_pair("units", query.units.as_str());
    if let Some(lang) = query.lang {
        pairs.append_pair("lang", lang.as_str());
    }
    pairs.append_pair("appid", key);
}

/// Seconds from `Retry-After` (RFC 9110, section 10.2.3), within reason; OpenWeatherMap was never seen to send it.
pub(super) fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(LEAST_WAIT, Duration::from_secs).clamp(LEAST_WAIT, LONGEST_WAIT)
}

/// Whether a body is weather, by its status and by what it says itself: OpenWeatherMap has answered 200 with an error
/// inside, and writes `cod` now as a number, now as a string.
pub(super) fn judge(status: u16, body: &[u8], retry_after: Duration) -> Result<(), SourceError> {
    // serde_json does not look into the text that it skips, and JSON is UTF-8 (RFC 8259, section 8.1).
    let parsed = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str::<Body>(text).ok());
    if status != 200 {
        let own = parsed.as_ref().is_some_and(|body| body.cod.is_some() || body.error.is_some());
        // What says that a place is unknown has to be OpenWeatherMap itself, not a gateway on the way.
        if matches!(status, 400 | 404) && !own {
            return Err(SourceError::Failed);
        }
        return Err(failure(status, parsed.as_ref().and_then(|body| body.message.as_deref()), retry_after));
    }
    let body = parsed.ok_or(SourceError::InvalidResponse)?;
    match body.cod.or(body.error) {
        Some(Code(200)) | None if body.weather.is_some() && body.main.is_some() => Ok(()),
        Some(Code(200)) | None => Err(SourceError::InvalidResponse),
        Some(Code(code)) => Err(failure(code, body.message.as_deref(), retry_after)),
    }
}

fn failure(code: u16, message: Option<&str>, retry_after: Duration) -> SourceError {
    match code {
        // An unknown path, not an unknown place: the base URL is wrong.
        404 if message == Some("Internal error") => SourceError::Failed,
        // 400 is what a place gets that is well-formed but means nothing there ("Nothing to geocode").
        400 | 404 => SourceError::UnknownLocation,
        401 | 403 => SourceError::RejectedKey,
        429 => SourceError::BudgetExhausted { retry_after },
        502..=504 => SourceError::Unavailable,
        _ => SourceError::Failed,
    }
}

/// What has to be known of a body; the rest is checked to be JSON and skipped.
#[derive(Deserialize)]
struct Body {
    cod: Option<Code>,
    error: Option<Code>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    message: Option<String>,
    weather: Option<Vec<IgnoredAny>>,
    main: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A status code written as a number or as a string.
struct Code(u16);

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(u16),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Number(code) => Ok(Self(code)),
            Spelling::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// `message` is a number on some successes.
fn text_or_nothing<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(segment: &str, parameters: &str) -> String {
        let mut url = Url::parse("https://api.openweathermap.org").unwrap();
        write_request(&mut url, &Query::parse(segment, parameters).unwrap(), "KEY");
        url.to_string().replace("https://api.openweathermap.org/data/2.5/weather?", "")
    }

    #[test]
    fn every_form_of_a_place_is_asked_in_its_own_parameter() {
        assert_eq!(request("New York,NY,US", ""), "q=new+york%2Cny%2Cus&units=metric&appid=KEY");
        assert_eq!(request("51.5074,-0.1278", "units=imperial"), "lat=51.51&lon=-0.13&units=imperial&appid=KEY");
        assert_eq!(request("id:2643743", "lang=PT-br"), "id=2643743&units=metric&lang=pt_br&appid=KEY");
        assert_eq!(request("zip:94040,US", ""), "zip=94040%2Cus&units=metric&appid=KEY");
    }

    #[test]
    fn a_base_url_may_have_a_path() {
        let mut url = Url::parse("https://gateway.example/owm/").unwrap();
        write_request(&mut url, &Query::parse("id:1", "").unwrap(), "K");
        assert!(url.as_str().starts_with("https://gateway.example/owm/data/2.5/weather?id=1&"));
    }

    #[test]
    fn a_body_is_weather_only_if_it_says_so() {
        let weather = br#"{"weather":[{"id":800}],"main":{"temp":12},"cod":200}"#;
        let judged = |status, body: &[u8]| judge(status, body, LEAST_WAIT);
        assert_eq!(judged(200, weather), Ok(()));
        assert_eq!(judged(200, br#"{"weather":[],"main":{},"cod":"200"}"#), Ok(()));
        for (status, body, expected) in [
            (200, "", SourceError::InvalidResponse),
            (200, "<html>", SourceError::InvalidResponse),
            (200, "[]", SourceError::InvalidResponse),
            (200, r#"{"cod":200}"#, SourceError::InvalidResponse),
            (200, r#"{"weather":[],"main":{},"cod":200"#, SourceError::InvalidResponse),
            (200, r#"{"weather":[],"main":{},"cod":200} x"#, SourceError::InvalidResponse),
            (200, r#"{"cod":"404","message":""}"#, SourceError::UnknownLocation),
            (200, r#"{"cod":404}"#, SourceError::UnknownLocation),
            (200, r#"{"error":"404"}"#, SourceError::UnknownLocation),
            (200, r#"{"cod":"500","message":"x"}"#, SourceError::Failed),
            (404, r#"{"cod":"404","message":"city not found"}"#, SourceError::UnknownLocation),
            (404, r#"{"cod":"404","message":"Internal error"}"#, SourceError::Failed),
            (400, r#"{"cod":"400","message":"Nothing to geocode"}"#, SourceError::UnknownLocation),
            (401, r#"{"cod":401, "message": "Invalid API key."}"#, SourceError::RejectedKey),
            (429, "", SourceError::BudgetExhausted { retry_after: LEAST_WAIT }),
            (500, "<html>", SourceError::Failed),
            (503, "", SourceError::Unavailable),
            (404, "<html>404 page not found</html>", SourceError::Failed),
            (404, "", SourceError::Failed),
            (404, r#"{"message":"no route"}"#, SourceError::Failed),
            (400, "<html>bad gateway</html>", SourceError::Failed),
            (302, "", SourceError::Failed),
            (204, "", SourceError::Failed),
        ] {
            assert_eq!(judged(status, body.as_bytes()), Err(expected), "{status} {body}");
        }
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers).as_secs()
        };
        assert_eq!((wait("5"), wait("120"), wait("999999"), wait("soon")), (60, 120, 3_600, 60));
        assert_eq!(retry_after(&HeaderMap::new()).as_secs(), 60);
    }
}
