//! Invented weather: what a place's instruments could show at a given time.
//!
//! Everything here is simulated. No measurement and no forecast enters; the numbers come from the
//! calendar, the position of the sun and slowly drifting pseudo-random curves. They are plausible,
//! and the same for everyone who asks about the same place in the same ten minutes.

use std::f64::consts::TAU;

use super::comfort::{dew_point, feels_like};
use super::places::Place;
use super::sun;
use super::text::mix;

/// Seconds between observations. The real service asks for no more than one call per place in that
/// time.
const INTERVAL: i64 = 600;

/// Seconds in a day.
pub(super) const DAY: i64 = 86_400;
/// Seconds in an hour.
pub(super) const HOUR: i64 = 3_600;

/// The last second of the year 9999: nobody needs more, and the arithmetic below cannot overflow.
pub(super) const LAST_SECOND: i64 = 253_402_300_799;

/// Snow falls below this temperature (°C), rain above.
const SNOW_BELOW: f64 = 1.5;

/// What comes down, in hundredths of a millimetre per hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fall {
    /// Nothing.
    Dry,
    /// Rain.
    Rain(i64),
    /// Snow, as water.
    Snow(i64),
}

impl Fall {
    /// Hundredths of a millimetre, of either kind.
    pub(super) fn amount(self) -> i64 {
        self.rain() + self.snow()
    }

    /// Hundredths of a millimetre of rain.
    pub(super) fn rain(self) -> i64 {
        if let Self::Rain(amount) = self { amount } else { 0 }
    }

    /// Hundredths of a millimetre of snow, as water.
    pub(super) fn snow(self) -> i64 {
        if let Self::Snow(amount) = self { amount } else { 0 }
    }
}

/// One observation, in the units of the `standard` system. Decimals are kept as whole hundredths,
/// because the other systems are converted from the rounded values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    /// When, in unix seconds; a multiple of ten minutes.
    pub(super) dt: i64,
    /// Sunrise of the local day.
    pub(super) sunrise: i64,
    /// Sunset of the local day; always after sunrise.
    pub(super) sunset: i64,
    /// Whether the sun is up.
    pub(super) daytime: bool,
    /// Hundredths of a kelvin.
    pub(super) temp: i64,
    /// Hundredths of a kelvin.
    pub(super) feels_like: i64,
    /// Lowest reading around; hundredths of a kelvin.
    pub(super) temp_min: i64,
    /// Highest reading around; hundredths of a kelvin.
    pub(super) temp_max: i64,
    /// hPa reduced to sea level.
    pub(super) sea_level: i64,
    /// hPa at the place's height.
    pub(super) grnd_level: i64,
    /// Percent.
    pub(super) humidity: i64,
    /// Hundredths of a kelvin.
    pub(super) dew_point: i64,
    /// Hundredths of the UV index.
    pub(super) uvi: i64,
    /// Metres, at most 10000.
    pub(super) visibility: i64,
    /// Hundredths of a metre per second.
    pub(super) wind: i64,
    /// Where the wind comes from, degrees.
    pub(super) wind_deg: i64,
    /// Hundredths of a metre per second; only in a fresh wind.
    pub(super) gust: Option<i64>,
    /// Percent of the sky.
    pub(super) clouds: i64,
    /// Rain or snow.
    pub(super) fall: Fall,
    /// How probable rain or snow was, in percent: what a forecast says about this time.
    pub(super) chance: i64,
    /// Condition code of the real service, such as 800 for a clear sky.
    pub(super) condition: u16,
}

