//! The parameters of questions beside the place: what each may say and its one canonical spelling.
//!
//! OpenWeatherMap takes nearly everything and falls back on its default; so do we, where that is known. What cannot be
//! meant is refused before anybody is asked.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::{Lang, Units};

/// Longest word that is kept of a parameter whose words are not all known.
pub const MAX_WORD: usize = 32;

const PNG: &str = ".png";

/// A parameter of an endpoint.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it may say.
    pub kind: Kind,
    /// Whether there is no question without it.
    pub required: bool,
}

/// What a parameter may say.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `metric`, `imperial`; everything else is `standard`, OpenWeatherMap's default, which is left out.
    Units,
    /// A language; one that OpenWeatherMap does not have is left out.
    Lang,
    /// A whole number. All below zero are one: OpenWeatherMap has one answer to such a count, an error.
    Whole {
        /// The documented maximum. More means as much: else each number would be a call for the same answer.
        most: Option<u32>,
    },
    /// A word, in lower case.
    Word,
    /// Some of these words, in any order; others are left out.
    SetOf(&'static [&'static str]),
    /// City ids, in their order.
    Ids {
        /// How many at most (documented).
        most: usize,
    },
    /// Decimal numbers.
    Numbers {
        /// How many at least.
        least: usize,
        /// How many at most.
        most: usize,
    },
    /// The file of an icon: `10d.png`, `10d@2x.png`
    Icon,
    /// A layer of the map, such as `clouds_new`.
    Layer,
    /// A number and `.png`.
    File,
    /// `2024-02-29`
    Date,
    /// `+03:00`
    Offset,
}

/// It says something that cannot be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonsense;

impl Parameter {
    pub(super) const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false }
    }

    pub(super) const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: true }
    }
}

impl Kind {
    /// The canonical spelling of a value that is not empty; `None` if it says the same as no value.
    pub(super) fn canonical(self, value: &str) -> Result<Option<String>, Nonsense> {
        let value = value.trim();
        match self {
            Self::Units => Ok(Units::lenient(value).parameter().map(str::to_owned)),
            // What is no language tag gets English, as one that OpenWeatherMap does not have.
            Self::Lang => Ok(Lang::parse(value).unwrap_or_default().map(|lang| lang.as_str().to_owned())),
            Self::Whole { most } => {
                let number = value.parse::<i128>().map_err(|_| Nonsense)?.max(-1);
                Ok(Some(number.min(most.map_or(i64::MAX, i64::from).into()).to_string()))
            }
            Self::Word => word(value).map(Some),
            Self::SetOf(words) => Ok(set(value, words)),
            Self::Ids { most } => list(value, 1..=most, |id| id.parse().ok().filter(|id: &u64| *id > 0)).map(Some),
            Self::Numbers { least, most } => {
                list(value, least..=most, |number| number.parse().ok().filter(|number: &f64| number.is_finite()))
                    .map(Some)
            }
            Self::Icon => icon(value).then(|| Some(value.to_owned())).ok_or(Nonsense),
            Self::Layer => layer(value).then(|| Some(value.to_owned())).ok_or(Nonsense),
            Self::File => {
                let number: u32 = value.strip_suffix(PNG).and_then(|name| name.parse().ok()).ok_or(Nonsense)?;
                Ok(Some(format!("{number}{PNG}")))
            }
            Self::Date => date(value).then(|| Some(value.to_owned())).ok_or(Nonsense),
            Self::Offset => offset(value).map(Some),
        }
    }
}

/// Two digits, day or night, and the size unless it is the smallest.
fn icon(value: &str) -> bool {
    let name = value.strip_suffix(PNG).unwrap_or_default();
    let name = name.strip_suffix("@2x").or_else(|| name.strip_suffix("@4x")).unwrap_or(name);
    matches!(name.as_bytes(), [tens, ones, b'd' | b'n'] if tens.is_ascii_digit() && ones.is_ascii_digit())
}

fn layer(value: &str) -> bool {
    (1..=MAX_WORD).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn word(value: &str) -> Result<String, Nonsense> {
    let plain = (1..=MAX_WORD).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| value.to_ascii_lowercase()).ok_or(Nonsense)
}

fn set(value: &str, known: &[&str]) -> Option<String> {
    let wanted = value.to_ascii_lowercase();
    let words: BTreeSet<_> = wanted.split(',').map(str::trim).filter(|word| known.contains(word)).collect();
    (!words.is_empty()).then(|| words.into_iter().collect::<Vec<_>>().join(","))
}

