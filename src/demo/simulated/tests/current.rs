//! What is measured now: of a place, of a list of places, around a point, in a rectangle.

use regex::Regex;
use serde_json::{Value, json};

use super::{BAD_NUMBER, NOW, cities, conditions, get, refused};

fn ok(query: &str, unix: i64) -> String {
    super::ok("/data/2.5/weather", query, unix)
}

fn places() -> Vec<String> {
    let named = cities::CITIES.iter().map(|city| format!("q={},{}", city.name, city.country));
    let invented = (0..50).map(|n| format!("q=Town%20{n}"));
    let ids = (1..30).map(|n| format!("id={}", n * 7_919));
    let zips = (0..30).map(|n| format!("zip={},US", 10_000 + n * 331));
    let spots = (0..60).map(|n| format!("lat={}&lon={}", f64::from(n) * 3.017 - 90.0, f64::from(n) * 6.01 - 180.0));
    named.chain(invented).chain(ids).chain(zips).chain(spots).collect()
}

#[test]
fn every_body_is_complete_and_well_printed() {
    let places = places();
    assert!(places.len() >= 200);
    let bad_number = Regex::new(BAD_NUMBER).unwrap();
    let text = Regex::new(r#""[^"]*""#).unwrap();
    let long_number = Regex::new(r"\.\d{3}").unwrap();
    for (n, place) in places.iter().enumerate() {
        for units in ["standard", "metric", "imperial"] {
            for hour in 0..12_i64 {
                let unix = NOW + hour * 7_200 + n as i64 * 1_234_567;
                let body = ok(&format!("{place}&units={units}"), unix);
                check(&body, units);
                let numbers = text.replace_all(&body, "");
                assert!(!bad_number.is_match(&numbers), "{body}");
                let (_, after_coord) = body.split_once("\"weather\"").unwrap();
                assert!(!long_number.is_match(after_coord), "{body}");
            }
        }
    }
}

fn check(body: &str, units: &str) {
    let json: Value = serde_json::from_str(body).unwrap();
    for path in [
        "/coord/lon",
        "/coord/lat",
        "/main/temp",
        "/main/feels_like",
        "/main/temp_min",
        "/main/temp_max",
        "/main/pressure",
        "/main/humidity",
        "/visibility",
        "/wind/speed",
        "/wind/deg",
        "/clouds/all",
        "/dt",
        "/sys/sunrise",
        "/sys/sunset",
        "/timezone",
        "/id",
    ] {
        assert!(json.pointer(path).is_some_and(Value::is_number), "{path} in {body}");
    }
    assert!(json["name"].is_string() && json["cod"] == 200 && json["base"] == "simulated");
    let temp = json["main"]["temp"].as_f64().unwrap();
    let (low, high, snow) = match units {
        "metric" => (-70.0, 55.0, 2.0),
        "imperial" => (-94.0, 131.0, 35.6),
        _ => (203.0, 328.0, 275.15),
    };
    assert!((low..high).contains(&temp), "{body}");
    if json.get("snow").is_some() {
        assert!(temp < snow && json["weather"][0]["main"] == "Snow", "{body}");
    }
    let icon = json["weather"][0]["icon"].as_str().unwrap();
    let (dt, sunrise, sunset) = (&json["dt"], &json["sys"]["sunrise"], &json["sys"]["sunset"]);
    let (dt, sunrise, sunset) = (dt.as_i64(), sunrise.as_i64(), sunset.as_i64());
    assert!(sunrise < sunset && dt.unwrap() % 600 == 0, "{body}");
    if sunrise <= dt && dt < sunset {
        assert!(icon.ends_with('d'), "{body}");
    }
    assert_eq!(condition_of(&json).icon(icon.ends_with('d')), icon);
}

fn condition_of(json: &Value) -> &'static conditions::Condition {
    let id = json["weather"][0]["id"].as_u64().unwrap();
    let known = conditions::Condition::of(u16::try_from(id).unwrap());
    assert_eq!(u64::from(known.id), id);
    assert_eq!(json["weather"][0]["main"], known.main);
    known
}