/// Makes the observation for the ten minutes that contain `unix`: a pure function of the two
/// arguments.
pub(super) fn observe(place: &Place, unix: i64) -> Observation {
    let unix = unix.clamp(0, LAST_SECOND);
    let dt = unix - unix % INTERVAL;
    let curve = |salt: u64, hours: f64| drift(place.seed, salt, dt, hours);
    let (sunrise, sunset) = sun::rise_and_set(place, dt);

    let cover = stretch(0.65 * curve(1, 37.0) + 0.35 * curve(2, 7.0));
    let front = curve(3, 61.0);
    let speed = 0.3 + 11.0 * (0.7 * curve(4, 19.0) + 0.3 * curve(5, 3.0)).powi(2);
    let daily = daily_wave(place, dt) * (4.5 - 2.5 * cover);
    let celsius = (season(place, dt) + daily + 9.0 * (front - 0.5) + 1.5 * (curve(6, 5.0) - 0.5)).clamp(-60.0, 52.0);

    let wet = curve(7, 11.0);
    let fall = precipitation(cover, wet, celsius);
    let wetness = if fall == Fall::Dry { 0.0 } else { 14.0 };
    let humidity = (58.0 + 22.0 * (cover - 0.4) - 3.0 * daily + 34.0 * (curve(8, 29.0) - 0.5) + wetness)
        .clamp(15.0, 100.0)
        .round();
    let sea_level = 1014.0 + 34.0 * (curve(9, 83.0) - 0.5) - wetness / 2.0;
    let visibility = visibility(fall, humidity, speed);
    let spread = 0.2 + 1.4 * curve(10, 13.0);

    Observation {
        dt,
        sunrise,
        sunset,
        // Near the poles the sun can set after midnight, when the calendar has moved on to the next
        // day's pair.
        daytime: [-DAY, 0, DAY].iter().any(|shift| (sunrise..sunset).contains(&(dt + shift))),
        temp: kelvin(celsius),
        feels_like: kelvin(feels_like(celsius, humidity, speed)),
        temp_min: kelvin(celsius - spread),
        temp_max: kelvin(celsius + 1.1 * spread),
        sea_level: sea_level.round() as i64,
        grnd_level: (sea_level * (-place.climate.elevation / 8_400.0).exp()).round() as i64,
        humidity: humidity as i64,
        dew_point: kelvin(dew_point(celsius, humidity)),
        uvi: hundredths(sun::uv_index(place, dt, cover)),
        visibility,
        wind: hundredths(speed),
        wind_deg: (720.0 * curve(11, 47.0)).round() as i64 % 360,
        gust: (speed >= 4.0).then(|| hundredths(speed * (1.3 + 0.6 * curve(12, 2.0)))),
        clouds: (100.0 * cover).round() as i64,
        fall,
        chance: chance(cover, wet),
        condition: condition(fall, celsius, visibility, (100.0 * cover).round() as i64),
    }
}

/// A smooth random curve from 0 to 1 that wanders over about the given number of hours.
pub(super) fn drift(seed: u64, salt: u64, unix: i64, hours: f64) -> f64 {
    let at = unix as f64 / (hours * HOUR as f64);
    let knot = |number: u64| {
        let bits = mix(seed ^ mix(number.wrapping_add(salt << 40)));
        // The top 53 bits are as many as a double holds exactly.
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    };
    let (before, part) = (at.floor() as u64, at.fract());
    let ease = part * part * (3.0 - 2.0 * part);
    knot(before) * (1.0 - ease) + knot(before + 1) * ease
}

/// Spreads a curve to its ends: mixtures crowd in the middle, while real skies are often quite
/// clear or quite covered.
fn stretch(value: f64) -> f64 {
    (0.5 + 1.9 * (value - 0.5)).clamp(0.0, 1.0)
}

/// The usual temperature for the time of year, in °C; coldest and warmest about the 20th of January
/// and July (or the reverse).
fn season(place: &Place, unix: i64) -> f64 {
    let wave = (TAU * (sun::day_of_year(unix) - 200.0) / 365.2425).cos();
    let climate = place.climate;
    (climate.january + climate.july) / 2.0 + (climate.july - climate.january) / 2.0 * wave
}

/// From -1 before dawn to 1 at three in the afternoon by the sun.
fn daily_wave(place: &Place, unix: i64) -> f64 {
    let solar = unix as f64 + f64::from(place.lon) / 10_000.0 * 240.0;
    (TAU * (solar / HOUR as f64 - 15.0) / 24.0).cos()
}

