//! Bodies in steps of hours: the forecasts, and the hours that are over.

use serde::Serialize;

use super::{Amount, Answer, Clouds, LatLon, SIMULATED, Weather, Wind, fallen, print};
use crate::demo::simulated::calendar::date_and_time;
use crate::demo::simulated::places::Place;
use crate::demo::simulated::request::{Format, Request};
use crate::demo::simulated::units::{Decimal, Hundredths};
use crate::demo::simulated::weather::{DAY, Fall, HOUR, Observation, observe};

/// Rows of the five days' forecast and of the hourly one.
const STEPS: i64 = 40;
const HOURS: i64 = 96;
/// Hours of the past in one answer, as many as the real service gives: a week.
const PAST: i64 = 168;

#[derive(Serialize)]
struct Forecast<'a> {
    cod: &'static str,
    message: u8,
    cnt: usize,
    list: Vec<Row>,
    city: City<'a>,
    base: &'static str,
}

#[derive(Serialize)]
struct Row {
    dt: i64,
    main: Main,
    weather: [Weather; 1],
    clouds: Clouds,
    wind: Wind,
    visibility: i64,
    pop: Hundredths,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<Amount>,
    sys: PartOfDay,
    dt_txt: String,
}

#[derive(Serialize)]
struct Main {
    temp: Hundredths,
    feels_like: Hundredths,
    temp_min: Hundredths,
    temp_max: Hundredths,
    pressure: i64,
    sea_level: i64,
    grnd_level: i64,
    humidity: i64,
    // A correction that the real service makes to its model in the first hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    temp_kf: Option<i64>,
}

impl Main {
    fn of(seen: &Observation, format: Format) -> Self {
        let temperature = |kelvin| format.units.temperature(kelvin);
        Self {
            temp: temperature(seen.temp),
            feels_like: temperature(seen.feels_like),
            temp_min: temperature(seen.temp_min),
            temp_max: temperature(seen.temp_max),
            pressure: seen.sea_level,
            sea_level: seen.sea_level,
            grnd_level: seen.grnd_level,
            humidity: seen.humidity,
            temp_kf: None,
        }
    }
}

#[derive(Serialize)]
struct PartOfDay {
    pod: char,
}

#[derive(Serialize)]
struct City<'a> {
    id: u64,
    name: &'a str,
    coord: LatLon,
    country: &'a str,
    population: u8,
    timezone: i32,
    sunrise: i64,
    sunset: i64,
}

/// `/data/2.5/forecast`: five days in steps of three hours.
pub(in crate::demo::simulated) fn five_days(request: &Request, unix: i64) -> Answer {
    forecast(request, unix, 3, STEPS)
}

/// `/data/2.5/forecast/hourly`: four days.
pub(in crate::demo::simulated) fn hourly(request: &Request, unix: i64) -> Answer {
    forecast(request, unix, 1, HOURS)
}

/// The steps that come next, each so many hours long.
fn forecast(request: &Request, unix: i64, hours: i64, most: i64) -> Answer {
    let (place, format) = (request.place()?, request.format());
    let step = hours * HOUR;
    let first = (unix / step + 1) * step;
    let rows = 0..request.count("cnt", most, most);
    let list: Vec<Row> = rows.map(|number| row(&place, first + number * step, hours, format)).collect();
    let today = observe(&place, unix);
    print(&Forecast {
        cod: "200",
        message: 0,
        cnt: list.len(),
        list,
        city: City {
            id: place.id,
            name: &place.name,
            coord: LatLon::from(&place),
            country: place.country.as_deref().unwrap_or_default(),
            // Not known, as of many places in the real service.
            population: 0,
            timezone: place.timezone,
            sunrise: today.sunrise,
            sunset: today.sunset,
        },
        base: SIMULATED,
    })
}

fn row(place: &Place, dt: i64, hours: i64, format: Format) -> Row {
    let seen = observe(place, dt);
    // What falls at that time has fallen in the hours before as well, or has not.
    let sum = |of: fn(Fall) -> i64| match of(seen.fall) {
        0 => None,
        _ => Some((0..hours).map(|ago| of(observe(place, dt - ago * HOUR).fall)).sum()),
    };
    let amount = |hundredths| match hours {
        1 => Amount::Hour(Decimal(hundredths)),
        _ => Amount::ThreeHours(Decimal(hundredths)),
    };
    Row {
        dt,
        main: Main { temp_kf: Some(0), ..Main::of(&seen, format) },
        weather: Weather::of(&seen, format),
        clouds: Clouds { all: seen.clouds },
        wind: Wind::forecast(&seen, format),
        visibility: seen.visibility,
        pop: Decimal(seen.chance),
        rain: sum(Fall::rain).map(amount),
        snow: sum(Fall::snow).map(amount),
        sys: PartOfDay { pod: if seen.daytime { 'd' } else { 'n' } },
        dt_txt: date_and_time(dt),
    }
}

#[derive(Serialize)]
struct History {
    message: &'static str,
    cod: &'static str,
    city_id: u64,
    // How long the real service has searched, in seconds.
    calctime: u8,
    cnt: usize,
    list: Vec<Past>,
    base: &'static str,
}

#[derive(Serialize)]
struct Past {
    main: Main,
    wind: Wind,
    clouds: Clouds,
    weather: [Weather; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<Amount>,
    dt: i64,
}

/// `/data/2.5/history/city`: the hours from `start` to `end` or `cnt` of them, at most a week; the last day without either.
pub(in crate::demo::simulated) fn history(request: &Request, unix: i64) -> Answer {
    let (place, format) = (request.place()?, request.format());
    let rows = usize::try_from(request.count("cnt", PAST, PAST)).unwrap_or_default();
    let list: Vec<Past> = past_hours(request, unix).take(rows).map(|dt| past(&observe(&place, dt), format)).collect();
    print(&History { message: "", cod: "200", city_id: place.id, calctime: 0, cnt: list.len(), list, base: SIMULATED })
}

/// The full hours that are asked for and over, the earliest first.
pub(super) fn past_hours(request: &Request, unix: i64) -> impl Iterator<Item = i64> {
    let end = request.time("end").unwrap_or(unix).min(unix);
    let start = request.time("start").unwrap_or(end - DAY + 1).max(0);
    let first = start + (-start).rem_euclid(HOUR);
    (0..).map(move |number| first + number * HOUR).take_while(move |dt| *dt <= end)
}

fn past(seen: &Observation, format: Format) -> Past {
    let (rain, snow) = fallen(seen.fall);
    Past {
        main: Main::of(seen, format),
        wind: Wind::steady(seen, format),
        clouds: Clouds { all: seen.clouds },
        weather: Weather::of(seen, format),
        rain,
        snow,
        dt: seen.dt,
    }
}
