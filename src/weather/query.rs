//! What is asked: an endpoint and its parameters, in one canonical form, however it was written.
//!
//! There are two ways to ask: our own paths, which are strict and say what is wrong with a question, and OpenWeatherMap's,
//! which take what OpenWeatherMap takes. Both lead to the same questions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use arrayvec::ArrayVec;
use percent_encoding::percent_decode_str;

use super::endpoint::{Cost, Endpoint, Place, Shape, WEATHER, captures};
use super::format::{FORMAT, Format};
use super::location::is_plain_name;
use super::parameter::{Kind, Parameter};
use super::written::{MAX_PARAMETERS, Written};
use super::{Lang, Location, LocationError};

/// Units of measurement, by OpenWeatherMap's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Units {
    /// Degrees Celsius, metres per second.
    #[default]
    Metric,
    /// Degrees Fahrenheit, miles per hour.
    Imperial,
    /// Kelvin, metres per second.
    Standard,
}

impl Units {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Metric, Self::Imperial, Self::Standard];

    /// The name, as OpenWeatherMap takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Imperial => "imperial",
            Self::Standard => "standard",
        }
    }

    /// The value of the parameter; OpenWeatherMap's default needs none.
    pub(super) fn parameter(self) -> Option<&'static str> {
        (self != Self::Standard).then(|| self.as_str())
    }

    fn parse(text: &str) -> Result<Self, ParameterError> {
        Self::ALL.into_iter().find(|units| text.eq_ignore_ascii_case(units.as_str())).ok_or(ParameterError::Units)
    }

    /// As OpenWeatherMap reads it: what it does not know is its default. Clients are known that send `internal` for kelvin.
    pub(super) fn lenient(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self::Standard)
    }
}

