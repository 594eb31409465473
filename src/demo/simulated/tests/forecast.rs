//! Forecasts in steps of hours and days, and the past hours.

use serde_json::{Value, json};

use super::{NOW, get};

fn list(path: &str, query: &str, unix: i64) -> Vec<Value> {
    let body = get(path, query, unix);
    let list = body["list"].as_array().unwrap().clone();
    assert_eq!(body["cnt"], list.len(), "{path}?{query}");
    list
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn a_forecast_is_what_will_be_the_weather() {
    for place in ["q=London", "q=Tromso", "q=Delhi", "id=4711", "lat=30&lon=-40"] {
        for row in list("/data/2.5/forecast", &format!("{place}&units=metric"), NOW) {
            let weather = get("/data/2.5/weather", &format!("{place}&units=metric"), row["dt"].as_i64().unwrap());
            for field in ["weather", "clouds", "visibility", "dt"] {
                assert_eq!(row[field], weather[field], "{place} {field}");
            }
            for (field, value) in weather["main"].as_object().unwrap() {
                assert_eq!(&row["main"][field], value, "{place} {field}");
            }
            assert_eq!(
                (&row["wind"]["speed"], &row["wind"]["deg"]),
                (&weather["wind"]["speed"], &weather["wind"]["deg"])
            );
            assert_eq!(row["rain"].is_object(), weather["rain"].is_object(), "{row}");
        }
    }
}

#[test]
fn a_forecast_has_forty_steps_of_three_hours_from_the_next_on() {
    let body = get("/data/2.5/forecast", "q=London", NOW);
    assert_eq!((&body["cod"], &body["message"], &body["cnt"]), (&json!("200"), &json!(0), &json!(40)));
    assert_eq!(body["city"]["id"], 2_643_743);
    assert_eq!((&body["city"]["name"], &body["city"]["country"]), (&json!("London"), &json!("GB")));
    let first = body["list"][0].clone();
    assert_eq!((&first["dt"], &first["dt_txt"]), (&json!(1_727_082_000), &json!("2024-09-23 09:00:00")));
    for (number, row) in (0..).zip(body["list"].as_array().unwrap()) {
        assert_eq!(row["dt"], 1_727_082_000 + number * 10_800);
        let icon = row["weather"][0]["icon"].as_str().unwrap();
        assert!(icon.ends_with(row["sys"]["pod"].as_str().unwrap()), "{row}");
    }
    for (query, rows) in [("cnt=1", 1), ("cnt=39", 39), ("cnt=41", 40), ("cnt=0", 1), ("cnt=-1", 1), ("cnt=many", 40)] {
        assert_eq!(list("/data/2.5/forecast", &format!("q=London&{query}"), NOW).len(), rows, "{query}");
    }
    // A step that begins now is over.
    assert_eq!(list("/data/2.5/forecast", "q=London", 1_727_082_000)[0]["dt"], 1_727_092_800);
    let sea = get("/data/2.5/forecast", "lat=30&lon=-40", NOW);
    assert_eq!(
        (&sea["city"]["country"], &sea["city"]["name"], &sea["city"]["id"]),
        (&json!(""), &json!(""), &json!(0))
    );
}

#[test]
fn what_falls_in_three_hours_is_what_falls_in_each_of_them() {
    let mut wet = 0;
    for place in ["q=London", "q=Oslo", "q=Bergen", "q=Singapore"] {
        for week in 0..10 {
            let now = NOW + week * 3_023_456;
            let hours = list("/data/2.5/forecast/hourly", place, now);
            for row in list("/data/2.5/forecast", &format!("{place}&cnt=30"), now) {
                for kind in ["rain", "snow"] {
                    let Some(amount) = row.get(kind) else { continue };
                    let last = (row["dt"].as_i64().unwrap() - 7_200)..=row["dt"].as_i64().unwrap();
                    let these: Vec<&Value> =
                        hours.iter().filter(|hour| last.contains(&hour["dt"].as_i64().unwrap())).collect();
                    if these.len() < 3 {
                        continue;
                    }
                    let sum: f64 = these.iter().filter_map(|hour| hour.get(kind)).map(|fall| number(&fall["1h"])).sum();
                    assert!((number(&amount["3h"]) - sum).abs() < 0.001, "{row}");
                    assert!(number(&row["pop"]) >= 0.8, "{row}");
                    wet += 1;
                }
            }
        }
    }
    assert!(wet > 20, "{wet}");
}

#[test]
fn the_hourly_forecast_begins_with_the_next_hour() {
    let hours = list("/data/2.5/forecast/hourly", "q=London", NOW);
    assert_eq!((hours.len(), &hours[0]["dt"], &hours[95]["dt"]), (96, &json!(1_727_074_800), &json!(1_727_416_800)));
    assert_eq!(list("/data/2.5/forecast/hourly", "q=London&cnt=5", NOW).len(), 5);
    let third = &list("/data/2.5/forecast", "q=London", NOW)[0];
    assert_eq!(hours[2]["main"], third["main"]);
}

#[test]
fn a_day_is_as_warm_as_its_hours() {
    // Delhi's days begin at half past an hour of UTC.
    for (place, offset) in [("q=London", 0), ("q=Delhi", 19_800), ("q=Honolulu", -36_000)] {
        let days = list("/data/2.5/forecast/daily", &format!("{place}&cnt=5"), NOW);
        let hours = list("/data/2.5/forecast/hourly", place, NOW);
        let mut compared = 0;
        for day in &days {
            let noon = day["dt"].as_i64().unwrap();
            assert_eq!((noon + offset) % 86_400, 43_200, "{day}");
            let weather = get("/data/2.5/weather", place, noon);
            assert_eq!(
                (&day["temp"]["day"], &day["humidity"]),
                (&weather["main"]["temp"], &weather["main"]["humidity"])
            );
            assert_eq!((&day["sunrise"], &day["sunset"]), (&weather["sys"]["sunrise"], &weather["sys"]["sunset"]));
            let (min, max) = (number(&day["temp"]["min"]), number(&day["temp"]["max"]));
            let mut fallen = 0.0;
            let within = (noon - 43_200)..(noon + 43_200);
            for hour in hours.iter().filter(|hour| within.contains(&hour["dt"].as_i64().unwrap())) {
                assert!((min..=max).contains(&number(&hour["main"]["temp"])), "{hour} in {day}");
                assert!(number(&hour["wind"]["speed"]) <= number(&day["speed"]), "{hour} in {day}");
                assert!(number(&hour["pop"]) <= number(&day["pop"]), "{hour} in {day}");
                fallen += hour.get("rain").map_or(0.0, |rain| number(&rain["1h"]));
                compared += 1;
            }
            let total = day.get("rain").map_or(0.0, number);
            assert!(fallen <= total + 0.001, "{day}");
            let wet = total > 0.0 || day.get("snow").is_some();
            assert_eq!(wet, day["weather"][0]["id"].as_u64().unwrap() < 700, "{day}");
        }
        assert_eq!(compared, 96, "{place}");
    }
}

#[test]
fn days_are_counted_from_today() {
    for (path, query, rows) in [
        ("/data/2.5/forecast/daily", "", 7),
        ("/data/2.5/forecast/daily", "&cnt=16", 16),
        ("/data/2.5/forecast/daily", "&cnt=17", 16),
        ("/data/2.5/forecast/climate", "", 30),
        ("/data/2.5/forecast/climate", "&cnt=3", 3),
    ] {
        let days = list(path, &format!("q=Tokyo{query}"), NOW);
        assert_eq!(days.len(), rows, "{path}{query}");
        // Noon of the 23rd of September 2024 in Tokyo.
        assert_eq!(days[0]["dt"], 1_727_060_400, "{path}");
        assert!(
            days.windows(2).all(|pair| pair[1]["dt"].as_i64().unwrap() - pair[0]["dt"].as_i64().unwrap() == 86_400)
        );
    }
    assert_eq!(get("/data/2.5/forecast/daily", "q=Tokyo", NOW)["cod"], "200");
    let climate = get("/data/2.5/forecast/climate", "q=Tokyo", NOW);
    assert_eq!((&climate["code"], climate.get("cod")), (&json!("200"), None));
}

#[test]
fn the_past_is_what_the_weather_was() {
    let query = "id=2643743&type=hour&start=1726990000&end=1727010000";
    let hours = list("/data/2.5/history/city", query, NOW);
    let times: Vec<i64> = hours.iter().map(|hour| hour["dt"].as_i64().unwrap()).collect();
    assert_eq!(times, [1_726_992_000, 1_726_995_600, 1_726_999_200, 1_727_002_800, 1_727_006_400, 1_727_010_000]);
    for hour in hours {
        let weather = get("/data/2.5/weather", "q=London", hour["dt"].as_i64().unwrap());
        assert_eq!((&hour["main"], &hour["weather"]), (&weather["main"], &weather["weather"]));
    }
    let rows = |query: &str| list("/data/2.5/history/city", &format!("q=London{query}"), NOW).len();
    assert_eq!((rows(""), rows("&start=0"), rows("&start=1726990000&cnt=2")), (24, 168, 2));
    // The future is not history.
    assert_eq!(rows("&start=1727066000&end=1999999999"), 2);
    assert_eq!(rows("&start=1999999999"), 0);
}
