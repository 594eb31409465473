//! Bodies of the UV index endpoints, which the real service has retired and old clients still call.

use serde::Serialize;

use super::{Answer, SIMULATED, print};
use crate::demo::simulated::calendar::date;
use crate::demo::simulated::day;
use crate::demo::simulated::places::Place;
use crate::demo::simulated::request::Request;
use crate::demo::simulated::units::{Decimal, Degrees, Hundredths};
use crate::demo::simulated::weather::DAY;

/// Days to come.
const AHEAD: i64 = 8;
/// Days of the past in one answer.
const PAST: i64 = 31;

#[derive(Serialize)]
struct Row {
    lat: Degrees,
    lon: Degrees,
    date_iso: String,
    date: i64,
    value: Hundredths,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'static str>,
}

/// `/data/2.5/uvi`: the highest index of today.
pub(in crate::demo::simulated) fn today(request: &Request, unix: i64) -> Answer {
    let place = request.spot()?;
    print(&Row { base: Some(SIMULATED), ..row(&place, unix) })
}

/// `/data/2.5/uvi/forecast`: the days after today.
pub(in crate::demo::simulated) fn forecast(request: &Request, unix: i64) -> Answer {
    let place = request.spot()?;
    let days = 1..=request.count("cnt", AHEAD, AHEAD);
    print(&days.map(|number| row(&place, unix + number * DAY)).collect::<Vec<_>>())
}

/// `/data/2.5/uvi/history`: the days from `start` to `end`, at most a month; yesterday without either.
pub(in crate::demo::simulated) fn history(request: &Request, unix: i64) -> Answer {
    let place = request.spot()?;
    let end = request.time("end").unwrap_or(unix).min(unix);
    let start = request.time("start").unwrap_or((end - DAY).max(0));
    let days = (start / DAY..=end / DAY).map(|number| number * DAY).filter(|day| (start..=end).contains(&noon(*day)));
    let rows: Vec<Row> = days.take(usize::try_from(PAST).unwrap_or_default()).map(|day| row(&place, day)).collect();
    print(&rows)
}

/// Noon in UTC, which stands for the day.
fn noon(unix: i64) -> i64 {
    unix.div_euclid(DAY) * DAY + DAY / 2
}

fn row(place: &Place, unix: i64) -> Row {
    let noon = noon(unix);
    Row {
        lat: Decimal(place.lat.into()),
        lon: Decimal(place.lon.into()),
        date_iso: format!("{}T12:00:00Z", date(noon)),
        date: noon,
        value: Decimal(day::containing(place, noon).uvi),
        base: None,
    }
}