/// What is wrong with a question on one of our own paths; the text is for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The location before the question mark.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// Not one of the three.
    #[error("`units` is metric, imperial or standard")]
    Units,
    /// Not a language tag.
    #[error("`lang` is a language code such as de, pt_br or zh_cn")]
    Lang,
    /// Not one of the two.
    #[error("`format` is json or text")]
    Format,
    /// Not a number, or out of range.
    #[error("`{0}` is a whole number from 1 to {1}")]
    Number(&'static str, u32),
    /// The same parameter twice.
    #[error("`{0}` is given more than once")]
    Repeated(&'static str),
    /// An upstream key where none belongs.
    #[error("this address takes no `appid`: the service has its own key; leave it out")]
    AppId,
    /// Any other parameter.
    #[error("there is a parameter that this address does not know; it knows {}", known(.0))]
    Unknown(&'static Endpoint),
    /// The endpoint wants coordinates.
    #[error("this is asked for by coordinates, latitude,longitude, for example 51.51,-0.13")]
    NoPoint,
}

/// The names of an endpoint's parameters, for people.
fn known(endpoint: &Endpoint) -> String {
    let format = (endpoint == WEATHER).then_some(FORMAT);
    let names = endpoint.parameters.iter().map(|parameter| parameter.name).chain(format);
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// What is wrong with a question on one of OpenWeatherMap's paths, as far as it can be told without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No place.
    #[error("Nothing to geocode")]
    NothingToGeocode,
    /// Not a number from -90 to 90.
    #[error("wrong latitude")]
    Latitude,
    /// Not a number from -180 to 180.
    #[error("wrong longitude")]
    Longitude,
    /// No place is called that.
    #[error("city not found")]
    UnknownPlace,
    /// Not a city id.
    #[error("Invalid ID")]
    Id,
    /// A parameter that the endpoint needs is not there, or says what cannot be meant.
    #[error("wrong or missing parameter: {0}")]
    Parameter(&'static str),
    /// XML and HTML are not served.
    #[error("mode {0} is not served here: leave mode out, or say json")]
    Mode(&'static str),
    /// Nor is JSON with padding.
    #[error("callback (JSONP) is not served here: leave it out, every origin may read the JSON")]
    Callback,
}

/// A question in canonical form: equal questions are answered by one record.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Query {
    endpoint: &'static Endpoint,
    /// Sorted by name, percent-encoded, as they are sent.
    parameters: Box<str>,
}

/// Without the place, which is private.
impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Query").field(&self.endpoint.name).finish()
    }
}

impl Query {
    /// Reads `/weather/{segment}?{parameters}`, both still percent-encoded.
    ///
    /// # Errors
    /// The first thing that is wrong, as a sentence for the caller.
    pub fn parse(segment: &str, parameters: &str) -> Result<Self, ParameterError> {
        Self::own(WEATHER, segment, parameters)
    }

    /// The same for another endpoint with a path of our own. Units are metric when the caller names none. That of [`WEATHER`]
    /// takes a [`Format`], too, which is no part of the question.
    ///
    /// # Errors
    /// As [`Query::parse`]; [`ParameterError::NoPoint`] only if nothing else is wrong.
    pub fn own(endpoint: &'static Endpoint, segment: &str, parameters: &str) -> Result<Self, ParameterError> {
        if endpoint == WEATHER && parameters.is_empty() && is_plain_name(segment) {
            return Ok(Self { endpoint, parameters: plain(segment) });
        }
        let location = Location::from_path(segment)?;
        let mut written = Written::default();
        let mut units = Units::default();
        let mut seen = ArrayVec::<&str, MAX_PARAMETERS>::new();
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            if name.eq_ignore_ascii_case("appid") {
                return Err(ParameterError::AppId);
            }
            let parameter = endpoint.parameters.iter().find(|parameter| parameter.name == name);
            let (name, canonical) = match parameter {
                Some(Parameter { name, kind: Kind::Units, .. }) => {
                    units = Units::parse(&value)?;
                    (*name, None)
                }
                Some(Parameter { name, kind: Kind::Lang, .. }) => {
                    (*name, Lang::parse(&value)?.map(|lang| lang.as_str().to_owned()))
                }
                Some(Parameter { name, kind, .. }) => (*name, Some(strict(name, *kind, &value)?)),
                None if endpoint == WEATHER && name == FORMAT => {
                    Format::named(&value).ok_or(ParameterError::Format)?;
                    (FORMAT, None)
                }
                None => return Err(ParameterError::Unknown(endpoint)),
            };
            if seen.contains(&name) {
                return Err(ParameterError::Repeated(name));
            }
            let _ = seen.try_push(name);
            written.add_some(name, canonical.map(Cow::Owned));
        }
        if endpoint.parameters.iter().any(|parameter| matches!(parameter.kind, Kind::Units)) {
            written.add_some("units", units.parameter().map(Cow::Borrowed));
        }
        written.locate(endpoint.place, &location).ok_or(ParameterError::NoPoint)?;
        Ok(Self::of(endpoint, written))
    }

    /// The weather of now.
    pub fn weather(location: &Location, units: Units, lang: Option<Lang>) -> Self {
        let mut written = Written::default();
        written.add_some("units", units.parameter().map(Cow::Borrowed));
        written.add_some("lang", lang.map(|lang| Cow::Borrowed(lang.as_str())));
        // The weather is known of every place.
        let _ = written.locate(WEATHER.place, location);
        Self::of(WEATHER, written)
    }

    /// The question whose answer says where a place is: its `lat` and `lon`, or those in its `coord`. `None` if that is
    /// known already.
    pub fn whereabouts(location: &Location) -> Option<Self> {
        let (endpoint, limit) = match location {
            Location::Coordinates { .. } => return None,
            Location::Name(_) => (Endpoint::named("place by name"), Some("1")),
            Location::Zip { .. } => (Endpoint::named("place by zip"), None),
            Location::Id(_) => (WEATHER, None),
        };
        let mut written = Written::default();
        written.add_some("limit", limit.map(Cow::Borrowed));
        written.locate(endpoint.place, location)?;
        Some(Self::of(endpoint, written))
    }

    /// Reads `{one of the endpoint's paths}?{parameters}` as OpenWeatherMap does: of a parameter that is given more than once
    /// the first value counts that says something, and what is not known is dropped. So is `appid`, in any case.
    ///
    /// # Errors
    /// What OpenWeatherMap would only refuse, and what is not served here.
    pub fn openweathermap(endpoint: &'static Endpoint, parameters: &str) -> Result<Self, Refused> {
        let mut values: HashMap<Cow<'_, str>, Cow<'_, str>> = HashMap::new();
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            if !value.trim().is_empty() {
                values.entry(name).or_insert(value);
            }
        }
        match values.get("mode").map(|mode| mode.trim()) {
            Some(mode) if mode.eq_ignore_ascii_case("xml") => return Err(Refused::Mode("xml")),
            Some(mode) if mode.eq_ignore_ascii_case("html") => return Err(Refused::Mode("html")),
            _ => {}
        }
        if values.contains_key("callback") {
            return Err(Refused::Callback);
        }
        let mut written = Written::default();
        written.read_place(endpoint.place, |name| values.get(name).map(|value| value.trim()))?;
        for Parameter { name, kind, required } in endpoint.parameters {
            let canonical = match values.get(*name) {
                Some(value) => kind.canonical(value).map_err(|_| Refused::Parameter(name))?,
                None => None,
            };
            if *required && canonical.is_none() {
                return Err(Refused::Parameter(name));
            }
            written.add_some(name, canonical.map(Cow::Owned));
        }
        if endpoint.shape == Shape::Pages {
            written.add_others(endpoint, &values);
        }
        Ok(Self::of(endpoint, written))
    }

    /// The same with what stands in the path, if the endpoint's has room for some of its parameters.
    ///
    /// # Errors
    /// As [`Query::openweathermap`].
    pub fn at(endpoint: &'static Endpoint, path: &str, parameters: &str) -> Result<Self, Refused> {
        if endpoint.shape != Shape::Png {
            return Self::openweathermap(endpoint, parameters);
        }
        let captured = captures(endpoint.paths[0], path).unwrap_or_default();
        let mut written = Written::default();
        for Parameter { name, kind, .. } in endpoint.parameters {
            let value = captured.iter().find_map(|(captured, value)| (captured == name).then_some(*value));
            let decoded = percent_decode_str(value.unwrap_or_default()).decode_utf8_lossy();
            let canonical = kind.canonical(&decoded).map_err(|_| Refused::Parameter(name))?;
            written.add_some(name, canonical.map(Cow::Owned));
        }
        Ok(Self::of(endpoint, written))
    }

    /// The path that it is asked under, and what is left of its parameters.
    pub fn target(&self) -> (Cow<'static, str>, &str) {
        let template = self.endpoint.paths[0];
        if self.endpoint.shape != Shape::Png {
            return (Cow::Borrowed(template), &self.parameters);
        }
        let part = |part: &str| match part.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => self.value(name).unwrap_or_default().into_owned(),
            None => part.to_owned(),
        };
        (Cow::Owned(template.split('/').map(part).collect::<Vec<_>>().join("/")), "")
    }

    /// Reads a link of one of the endpoint's pages: what stands in it after the question mark.
    ///
    /// `None` if there is no question in it, or one that leaves something out that the link says: who follows it would get
    /// another page than OpenWeatherMap meant.
    pub fn link(endpoint: &'static Endpoint, parameters: &str) -> Option<Self> {
        let query = Self::openweathermap(endpoint, parameters).ok()?;
        let kept = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            value.trim().is_empty() || endpoint.reads(&name) || query.value(&name) == Some(value)
        };
        form_urlencoded::parse(parameters.as_bytes()).all(kept).then_some(query)
    }

    fn of(endpoint: &'static Endpoint, written: Written<'_>) -> Self {
        Self { endpoint, parameters: written.into_text() }
    }

    /// Which endpoint it is put to.
    pub fn endpoint(&self) -> &'static Endpoint {
        self.endpoint
    }

    /// Its parameters, sorted by name and percent-encoded (`application/x-www-form-urlencoded`), without a key.
    pub fn parameters(&self) -> &str {
        &self.parameters
    }

    /// The value of one of its parameters, decoded.
    pub fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut pairs = form_urlencoded::parse(self.parameters.as_bytes());
        pairs.find_map(|(known, value)| (known == name).then_some(value))
    }

    /// How many of the account's calls it is; at least 1.
    pub fn calls(&self) -> usize {
        match self.endpoint.cost {
            Cost::One => 1,
            Cost::EachId => self.value("id").map_or(1, |ids| ids.split(',').count()),
        }
    }

    /// The text whose keyed digest names the record: no two questions share it, and it never leaves the process.
    pub fn subject(&self) -> String {
        format!("{}\n{}", self.endpoint.name, self.parameters)
    }

    /// The weather of now at `location`, in all units and languages.
    pub fn all_about(location: &Location) -> impl Iterator<Item = Self> + '_ {
        Units::ALL.into_iter().flat_map(move |units| {
            std::iter::once(None).chain(Lang::all().map(Some)).map(move |lang| Self::weather(location, units, lang))
        })
    }

    /// The place that it is about, as it is asked for; `None` for the weather of now, whose questions about a place can be
    /// counted ([`Query::all_about`]), and for what is asked about no place.
    pub fn place(&self) -> Option<String> {
        let of_a_place = !matches!(self.endpoint.place, Place::Other | Place::ExactPoint);
        if self.endpoint == WEATHER || !of_a_place {
            return None;
        }
        let names = |pair: &&str| ["q=", "id=", "zip=", "lat=", "lon="].iter().any(|name| pair.starts_with(name));
        Some(self.parameters.split('&').filter(names).collect::<Vec<_>>().join("&"))
    }
}

