//! Bodies in steps of days: sixteen days, and the month that is usual for the season.

use serde::Serialize;

use super::{Answer, LonLat, SIMULATED, Weather, gust, print};
use crate::demo::simulated::day::{self, Day};
use crate::demo::simulated::request::{Format, Request};
use crate::demo::simulated::units::{Decimal, Hundredths};
use crate::demo::simulated::weather::Observation;

/// Days unless told otherwise, and at most.
const DAYS: (i64, i64) = (7, 16);
const MONTH: i64 = 30;

#[derive(Serialize)]
struct Body<'a> {
    city: City<'a>,
    // The two endpoints spell it differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    cod: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    message: u8,
    cnt: usize,
    list: Vec<Row>,
    base: &'static str,
}

#[derive(Serialize)]
struct City<'a> {
    id: u64,
    name: &'a str,
    coord: LonLat,
    country: &'a str,
    population: u8,
    timezone: i32,
}

#[derive(Serialize)]
struct Row {
    dt: i64,
    sunrise: i64,
    sunset: i64,
    temp: Temperatures,
    feels_like: Felt,
    pressure: i64,
    humidity: i64,
    weather: [Weather; 1],
    speed: Hundredths,
    deg: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gust: Option<Hundredths>,
    clouds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pop: Option<Hundredths>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<Hundredths>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<Hundredths>,
}

/// The temperatures of a day.
#[derive(Serialize)]
pub(super) struct Temperatures {
    day: Hundredths,
    min: Hundredths,
    max: Hundredths,
    night: Hundredths,
    eve: Hundredths,
    morn: Hundredths,
}

impl Temperatures {
    pub(super) fn of(day: &Day, format: Format) -> Self {
        let temperature = |kelvin| format.units.temperature(kelvin);
        Self {
            day: temperature(day.noon.temp),
            min: temperature(day.min),
            max: temperature(day.max),
            night: temperature(day.night.temp),
            eve: temperature(day.evening.temp),
            morn: temperature(day.morning.temp),
        }
    }
}

/// How warm it feels through a day.
#[derive(Serialize)]
pub(super) struct Felt {
    day: Hundredths,
    night: Hundredths,
    eve: Hundredths,
    morn: Hundredths,
}

impl Felt {
    pub(super) fn of(day: &Day, format: Format) -> Self {
        let felt = |seen: &Observation| format.units.temperature(seen.feels_like);
        Self { day: felt(&day.noon), night: felt(&day.night), eve: felt(&day.evening), morn: felt(&day.morning) }
    }
}

/// `/data/2.5/forecast/daily`
pub(in crate::demo::simulated) fn sixteen_days(request: &Request, unix: i64) -> Answer {
    let (default, most) = DAYS;
    let days = request.count("cnt", default, most);
    let complete = |day: &Day, format: Format| Row {
        gust: Some(format.units.speed(gust(&day.windiest))),
        pop: Some(Decimal(day.chance)),
        ..row(day, format)
    };
    body(request, unix, days, complete, |body| Body { cod: Some("200"), ..body })
}

/// `/data/2.5/forecast/climate`
pub(in crate::demo::simulated) fn month(request: &Request, unix: i64) -> Answer {
    let days = request.count("cnt", MONTH, MONTH);
    body(request, unix, days, row, |body| Body { code: Some("200"), ..body })
}

fn body(
    request: &Request,
    unix: i64,
    days: i64,
    row: fn(&Day, Format) -> Row,
    finish: fn(Body<'_>) -> Body<'_>,
) -> Answer {
    let (place, format) = (request.place()?, request.format());
    let list: Vec<Row> = day::from(&place, unix, days).map(|day| row(&day, format)).collect();
    let city = City {
        id: place.id,
        name: &place.name,
        coord: LonLat::from(&place),
        country: place.country.as_deref().unwrap_or_default(),
        population: 0,
        timezone: place.timezone,
    };
    print(&finish(Body { city, cod: None, code: None, message: 0, cnt: list.len(), list, base: SIMULATED }))
}

fn row(day: &Day, format: Format) -> Row {
    let amount = |hundredths| (hundredths > 0).then_some(Decimal(hundredths));
    Row {
        dt: day.noon.dt,
        sunrise: day.noon.sunrise,
        sunset: day.noon.sunset,
        temp: Temperatures::of(day, format),
        feels_like: Felt::of(day, format),
        pressure: day.noon.sea_level,
        humidity: day.noon.humidity,
        weather: Weather::with_code(day.condition, true, format),
        speed: format.units.speed(day.windiest.wind),
        deg: day.windiest.wind_deg,
        gust: None,
        clouds: day.noon.clouds,
        pop: None,
        rain: amount(day.rain),
        snow: amount(day.snow),
    }
}
