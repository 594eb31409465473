//! The shapes of bodies, compared with those of the real service that are in the folder which `STRATUS_RECORDED_BODIES`
//! names, one folder an endpoint. Without it there is nothing to compare.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use regex::Regex;
use serde_json::Value;

use super::{NOW, ok};

/// An endpoint and its recordings.
struct Recorded {
    path: &'static str,
    query: &'static str,
    /// Of the endpoint itself first; then of those that have the same rows, where it was recorded long ago.
    folders: &'static [&'static str],
    /// What the names of the files contain.
    file: &'static str,
    /// What the documentation has and no recording.
    documented: &'static [&'static str],
}

const fn recorded(path: &'static str, query: &'static str, folders: &'static [&'static str]) -> Recorded {
    Recorded { path, query, folders, file: "", documented: &[] }
}

const FALLEN: &[&str] = &["list[].rain", "list[].rain.1h", "list[].snow", "list[].snow.1h", "list[].main.feels_like"];

const ALL: &[Recorded] = &[
    recorded("/data/2.5/weather", "", &["weather"]),
    recorded("/data/2.5/forecast", "", &["forecast"]),
    recorded("/data/2.5/forecast/hourly", "", &["forecast_hourly_pro"]),
    Recorded {
        documented: &["list[].gust", "list[].pop"],
        ..recorded("/data/2.5/forecast/daily", "", &["forecast_daily", "forecast_climate_pro"])
    },
    recorded("/data/2.5/forecast/climate", "", &["forecast_climate_pro", "forecast_daily"]),
    Recorded { documented: FALLEN, ..recorded("/data/2.5/history/city", "", &["history_city"]) },
    Recorded { documented: FALLEN, ..recorded("/data/2.5/group", "&id=524901,703448,2643743,1", &["group"]) },
    Recorded { documented: FALLEN, ..recorded("/data/2.5/find", "&cnt=50", &["find"]) },
    Recorded { documented: FALLEN, ..recorded("/data/2.5/box/city", "&bbox=-180,-90,180,90,10", &["box_city"]) },
    recorded("/data/2.5/air_pollution", "", &["air_pollution"]),
    recorded("/data/2.5/air_pollution/forecast", "", &["air_pollution"]),
    recorded("/data/2.5/air_pollution/history", "", &["air_pollution"]),
    Recorded { file: "43p75", ..recorded("/data/2.5/uvi", "", &["uvi"]) },
    Recorded { file: "forecast", ..recorded("/data/2.5/uvi/forecast", "", &["uvi"]) },
    Recorded { file: "history", ..recorded("/data/2.5/uvi/history", "", &["uvi"]) },
    recorded("/data/3.0/onecall", "", &["onecall"]),
    Recorded { file: "day-summary", ..recorded("/data/3.0/onecall/day_summary", "", &["onecall"]) },
    Recorded {
        documented: &["data[].rain", "data[].rain.1h", "data[].snow", "data[].snow.1h"],
        ..recorded("/data/3.0/onecall/timemachine", "", &["onecall_timemachine"])
    },
    recorded("/geo/1.0/direct", "&q=New York", &["geo_direct"]),
    Recorded { documented: &["[].state"], ..recorded("/geo/1.0/reverse", "", &["geo_reverse"]) },
    recorded("/geo/1.0/zip", "&zip=10018", &["geo_zip"]),
];

/// Names and texts of the recordings in a folder.
fn files(folder: &str, name: &str) -> Option<Vec<(String, String)>> {
    let folder = PathBuf::from(std::env::var_os("STRATUS_RECORDED_BODIES")?).join(folder);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).expect("the folder of recorded bodies has one for each endpoint") {
        let path = entry.expect("it can be listed").path();
        let file = path.file_name().expect("it is no root").to_string_lossy().into_owned();
        // The summary of a day lies among the answers of One Call.
        if file.contains(name) && file.contains("day-summary") == (name == "day-summary") {
            files.push((file, fs::read_to_string(&path).expect("recorded bodies are text")));
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{}: no recorded body", folder.display());
    Some(files)
}

/// The year in a file's name.
fn year(file: &str) -> u16 {
    let year = Regex::new(r"-(20[0-9]{2})[.-]").expect("it is well formed");
    year.captures(file).map_or(0, |found| found[1].parse().expect("it is digits"))
}

/// Where keys are, such as `list[].main.temp`; the languages of names are no keys.
fn keys(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![(String::new(), serde_json::from_str::<Value>(text).expect("bodies are JSON"))];
    while let Some((at, value)) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items.into_iter().map(|item| (format!("{at}[]"), item))),
            Value::Object(fields) if !at.ends_with("local_names") => {
                for (key, field) in fields {
                    let path = if at.is_empty() { key } else { format!("{at}.{key}") };
                    found.insert(path.clone());
                    open.push((path, field));
                }
            }
            _ => {}
        }
    }
    found
}

