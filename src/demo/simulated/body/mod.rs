//! The JSON bodies of the answers, one file a family of endpoints, and the pieces they have in common.
//!
//! Fields, their order and the way numbers are printed follow the real service's bodies since 2022.
//! Only `base` differs: it says `simulated`, so that nobody mistakes these data for measured ones;
//! bodies that have no `base` in the real service have it as their last field.

pub(super) mod air;
pub(super) mod current;
pub(super) mod daily;
pub(super) mod forecast;
pub(super) mod geo;
pub(super) mod onecall;
pub(super) mod summary;
pub(super) mod timeline;
pub(super) mod uv;

use axum::http::StatusCode;
use serde::Serialize;

use super::conditions::Condition;
use super::places::Place;
use super::request::Format;
use super::units::{Decimal, Degrees, Hundredths};
use super::weather::{Fall, Observation};
use super::{INTERNAL_ERROR, Reply};

/// What `base` says.
const SIMULATED: &str = "simulated";

/// The body as text, or the error.
type Answer = Result<String, Reply>;

fn print(body: &impl Serialize) -> Answer {
    serde_json::to_string(body).map_err(|_| Reply::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR))
}

/// Coordinates; some endpoints print the longitude first.
#[derive(Serialize)]
struct LonLat {
    lon: Degrees,
    lat: Degrees,
}

/// Coordinates; some endpoints print the latitude first.
#[derive(Serialize)]
struct LatLon {
    lat: Degrees,
    lon: Degrees,
}

impl From<&Place> for LonLat {
    fn from(place: &Place) -> Self {
        Self { lon: Decimal(place.lon.into()), lat: Decimal(place.lat.into()) }
    }
}

impl From<&Place> for LatLon {
    fn from(place: &Place) -> Self {
        Self { lat: Decimal(place.lat.into()), lon: Decimal(place.lon.into()) }
    }
}

#[derive(Serialize)]
struct Weather {
    id: u16,
    main: &'static str,
    description: &'static str,
    icon: String,
}

impl Weather {
    fn of(seen: &Observation, format: Format) -> [Self; 1] {
        Self::with_code(seen.condition, seen.daytime, format)
    }

    /// Bodies hold a list, in which there is one condition.
    fn with_code(code: u16, daytime: bool, format: Format) -> [Self; 1] {
        let condition = Condition::of(code);
        [Self {
            id: condition.id,
            main: condition.main,
            description: condition.description(format.lang),
            icon: condition.icon(daytime),
        }]
    }
}

#[derive(Serialize)]
struct Wind {
    speed: Hundredths,
    deg: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gust: Option<Hundredths>,
}

impl Wind {
    fn of(seen: &Observation, format: Format) -> Self {
        let speed = |metres| format.units.speed(metres);
        Self { speed: speed(seen.wind), deg: seen.wind_deg, gust: seen.gust.map(speed) }
    }

    /// Lists of places and of past hours have no gusts.
    fn steady(seen: &Observation, format: Format) -> Self {
        Self { gust: None, ..Self::of(seen, format) }
    }

    /// Forecasts have a gust for every hour, in light winds as fast as the wind.
    fn forecast(seen: &Observation, format: Format) -> Self {
        Self { gust: Some(format.units.speed(gust(seen))), ..Self::of(seen, format) }
    }
}

/// Hundredths of a metre per second, also where an observation has none.
fn gust(seen: &Observation) -> i64 {
    seen.gust.unwrap_or(seen.wind)
}

#[derive(Serialize)]
struct Clouds {
    all: i64,
}

/// What has fallen, by the hours in which it did.
#[derive(Serialize)]
enum Amount {
    #[serde(rename = "1h")]
    Hour(Hundredths),
    #[serde(rename = "3h")]
    ThreeHours(Hundredths),
}

/// Rain and snow of one hour.
fn fallen(fall: Fall) -> (Option<Amount>, Option<Amount>) {
    let amount = |hundredths| (hundredths > 0).then_some(Amount::Hour(Decimal(hundredths)));
    (amount(fall.rain()), amount(fall.snow()))
}
