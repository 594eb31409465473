//! A simulated OpenWeatherMap for the demo mode.
//!
//! **These data are simulated.** Nothing here is measured or forecast, and nothing comes from
//! OpenWeatherMap; every body that is an object says so in its `base` field (bare lists have no room
//! for it). The point is to have something that answers like the real service (same paths,
//! parameters, fields, errors and headers) for people who do not have an API key yet.
//!
//! Answers are reproducible: a body depends on the place, the units, the language and the time
//! rounded down to ten minutes (to five where a row is a quarter of an hour, to one where it is a
//! minute), and on nothing else but the parameters. All endpoints tell the same story: they are
//! made of the same observations, so a forecast for an hour is what will be the current weather in
//! that hour. Any non-empty `appid` is accepted. Parameters that make no sense count as absent,
//! unless the error of the real service is known.
//!
//! Left out: `mode` and `callback` (always plain JSON), translated city names, daylight saving,
//! weather alerts, maps, and how far back or ahead a plan may look.

mod air;
mod body;
mod calendar;
mod cities;
mod comfort;
mod conditions;
mod day;
mod moon;
mod places;
mod request;
mod sun;
mod text;
mod units;
mod weather;

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE,
};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use body::{current, daily, forecast, geo, onecall, summary, timeline, uv};
use places::NoPlace;
use request::Request;
use weather::LAST_SECOND;

/// Makes the body of a request at a time (unix seconds), or the error.
type Endpoint = fn(&Request, i64) -> Result<String, Reply>;

/// What is served.
const ENDPOINTS: &[(&str, Endpoint)] = &[
    ("/data/2.5/weather", current::weather),
    ("/data/2.5/group", current::group),
    ("/data/2.5/find", current::find),
    ("/data/2.5/box/city", current::rectangle),
    ("/data/2.5/forecast", forecast::five_days),
    ("/data/2.5/forecast/hourly", forecast::hourly),
    ("/data/2.5/forecast/daily", daily::sixteen_days),
    ("/data/2.5/forecast/climate", daily::month),
    ("/data/2.5/history/city", forecast::history),
    ("/data/2.5/air_pollution", body::air::now),
    ("/data/2.5/air_pollution/forecast", body::air::forecast),
    ("/data/2.5/air_pollution/history", body::air::history),
    ("/data/2.5/uvi", uv::today),
    ("/data/2.5/uvi/forecast", uv::forecast),
    ("/data/2.5/uvi/history", uv::history),
    ("/data/2.5/onecall/timemachine", onecall::old_time_machine),
    ("/data/3.0/onecall", onecall::everything),
    ("/data/3.0/onecall/timemachine", onecall::time_machine),
    ("/data/3.0/onecall/day_summary", summary::of_day),
    ("/data/3.0/onecall/overview", summary::in_words),
    ("/data/4.0/onecall/current", timeline::current),
    ("/data/4.0/onecall/timeline/1min", timeline::minutes),
    ("/data/4.0/onecall/timeline/15min", timeline::quarters),
    ("/data/4.0/onecall/timeline/1h", timeline::hours),
    ("/data/4.0/onecall/timeline/1day", timeline::days),
    ("/geo/1.0/direct", geo::direct),
    ("/geo/1.0/reverse", geo::reverse),
    ("/geo/1.0/zip", geo::zip),
];

// The real service's error bodies, byte for byte: clients compare them, also the number or string
// in `cod` and the spaces. The 401 is the recorded form; newer answers are said to write `https` in
// its link.
const INVALID_KEY: &str =
    r#"{"cod":401, "message": "Invalid API key. Please see http://openweathermap.org/faq#error401 for more info."}"#;
const NOTHING_TO_GEOCODE: &str = r#"{"cod":"400","message":"Nothing to geocode"}"#;
const WRONG_LATITUDE: &str = r#"{"cod":"400","message":"wrong latitude"}"#;
const WRONG_LONGITUDE: &str = r#"{"cod":"400","message":"wrong longitude"}"#;
const CITY_NOT_FOUND: &str = r#"{"cod":"404","message":"city not found"}"#;
const NOT_FOUND: &str = r#"{"cod":"404","message":"not found"}"#;
const UNKNOWN_PATH: &str = r#"{"cod":"404","message":"Internal error"}"#;
// Comes with status 200.
const BAD_LIMIT: &str = r#"{"message":"exception: limit must be >=0","cod":"500"}"#;
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

impl From<NoPlace> for Reply {
    fn from(reason: NoPlace) -> Self {
        match reason {
            NoPlace::Missing => Self::new(StatusCode::BAD_REQUEST, NOTHING_TO_GEOCODE),
            NoPlace::Latitude => Self::new(StatusCode::BAD_REQUEST, WRONG_LATITUDE),
            NoPlace::Longitude => Self::new(StatusCode::BAD_REQUEST, WRONG_LONGITUDE),
            NoPlace::Unknown => Self::new(StatusCode::NOT_FOUND, CITY_NOT_FOUND),
        }
    }
}

/// The simulated service: its endpoints, and the real service's 404 for everything else.
pub fn router() -> Router {
    Router::new().fallback(answer)
}

/// Answers a request, given as its path and query, at a given time (unix seconds): a pure function.
pub fn reply(path: &str, query: &str, unix: i64) -> Reply {
    let Some((_, endpoint)) = ENDPOINTS.iter().find(|(served, _)| *served == path) else {
        return unknown_path();
    };
    let request = Request::parse(query);
    // The key comes first in the real service too, whatever else is wrong.
    if request.key.is_none() {
        return Reply::new(StatusCode::UNAUTHORIZED, INVALID_KEY);
    }
    match endpoint(&request, unix.clamp(0, LAST_SECOND)) {
        Ok(body) => Reply::new(StatusCode::OK, body),
        Err(reply) => reply,
    }
}

/// The handler only adds the clock, so that everything else can be tested without it.
async fn answer(method: Method, uri: Uri) -> Reply {
    if ![Method::GET, Method::HEAD].contains(&method) {
        return unknown_path();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    reply(uri.path(), uri.query().unwrap_or_default(), unix)
}

fn unknown_path() -> Reply {
    Reply::new(StatusCode::NOT_FOUND, UNKNOWN_PATH)
}

#[cfg(test)]
mod tests;