/// Answers in summer and winter, from the tropics to the pole: with everything that is not always there.
fn answers(endpoint: &Recorded) -> Vec<String> {
    let mut answers = Vec::new();
    for place in ["lat=51.5085&lon=-0.1257", "lat=40.7143&lon=-74.006", "lat=1.2897&lon=103.8501", "lat=75&lon=20"] {
        for month in 0..12 {
            let query = format!("{place}{}", endpoint.query);
            let body = ok(endpoint.path, &query, NOW + month * 2_597_890);
            if body != "[]" {
                answers.push(body);
            }
        }
    }
    assert!(answers.len() >= 12);
    answers
}

#[test]
fn bodies_have_the_fields_of_recorded_ones() {
    for endpoint in ALL {
        let mut known: BTreeSet<String> = endpoint.documented.iter().map(|key| (*key).to_owned()).collect();
        let mut needed: Option<BTreeSet<String>> = None;
        for (number, folder) in endpoint.folders.iter().enumerate() {
            let Some(files) = files(folder, endpoint.file) else {
                println!("STRATUS_RECORDED_BODIES is not set");
                return;
            };
            for (file, text) in files {
                let keys = keys(&text);
                known.extend(keys.iter().cloned());
                if number == 0 && year(&file) >= 2020 {
                    needed = Some(needed.map_or(keys.clone(), |needed| &needed & &keys));
                }
            }
        }
        known.insert("base".to_owned());
        let needed = needed.unwrap_or_default();
        for answer in answers(endpoint) {
            let ours = keys(&answer);
            let unknown: Vec<_> = ours.difference(&known).collect();
            let missing: Vec<_> = needed.difference(&ours).collect();
            assert!(unknown.is_empty() && missing.is_empty(), "{}: {unknown:?} {missing:?} in {answer}", endpoint.path);
        }
    }
}

/// Fields that may come first in a later row.
const SOMETIMES: [&str; 10] =
    ["rain", "snow", "1h", "3h", "gust", "wind_gust", "state", "base", "sea_level", "grnd_level"];

/// The names of fields in the order in which they first come, less those that are not always there.
fn order(text: &str) -> Vec<String> {
    let key = Regex::new(r#""([A-Za-z0-9_]+)"[ \n]*:"#).expect("it is well formed");
    let mut names = Vec::new();
    for found in key.captures_iter(text) {
        let name = found[1].to_owned();
        if !SOMETIMES.contains(&name.as_str()) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[test]
fn fields_come_in_the_order_of_the_newest_recorded_body() {
    for endpoint in ALL {
        let Some(files) = files(endpoint.folders[0], endpoint.file) else {
            println!("STRATUS_RECORDED_BODIES is not set");
            return;
        };
        let newest = files.iter().map(|(file, _)| year(file)).max().unwrap_or_default();
        // Fields have moved since then.
        if (1..2020).contains(&newest) {
            continue;
        }
        for (file, text) in files.iter().filter(|(file, _)| year(file) == newest) {
            let recorded = order(text);
            // One of each place.
            for answer in answers(endpoint).iter().step_by(12) {
                let ours = order(answer);
                let common = |names: &[String], others: &[String]| {
                    names.iter().filter(|name| others.contains(name)).cloned().collect::<Vec<_>>()
                };
                assert_eq!(common(&ours, &recorded), common(&recorded, &ours), "{}: {file}", endpoint.path);
            }
        }
    }
}
