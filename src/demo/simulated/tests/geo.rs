//! Geocoding, both ways.

use serde_json::{Value, json};

use super::{NOT_FOUND, NOW, get, ok, refused};

fn names(path: &str, query: &str) -> Vec<String> {
    let name = |place: &Value| format!("{} {}", place["name"].as_str().unwrap(), place["country"].as_str().unwrap());
    get(path, query, NOW).as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_name_leads_to_where_its_weather_is() {
    for q in ["London", "New York,NY,US", "São Paulo", "Springfield,IL,US", "Nowhere Hills"] {
        let place = &get("/geo/1.0/direct", &format!("q={q}"), NOW)[0];
        let weather = get("/data/2.5/weather", &format!("q={q}"), NOW);
        assert_eq!((&place["lat"], &place["lon"]), (&weather["coord"]["lat"], &weather["coord"]["lon"]), "{q}");
        assert_eq!((&place["name"], &place["country"]), (&weather["name"], &weather["sys"]["country"]), "{q}");
    }
    let london = ok("/geo/1.0/direct", "q=London&limit=1", NOW);
    let expected = r#"[{"name":"London","local_names":{"en":"London"},"lat":51.5085,"lon":-0.1257,"country":"GB"}]"#;
    assert_eq!(london, expected);
    assert_eq!(get("/geo/1.0/direct", "q=Seattle", NOW)[0]["state"], "Washington");
}

#[test]
fn there_are_at_most_five_places_of_a_name_and_none_of_one_that_is_unknown() {
    let all = ["London GB", "London US", "London CA", "London AU"];
    assert_eq!(names("/geo/1.0/direct", "q=London"), all);
    assert_eq!(names("/geo/1.0/direct", "q=London&limit=2"), all[..2]);
    assert_eq!(names("/geo/1.0/direct", "q=London&limit=500"), all);
    assert_eq!(names("/geo/1.0/direct", "q=Paris").len(), 5);
    assert_eq!(ok("/geo/1.0/direct", "q=Atlantis", NOW), "[]");
    assert_eq!(ok("/geo/1.0/direct", "q=123", NOW), "[]");
}

#[test]
fn a_point_is_named_after_its_city_as_its_weather_is() {
    assert_eq!(names("/geo/1.0/reverse", "lat=51.5&lon=-0.12&limit=5"), ["London GB"]);
    assert_eq!(get("/data/2.5/weather", "lat=51.5&lon=-0.12", NOW)["name"], "London");
    assert_eq!(ok("/geo/1.0/reverse", "lat=30&lon=-40", NOW), "[]");
    assert_eq!(get("/data/2.5/weather", "lat=30&lon=-40", NOW)["name"], "");
}

#[test]
fn a_postcode_leads_to_where_its_weather_is() {
    for (zip, code, country) in [("e14,gb", "e14", "GB"), ("10018", "10018", "US"), ("1000-001, PT", "1000-001", "PT")]
    {
        let place = get("/geo/1.0/zip", &format!("zip={zip}"), NOW);
        let weather = get("/data/2.5/weather", &format!("zip={zip}"), NOW);
        assert_eq!((&place["lat"], &place["lon"]), (&weather["coord"]["lat"], &weather["coord"]["lon"]), "{zip}");
        assert_eq!((&place["zip"], &place["country"]), (&json!(code), &json!(country)));
    }
    for zip in ["10018,USA", "-", "--,US"] {
        refused("/geo/1.0/zip", &format!("zip={zip}"), 404, NOT_FOUND);
    }
}
