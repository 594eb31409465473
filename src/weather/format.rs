//! In which form, and in which units, the weather is answered on our own path. The form is no part of a question: one
//! record serves both.

use super::{Query, Units};

/// The parameter that says so.
pub const FORMAT: &str = "format";

/// A form of the weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// OpenWeatherMap's bytes.
    #[default]
    Json,
    /// A card for people in a terminal.
    Text,
}

impl Format {
    /// The one that [`FORMAT`] calls so.
    pub fn named(value: &str) -> Option<Self> {
        match value {
            "json" => Some(Self::Json),
            "text" => Some(Self::Text),
            _ => None,
        }
    }

    /// The one that these parameters ask for, still percent-encoded; `None` if they name none that there is.
    pub fn asked_in(parameters: &str) -> Option<Self> {
        if parameters.is_empty() {
            return None;
        }
        let mut pairs = form_urlencoded::parse(parameters.as_bytes());
        pairs.find_map(|(name, value)| (name == FORMAT).then(|| Self::named(&value))).flatten()
    }
}

impl Units {
    /// Those that a question asks for.
    pub fn of(query: &Query) -> Self {
        query.value("units").map_or(Self::Standard, |units| Self::lenient(&units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_asked_for_by_its_name_and_by_no_other() {
        for (parameters, expected) in [
            ("", None),
            ("units=metric&lang=de", None),
            ("format=text", Some(Format::Text)),
            ("units=metric&f%6frmat=te%78t", Some(Format::Text)),
            ("format=json&lang=de", Some(Format::Json)),
            ("format=TEXT", None),
            ("format=", None),
            ("format", None),
            ("formats=text", None),
        ] {
            assert_eq!(Format::asked_in(parameters), expected, "{parameters}");
        }
    }

    #[test]
    fn units_are_read_back_from_every_question() {
        for units in Units::ALL {
            let query = Query::parse("London", &format!("units={}", units.as_str())).unwrap();
            assert_eq!(Units::of(&query), units);
        }
        assert_eq!(Units::of(&Query::parse("London", "").unwrap()), Units::Metric);
    }

    #[test]
    fn the_form_is_no_part_of_the_question() {
        let plain = Query::parse("London", "lang=de");
        for parameters in ["lang=de&format=text", "format=json&lang=de"] {
            assert_eq!(Query::parse("London", parameters), plain, "{parameters}");
        }
    }
}
