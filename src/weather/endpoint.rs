//! OpenWeatherMap's endpoints, one row each: under which paths, what makes a question, how long its answer is good, what it
//! costs and what an answer looks like. Adding an endpoint is adding a row.
//!
//! The paths and parameters are those of OpenWeatherMap's documentation, the shapes those of recorded answers.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use arrayvec::ArrayVec;

use super::parameter::{Kind, Parameter};

/// One of OpenWeatherMap's endpoints.
#[derive(Debug)]
pub struct Endpoint {
    /// Its short name, in the subject of records: never reused for another one.
    pub name: &'static str,
    /// Its paths at the host root, older ones last. The upstream is asked for the first one. A `{name}` in it stands for one of
    /// the parameters.
    pub paths: &'static [&'static str],
    /// Our own path of the same answers; it ends with [`LOCATION`].
    pub own: Option<&'static str>,
    /// Where OpenWeatherMap serves it.
    pub host: Host,
    /// How it is told which place is meant.
    pub place: Place,
    /// What else makes the question. All other parameters are dropped, but for those of an endpoint that answers in pages:
    /// by which of them its links continue is OpenWeatherMap's own business.
    pub parameters: &'static [Parameter],
    /// How long an answer is good if that is longer than the weather of now is.
    pub fresh: Option<Duration>,
    /// How many of the account's calls a question is.
    pub cost: Cost,
    /// Who has it.
    pub plan: Plan,
    /// What an answer looks like.
    pub shape: Shape,
}

/// One of OpenWeatherMap's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// `api.openweathermap.org`
    Api,
    /// `pro.openweathermap.org`, for paid plans.
    Pro,
    /// `history.openweathermap.org`
    History,
    /// `openweathermap.org`, which serves icons, to anybody: no key is sent.
    Site,
    /// `tile.openweathermap.org`
    Tile,
}

impl Host {
    /// Those that serve the API.
    pub const OF_THE_API: [Self; 3] = [Self::Api, Self::Pro, Self::History];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api.openweathermap.org",
            Self::Pro => "pro.openweathermap.org",
            Self::History => "history.openweathermap.org",
            Self::Site => "openweathermap.org",
            Self::Tile => "tile.openweathermap.org",
        }
    }
}

/// How an endpoint is told which place is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `q`, `id`, `zip`, or `lat` and `lon`; the first of these counts.
    Any,
    /// `q`, or `lat` and `lon`.
    NameOrPoint,
    /// `lat` and `lon`, in hundredths of a degree, as OpenWeatherMap's own cache rounds them (about 1.1 km).
    Point,
    /// `lat` and `lon`, in ten-thousandths of a degree (about 11 m): what is there has a name, which changes from street to
    /// street.
    ExactPoint,
    /// `q`
    Name,
    /// `zip`
    Zip,
    /// By its other parameters, or there is none.
    Other,
}

/// How many of the account's calls a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// One.
    One,
    /// One for each id ("Group: each id counts as one call" in OpenWeatherMap's documentation).
    EachId,
}

/// Which plans have an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// All: a 401 says that the key is wrong.
    Every,
    /// Some: a 401 says nothing about the key elsewhere.
    Some,
}

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A JSON object with at least these members.
    Object(&'static [(&'static str, Json)]),
    /// A JSON array of objects; an empty one says that nothing was found.
    Array,
    /// An object with `data`, and with the [`LINKS`].
    Pages,
    /// A PNG image (RFC 2083). Served only where the operator wants it.
    Png,
}

/// The members of a page that link to its neighbours: absolute, and with the key that it was asked with.
pub const LINKS: [&str; 2] = ["next", "prev"];

/// What a member of a JSON object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Json {
    /// `[`
    List,
    /// `{`
    Map,
    /// `-` or a digit
    Number,
    /// `"`
    Text,
}

/// Two references to one row are equal.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Endpoint {}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Endpoint {
    /// The one that is served under this path of OpenWeatherMap's, with a slash at its end or without: programs in use write
    /// `/data/2.5/weather/?q=London`.
    pub fn at(path: &str) -> Option<&'static Self> {
        let without_slash = path.strip_suffix('/').unwrap_or(path);
        let is_at = |template: &&'static str| captures(template, path).is_some() || *template == without_slash;
        ENDPOINTS.iter().find(|endpoint| endpoint.paths.iter().any(is_at))
    }

    /// The one of our own path, and the location in it, still percent-encoded.
    pub fn own_at(path: &str) -> Option<(&'static Self, &str)> {
        ENDPOINTS.iter().find_map(|endpoint| {
            let segment = path.strip_prefix(endpoint.own?.strip_suffix(LOCATION)?)?;
            (!segment.contains('/')).then_some((endpoint, segment))
        })
    }

    /// Whether a parameter is understood, in an endpoint that answers in pages, and not only passed on.
    pub(super) fn reads(&self, name: &str) -> bool {
        ["lat", "lon", "mode", "callback"].contains(&name)
            || name.eq_ignore_ascii_case("appid")
            || self.parameters.iter().any(|parameter| parameter.name == name)
    }

    /// The one of this name.
    ///
    /// # Panics
    /// There is none.
    pub fn named(name: &str) -> &'static Self {
        ENDPOINTS.iter().find(|endpoint| endpoint.name == name).expect("a name in the table")
    }
}

