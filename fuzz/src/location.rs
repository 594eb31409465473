//! Places and parameters as callers write them: what is accepted has one spelling and asks for nothing else.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use stratus::upstream::fuzzing::request_url;
use stratus::weather::{Hundredths, Location, Query, WEATHER};
use url::Url;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const BASES: [&str; 2] = ["https://api.openweathermap.org", "https://gateway.example:8443/some/path/"];

/// The first line is the segment of the path, the second one the parameters; all of it is a location, too.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(location) = text.parse::<Location>() {
        is_canonical(&location);
    }
    let (segment, parameters) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(query) = Query::parse(segment, parameters) else { return };
    let location = Location::from_path(segment).expect("it was read before");
    is_canonical(&location);
    is_what_was_written(segment, &location);
    is_one_question(&location, &query);
    for base in BASES {
        asks_for_nothing_else(base, &location, &query);
    }
}

fn is_canonical(location: &Location) {
    let canonical = location.to_string();
    assert_eq!(canonical.parse().as_ref(), Ok(location), "{canonical:?} is another place than itself");
    assert!(!canonical.chars().any(|c| c.is_control() || "?&=#%/\\\"<>;".contains(c)), "{canonical:?}");
    assert!(!canonical.starts_with(' ') && !canonical.ends_with(' ') && !canonical.contains("  "), "{canonical:?}");
    match location {
        Location::Name(name) => {
            assert!(name.chars().any(char::is_alphabetic) && name.chars().count() <= 200, "{name:?}");
            assert!(name.split(',').count() <= 3 && name.split(',').all(|part| !part.is_empty()), "{name:?}");
        }
        Location::Coordinates { latitude, longitude } => {
            assert!((-9_000..=9_000).contains(latitude) && (-18_000..=18_000).contains(longitude), "{location:?}");
        }
        Location::Id(id) => assert_ne!(*id, 0),
        Location::Zip { code, country } => {
            assert!((1..=12).contains(&code.len()) && country.len() == 2 && canonical.is_ascii(), "{location:?}");
        }
    }
}

/// The short way of plain names and the long one of everything else agree.
fn is_what_was_written(segment: &str, location: &Location) {
    let spaced = segment.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().expect("what is accepted is UTF-8");
    assert_eq!(decoded.parse().as_ref(), Ok(location), "{segment:?}");
}

/// The canonical form, put in a path, is the same question; its record has a name of its own, which a purge knows.
fn is_one_question(location: &Location, query: &Query) {
    let segment = utf8_percent_encode(&location.to_string(), NON_ALPHANUMERIC).to_string();
    let lang = query.value("lang").map(|lang| format!("&lang={lang}")).unwrap_or_default();
    let units = query.value("units").unwrap_or("standard".into());
    let parameters = format!("units={units}{lang}");
    assert_eq!(Query::parse(&segment, &parameters).as_ref(), Ok(query));
    assert!(Query::all_about(location).any(|other| other == *query), "a purge forgets {location:?}");
    // OpenWeatherMap's own path leads to the same question.
    assert_eq!(Query::openweathermap(WEATHER, query.parameters()).as_ref(), Ok(query));

    assert_eq!(query.subject(), format!("weather\n{}", query.parameters()));
    assert!(query.parameters().bytes().all(|byte| byte.is_ascii_graphic()), "{}", query.parameters());
}

/// The upstream reads exactly the parameters that were meant, the key last and once.
fn asks_for_nothing_else(base: &str, location: &Location, query: &Query) {
    let base = Url::parse(base).expect("a constant");
    let url = request_url(base.clone(), query, KEY);
    assert_eq!(url.origin(), base.origin());
    assert_eq!(url.path(), format!("{}/data/2.5/weather", base.path().trim_end_matches('/')));
    assert_eq!((url.fragment(), url.username(), url.password()), (None, "", None));

    let mut expected: Vec<(&str, Cow<'_, str>)> = match location {
        Location::Name(name) => vec![("q", name.into())],
        Location::Id(id) => vec![("id", id.to_string().into())],
        Location::Zip { code, country } => vec![("zip", format!("{code},{country}").into())],
        Location::Coordinates { latitude, longitude } => {
            vec![("lat", Hundredths(*latitude).to_string().into()), ("lon", Hundredths(*longitude).to_string().into())]
        }
    };
    expected.extend(["lang", "units"].into_iter().filter_map(|name| Some((name, query.value(name)?))));
    expected.sort();
    expected.push(("appid", KEY.into()));

    let text = url.query().expect("parameters");
    // By hand, and not with what wrote it: other parsers split at these and at nothing else.
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"&=%+-._*".contains(&byte)), "{text}");
    let read: Vec<_> = text.split('&').map(|pair| pair.split_once('=').expect("a value")).collect();
    assert_eq!(read.len(), expected.len(), "{text}");
    for ((name, value), (expected_name, expected_value)) in read.into_iter().zip(&expected) {
        let spaced = value.replace('+', " ");
        let value = percent_decode_str(&spaced).decode_utf8().expect("UTF-8");
        assert_eq!((name, &value), (*expected_name, expected_value), "{text}");
    }
    let pairs: Vec<_> = url.query_pairs().collect();
    assert_eq!(pairs.len(), expected.len());
}