/// A place as [`Query::place`] says it.
impl Location {
    /// Its parameters, sorted and percent-encoded.
    pub fn parameters(&self) -> String {
        Query::weather(self, Units::Standard, None).parameters.into_string()
    }
}

/// The parameters of the weather of now at a plain name, in metric units, which is what most callers ask for: in one step, and
/// with one allocation.
fn plain(name: &str) -> Box<str> {
    const BEFORE: &str = "q=";
    const AFTER: &str = "&units=metric";
    let commas = name.bytes().filter(|byte| *byte == b',').count();
    // All of it, so that it is allocated once.
    let mut text = String::with_capacity(BEFORE.len() + name.len() + 2 * commas + AFTER.len());
    text.push_str(BEFORE);
    for byte in name.bytes() {
        match byte {
            b',' => text.push_str("%2C"),
            letter => text.push(letter.to_ascii_lowercase().into()),
        }
    }
    text.push_str(AFTER);
    text.into_boxed_str()
}

/// A value on one of our own paths.
fn strict(name: &'static str, kind: Kind, value: &str) -> Result<String, ParameterError> {
    let most = if let Kind::Whole { most: Some(most) } = kind { most } else { u32::MAX };
    let number = value.parse().ok().filter(|number: &u32| (1..=most).contains(number));
    number.map(|number| number.to_string()).ok_or(ParameterError::Number(name, most))
}

/// The consumer's key in `appid`, in any case, as many clients write it: the first that says something.
pub fn appid(parameters: &str) -> Option<Cow<'_, str>> {
    let mut pairs = form_urlencoded::parse(parameters.as_bytes());
    pairs.find_map(|(name, value)| (name.eq_ignore_ascii_case("appid") && !value.trim().is_empty()).then_some(value))
}
