//! Bodies of One Call 4.0: now, and timelines that come in pages.

use form_urlencoded::Serializer;
use serde::Serialize;

use super::onecall::{Minute, Moment, Spot, WholeDay};
use super::{Answer, SIMULATED, print};
use crate::demo::simulated::day;
use crate::demo::simulated::places::Place;
use crate::demo::simulated::request::Request;
use crate::demo::simulated::sun;
use crate::demo::simulated::weather::{DAY, HOUR, observe};

/// Where links lead: to the real service, as its own do. Clients refuse other hosts.
const ONECALL: &str = "https://api.openweathermap.org/data/4.0/onecall";
/// The first of January 1979, with which the real service's past begins.
const BEGINNING: i64 = 283_996_800;

/// A timeline, by what its documentation says of it.
struct Timeline {
    name: &'static str,
    /// Seconds from one row to the next.
    step: i64,
    /// Rows on one page, at most.
    page: i64,
    /// Seconds from now to the end.
    ahead: i64,
    /// Whether it has a past.
    past: bool,
}

const MINUTES: Timeline = Timeline { name: "1min", step: 60, page: 60, ahead: HOUR, past: false };
const QUARTERS: Timeline = Timeline { name: "15min", step: HOUR / 4, page: 50, ahead: 2 * DAY, past: false };
const HOURS: Timeline = Timeline { name: "1h", step: HOUR, page: 20, ahead: 2 * DAY, past: true };
const DAYS: Timeline = Timeline { name: "1day", step: DAY, page: 10, ahead: 548 * DAY, past: true };

#[derive(Serialize)]
struct Body<T> {
    #[serde(flatten)]
    spot: Spot,
    data: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    base: &'static str,
}

/// `/data/4.0/onecall/current`
pub(in crate::demo::simulated) fn current(request: &Request, unix: i64) -> Answer {
    let place = request.spot()?;
    let data = vec![Moment::current(&observe(&place, unix), request.format())];
    print(&Body { spot: Spot::from(&place), data, prev: None, next: None, base: SIMULATED })
}

/// `/data/4.0/onecall/timeline/1min`
pub(in crate::demo::simulated) fn minutes(request: &Request, unix: i64) -> Answer {
    page(request, unix, &MINUTES, Minute::forecast)
}

/// `/data/4.0/onecall/timeline/15min`
pub(in crate::demo::simulated) fn quarters(request: &Request, unix: i64) -> Answer {
    page(request, unix, &QUARTERS, |place, dt| Moment::forecast(place, dt, request.format()))
}

/// `/data/4.0/onecall/timeline/1h`
pub(in crate::demo::simulated) fn hours(request: &Request, unix: i64) -> Answer {
    page(request, unix, &HOURS, |place, dt| Moment::forecast(place, dt, request.format()))
}

/// `/data/4.0/onecall/timeline/1day`
pub(in crate::demo::simulated) fn days(request: &Request, unix: i64) -> Answer {
    page(request, unix, &DAYS, |place, dt| WholeDay::of(place, &day::containing(place, dt), request.format()))
}

/// The rows from `start`, or from now, to the end of the page or of the timeline, and the links to the pages around it.
fn page<T: Serialize>(request: &Request, unix: i64, timeline: &Timeline, row: impl Fn(&Place, i64) -> T) -> Answer {
    let place = request.spot()?;
    let (step, rows) = (timeline.step, request.count("cnt", timeline.page, timeline.page));
    // Days are those of the place, and have their time at noon; all else goes by the clock of UTC.
    let row_of = |time: i64| match step {
        DAY => sun::midnight(&place, time) + DAY / 2,
        _ => time.div_euclid(step) * step,
    };
    let now = row_of(unix);
    let end = now + timeline.ahead;
    let begin = if timeline.past { row_of(BEGINNING) } else { now };
    let first = request.time("start").map_or(now, row_of).max(begin);
    let after = first + rows * step;
    let data = (first..after.min(end)).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    let data = data.map(|dt| row(&place, dt)).collect();
    print(&Body {
        spot: Spot::from(&place),
        data,
        prev: (first > begin).then(|| link(request, &place, timeline, (first - rows * step).max(begin))),
        next: (after < end).then(|| link(request, &place, timeline, after)),
        base: SIMULATED,
    })
}

fn link(request: &Request, place: &Place, timeline: &Timeline, start: i64) -> String {
    let mut query = Serializer::new(String::new());
    let degrees = |ten_thousandths: i32| format!("{:.4}", f64::from(ten_thousandths) / 10_000.0);
    query.append_pair("lat", &degrees(place.lat)).append_pair("lon", &degrees(place.lon));
    query.append_pair("start", &start.to_string());
    for name in ["units", "lang", "cnt"] {
        if let Some(value) = request.text(name) {
            query.append_pair(name, value);
        }
    }
    query.append_pair("appid", request.key.as_deref().unwrap_or_default());
    format!("{ONECALL}/timeline/{}?{}", timeline.name, query.finish())
}
