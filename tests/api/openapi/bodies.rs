//! The schemas of answers are true: for answers of the simulation, for the recorded ones of the folder that
//! `STRATUS_RECORDED_BODIES` names, and for the examples in the description itself.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use stratus::demo::simulated;

use super::schema::check;
use super::{NOW, document, service};

/// The schemas of our own paths: their name, the path of OpenWeatherMap's, and the folder of its recordings.
const OWN: [(&str, &str, &str); 3] = [
    ("Weather", "/data/2.5/weather", "weather"),
    ("Forecast", "/data/2.5/forecast", "forecast"),
    ("Air", "/data/2.5/air_pollution", "air_pollution"),
];

#[track_caller]
fn fits(document: &Value, name: &str, body: &Value, what: &str) {
    let schema = serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
    check(document, &schema, body, what).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_answers_are_what_the_description_says() {
    let (_upstream, service) = service().await;
    let document = document(&service).await;
    for (name, path, _) in OWN {
        for place in ["lat=51.5&lon=-0.1", "lat=0&lon=-140", "lat=-89&lon=12", "lat=35.7&lon=139.7"] {
            for units in ["metric", "imperial", "standard"] {
                for day in 0..40 {
                    let query = format!("{place}&units={units}&appid=x");
                    let reply = simulated::reply(path, &query, NOW + day * 86_400 * 9);
                    let body: Value = serde_json::from_str(&reply.body).expect("JSON");
                    fits(&document, name, &body, &format!("{path}?{query}"));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_are_what_the_description_says() {
    let Some(folder) = std::env::var_os("STRATUS_RECORDED_BODIES").map(PathBuf::from) else { return };
    let (_upstream, service) = service().await;
    let document = document(&service).await;
    for (name, _, kind) in OWN {
        let files = fs::read_dir(folder.join(kind)).expect("recordings");
        let mut seen = 0;
        for file in files.map(|file| file.expect("a file").path()) {
            let body: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
            fits(&document, name, &body, &file.display().to_string());
            seen += 1;
        }
        assert!(seen > 5, "{kind}: {seen} recordings");
    }
}

/// Every media type that is described, with where it is.
fn contents<'d>(value: &'d Value, at: &str, found: &mut Vec<(String, &'d Value)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "content" {
                    let types = member.as_object().into_iter().flatten();
                    found.extend(types.map(|(media_type, content)| (format!("{at}: {media_type}"), content)));
                } else {
                    contents(member, &format!("{at}/{name}"), found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| contents(item, at, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_bodies_are_what_the_description_says() {
    let (_upstream, service) = service().await;
    let document = document(&service).await;
    let mut found = Vec::new();
    contents(&document, "", &mut found);
    let mut seen = 0;
    for (at, content) in found {
        let several = content["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
        for example in several.chain(content.get("example")) {
            check(&document, &content["schema"], example, &at).unwrap_or_else(|wrong| panic!("{wrong}"));
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} examples");
}
