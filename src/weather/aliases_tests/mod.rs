//! Which spellings are one question and which are not: tables, a group for each rule, with its reason.
//!
//! A group's rows are spellings of one question: the first and each other one are a pair. In a table of what stays
//! different every two of a row are a pair.

mod different;
mod languages;
mod places;

use std::collections::HashSet;

use super::{LANGUAGES, Location, Query, Units, WEATHER};

/// A rule.
pub(super) struct Group {
    /// Why it is one.
    reason: &'static str,
    /// Spellings, each `location` or, in the tables of languages, a value of `lang`.
    rows: &'static [&'static [&'static str]],
}

/// A spelling is a path's last segment as it is before or after percent-encoding: both are read alike.
fn place(spelling: &str) -> Query {
    Query::parse(spelling, "").unwrap_or_else(|error| panic!("{spelling:?}: {error}"))
}

fn language(tag: &str) -> Query {
    let parameters = if tag.is_empty() { String::new() } else { format!("lang={tag}") };
    Query::parse("London", &parameters).unwrap_or_else(|error| panic!("{tag:?}: {error}"))
}

/// Checks a table of aliases and adds its pairs.
fn check_same(groups: &[Group], read: fn(&str) -> Query, pairs: &mut HashSet<(String, String)>) {
    for group in groups {
        for row in group.rows {
            for other in &row[1..] {
                let (one, two) = (read(row[0]), read(other));
                assert_eq!(one, two, "{:?} and {other:?} are one question: {}", row[0], group.reason);
                assert_eq!(one.subject(), two.subject());
                add(row[0], other, pairs);
            }
        }
    }
}

fn check_different(groups: &[Group], read: fn(&str) -> Query, pairs: &mut HashSet<(String, String)>) {
    for group in groups {
        for row in group.rows {
            for (at, one) in row.iter().enumerate() {
                for two in &row[at + 1..] {
                    assert_ne!(read(one), read(two), "{one:?} and {two:?} are two questions: {}", group.reason);
                    assert_ne!(read(one).subject(), read(two).subject());
                    add(one, two, pairs);
                }
            }
        }
    }
}

/// Every pair counts once, and only if its spellings differ.
fn add(one: &str, two: &str, pairs: &mut HashSet<(String, String)>) {
    assert_ne!(one, two, "a spelling beside itself");
    let pair = if one < two { (one, two) } else { (two, one) };
    assert!(pairs.insert((pair.0.to_owned(), pair.1.to_owned())), "{pair:?} is in the tables twice");
}

#[test]
fn spellings_of_one_place_are_one_question() {
    let mut pairs = HashSet::new();
    check_same(places::GROUPS, place, &mut pairs);
    for row in places::GROUPS.iter().flat_map(|group| group.rows) {
        assert_eq!(place(row[0]), Query::weather(&row[0].parse().unwrap(), Units::Metric, None));
        assert_eq!(row[0].parse::<Location>().unwrap().to_string(), row[0]);
    }
    assert_eq!(pairs.len(), places::PAIRS);
}

#[test]
fn tags_of_one_language_are_one_question() {
    let mut pairs = HashSet::new();
    check_same(languages::GROUPS, language, &mut pairs);
    assert_eq!(pairs.len(), languages::PAIRS);
}

#[test]
fn the_tables_written_by_hand_hold_more_than_300_pairs() {
    const { assert!(places::PAIRS + languages::PAIRS > 300) };
}

#[test]
fn what_openweathermap_may_answer_differently_stays_different() {
    let mut pairs = HashSet::new();
    check_different(different::PLACES, place, &mut pairs);
    check_different(different::LANGUAGES, language, &mut pairs);
    assert_eq!(pairs.len(), different::PAIRS);
    const { assert!(different::PAIRS > 60) };
}

/// Every code in other spellings: a pair for each.
#[test]
fn every_code_is_read_in_any_case_and_with_extensions() {
    let mut pairs = HashSet::new();
    for code in LANGUAGES {
        let hyphened = code.replace('_', "-");
        for spelling in [
            code.to_ascii_uppercase(),
            // RFC 5646, section 2.2.6: what follows a single character does not change the language.
            format!("{hyphened}-u-nu-latn"),
            format!("{hyphened}-x-pirate"),
        ] {
            assert_eq!(language(&spelling), language(code), "{spelling}");
            assert_eq!(language(code).value("lang").as_deref(), Some(code));
            add(code, &spelling, &mut pairs);
        }
    }
    assert_eq!(pairs.len(), 3 * LANGUAGES.len());
}

/// No two codes share a record, and each has one of its own beside the question without a language.
#[test]
fn every_code_is_a_question_of_its_own() {
    let subjects: HashSet<_> = LANGUAGES.into_iter().chain([""]).map(|code| language(code).subject()).collect();
    assert_eq!(subjects.len(), LANGUAGES.len() + 1);
}

/// A purge asks for the canonical questions only, so all that can be asked has to be among them.
#[test]
fn a_purge_finds_what_was_asked_in_any_spelling() {
    let location = "London".parse().unwrap();
    let weather = |query: &Query| query.endpoint() == WEATHER;
    let purged: HashSet<_> = Query::all_about(&location).filter(weather).map(|query| query.subject()).collect();
    assert_eq!(purged.len(), 3 * (1 + LANGUAGES.len()));
    for tag in languages::GROUPS.iter().flat_map(|group| group.rows).copied().flatten() {
        assert!(purged.contains(&language(tag).subject()), "{tag}");
    }
}
