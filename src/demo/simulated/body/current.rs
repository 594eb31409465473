//! Bodies of what is measured now: of one place, of a list of places, around a point, in a rectangle.

use axum::http::StatusCode;
use serde::Serialize;

use super::{Amount, Answer, Clouds, LatLon, LonLat, SIMULATED, Weather, Wind, fallen, print};
use crate::demo::simulated::places::{self, Location, NoPlace, Place};
use crate::demo::simulated::request::{Format, Request};
use crate::demo::simulated::units::{Decimal, Degrees, Hundredths, Units};
use crate::demo::simulated::weather::{Observation, observe};
use crate::demo::simulated::{BAD_LIMIT, Reply};

/// The real service takes no more ids at once.
const GROUP: usize = 20;
/// Cities around a point, unless told otherwise, and at most.
const AROUND: (i64, i64) = (5, 50);

#[derive(Serialize)]
struct Body<'a> {
    coord: LonLat,
    weather: [Weather; 1],
    base: &'static str,
    main: Main,
    visibility: i64,
    wind: Wind,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<Amount>,
    clouds: Clouds,
    dt: i64,
    sys: Sys<'a>,
    timezone: i32,
    id: u64,
    name: &'a str,
    cod: u16,
}

#[derive(Serialize)]
struct Main {
    temp: Hundredths,
    feels_like: Hundredths,
    temp_min: Hundredths,
    temp_max: Hundredths,
    pressure: i64,
    humidity: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sea_level: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grnd_level: Option<i64>,
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
            humidity: seen.humidity,
            sea_level: Some(seen.sea_level),
            grnd_level: Some(seen.grnd_level),
        }
    }

    /// Lists have no levels.
    fn short(seen: &Observation, format: Format) -> Self {
        Self { sea_level: None, grnd_level: None, ..Self::of(seen, format) }
    }
}

#[derive(Serialize)]
struct Sys<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<i32>,
    sunrise: i64,
    sunset: i64,
}

/// `/data/2.5/weather`
pub(in crate::demo::simulated) fn weather(request: &Request, unix: i64) -> Answer {
    let (place, format) = (request.place()?, request.format());
    let seen = observe(&place, unix);
    let country = place.country.as_deref();
    let (rain, snow) = fallen(seen.fall);
    print(&Body {
        coord: LonLat::from(&place),
        weather: Weather::of(&seen, format),
        base: SIMULATED,
        main: Main::of(&seen, format),
        visibility: seen.visibility,
        wind: Wind::of(&seen, format),
        rain,
        snow,
        clouds: Clouds { all: seen.clouds },
        dt: seen.dt,
        // Away from any country the real service has neither a station type nor an id.
        sys: Sys {
            kind: country.map(|_| 2),
            id: country.map(|_| 2_000_000 + place.seed % 100_000),
            country,
            timezone: None,
            sunrise: seen.sunrise,
            sunset: seen.sunset,
        },
        timezone: place.timezone,
        id: place.id,
        name: &place.name,
        cod: 200,
    })
}

#[derive(Serialize)]
struct Group<'a> {
    cnt: usize,
    list: Vec<Member<'a>>,
    base: &'static str,
}

#[derive(Serialize)]
struct Member<'a> {
    coord: LonLat,
    sys: Sys<'a>,
    weather: [Weather; 1],
    main: Main,
    visibility: i64,
    wind: Wind,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<Amount>,
    clouds: Clouds,
    dt: i64,
    id: u64,
    name: &'a str,
}

/// `/data/2.5/group`: those of the first twenty ids that are known.
pub(in crate::demo::simulated) fn group(request: &Request, unix: i64) -> Answer {
    let ids = request.text("id").ok_or(NoPlace::Missing)?;
    let by_id = |id: &str| Location { id: Some(id.to_owned()), ..Location::default() }.resolve();
    let found: Vec<Place> = ids.split(',').take(GROUP).filter_map(|id| by_id(id).ok()).collect();
    if found.is_empty() {
        return Err(NoPlace::Unknown.into());
    }
    let format = request.format();
    let member = |place| member(place, &observe(place, unix), format);
    print(&Group { cnt: found.len(), list: found.iter().map(member).collect(), base: SIMULATED })
}

fn member<'a>(place: &'a Place, seen: &Observation, format: Format) -> Member<'a> {
    let (rain, snow) = fallen(seen.fall);
    Member {
        coord: LonLat::from(place),
        sys: Sys {
            kind: None,
            id: None,
            country: place.country.as_deref(),
            timezone: Some(place.timezone),
            sunrise: seen.sunrise,
            sunset: seen.sunset,
        },
        weather: Weather::of(seen, format),
        main: Main::short(seen, format),
        visibility: seen.visibility,
        wind: Wind::steady(seen, format),
        rain,
        snow,
        clouds: Clouds { all: seen.clouds },
        dt: seen.dt,
        id: place.id,
        name: &place.name,
    }
}

