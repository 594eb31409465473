//! The table itself.

use std::time::Duration;

use super::super::parameter::{Kind, Parameter};
use super::{Cost, Endpoint, Host, Json, LONGEST_FRESH, Place, Plan, Shape};

/// The weather of now: the first row, and the one that is asked for most.
pub static WEATHER: &Endpoint = &ENDPOINTS[0];

const UNITS: Parameter = Parameter::optional("units", Kind::Units);
const LANG: Parameter = Parameter::optional("lang", Kind::Lang);
const EXCLUDE: Parameter =
    Parameter::optional("exclude", Kind::SetOf(&["alerts", "current", "daily", "hourly", "minutely"]));
const START: Parameter = Parameter::optional("start", Kind::Whole { most: None });
const END: Parameter = Parameter::optional("end", Kind::Whole { most: None });
const ANY_COUNT: Parameter = Parameter::optional("cnt", Kind::Whole { most: None });
/// Five places at most, by the documentation.
const LIMIT: Parameter = Parameter::optional("limit", Kind::Whole { most: Some(5) });

const fn count(most: u32) -> Parameter {
    Parameter::optional("cnt", Kind::Whole { most: Some(most) })
}

const HALF_AN_HOUR: Option<Duration> = Some(Duration::from_secs(1_800));
const AN_HOUR: Option<Duration> = Some(Duration::from_secs(3_600));
/// Of what does not change any more, or hardly ever.
const A_DAY: Option<Duration> = Some(LONGEST_FRESH);

/// What most rows say.
const ROW: Endpoint = Endpoint {
    name: "",
    paths: &[],
    own: None,
    host: Host::Api,
    place: Place::Point,
    parameters: &[UNITS, LANG],
    fresh: None,
    cost: Cost::One,
    plan: Plan::Every,
    shape: Shape::Object(&[("list", Json::List)]),
};

