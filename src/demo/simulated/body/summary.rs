//! Bodies that put a day into a few numbers or a sentence. The real service prints every number of them with a decimal
//! point, and the coordinates as they came.

use serde::Serialize;

use super::{Answer, SIMULATED, print};
use crate::demo::simulated::Reply;
use crate::demo::simulated::calendar::{date, offset, read_date, read_offset};
use crate::demo::simulated::conditions::Condition;
use crate::demo::simulated::day::{self, Day};
use crate::demo::simulated::places::Place;
use crate::demo::simulated::request::Request;
use crate::demo::simulated::units::Units;
use crate::demo::simulated::weather::DAY;

/// Which day of which place, as both bodies begin.
#[derive(Serialize)]
struct Which {
    lat: f64,
    lon: f64,
    tz: String,
    date: String,
    units: &'static str,
}

#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    which: Which,
    cloud_cover: Afternoon,
    humidity: Afternoon,
    precipitation: Total,
    temperature: Temperature,
    pressure: Afternoon,
    wind: Strongest,
    base: &'static str,
}

#[derive(Serialize)]
struct Afternoon {
    afternoon: f64,
}

#[derive(Serialize)]
struct Total {
    total: f64,
}

#[derive(Serialize)]
struct Temperature {
    min: f64,
    max: f64,
    afternoon: f64,
    night: f64,
    evening: f64,
    morning: f64,
}

#[derive(Serialize)]
struct Strongest {
    max: Gale,
}

#[derive(Serialize)]
struct Gale {
    speed: f64,
    direction: f64,
}

/// `/data/3.0/onecall/day_summary`: the day `date` on the clock of `tz`, or else of the place; today without a date.
pub(in crate::demo::simulated) fn of_day(request: &Request, unix: i64) -> Answer {
    let (which, _, day) = asked(request, unix)?;
    let units = request.format().units;
    let temperature = |kelvin| units.temperature(kelvin).value();
    let afternoon = |value: i64| Afternoon { afternoon: value as f64 };
    print(&Summary {
        which,
        cloud_cover: afternoon(day.noon.clouds),
        humidity: afternoon(day.noon.humidity),
        precipitation: Total { total: (day.rain + day.snow) as f64 / 100.0 },
        temperature: Temperature {
            min: temperature(day.min),
            max: temperature(day.max),
            afternoon: temperature(day.noon.temp),
            night: temperature(day.night.temp),
            evening: temperature(day.evening.temp),
            morning: temperature(day.morning.temp),
        },
        pressure: afternoon(day.noon.sea_level),
        wind: Strongest {
            max: Gale { speed: units.speed(day.windiest.wind).value(), direction: day.windiest.wind_deg as f64 },
        },
        base: SIMULATED,
    })
}

#[derive(Serialize)]
struct Overview {
    #[serde(flatten)]
    which: Which,
    weather_overview: String,
    base: &'static str,
}

/// `/data/3.0/onecall/overview`: a day in words.
pub(in crate::demo::simulated) fn in_words(request: &Request, unix: i64) -> Answer {
    let (which, place, day) = asked(request, unix)?;
    let format = request.format();
    let (degrees, speed) = match format.units {
        Units::Standard => ("K", "m/s"),
        Units::Metric => ("°C", "m/s"),
        Units::Imperial => ("°F", "mph"),
    };
    let temperature = |kelvin| format.units.temperature(kelvin).value();
    let name = if place.name.is_empty() { "This place" } else { place.name.as_str() };
    let weather_overview = format!(
        "This weather is simulated. {name} has {} on {}, with temperatures from {}{degrees} to {}{degrees}, wind up to \
         {} {speed} and a humidity of {}% at noon.",
        Condition::of(day.condition).description(format.lang),
        which.date,
        temperature(day.min),
        temperature(day.max),
        format.units.speed(day.windiest.wind).value(),
        day.noon.humidity,
    );
    print(&Overview { which, weather_overview, base: SIMULATED })
}

/// The day that a request is about. What is no date or no offset counts as absent.
fn asked(request: &Request, unix: i64) -> Result<(Which, Place, Day), Reply> {
    let place = request.spot()?;
    let timezone = request.text("tz").and_then(read_offset).unwrap_or(place.timezone);
    let place = Place { timezone, ..place };
    let ahead = i64::from(timezone);
    let midnight = request.text("date").and_then(read_date).unwrap_or((unix + ahead).div_euclid(DAY) * DAY);
    let number = |name| request.text(name).and_then(|text| text.parse().ok()).unwrap_or_default();
    let which = Which {
        lat: number("lat"),
        lon: number("lon"),
        tz: offset(timezone),
        date: date(midnight),
        units: request.format().units.name(),
    };
    let day = day::containing(&place, midnight - ahead);
    Ok((which, place, day))
}
