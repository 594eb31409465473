//! Places and parameters as callers write them: what is accepted has one spelling and asks for nothing else.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use stratus::upstream::fuzzing::request_url;
use stratus::weather::{Hundredths, Lang, Location, Query};
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
    is_canonical(&query.location);
    is_what_was_written(segment, &query);
    is_one_question(&query);
    for base in BASES {
        asks_for_nothing_else(base, &query);
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
fn is_what_was_written(segment: &str, query: &Query) {
    let spaced = segment.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().expect("what is accepted is UTF-8");
    assert_eq!(decoded.parse().as_ref(), Ok(&query.location), "{segment:?}");
}

/// The canonical form, put in a path, is the same question; its record has a name of its own, which a purge knows.
fn is_one_question(query: &Query) {
    let segment = utf8_percent_encode(&query.location.to_string(), NON_ALPHANUMERIC).to_string();
    let lang = query.lang.map(|lang| format!("&lang={}", lang.as_str())).unwrap_or_default();
    let parameters = format!("units={}{lang}", query.units.as_str());
    assert_eq!(Query::parse(&segment, &parameters).as_ref(), Ok(query));
    assert!(Query::all_about(&query.location).any(|other| other == *query), "a purge forgets {query:?}");

    let subject = query.subject();
    let lines: Vec<_> = subject.split('\n').collect();
    let expected = ["weather", &query.location.to_string(), query.units.as_str(), query.lang.map_or("", Lang::as_str)];
    assert_eq!(lines, expected, "the subject has a line that is none of its own");
    assert!(!subject.contains('\r') && !subject.contains('\0'));
}

/// The upstream reads exactly the parameters that were meant, the key last and once.
fn asks_for_nothing_else(base: &str, query: &Query) {
    let base = Url::parse(base).expect("a constant");
    let url = request_url(base.clone(), query, KEY);
    assert_eq!(url.origin(), base.origin());
    assert_eq!(url.path(), format!("{}/data/2.5/weather", base.path().trim_end_matches('/')));
    assert_eq!((url.fragment(), url.username(), url.password()), (None, "", None));

    let mut expected: Vec<(&str, Cow<'_, str>)> = match &query.location {
        Location::Name(name) => vec![("q", name.into())],
        Location::Id(id) => vec![("id", id.to_string().into())],
        Location::Zip { code, country } => vec![("zip", format!("{code},{country}").into())],
        Location::Coordinates { latitude, longitude } => {
            vec![("lat", Hundredths(*latitude).to_string().into()), ("lon", Hundredths(*longitude).to_string().into())]
        }
    };
    expected.push(("units", query.units.as_str().into()));
    expected.extend(query.lang.map(|lang| ("lang", lang.as_str().into())));
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