fn list<T: ToString>(
    value: &str,
    count: RangeInclusive<usize>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<String, Nonsense> {
    let members: Option<Vec<_>> = value.split(',').map(|member| Some(read(member.trim())?.to_string())).collect();
    members.filter(|members| count.contains(&members.len())).map(|members| members.join(",")).ok_or(Nonsense)
}

/// Whether it is a date as RFC 3339 writes it. Whether there is such a day OpenWeatherMap will say.
fn date(value: &str) -> bool {
    let numbers = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = value.split('-').collect();
    matches!(parts[..], [year, month, day] if numbers(year, 4) && numbers(month, 2) && numbers(day, 2))
}

/// A time offset as RFC 3339 writes it. A `+` that was not percent-encoded has arrived as a space, and was trimmed off.
fn offset(value: &str) -> Result<String, Nonsense> {
    let (sign, rest) = match value.split_at_checked(1) {
        Some((sign @ ("+" | "-"), rest)) => (sign, rest),
        _ => ("+", value),
    };
    let (hours, minutes) = rest.split_once(':').ok_or(Nonsense)?;
    let number = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if number(hours) && number(minutes) { Ok(format!("{sign}{hours}:{minutes}")) } else { Err(Nonsense) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(kind: Kind, spellings: &[&str], canonical: Option<&str>) {
        for spelling in spellings {
            assert_eq!(kind.canonical(spelling), Ok(canonical.map(str::to_owned)), "{spelling:?}");
        }
    }

    #[test]
    fn every_kind_has_one_spelling_of_each_value() {
        same(Kind::Units, &["metric", "Metric", " METRIC "], Some("metric"));
        same(Kind::Units, &["standard", "internal", "kelvin"], None);
        same(Kind::Lang, &["de", "DE", "de-AT"], Some("de"));
        same(Kind::Lang, &["xx", "?", "german"], None);
        same(Kind::Whole { most: Some(40) }, &["7", "007", "+7"], Some("7"));
        same(Kind::Whole { most: Some(40) }, &["40", "41", "18446744073709551615"], Some("40"));
        same(Kind::Whole { most: None }, &["41"], Some("41"));
        same(Kind::Whole { most: Some(40) }, &["-1", "-10", "-0001"], Some("-1"));
        same(Kind::Word, &["accurate", "Accurate"], Some("accurate"));
        same(
            Kind::SetOf(&["daily", "hourly"]),
            &["hourly,daily", "daily, hourly,hourly", "DAILY,x,hourly"],
            Some("daily,hourly"),
        );
        same(Kind::SetOf(&["daily", "hourly"]), &["none", ","], None);
        same(Kind::Ids { most: 3 }, &["524901,703448", " 524901 , 703448"], Some("524901,703448"));
        same(Kind::Numbers { least: 4, most: 5 }, &["12,32,15,37,10", "12.0,32.0,15,37.0,10"], Some("12,32,15,37,10"));
        same(Kind::Icon, &["10d.png"], Some("10d.png"));
        same(Kind::Icon, &["01n@2x.png"], Some("01n@2x.png"));
        same(Kind::File, &["07.png", "7.png"], Some("7.png"));
        same(Kind::Offset, &["+03:00", " 03:00"], Some("+03:00"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (kind, value) in [
            (Kind::Whole { most: None }, "many"),
            (Kind::Whole { most: None }, "1.5"),
            (Kind::Whole { most: None }, "1e3"),
            (Kind::Word, "<like>"),
            (Kind::Ids { most: 2 }, "1,2,3"),
            (Kind::Ids { most: 2 }, "1,,2"),
            (Kind::Ids { most: 2 }, "0"),
            (Kind::Numbers { least: 1, most: 2 }, "1,nan"),
            (Kind::Numbers { least: 4, most: 5 }, "1,2,3"),
            (Kind::Icon, "10d"),
            (Kind::Icon, "../10d.png"),
            (Kind::Icon, "10d@3x.png"),
            (Kind::Layer, "clouds/new"),
            (Kind::File, "1"),
            (Kind::File, "-1.png"),
            (Kind::Date, "2024-2-29"),
            (Kind::Date, "today"),
            (Kind::Offset, "3"),
        ] {
            assert_eq!(kind.canonical(value), Err(Nonsense), "{value}");
        }
    }
}