/// All of them.
pub static ENDPOINTS: [Endpoint; 30] = [
    Endpoint {
        name: "weather",
        paths: &["/data/2.5/weather"],
        own: Some("/weather/{location}"),
        place: Place::Any,
        shape: Shape::Object(&[("weather", Json::List), ("main", Json::Map)]),
        ..ROW
    },
    Endpoint {
        name: "forecast",
        // The other two are of its documentation of before 2018.
        paths: &["/data/2.5/forecast", "/data/2.5/forecast/city", "/data/2.5/forecast/weather"],
        own: Some("/forecast/{location}"),
        place: Place::Any,
        parameters: &[UNITS, LANG, count(40)],
        fresh: HALF_AN_HOUR,
        ..ROW
    },
    Endpoint {
        name: "forecast hourly",
        paths: &["/data/2.5/forecast/hourly"],
        host: Host::Pro,
        place: Place::Any,
        parameters: &[UNITS, LANG, count(96)],
        fresh: HALF_AN_HOUR,
        plan: Plan::Some,
        ..ROW
    },
    Endpoint {
        name: "forecast daily",
        paths: &["/data/2.5/forecast/daily"],
        place: Place::Any,
        parameters: &[UNITS, LANG, count(16)],
        fresh: HALF_AN_HOUR,
        plan: Plan::Some,
        ..ROW
    },
    Endpoint {
        name: "forecast climate",
        paths: &["/data/2.5/forecast/climate"],
        host: Host::Pro,
        place: Place::Any,
        parameters: &[UNITS, LANG, count(30)],
        fresh: AN_HOUR,
        plan: Plan::Some,
        ..ROW
    },
    Endpoint {
        name: "air",
        paths: &["/data/2.5/air_pollution"],
        own: Some("/air/{location}"),
        parameters: &[],
        fresh: HALF_AN_HOUR,
        ..ROW
    },
    Endpoint {
        name: "air forecast",
        paths: &["/data/2.5/air_pollution/forecast"],
        parameters: &[],
        fresh: HALF_AN_HOUR,
        ..ROW
    },
    Endpoint {
        name: "air history",
        paths: &["/data/2.5/air_pollution/history"],
        parameters: &[START, END],
        fresh: AN_HOUR,
        ..ROW
    },
    Endpoint {
        name: "find",
        paths: &["/data/2.5/find"],
        place: Place::NameOrPoint,
        parameters: &[UNITS, LANG, ANY_COUNT, Parameter::optional("type", Kind::Word)],
        ..ROW
    },
    Endpoint {
        name: "group",
        paths: &["/data/2.5/group"],
        place: Place::Other,
        parameters: &[Parameter::required("id", Kind::Ids { most: 20 }), UNITS, LANG],
        cost: Cost::EachId,
        ..ROW
    },
    Endpoint {
        name: "box",
        paths: &["/data/2.5/box/city"],
        place: Place::Other,
        parameters: &[
            Parameter::required("bbox", Kind::Numbers { least: 4, most: 5 }),
            Parameter::optional("cluster", Kind::Word),
            UNITS,
            LANG,
        ],
        plan: Plan::Some,
        ..ROW
    },
    Endpoint {
        name: "history",
        paths: &["/data/2.5/history/city"],
        host: Host::History,
        place: Place::Any,
        parameters: &[UNITS, LANG, START, END, ANY_COUNT, Parameter::optional("type", Kind::Word)],
        fresh: AN_HOUR,
        plan: Plan::Some,
        ..ROW
    },
    Endpoint {
        name: "uv",
        paths: &["/data/2.5/uvi"],
        parameters: &[],
        fresh: AN_HOUR,
        plan: Plan::Some,
        shape: Shape::Object(&[("value", Json::Number)]),
        ..ROW
    },
    Endpoint {
        name: "uv forecast",
        paths: &["/data/2.5/uvi/forecast"],
        parameters: &[count(8)],
        fresh: AN_HOUR,
        plan: Plan::Some,
        shape: Shape::Array,
        ..ROW
    },
    Endpoint {
        name: "uv history",
        paths: &["/data/2.5/uvi/history"],
        parameters: &[START, END, ANY_COUNT],
        fresh: A_DAY,
        plan: Plan::Some,
        shape: Shape::Array,
        ..ROW
    },
    // One Call 2.5 was closed in June 2024; its questions and answers are those of 3.0.
    Endpoint {
        name: "onecall",
        paths: &["/data/3.0/onecall", "/data/2.5/onecall"],
        parameters: &[UNITS, LANG, EXCLUDE],
        fresh: Some(Duration::from_secs(600)),
        plan: Plan::Some,
        shape: Shape::Object(&[("lat", Json::Number), ("lon", Json::Number)]),
        ..ROW
    },
    Endpoint {
        name: "onecall timemachine",
        paths: &["/data/3.0/onecall/timemachine"],
        parameters: &[UNITS, LANG, Parameter::required("dt", Kind::Whole { most: None })],
        fresh: AN_HOUR,
        plan: Plan::Some,
        shape: Shape::Object(&[("data", Json::List)]),
        ..ROW
    },
    // Of before 2024: an hour by hour `hourly` instead of `data`.
    Endpoint {
        name: "onecall timemachine 2.5",
        paths: &["/data/2.5/onecall/timemachine"],
        parameters: &[UNITS, LANG, Parameter::required("dt", Kind::Whole { most: None })],
        fresh: AN_HOUR,
        plan: Plan::Some,
        shape: Shape::Object(&[("lat", Json::Number), ("lon", Json::Number)]),
        ..ROW
    },
    Endpoint {
        name: "onecall day summary",
        paths: &["/data/3.0/onecall/day_summary"],
        parameters: &[UNITS, LANG, Parameter::required("date", Kind::Date), Parameter::optional("tz", Kind::Offset)],
        fresh: AN_HOUR,
        plan: Plan::Some,
        shape: Shape::Object(&[("date", Json::Text)]),
        ..ROW
    },
    Endpoint {
        name: "onecall overview",
        paths: &["/data/3.0/onecall/overview"],
        parameters: &[UNITS, Parameter::optional("date", Kind::Date)],
        fresh: AN_HOUR,
        plan: Plan::Some,
        shape: Shape::Object(&[("weather_overview", Json::Text)]),
        ..ROW
    },
    Endpoint {
        name: "onecall4 current",
        paths: &["/data/4.0/onecall/current"],
        plan: Plan::Some,
        shape: Shape::Pages,
        ..ROW
    },
    Endpoint {
        name: "onecall4 1min",
        paths: &["/data/4.0/onecall/timeline/1min"],
        plan: Plan::Some,
        shape: Shape::Pages,
        ..ROW
    },
    Endpoint {
        name: "onecall4 15min",
        paths: &["/data/4.0/onecall/timeline/15min"],
        fresh: Some(Duration::from_secs(900)),
        plan: Plan::Some,
        shape: Shape::Pages,
        ..ROW
    },
    Endpoint {
        name: "onecall4 1h",
        paths: &["/data/4.0/onecall/timeline/1h"],
        fresh: HALF_AN_HOUR,
        plan: Plan::Some,
        shape: Shape::Pages,
        ..ROW
    },
    Endpoint {
        name: "onecall4 1day",
        paths: &["/data/4.0/onecall/timeline/1day"],
        fresh: HALF_AN_HOUR,
        plan: Plan::Some,
        shape: Shape::Pages,
        ..ROW
    },
    Endpoint {
        name: "place by name",
        paths: &["/geo/1.0/direct"],
        place: Place::Name,
        parameters: &[LIMIT],
        fresh: A_DAY,
        shape: Shape::Array,
        ..ROW
    },
    Endpoint {
        name: "place by point",
        paths: &["/geo/1.0/reverse"],
        place: Place::ExactPoint,
        parameters: &[LIMIT],
        fresh: A_DAY,
        shape: Shape::Array,
        ..ROW
    },
    Endpoint {
        name: "place by zip",
        paths: &["/geo/1.0/zip"],
        place: Place::Zip,
        parameters: &[],
        fresh: A_DAY,
        shape: Shape::Object(&[("lat", Json::Number), ("lon", Json::Number)]),
        ..ROW
    },
    Endpoint {
        name: "icon",
        paths: &["/img/wn/{icon}"],
        host: Host::Site,
        place: Place::Other,
        parameters: &[Parameter::required("icon", Kind::Icon)],
        fresh: A_DAY,
        shape: Shape::Png,
        ..ROW
    },
    Endpoint {
        name: "tile",
        paths: &["/map/{layer}/{z}/{x}/{y}"],
        host: Host::Tile,
        place: Place::Other,
        parameters: &[
            Parameter::required("layer", Kind::Layer),
            Parameter::required("z", Kind::Whole { most: None }),
            Parameter::required("x", Kind::Whole { most: None }),
            Parameter::required("y", Kind::File),
        ],
        fresh: HALF_AN_HOUR,
        // Not every layer.
        plan: Plan::Some,
        shape: Shape::Png,
        ..ROW
    },
];