/// Wetter moments than this bring rain or snow, where the sky is covered to at least `RAIN_COVER`.
const STARTS_AT: f64 = 0.54;
const RAIN_COVER: f64 = 0.6;

/// Percent; 80 and more exactly where there is rain or snow.
fn chance(cover: f64, wet: f64) -> i64 {
    let near = (wet / STARTS_AT).min(cover / RAIN_COVER);
    // Below half of what it takes nobody would speak of rain.
    let percent = if near < 1.0 { 160.0 * (near - 0.5) } else { 80.0 + 20.0 * (wet - STARTS_AT) / (1.0 - STARTS_AT) };
    percent.clamp(0.0, 100.0).floor() as i64
}

/// Rain or snow, if the sky is covered enough and the moment wet enough.
fn precipitation(cover: f64, wet: f64, celsius: f64) -> Fall {
    if cover < RAIN_COVER || wet < STARTS_AT {
        return Fall::Dry;
    }
    let strength = (wet - STARTS_AT) / (1.0 - STARTS_AT);
    if celsius < SNOW_BELOW {
        Fall::Snow(hundredths(0.1 + 2.4 * strength * strength))
    } else {
        Fall::Rain(hundredths(0.1 + 7.0 * strength.powi(3)))
    }
}

/// Metres; 10000 means "far enough", also in the real service.
fn visibility(fall: Fall, humidity: f64, speed: f64) -> i64 {
    match fall {
        Fall::Snow(amount) => (9_000 - amount * 34).max(400),
        Fall::Rain(amount) if amount > 250 => 12_000 - amount * 10,
        Fall::Dry if speed < 3.5 && humidity >= 86.0 => ((100.0 - humidity) * 500.0) as i64 + 200,
        Fall::Rain(_) | Fall::Dry => 10_000,
    }
    .min(10_000)
}

/// The real service's code for what one sees.
fn condition(fall: Fall, celsius: f64, visibility: i64, clouds: i64) -> u16 {
    match (fall, clouds) {
        (Fall::Snow(..50), _) => 600,
        (Fall::Snow(50..150), _) => 601,
        (Fall::Snow(_), _) => 602,
        (Fall::Rain(400..), _) if celsius > 17.0 => 201,
        (Fall::Rain(..25), _) => 300,
        (Fall::Rain(25..100), _) => 500,
        (Fall::Rain(100..400), _) => 501,
        (Fall::Rain(_), _) => 502,
        (Fall::Dry, _) if visibility < 1_000 => 741,
        (Fall::Dry, _) if visibility < 10_000 => 701,
        (Fall::Dry, ..=10) => 800,
        (Fall::Dry, 11..=24) => 801,
        (Fall::Dry, 25..=50) => 802,
        (Fall::Dry, 51..=84) => 803,
        (Fall::Dry, _) => 804,
    }
}

fn hundredths(value: f64) -> i64 {
    (value * 100.0).round() as i64
}

fn kelvin(celsius: f64) -> i64 {
    hundredths(celsius + 273.15)
}

#[cfg(test)]
mod tests {
    use super::super::places::Location;
    use super::*;

    fn place(q: &str) -> Place {
        Location { q: Some(q.to_owned()), ..Location::default() }.resolve().unwrap()
    }

    fn spot(lat: i32, lon: i32) -> Place {
        let (lat, lon) = (Some(lat.to_string()), Some(lon.to_string()));
        Location { lat, lon, ..Location::default() }.resolve().unwrap()
    }

    fn mean_celsius(place: &Place, from: i64, days: i64) -> f64 {
        let steps = days * 8;
        let sum: i64 = (0..steps).map(|n| observe(place, from + n * DAY / 8).temp).sum();
        sum as f64 / steps as f64 / 100.0 - 273.15
    }

    const JANUARY: i64 = 1_704_067_200;
    const JULY: i64 = 1_719_792_000;

