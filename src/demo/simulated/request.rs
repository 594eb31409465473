//! The parameters of a request.

use std::collections::BTreeMap;

use super::conditions::Lang;
use super::places::{Location, NoPlace, Place};
use super::units::Units;
use super::weather::LAST_SECOND;

/// How an answer is to be worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// System of units.
    pub(super) units: Units,
    /// Language of descriptions.
    pub(super) lang: Lang,
}

/// A query, read; empty values count as absent.
pub(super) struct Request {
    /// The caller's key, whatever it is.
    pub(super) key: Option<String>,
    parameters: BTreeMap<String, String>,
}

impl Request {
    /// Reads the query; of a repeated parameter the first non-empty value counts.
    pub(super) fn parse(query: &str) -> Self {
        let mut request = Self { key: None, parameters: BTreeMap::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            // Several clients write APPID.
            if name.eq_ignore_ascii_case("appid") {
                request.key.get_or_insert_with(|| value.to_owned());
            } else {
                request.parameters.entry(name.into_owned()).or_insert_with(|| value.to_owned());
            }
        }
        request
    }

    /// A parameter as it came, without the spaces around it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Units and language; unknown ones mean the default.
    pub(super) fn format(&self) -> Format {
        Format {
            units: self.text("units").map_or(Units::Standard, Units::from_parameter),
            lang: self.text("lang").map_or(Lang::English, Lang::from_parameter),
        }
    }

    /// The place, named by any kind of location.
    pub(super) fn place(&self) -> Result<Place, NoPlace> {
        let parameter = |name| self.text(name).map(str::to_owned);
        let location =
            Location { q: parameter("q"), id: parameter("id"), zip: parameter("zip"), ..Location::default() };
        Location { lat: parameter("lat"), lon: parameter("lon"), ..location }.resolve()
    }

    /// The place by its coordinates, which is the only way that many endpoints know.
    pub(super) fn spot(&self) -> Result<Place, NoPlace> {
        let parameter = |name| self.text(name).map(str::to_owned);
        Location { lat: parameter("lat"), lon: parameter("lon"), ..Location::default() }.resolve()
    }

    /// A number of rows from 1 to `most`; what is no number counts as absent.
    pub(super) fn count(&self, name: &str, default: i64, most: i64) -> i64 {
        self.number(name).unwrap_or(default).clamp(1, most)
    }

    /// A time in unix seconds, within those that have a date.
    pub(super) fn time(&self, name: &str) -> Option<i64> {
        self.number(name).map(|unix| unix.clamp(0, LAST_SECOND))
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }
}
