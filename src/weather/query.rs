//! What is asked: a place, the units and the language, in one canonical form.

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

    fn parse(text: &str) -> Result<Self, ParameterError> {
        Self::ALL.into_iter().find(|units| text.eq_ignore_ascii_case(units.as_str())).ok_or(ParameterError::Units)
    }
}

/// What is wrong with the parameters after the question mark; the text is for the caller.
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
    /// The same parameter twice.
    #[error("`{0}` is given more than once")]
    Repeated(&'static str),
    /// An upstream key where none belongs.
    #[error("this address takes no `appid`: the service has its own key; leave it out")]
    AppId,
    /// Any other parameter.
    #[error("there is a parameter that this address does not know; it knows `units` and `lang`")]
    Unknown,
}

/// A question in canonical form: equal questions are answered by one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// The place.
    pub location: Location,
    /// The units; metric when the caller names none.
    pub units: Units,
    /// The language; OpenWeatherMap's default when `None`.
    pub lang: Option<Lang>,
}

impl Query {
    /// Reads `/weather/{segment}?{parameters}`, both still percent-encoded.
    ///
    /// # Errors
    /// The first thing that is wrong, as a sentence for the caller.
    pub fn parse(segment: &str, parameters: &str) -> Result<Self, ParameterError> {
        let location = Location::from_path(segment)?;
        let (mut units, mut lang) = (None, None);
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            let repeated = match name.as_ref() {
                "units" => units.replace(Units::parse(&value)?).map(|_| "units"),
                "lang" => lang.replace(Lang::parse(&value)?).map(|_| "lang"),
                other if other.eq_ignore_ascii_case("appid") => return Err(ParameterError::AppId),
                _ => return Err(ParameterError::Unknown),
            };
            if let Some(name) = repeated {
                return Err(ParameterError::Repeated(name));
            }
        }
        Ok(Self { location, units: units.unwrap_or_default(), lang: lang.flatten() })
    }

    /// The text whose keyed digest names the record: no two questions share it, and it never leaves the process.
    pub fn subject(&self) -> String {
        let lang = self.lang.map_or("", Lang::as_str);
        format!("weather\n{}\n{}\n{lang}", self.location, self.units.as_str())
    }

    /// Every question that can be asked about `location`: what a purge of the place has to remove.
    pub fn all_about(location: &Location) -> impl Iterator<Item = Self> + '_ {
        Units::ALL.into_iter().flat_map(move |units| {
            std::iter::once(None).chain(Lang::all().map(Some)).map(move |lang| Self {
                location: location.clone(),
                units,
                lang,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::LANGUAGES;
    use super::*;

    fn subject(parameters: &str) -> String {
        Query::parse("London", parameters).unwrap().subject()
    }

    #[test]
    fn metric_is_the_default_and_case_does_not_matter() {
        assert_eq!(subject(""), subject("units=metric"));
        assert_eq!(subject("units=IMPERIAL&lang=DE"), subject("lang=de&units=imperial"));
        assert_ne!(subject("units=standard"), subject("units=metric"));
        assert_ne!(subject("lang=de"), subject(""));
    }

    #[test]
    fn browser_locales_find_their_language_and_an_unknown_one_means_the_default() {
        assert_eq!(subject("lang=pt-BR"), subject("lang=pt_br"));
        assert_eq!(subject("lang=de-AT"), subject("lang=de"));
        assert_eq!(subject("lang=xx"), subject(""));
    }

    #[test]
    fn bad_parameters_are_refused_with_their_reason() {
        use ParameterError as E;
        for (parameters, expected) in [
            ("units=kelvin", E::Units),
            ("units=", E::Units),
            ("lang=%3Cscript%3E", E::Lang),
            ("lang=<script>", E::Lang),
            ("lang=", E::Lang),
            ("lang=d", E::Lang),
            ("units=metric&units=metric", E::Repeated("units")),
            ("lang=de&units=metric&lang=fr", E::Repeated("lang")),
            ("lang=xx&lang=de", E::Repeated("lang")),
            ("APPID=x", E::AppId),
            ("unit=metric", E::Unknown),
        ] {
            assert_eq!(Query::parse("London", parameters), Err(expected), "{parameters}");
        }
        assert_eq!(Query::parse("", ""), Err(E::Location(LocationError::Empty)));
    }

    #[test]
    fn a_purge_knows_every_variant_of_a_place() {
        let location: Location = "London".parse().unwrap();
        let all: Vec<_> = Query::all_about(&location).map(|query| query.subject()).collect();
        assert_eq!(all.len(), 3 * (1 + LANGUAGES.len()));
        assert!(all.contains(&subject("")) && all.contains(&subject("units=imperial&lang=zh-TW")));
    }
}
