//! What stands on a card, read from an answer that may lack anything or say anything.

use serde_json::Value;

use super::picture::{self, Picture};
use super::text::{COLUMNS, harmless};
use crate::weather::Units;

/// What there is room for beside a picture.
const BESIDE: usize = 44;
/// A country has two letters (ISO 3166-1).
const COUNTRY: usize = 8;
const HOUR_SECS: i64 = 3_600;
const DAY_SECS: i64 = 24 * HOUR_SECS;
/// Of all clocks the one that is furthest from UTC is 14 hours from it; who is further has not understood the field.
const MOST_OFFSET_SECS: i64 = 18 * HOUR_SECS;
/// No figure of the weather has five digits before the point, visibility and pressure in their small units aside.
const MOST: f64 = 100_000.0;
/// Where a wind goes that comes from the corner of [`WINDS`].
const ARROWS: [&str; 8] = ["↓", "↙", "←", "↖", "↑", "↗", "→", "↘"];
const WINDS: [&str; 8] = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"];
const METRES_OF_A_MILE: f64 = 1_609.344;

/// The parts of a card. What is missing or makes no sense is left out.
pub(super) struct Facts {
    pub(super) place: Option<String>,
    pub(super) picture: Option<Picture>,
    /// The lines beside the picture, as many as it has rows at most.
    pub(super) beside: Vec<String>,
    pub(super) sun: Option<String>,
    /// The answer says that it is made up.
    pub(super) simulated: bool,
}

impl Facts {
    pub(super) fn read(said: &Value, units: Units) -> Self {
        let (condition, main) = (&said["weather"][0], &said["main"]);
        let night = condition["icon"].as_str().is_some_and(|icon| icon.ends_with('n'));
        let beside = [
            condition["description"].as_str().or(condition["main"].as_str()).and_then(|words| harmless(words, BESIDE)),
            temperature(main, units),
            wind(&said["wind"], units),
            air(main),
            visibility(&said["visibility"], units),
        ];
        Self {
            place: place(said),
            picture: condition["id"].as_u64().and_then(|id| picture::of(id, night)),
            beside: beside.into_iter().flatten().collect(),
            sun: sun(said),
            simulated: said["base"] == "simulated",
        }
    }
}

/// A number that can be one of the weather.
fn number(said: &Value) -> Option<f64> {
    said.as_f64().filter(|number| number.abs() < MOST)
}

/// With one decimal; never `-0.0`.
fn decimal(number: f64) -> String {
    let text = format!("{number:.1}");
    if text == "-0.0" { "0.0".to_owned() } else { text }
}

/// The name and the country, or where it is: points at sea have no name.
fn place(said: &Value) -> Option<String> {
    let words = |said: &Value, room| said.as_str().and_then(|words| harmless(words, room));
    match (words(&said["name"], COLUMNS - COUNTRY - 2), words(&said["sys"]["country"], COUNTRY)) {
        (Some(name), Some(country)) => Some(format!("{name}, {country}")),
        (Some(only), None) => Some(only),
        (None, country) => {
            let degrees = |name: &str| number(&said["coord"][name]).filter(|degrees| degrees.abs() <= 180.0);
            let point = degrees("lat").zip(degrees("lon")).map(|(lat, lon)| format!("{lat:.2}, {lon:.2}"));
            point.or(country)
        }
    }
}

fn temperature(main: &Value, units: Units) -> Option<String> {
    let degree = match units {
        Units::Metric => "°C",
        Units::Imperial => "°F",
        Units::Standard => "K",
    };
    let temperature = number(&main["temp"]).map(|degrees| format!("{} {degree}", decimal(degrees)));
    let felt = number(&main["feels_like"]).map(|degrees| format!("feels like {} {degree}", decimal(degrees)));
    match (temperature, felt) {
        (Some(temperature), Some(felt)) => Some(format!("{temperature}, {felt}")),
        (temperature, felt) => temperature.or(felt),
    }
}

/// The arrow shows where the wind goes; its name says where it comes from, as everywhere.
fn wind(wind: &Value, units: Units) -> Option<String> {
    let unit = if units == Units::Imperial { "mph" } else { "m/s" };
    let speed = number(&wind["speed"]).filter(|speed| *speed >= 0.0)?;
    let mut text = "wind ".to_owned();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a finite number from 0 to 8")]
    let direction = number(&wind["deg"]).map(|degrees| (degrees.rem_euclid(360.0) / 45.0).round() as usize % 8);
    if let Some(direction) = direction {
        text += ARROWS[direction];
        text.push(' ');
    }
    text += &format!("{} {unit}", decimal(speed));
    if let Some(direction) = direction {
        text += &format!(" from {}", WINDS[direction]);
    }
    if let Some(gust) = number(&wind["gust"]).filter(|gust| *gust > speed) {
        text += &format!(", gusts {}", decimal(gust));
    }
    Some(text)
}

fn air(main: &Value) -> Option<String> {
    let humidity = number(&main["humidity"]).map(|percent| format!("humidity {percent:.0} %"));
    let pressure = number(&main["pressure"]).map(|hectopascals| format!("pressure {hectopascals:.0} hPa"));
    let parts: Vec<_> = [humidity, pressure].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// OpenWeatherMap has metres in all units, and 10 km at most.
fn visibility(said: &Value, units: Units) -> Option<String> {
    let metres = number(said).filter(|metres| *metres >= 0.0)?;
    let (distance, unit) =
        if units == Units::Imperial { (metres / METRES_OF_A_MILE, "mi") } else { (metres / 1_000.0, "km") };
    Some(format!("visibility {} {unit}", decimal(distance)))
}

/// Sunrise and sunset by the clock of the place. Where the sun does not rise or set OpenWeatherMap says 0 or nothing.
fn sun(said: &Value) -> Option<String> {
    let offset = said["timezone"].as_i64().filter(|offset| offset.abs() <= MOST_OFFSET_SECS)?;
    let clock = |name: &str| {
        let moment = said["sys"][name].as_i64().filter(|moment| *moment > 0)?;
        let minutes = moment.checked_add(offset)?.rem_euclid(DAY_SECS) / 60;
        Some(format!("{name} {:02}:{:02}", minutes / 60, minutes % 60))
    };
    let parts: Vec<_> = [clock("sunrise"), clock("sunset")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{}, local time", parts.join(", ")))
}
