//! Air pollution and the UV index.

use serde_json::{Value, json};

use super::{NOW, get};

const LONDON: &str = "lat=51.5085&lon=-0.1257";

fn list(path: &str, query: &str) -> Vec<Value> {
    get(path, &format!("{LONDON}{query}"), NOW)["list"].as_array().unwrap().clone()
}

#[test]
fn the_air_of_now_is_that_of_this_hour() {
    let now = get("/data/2.5/air_pollution", LONDON, NOW);
    assert_eq!((&now["coord"], now["list"].as_array().unwrap().len()), (&json!({"lat": 51.5085, "lon": -0.1257}), 1));
    let hours = list("/data/2.5/air_pollution/forecast", "");
    assert_eq!((hours.len(), &hours[0]["dt"]), (96, &json!(1_727_071_200)));
    assert!(hours.windows(2).all(|pair| pair[1]["dt"].as_i64().unwrap() - pair[0]["dt"].as_i64().unwrap() == 3_600));
    assert_eq!(now["list"][0]["components"], hours[0]["components"]);
    assert_eq!(now["list"][0]["dt"], 1_727_073_600);
}

#[test]
fn the_past_of_the_air_is_what_was_forecast() {
    let past = list("/data/2.5/air_pollution/history", "&start=1726990000&end=1727010000");
    assert_eq!(past.len(), 6);
    let then = get("/data/2.5/air_pollution/forecast", LONDON, 1_726_990_000);
    assert_eq!(past[..], then["list"].as_array().unwrap()[1..7]);
    let rows = |query: &str| list("/data/2.5/air_pollution/history", query).len();
    assert_eq!((rows(""), rows("&start=0"), rows("&start=1727066000&end=1999999999")), (24, 744, 2));
}

#[test]
fn air_is_sometimes_good_and_sometimes_bad_and_never_negative() {
    let mut seen = [0; 6];
    for place in 0..60 {
        let query = format!("lat={}&lon={}", place - 30, place * 5 - 150);
        for row in get("/data/2.5/air_pollution/forecast", &query, NOW)["list"].as_array().unwrap() {
            let amounts = row["components"].as_object().unwrap();
            assert!(amounts.len() == 8 && amounts.values().all(|amount| amount.as_f64().unwrap() >= 0.0), "{row}");
            assert!(amounts["pm10"].as_f64() > amounts["pm2_5"].as_f64(), "{row}");
            seen[usize::try_from(row["main"]["aqi"].as_u64().unwrap()).unwrap()] += 1;
        }
    }
    assert_eq!(seen[0], 0);
    assert!(seen[1] > 300 && seen[2] > 300 && seen[3] > 30, "{seen:?}");
    assert!(seen[1] + seen[2] > 3 * (seen[3] + seen[4] + seen[5]), "{seen:?}");
}

#[test]
fn the_uv_index_of_a_day_is_the_highest_of_one_call() {
    let today = get("/data/2.5/uvi", LONDON, NOW);
    let days = get("/data/3.0/onecall", LONDON, NOW)["daily"].as_array().unwrap().clone();
    assert_eq!(today["value"], days[0]["uvi"]);
    assert_eq!((&today["date_iso"], &today["date"]), (&json!("2024-09-23T12:00:00Z"), &json!(1_727_092_800)));
    let ahead = get("/data/2.5/uvi/forecast", LONDON, NOW);
    assert_eq!(ahead.as_array().unwrap().len(), 8);
    for (row, day) in ahead.as_array().unwrap().iter().zip(&days[1..]) {
        assert_eq!((&row["value"], &row["date"]), (&day["uvi"], &day["dt"]));
    }
    let past =
        |query: &str| get("/data/2.5/uvi/history", &format!("{LONDON}&{query}"), NOW).as_array().unwrap().clone();
    let days = past("start=1726700000&end=1727000000");
    assert_eq!((days.len(), &days[0]["date_iso"]), (3, &json!("2024-09-19T12:00:00Z")));
    assert_eq!((past("").len(), past("start=0").len(), past("start=1999999999").len()), (1, 31, 0));
}
