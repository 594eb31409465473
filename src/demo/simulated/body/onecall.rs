//! Bodies of One Call 3.0, and the rows that 4.0 has in common with it.

use serde::Serialize;

use super::daily::{Felt, Temperatures};
use super::{Amount, Answer, SIMULATED, Weather, fallen, gust, print};
use crate::demo::simulated::conditions::Condition;
use crate::demo::simulated::day::{self, Day};
use crate::demo::simulated::moon;
use crate::demo::simulated::places::Place;
use crate::demo::simulated::request::{Format, Request};
use crate::demo::simulated::units::{Decimal, Degrees, Hundredths};
use crate::demo::simulated::weather::{HOUR, Observation, observe};

const MINUTES: i64 = 60;
const HOURS: i64 = 48;
const DAY_HOURS: i64 = 24;
const DAYS: i64 = 8;

/// Where it is, as every body begins.
#[derive(Serialize)]
pub(super) struct Spot {
    lat: Degrees,
    lon: Degrees,
    timezone: String,
    timezone_offset: i32,
}

impl From<&Place> for Spot {
    fn from(place: &Place) -> Self {
        Self {
            lat: Decimal(place.lat.into()),
            lon: Decimal(place.lon.into()),
            timezone: place.zone(),
            timezone_offset: place.timezone,
        }
    }
}

#[derive(Serialize)]
struct Body {
    #[serde(flatten)]
    spot: Spot,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minutely: Option<Vec<Minute>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hourly: Option<Vec<Moment>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daily: Option<Vec<WholeDay>>,
    base: &'static str,
}

/// One time: now, an hour to come, an hour that is over.
#[derive(Serialize)]
pub(super) struct Moment {
    dt: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sunrise: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sunset: Option<i64>,
    temp: Hundredths,
    feels_like: Hundredths,
    pressure: i64,
    humidity: i64,
    dew_point: Hundredths,
    #[serde(skip_serializing_if = "Option::is_none")]
    uvi: Option<Hundredths>,
    clouds: i64,
    visibility: i64,
    wind_speed: Hundredths,
    wind_deg: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wind_gust: Option<Hundredths>,
    weather: [Weather; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pop: Option<Hundredths>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<Amount>,
}

impl Moment {
    /// With the sun of its day.
    pub(super) fn current(seen: &Observation, format: Format) -> Self {
        let (temperature, speed) = (|kelvin| format.units.temperature(kelvin), |metres| format.units.speed(metres));
        let (rain, snow) = fallen(seen.fall);
        Self {
            dt: seen.dt,
            sunrise: Some(seen.sunrise),
            sunset: Some(seen.sunset),
            temp: temperature(seen.temp),
            feels_like: temperature(seen.feels_like),
            pressure: seen.sea_level,
            humidity: seen.humidity,
            dew_point: temperature(seen.dew_point),
            uvi: Some(Decimal(seen.uvi)),
            clouds: seen.clouds,
            visibility: seen.visibility,
            wind_speed: speed(seen.wind),
            wind_deg: seen.wind_deg,
            wind_gust: seen.gust.map(speed),
            weather: Weather::of(seen, format),
            pop: None,
            rain,
            snow,
        }
    }

