//! The JSON body of a simulated observation.
//!
//! Fields, their order and the way numbers are printed follow the real service's bodies since 2022.
//! Only `base` differs: it says `simulated`, so that nobody mistakes these data for measured ones.

use serde::{Serialize, Serializer};

use super::conditions::{Condition, Lang};
use super::places::Place;
use super::weather::{Fall, Observation};

/// Systems of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Units {
    /// Kelvin and metres per second.
    Standard,
    /// Celsius and metres per second.
    Metric,
    /// Fahrenheit and miles per hour.
    Imperial,
}

impl Units {
    /// Reads the `units` parameter. Clients exist that send other words to get kelvin, so those are
    /// no error.
    pub(super) fn from_parameter(text: &str) -> Self {
        match text {
            "metric" => Self::Metric,
            "imperial" => Self::Imperial,
            _ => Self::Standard,
        }
    }

    /// Converts hundredths of a kelvin.
    fn temperature(self, kelvin: i64) -> Hundredths {
        let celsius = kelvin - 27_315;
        Decimal(match self {
            Self::Standard => kelvin,
            Self::Metric => celsius,
            Self::Imperial => (celsius as f64 * 1.8).round() as i64 + 3_200,
        })
    }

    /// Converts hundredths of a metre per second.
    fn speed(self, metres: i64) -> Hundredths {
        Decimal(match self {
            Self::Standard | Self::Metric => metres,
            Self::Imperial => (metres as f64 * 2.236936).round() as i64,
        })
    }
}

/// A number with a fixed count of decimals, printed without the ones it does not need: `12`,
/// `12.5`, never `12.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal<const SCALE: i64>(i64);

type Hundredths = Decimal<100>;

impl<const SCALE: i64> Serialize for Decimal<SCALE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % SCALE == 0 {
            serializer.serialize_i64(self.0 / SCALE)
        } else {
            // Division rounds correctly, so the shortest text that reads back as the quotient is
            // the decimal itself.
            serializer.serialize_f64(self.0 as f64 / SCALE as f64)
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    coord: Coord,
    weather: [Weather; 1],
    base: &'static str,
    main: Main,
    visibility: i64,
    wind: Wind,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<LastHour>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<LastHour>,
    clouds: Clouds,
    dt: i64,
    sys: Sys<'a>,
    timezone: i32,
    id: u64,
    name: &'a str,
    cod: u16,
}

#[derive(Serialize)]
struct Coord {
    lon: Decimal<10_000>,
    lat: Decimal<10_000>,
}

#[derive(Serialize)]
struct Weather {
    id: u16,
    main: &'static str,
    description: &'static str,
    icon: String,
}

#[derive(Serialize)]
struct Main {
    temp: Hundredths,
    feels_like: Hundredths,
    temp_min: Hundredths,
    temp_max: Hundredths,
    pressure: i64,
    humidity: i64,
    sea_level: i64,
    grnd_level: i64,
}

#[derive(Serialize)]
struct Wind {
    speed: Hundredths,
    deg: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gust: Option<Hundredths>,
}

#[derive(Serialize)]
struct LastHour {
    #[serde(rename = "1h")]
    amount: Hundredths,
}

#[derive(Serialize)]
struct Clouds {
    all: i64,
}

#[derive(Serialize)]
struct Sys<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a str>,
    sunrise: i64,
    sunset: i64,
}

/// Prints an observation.
pub(super) fn render(place: &Place, seen: &Observation, units: Units, lang: Lang) -> Result<String, serde_json::Error> {
    let condition = Condition::of(seen.condition);
    let country = place.country.as_deref();
    let (rain, snow) = match seen.fall {
        Fall::Dry => (None, None),
        Fall::Rain(amount) => (Some(LastHour { amount: Decimal(amount) }), None),
        Fall::Snow(amount) => (None, Some(LastHour { amount: Decimal(amount) })),
    };
    serde_json::to_string(&Body {
        coord: Coord { lon: Decimal(place.lon.into()), lat: Decimal(place.lat.into()) },
        weather: [Weather {
            id: condition.id,
            main: condition.main,
            description: condition.description(lang),
            icon: condition.icon(seen.daytime),
        }],
        base: "simulated",
        main: Main {
            temp: units.temperature(seen.temp),
            feels_like: units.temperature(seen.feels_like),
            temp_min: units.temperature(seen.temp_min),
            temp_max: units.temperature(seen.temp_max),
            pressure: seen.sea_level,
            humidity: seen.humidity,
            sea_level: seen.sea_level,
            grnd_level: seen.grnd_level,
        },
        visibility: seen.visibility,
        wind: Wind { speed: units.speed(seen.wind), deg: seen.wind_deg, gust: seen.gust.map(|gust| units.speed(gust)) },
        rain,
        snow,
        clouds: Clouds { all: seen.clouds },
        dt: seen.dt,
        // Away from any country the real service has neither a station type nor an id.
        sys: Sys {
            kind: country.map(|_| 2),
            id: country.map(|_| 2_000_000 + place.seed % 100_000),
            country,
            sunrise: seen.sunrise,
            sunset: seen.sunset,
        },
        timezone: place.timezone,
        id: place.id,
        name: &place.name,
        cod: 200,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<const SCALE: i64>(number: Decimal<SCALE>) -> String {
        serde_json::to_string(&number).unwrap()
    }

    #[test]
    fn numbers_are_printed_like_the_real_ones() {
        for (hundredths, expected) in
            [(1_200, "12"), (0, "0"), (28_551, "285.51"), (-85, "-0.85"), (48, "0.48"), (250, "2.5")]
        {
            assert_eq!(text(Decimal::<100>(hundredths)), expected);
        }
        assert_eq!(text(Decimal::<10_000>(-1_257)), "-0.1257");
        let exact = (-60_000..60_000).all(|n| text(Decimal::<100>(n)).len() <= 7);
        assert!(exact);
    }

    #[test]
    fn units_convert_like_the_recorded_pairs() {
        let celsius = |kelvin| text(Units::Metric.temperature(kelvin));
        assert_eq!((celsius(28_515), celsius(28_044), celsius(29_491)), ("12".into(), "7.29".into(), "21.76".into()));
        assert_eq!(text(Units::Imperial.temperature(28_515)), "53.6");
        assert_eq!(text(Units::Imperial.temperature(28_030)), "44.87");
        assert_eq!(text(Units::Imperial.speed(300)), "6.71");
        assert_eq!(text(Units::Metric.speed(309)), "3.09");
        assert_eq!(Units::from_parameter("internal"), Units::Standard);
    }
}
