//! Bodies of the air pollution endpoints.

use serde::Serialize;

use super::forecast::past_hours;
use super::{Answer, LonLat, SIMULATED, print};
use crate::demo::simulated::air;
use crate::demo::simulated::places::Place;
use crate::demo::simulated::request::Request;
use crate::demo::simulated::units::{Decimal, Hundredths};
use crate::demo::simulated::weather::{HOUR, observe};

const HOURS: i64 = 96;
/// Hours of the past in one answer. The real service gives years of them at once; a month is enough to try it.
const PAST: usize = 31 * 24;

#[derive(Serialize)]
struct Body {
    coord: LonLat,
    list: Vec<Row>,
    base: &'static str,
}

#[derive(Serialize)]
struct Row {
    main: Index,
    components: Components,
    dt: i64,
}

#[derive(Serialize)]
struct Index {
    aqi: usize,
}

#[derive(Serialize)]
struct Components {
    co: Hundredths,
    no: Hundredths,
    no2: Hundredths,
    o3: Hundredths,
    so2: Hundredths,
    pm2_5: Hundredths,
    pm10: Hundredths,
    nh3: Hundredths,
}

/// `/data/2.5/air_pollution`: the values of the hour, with the time of the observation.
pub(in crate::demo::simulated) fn now(request: &Request, unix: i64) -> Answer {
    let place = request.spot()?;
    let row = Row { dt: observe(&place, unix).dt, ..row(&place, unix / HOUR * HOUR) };
    body(&place, vec![row])
}

/// `/data/2.5/air_pollution/forecast`: four days from this hour on.
pub(in crate::demo::simulated) fn forecast(request: &Request, unix: i64) -> Answer {
    let place = request.spot()?;
    let first = unix / HOUR * HOUR;
    body(&place, (0..HOURS).map(|number| row(&place, first + number * HOUR)).collect())
}

/// `/data/2.5/air_pollution/history`: the hours from `start` to `end`, at most a month; the last day without either.
pub(in crate::demo::simulated) fn history(request: &Request, unix: i64) -> Answer {
    let place = request.spot()?;
    body(&place, past_hours(request, unix).take(PAST).map(|dt| row(&place, dt)).collect())
}

fn body(place: &Place, list: Vec<Row>) -> Answer {
    print(&Body { coord: LonLat::from(place), list, base: SIMULATED })
}

fn row(place: &Place, dt: i64) -> Row {
    let air = air::observe(place, dt);
    let components = Components {
        co: Decimal(air.co),
        no: Decimal(air.no),
        no2: Decimal(air.no2),
        o3: Decimal(air.o3),
        so2: Decimal(air.so2),
        pm2_5: Decimal(air.pm2_5),
        pm10: Decimal(air.pm10),
        nh3: Decimal(air.nh3),
    };
    Row { main: Index { aqi: air.index() }, components, dt }
}