    /// What is expected at a time (unix seconds).
    pub(super) fn forecast(place: &Place, dt: i64, format: Format) -> Self {
        let seen = observe(place, dt);
        Self {
            dt,
            sunrise: None,
            sunset: None,
            wind_gust: Some(format.units.speed(gust(&seen))),
            pop: Some(Decimal(seen.chance)),
            ..Self::current(&seen, format)
        }
    }
}

/// One minute of the hour to come.
#[derive(Serialize)]
pub(super) struct Minute {
    dt: i64,
    precipitation: Hundredths,
}

impl Minute {
    /// What is expected at a time (unix seconds).
    pub(super) fn forecast(place: &Place, dt: i64) -> Self {
        Self { dt, precipitation: Decimal(observe(place, dt).fall.amount()) }
    }
}

#[derive(Serialize)]
pub(super) struct WholeDay {
    dt: i64,
    sunrise: i64,
    sunset: i64,
    moonrise: i64,
    moonset: i64,
    moon_phase: Hundredths,
    summary: String,
    temp: Temperatures,
    feels_like: Felt,
    pressure: i64,
    humidity: i64,
    dew_point: Hundredths,
    wind_speed: Hundredths,
    wind_deg: i64,
    wind_gust: Hundredths,
    weather: [Weather; 1],
    clouds: i64,
    pop: Hundredths,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<Hundredths>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<Hundredths>,
    uvi: Hundredths,
}

impl WholeDay {
    pub(super) fn of(place: &Place, day: &Day, format: Format) -> Self {
        let amount = |hundredths| (hundredths > 0).then_some(Decimal(hundredths));
        let (noon, moon) = (&day.noon, moon::of_day(place, day.midnight));
        Self {
            dt: noon.dt,
            sunrise: noon.sunrise,
            sunset: noon.sunset,
            moonrise: moon.rise,
            moonset: moon.set,
            moon_phase: Decimal(moon.phase),
            summary: format!("Simulated: a day with {}", Condition::of(day.condition).description(format.lang)),
            temp: Temperatures::of(day, format),
            feels_like: Felt::of(day, format),
            pressure: noon.sea_level,
            humidity: noon.humidity,
            dew_point: format.units.temperature(noon.dew_point),
            wind_speed: format.units.speed(day.windiest.wind),
            wind_deg: day.windiest.wind_deg,
            wind_gust: format.units.speed(gust(&day.windiest)),
            weather: Weather::with_code(day.condition, true, format),
            clouds: noon.clouds,
            pop: Decimal(day.chance),
            rain: amount(day.rain),
            snow: amount(day.snow),
            uvi: Decimal(day.uvi),
        }
    }
}

/// `/data/3.0/onecall`: now, the next hour, two days by the hour, eight by the day, less what is excluded. There are no
/// alerts: a made-up one could frighten.
pub(in crate::demo::simulated) fn everything(request: &Request, unix: i64) -> Answer {
    let (place, format) = (request.spot()?, request.format());
    let excluded: Vec<&str> = request.text("exclude").unwrap_or_default().split(',').map(str::trim).collect();
    let wanted = |part: &str| !excluded.contains(&part);
    let (minute, hour) = ((unix / 60 + 1) * 60, unix / HOUR * HOUR);
    let minutes = || (0..MINUTES).map(|number| Minute::forecast(&place, minute + number * 60));
    let hours = || (0..HOURS).map(|number| Moment::forecast(&place, hour + number * HOUR, format));
    let days = || day::from(&place, unix, DAYS).map(|day| WholeDay::of(&place, &day, format));
    print(&Body {
        spot: Spot::from(&place),
        current: wanted("current").then(|| Moment::current(&observe(&place, unix), format)),
        minutely: wanted("minutely").then(|| minutes().collect()),
        hourly: wanted("hourly").then(|| hours().collect()),
        daily: wanted("daily").then(|| days().collect()),
        base: SIMULATED,
    })
}

#[derive(Serialize)]
struct Past {
    #[serde(flatten)]
    spot: Spot,
    data: [Moment; 1],
    base: &'static str,
}

/// `/data/3.0/onecall/timemachine`: the time `dt`, or now.
pub(in crate::demo::simulated) fn time_machine(request: &Request, unix: i64) -> Answer {
    let (place, format) = (request.spot()?, request.format());
    let asked = request.time("dt");
    let seen = observe(&place, asked.unwrap_or(unix));
    let dt = asked.unwrap_or(seen.dt);
    let wind_gust = Some(format.units.speed(gust(&seen)));
    let moment = Moment { dt, uvi: None, wind_gust, ..Moment::current(&seen, format) };
    print(&Past { spot: Spot::from(&place), data: [moment], base: SIMULATED })
}

/// `/data/2.5/onecall/timemachine`: the time `dt`, or now, and its day (UTC) by the hour.
pub(in crate::demo::simulated) fn old_time_machine(request: &Request, unix: i64) -> Answer {
    let (place, format) = (request.spot()?, request.format());
    let asked = request.time("dt");
    let seen = observe(&place, asked.unwrap_or(unix));
    let dt = asked.unwrap_or(seen.dt);
    let midnight = dt - dt % (DAY_HOURS * HOUR);
    let hour = |number| {
        let seen = observe(&place, midnight + number * HOUR);
        Moment { sunrise: None, sunset: None, ..Moment::current(&seen, format) }
    };
    print(&Body {
        spot: Spot::from(&place),
        current: Some(Moment { dt, ..Moment::current(&seen, format) }),
        minutely: None,
        hourly: Some((0..DAY_HOURS).map(hour).collect()),
        daily: None,
        base: SIMULATED,
    })
}