#[test]
fn fields_have_the_real_order() {
    let body = ok("q=London", NOW);
    let order = [
        "coord",
        "weather",
        "base",
        "main",
        "visibility",
        "wind",
        "clouds",
        "dt",
        "sys",
        "timezone",
        "id",
        "name",
        "cod",
    ];
    let found: Vec<usize> = order.iter().map(|key| body.rfind(&format!("\"{key}\":")).unwrap()).collect();
    // `main` and `id` occur inside other objects as well; their last place is the top-level one.
    assert!(found.is_sorted(), "{body}");
    assert!(body.starts_with(r#"{"coord":{"lon":-0.1257,"lat":51.5085},"weather":[{"id":"#));
    assert!(body.ends_with(r#""timezone":0,"id":2643743,"name":"London","cod":200}"#));
}

#[test]
fn the_same_question_has_the_same_answer() {
    assert_eq!(ok("q=London", NOW), ok("q=%20LONDON,gb&lang=xx&units=internal", NOW + 5));
    assert_eq!(ok("q=Nowhere%20Hills", NOW), ok("q=nowhere++hills", NOW));
    assert_eq!(ok("id=2643743", NOW), ok("q=London", NOW));
    assert_ne!(ok("q=London", NOW), ok("q=London", NOW + 600));
    assert_ne!(ok("q=London", NOW), ok("q=London&units=metric", NOW));
}

#[test]
fn descriptions_are_translated() {
    let describe = |lang: &str| {
        let json: Value = serde_json::from_str(&ok(&format!("q=Paris&lang={lang}"), NOW)).unwrap();
        json["weather"][0]["description"].as_str().unwrap().to_owned()
    };
    let english = describe("en");
    for lang in ["de", "FR", "es", "it", "pt_br", "ja"] {
        assert_ne!(describe(lang), english, "{lang}");
    }
    for lang in ["EN", "pt-BR", "tlh", ""] {
        assert_eq!(describe(lang), english, "{lang}");
    }
}

#[test]
fn a_group_has_what_each_of_its_places_has() {
    let group = get("/data/2.5/group", "id=524901,703448,nothing,2643743&units=metric", NOW);
    assert_eq!((&group["cnt"], &group["base"]), (&json!(3), &json!("simulated")));
    for (member, name) in group["list"].as_array().unwrap().iter().zip(["Moscow", "Kyiv", "London"]) {
        let alone: Value = serde_json::from_str(&ok(&format!("q={name}&units=metric"), NOW)).unwrap();
        assert_eq!(member["name"], name);
        for field in ["coord", "weather", "visibility", "clouds", "dt", "id"] {
            assert_eq!(member[field], alone[field], "{name} {field}");
        }
        assert_eq!(member["main"]["temp"], alone["main"]["temp"]);
        assert_eq!(member["sys"]["timezone"], alone["timezone"]);
    }
    let many = (1..=25).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(get("/data/2.5/group", &format!("id={many}"), NOW)["cnt"], 20);
    refused("/data/2.5/group", "id=0,x", 404, super::CITY_NOT_FOUND);
    refused("/data/2.5/group", "q=London", 400, super::NOTHING_TO_GEOCODE);
}

#[test]
fn places_are_found_by_name_by_how_it_begins_and_around_a_point() {
    let names = |query: &str| {
        let found = get("/data/2.5/find", query, NOW);
        let list = found["list"].as_array().unwrap().clone();
        assert_eq!((&found["cod"], &found["count"]), (&json!("200"), &json!(list.len())));
        let name = |place: &Value| {
            format!("{} {}", place["name"].as_str().unwrap(), place["sys"]["country"].as_str().unwrap())
        };
        list.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names("q=paris")[..2], ["Paris FR", "Paris US"]);
    assert_eq!(names("q=paris&cnt=1"), ["Paris FR"]);
    assert_eq!(names("q=lo&type=like"), ["London GB", "Los Angeles US"]);
    assert_eq!(names("lat=48.8&lon=2.3&cnt=2"), ["Paris FR", "Brussels BE"]);
    assert_eq!(names("lat=48.8&lon=2.3").len(), 5);
    let nowhere = super::ok("/data/2.5/find", "q=Atlantis", NOW);
    assert_eq!(nowhere, r#"{"message":"accurate","cod":"200","count":0,"list":[],"base":"simulated"}"#);
    let london = &get("/data/2.5/find", "q=London,GB", NOW)["list"][0];
    let alone: Value = serde_json::from_str(&ok("q=London", NOW)).unwrap();
    assert_eq!((&london["main"]["temp"], &london["id"]), (&alone["main"]["temp"], &alone["id"]));
    assert!(london["snow"].is_null() && london.get("rain").is_some());
    refused("/data/2.5/find", "lat=55.5&lon=37.5&cnt=-10", 200, super::BAD_LIMIT);
}

#[test]
fn a_rectangle_has_the_cities_within_and_is_always_in_celsius() {
    let found = get("/data/2.5/box/city", "bbox=12,41,17,49,10&units=standard", NOW);
    assert_eq!((&found["cod"], &found["cnt"]), (&json!(200), &json!(2)));
    for (city, name) in found["list"].as_array().unwrap().iter().zip(["Vienna", "Rome"]) {
        let alone: Value = serde_json::from_str(&ok(&format!("q={name}&units=metric"), NOW)).unwrap();
        assert_eq!((&city["main"], &city["name"]), (&alone["main"], &json!(name)));
        assert_eq!(
            (&city["coord"]["Lat"], &city["clouds"]["today"]),
            (&alone["coord"]["lat"], &alone["clouds"]["all"])
        );
    }
    assert_eq!(get("/data/2.5/box/city", "bbox=-5,-5,-5,-5,-5", NOW)["list"], json!([]));
    for query in ["", "bbox=", "bbox=1,2,3", "bbox=a,b,c,d,e"] {
        refused("/data/2.5/box/city", query, 400, super::NOTHING_TO_GEOCODE);
    }
}
