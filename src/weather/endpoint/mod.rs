//! OpenWeatherMap's endpoints, one row each: under which paths, what makes a question, how long its answer is good, what it
//! costs and what an answer looks like. Adding an endpoint is adding a row.
//!
//! The paths and parameters are those of OpenWeatherMap's documentation, the shapes those of recorded answers.

mod table;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::time::Duration;

use arrayvec::ArrayVec;

use super::parameter::Parameter;
pub use table::{ENDPOINTS, WEATHER};

/// The longest that any row says.
pub const LONGEST_FRESH: Duration = Duration::from_secs(86_400);
/// What stands for the location in the path of an endpoint of our own.
pub const LOCATION: &str = "{location}";
/// The most in any row.
pub(super) const MAX_CAPTURES: usize = 4;

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