#[derive(Serialize)]
struct Found<'a> {
    message: &'a str,
    cod: &'static str,
    count: usize,
    list: Vec<Match<'a>>,
    base: &'static str,
}

#[derive(Serialize)]
struct Match<'a> {
    id: u64,
    name: &'a str,
    coord: LatLon,
    main: Main,
    dt: i64,
    wind: Wind,
    sys: Country<'a>,
    // `null` when dry: this endpoint does not leave them out.
    rain: Option<Amount>,
    snow: Option<Amount>,
    clouds: Clouds,
    weather: [Weather; 1],
}

#[derive(Serialize)]
struct Country<'a> {
    country: &'a str,
}

/// `/data/2.5/find`: by name, or the cities around a point.
pub(in crate::demo::simulated) fn find(request: &Request, unix: i64) -> Answer {
    let (default, most) = AROUND;
    if request.number("cnt").is_some_and(|count| count < 0) {
        return Err(Reply::new(StatusCode::OK, BAD_LIMIT));
    }
    let like = request.text("type") == Some("like");
    let mut found = match request.text("q") {
        Some(start) if like => places::beginning_with(start),
        Some(name) => places::named(name),
        None => places::nearest_to(&request.spot()?),
    };
    found.truncate(usize::try_from(request.count("cnt", default, most)).unwrap_or_default());
    let format = request.format();
    let entry = |place| entry(place, &observe(place, unix), format);
    print(&Found {
        message: if like { "like" } else { "accurate" },
        cod: "200",
        count: found.len(),
        list: found.iter().map(entry).collect(),
        base: SIMULATED,
    })
}

fn entry<'a>(place: &'a Place, seen: &Observation, format: Format) -> Match<'a> {
    let (rain, snow) = fallen(seen.fall);
    Match {
        id: place.id,
        name: &place.name,
        coord: LatLon::from(place),
        main: Main::short(seen, format),
        dt: seen.dt,
        wind: Wind::steady(seen, format),
        sys: Country { country: place.country.as_deref().unwrap_or_default() },
        rain,
        snow,
        clouds: Clouds { all: seen.clouds },
        weather: Weather::of(seen, format),
    }
}

#[derive(Serialize)]
struct Rectangle<'a> {
    cod: u16,
    // How long the real service has searched, in seconds.
    calctime: u8,
    cnt: usize,
    list: Vec<Inside<'a>>,
    base: &'static str,
}

#[derive(Serialize)]
struct Inside<'a> {
    id: u64,
    dt: i64,
    name: &'a str,
    coord: CapitalLonLat,
    main: Main,
    visibility: i64,
    wind: Wind,
    rain: Option<Amount>,
    snow: Option<Amount>,
    clouds: Today,
    weather: [Weather; 1],
}

#[derive(Serialize)]
struct CapitalLonLat {
    #[serde(rename = "Lon")]
    lon: Degrees,
    #[serde(rename = "Lat")]
    lat: Degrees,
}

#[derive(Serialize)]
struct Today {
    today: i64,
}

/// `/data/2.5/box/city`: the cities between the edges `bbox=west,south,east,north,zoom`.
pub(in crate::demo::simulated) fn rectangle(request: &Request, unix: i64) -> Answer {
    let edges = request.text("bbox").ok_or(NoPlace::Missing)?;
    let edges: Vec<f64> = edges.split(',').map_while(|edge| edge.trim().parse().ok()).collect();
    let [west, south, east, north, ..] = edges[..] else { return Err(NoPlace::Missing.into()) };
    let found = places::within(west, south, east, north);
    // The real service answers in Celsius here, whatever it is asked for.
    let format = Format { units: Units::Metric, ..request.format() };
    let list = found.iter().map(|place| inside(place, &observe(place, unix), format)).collect();
    print(&Rectangle { cod: 200, calctime: 0, cnt: found.len(), list, base: SIMULATED })
}

fn inside<'a>(place: &'a Place, seen: &Observation, format: Format) -> Inside<'a> {
    let (rain, snow) = fallen(seen.fall);
    Inside {
        id: place.id,
        dt: seen.dt,
        name: &place.name,
        coord: CapitalLonLat { lon: Decimal(place.lon.into()), lat: Decimal(place.lat.into()) },
        main: Main::of(seen, format),
        visibility: seen.visibility,
        wind: Wind::steady(seen, format),
        rain,
        snow,
        clouds: Today { today: seen.clouds },
        weather: Weather::of(seen, format),
    }
}
