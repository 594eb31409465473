//! A simulated OpenWeatherMap for the demo mode.
//!
//! **These data are simulated.** Nothing here is measured or forecast, and nothing comes from
//! OpenWeatherMap; every body says so in its `base` field. The point is to have something that
//! answers like the real service (same path, parameters, fields, errors and headers) for people who
//! do not have an API key yet.
//!
//! Answers are reproducible: a body depends on the place, the units, the language and the time
//! rounded down to ten minutes, and on nothing else. Any non-empty `appid` is accepted. Left out:
//! `mode` and `callback` (always plain JSON), translated city names, daylight saving, and every
//! endpoint but the current weather.

mod body;
mod cities;
mod comfort;
mod conditions;
mod places;
mod text;
mod weather;

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE,
};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use body::Units;
use conditions::Lang;
use places::{Location, NoPlace};

/// The one path that is served.
const WEATHER_PATH: &str = "/data/2.5/weather";

// The real service's error bodies, byte for byte: clients compare them, also the number or string
// in `cod` and the spaces. The 401 is the recorded form; newer answers are said to write `https` in
// its link.
const INVALID_KEY: &str =
    r#"{"cod":401, "message": "Invalid API key. Please see http://openweathermap.org/faq#error401 for more info."}"#;
const NOTHING_TO_GEOCODE: &str = r#"{"cod":"400","message":"Nothing to geocode"}"#;
const WRONG_LATITUDE: &str = r#"{"cod":"400","message":"wrong latitude"}"#;
const WRONG_LONGITUDE: &str = r#"{"cod":"400","message":"wrong longitude"}"#;
const CITY_NOT_FOUND: &str = r#"{"cod":"404","message":"city not found"}"#;
const UNKNOWN_PATH: &str = r#"{"cod":"404","message":"Internal error"}"#;
const INTERNAL_ERROR: &str = r#"{"cod":"500","message":"Internal error: 500001"}"#;

/// A status and a JSON body; as a response it has the headers of the real service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON text.
    pub body: String,
}

impl Reply {
    fn new(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, body: body.into() }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        // Browser apps call the real service directly, so its CORS headers belong to the imitation.
        let headers = [
            (CONTENT_TYPE, "application/json; charset=utf-8"),
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        ];
        (self.status, headers, self.body).into_response()
    }
}

/// The routes of the simulated service: the current weather, and the real service's 404 for
/// everything else.
pub fn router() -> Router {
    Router::new().route(WEATHER_PATH, get(current_weather).fallback(unknown_path)).fallback(unknown_path)
}

/// Answers the query part of a request for the current weather at a given time (unix seconds): a
/// pure function.
pub fn reply(query: &str, unix: i64) -> Reply {
    let request = Request::parse(query);
    // The key comes first in the real service too, whatever else is wrong.
    if !request.has_key {
        return Reply::new(StatusCode::UNAUTHORIZED, INVALID_KEY);
    }
    let place = match request.location.resolve() {
        Ok(place) => place,
        Err(reason) => return refusal(reason),
    };
    let seen = weather::observe(&place, unix);
    match body::render(&place, &seen, request.units, request.lang) {
        Ok(body) => Reply::new(StatusCode::OK, body),
        Err(_) => Reply::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR),
    }
}

fn refusal(reason: NoPlace) -> Reply {
    match reason {
        NoPlace::Missing => Reply::new(StatusCode::BAD_REQUEST, NOTHING_TO_GEOCODE),
        NoPlace::Latitude => Reply::new(StatusCode::BAD_REQUEST, WRONG_LATITUDE),
        NoPlace::Longitude => Reply::new(StatusCode::BAD_REQUEST, WRONG_LONGITUDE),
        NoPlace::Unknown => Reply::new(StatusCode::NOT_FOUND, CITY_NOT_FOUND),
    }
}

/// The handler only adds the clock, so that everything else can be tested without it.
async fn current_weather(uri: Uri) -> Reply {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    reply(uri.query().unwrap_or_default(), i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

async fn unknown_path() -> Reply {
    Reply::new(StatusCode::NOT_FOUND, UNKNOWN_PATH)
}

/// The parameters that matter.
struct Request {
    has_key: bool,
    location: Location,
    units: Units,
    lang: Lang,
}

impl Request {
    /// Reads the query; of a repeated parameter the first non-empty value counts, unknown ones are
    /// ignored.
    fn parse(query: &str) -> Self {
        let mut request =
            Self { has_key: false, location: Location::default(), units: Units::Standard, lang: Lang::English };
        let (mut units, mut lang) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            let slot = match name.as_ref() {
                "q" => &mut request.location.q,
                "id" => &mut request.location.id,
                "zip" => &mut request.location.zip,
                "lat" => &mut request.location.lat,
                "lon" => &mut request.location.lon,
                "units" => &mut units,
                "lang" => &mut lang,
                // Several clients write APPID.
                other => {
                    request.has_key |= other.eq_ignore_ascii_case("appid");
                    continue;
                }
            };
            slot.get_or_insert_with(|| value.to_owned());
        }
        request.units = units.map_or(Units::Standard, |text| Units::from_parameter(&text));
        request.lang = lang.map_or(Lang::English, |text| Lang::from_parameter(&text));
        request
    }
}

#[cfg(test)]
mod tests;