/// What stands for each `{name}` of a template in a path that has its form.
pub(super) fn captures<'p>(
    template: &'static str,
    path: &'p str,
) -> Option<ArrayVec<(&'static str, &'p str), MAX_CAPTURES>> {
    if template == path {
        return Some(ArrayVec::new());
    }
    let first = template.find('{')?;
    let mut parts = path.strip_prefix(&template[..first])?.split('/');
    let mut captured = ArrayVec::new();
    for name in template[first..].split('/') {
        captured.try_push((name.strip_prefix('{')?.strip_suffix('}')?, parts.next()?)).ok()?;
    }
    parts.next().is_none().then_some(captured)
}

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

/// The most in any row.
pub(super) const MAX_CAPTURES: usize = 4;

const HALF_AN_HOUR: Option<Duration> = Some(Duration::from_secs(1_800));
const AN_HOUR: Option<Duration> = Some(Duration::from_secs(3_600));
/// Of what does not change any more, or hardly ever.
const A_DAY: Option<Duration> = Some(LONGEST_FRESH);
/// The longest that any row says.
pub const LONGEST_FRESH: Duration = Duration::from_secs(86_400);

/// What stands for the location in the path of an endpoint of our own.
pub const LOCATION: &str = "{location}";

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
            Parameter::required("bbox", Kind::Numbers { most: 5 }),
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The table of `docs/openweathermap.md`.
    fn documented() -> String {
        let row = |endpoint: &Endpoint| {
            let own = endpoint.own.map(|own| format!(", `{own}`")).unwrap_or_default();
            let place = match endpoint.place {
                Place::Any => "`q`, `id`, `zip`, or `lat` and `lon`",
                Place::NameOrPoint => "`q`, or `lat` and `lon`",
                Place::Point | Place::ExactPoint => "`lat` and `lon`",
                Place::Name => "`q`",
                Place::Zip => "`zip`",
                Place::Other => "",
            };
            let others = endpoint.parameters.iter().map(|parameter| match parameter.required {
                true => format!("`{}`", parameter.name),
                false => format!("[`{}`]", parameter.name),
            });
            let pages = (endpoint.shape == Shape::Pages).then(|| "what its links have".to_owned());
            let place = (!place.is_empty()).then(|| place.to_owned());
            let parameters: Vec<_> = place.into_iter().chain(others).chain(pages).collect();
            let fresh =
                endpoint.fresh.map_or("`cache.fresh_secs`".to_owned(), |fresh| format!("{} s", fresh.as_secs()));
            let plan = if endpoint.plan == Plan::Every { "every" } else { "some" };
            let paths: Vec<_> = endpoint.paths.iter().map(|path| format!("`{path}`")).collect();
            format!("| {}{own} | {} | {fresh} | {plan} |\n", paths.join(", "), parameters.join("; "))
        };
        let rows: String = ENDPOINTS.iter().map(row).collect();
        format!("| path | asked by | fresh | plan |\n|---|---|---|---|\n{rows}")
    }

    #[test]
    fn the_documented_endpoints_are_these() {
        let page = include_str!("../../docs/openweathermap.md");
        assert!(page.contains(&documented()), "docs/openweathermap.md should have this table:\n\n{}", documented());
    }

    #[test]
    fn no_two_endpoints_share_a_name_or_a_path() {
        let names: HashSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.name).collect();
        let paths: Vec<_> =
            ENDPOINTS.iter().flat_map(|endpoint| endpoint.paths.iter().copied().chain(endpoint.own)).collect();
        assert_eq!(names.len(), ENDPOINTS.len());
        assert_eq!(paths.iter().collect::<HashSet<_>>().len(), paths.len());
        for endpoint in &ENDPOINTS {
            assert!(endpoint.paths.iter().all(|path| Endpoint::at(path) == Some(endpoint)), "{}", endpoint.name);
            assert!(endpoint.fresh.is_none_or(|fresh| fresh <= LONGEST_FRESH), "{}", endpoint.name);
        }
    }

    #[test]
    fn a_path_fits_a_template_part_by_part() {
        let tile = "/map/{layer}/{z}/{x}/{y}";
        let found = captures(tile, "/map/clouds_new/3/4/5.png").map(|found| found.to_vec());
        assert_eq!(found, Some(vec![("layer", "clouds_new"), ("z", "3"), ("x", "4"), ("y", "5.png")]));
        for path in ["/map/clouds_new/3/4", "/map/clouds_new/3/4/5.png/6", "/maps/clouds_new/3/4/5.png", "/map"] {
            assert_eq!(captures(tile, path), None, "{path}");
        }
        assert_eq!(captures("/data/2.5/weather", "/data/2.5/weather/"), None);
    }
}