    #[test]
    fn ten_minutes_have_one_observation() {
        let london = place("London");
        let first = observe(&london, JULY);
        assert_eq!(first, observe(&london, JULY + 599));
        assert_ne!(first, observe(&london, JULY + 600));
        assert_eq!(observe(&london, i64::MAX), observe(&london, LAST_SECOND));
        assert_eq!(observe(&london, i64::MIN).dt, 0);
    }

    #[test]
    fn seasons_follow_the_hemisphere() {
        for (name, january, july) in [("London", 5.0, 19.0), ("Moscow", -6.0, 20.0), ("Sydney", 23.0, 13.0)] {
            let place = place(name);
            assert!((mean_celsius(&place, JANUARY, 31) - january).abs() < 3.0, "{name}");
            assert!((mean_celsius(&place, JULY, 31) - july).abs() < 3.0, "{name}");
        }
        assert!(mean_celsius(&spot(-85, 0), JULY, 31) < -25.0);
        assert!(mean_celsius(&spot(2, -30), JULY, 31) > 22.0);
    }

    #[test]
    fn the_sun_is_where_it_was_recorded() {
        // Rome on 2022-11-23, Tokyo on 2024-09-23, London in June: times the real service gave, or
        // an almanac.
        for (name, unix, sunrise, sunset) in [
            ("Rome", 1_669_221_304, 1_669_183_751, 1_669_218_241),
            ("Tokyo", 1_727_074_026, 1_727_036_989, 1_727_080_649),
            ("London", 1_718_971_200, 1_718_941_380, 1_719_001_320),
        ] {
            let seen = observe(&place(name), unix);
            assert!((seen.sunrise - sunrise).abs() < 240, "{name} {}", seen.sunrise - sunrise);
            assert!((seen.sunset - sunset).abs() < 240, "{name} {}", seen.sunset - sunset);
        }
        assert!(!observe(&place("Rome"), 1_669_221_304).daytime);
        assert!(observe(&place("Tokyo"), 1_727_074_026).daytime);
    }

    #[test]
    fn every_observation_is_within_range() {
        let mut codes = std::collections::BTreeMap::new();
        for n in 0..2_000_i64 {
            let place = spot((n * 37 % 181 - 90) as i32, (n * 91 % 361 - 180) as i32);
            let seen = observe(&place, JANUARY + n * 17_777);
            *codes.entry(seen.condition).or_insert(0) += 1;
            assert!(seen.sunrise < seen.sunset && seen.sunset - seen.sunrise < DAY, "{seen:?}");
            assert!(seen.temp_min <= seen.temp && seen.temp <= seen.temp_max, "{seen:?}");
            assert!((seen.temp - seen.feels_like).abs() < 2_000, "{seen:?}");
            assert!((15..=100).contains(&seen.humidity), "{seen:?}");
            assert!((980..=1_040).contains(&seen.sea_level), "{seen:?}");
            assert!((0..=10_000).contains(&seen.visibility), "{seen:?}");
            assert!((0..360).contains(&seen.wind_deg), "{seen:?}");
            assert!((0..1_500).contains(&seen.wind), "{seen:?}");
            assert!((0..=100).contains(&seen.clouds), "{seen:?}");
            assert!(seen.gust.is_none_or(|gust| gust > seen.wind), "{seen:?}");
            assert!(seen.dew_point <= seen.temp && (0..1_400).contains(&seen.uvi), "{seen:?}");
            assert!(seen.daytime || seen.uvi < 10, "{seen:?}");
            assert_eq!(seen.fall != Fall::Dry, (80..=100).contains(&seen.chance), "{seen:?}");
            if matches!(seen.fall, Fall::Snow(_)) {
                assert!(seen.temp < 27_515, "{seen:?}");
            }
        }
        for code in [300, 500, 501, 600, 601, 701, 800, 801, 802, 803, 804] {
            assert!(codes.contains_key(&code), "no {code} in {codes:?}");
        }
        let dry: i32 = codes.range(700..).map(|(_, count)| count).sum();
        assert!((1_300..1_850).contains(&dry), "{codes:?}");
        let heavy = codes[&502] + codes[&602];
        assert!(heavy < 120, "{codes:?}");
    }
}
