//! One Call 3.0 and 4.0.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{NOW, get, ok};

const LONDON: &str = "lat=51.5085&lon=-0.1257&units=metric";
const ONECALL: &str = "/data/3.0/onecall";
const TIMELINE: &str = "/data/4.0/onecall/timeline";

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn one_call_and_the_single_endpoints_agree() {
    let all = get(ONECALL, LONDON, NOW);
    let weather = get("/data/2.5/weather", LONDON, NOW);
    let agree = |moment: &Value, weather: &Value| {
        let (main, wind) = (&weather["main"], &weather["wind"]);
        assert_eq!((&moment["temp"], &moment["feels_like"]), (&main["temp"], &main["feels_like"]));
        assert_eq!((&moment["pressure"], &moment["humidity"]), (&main["pressure"], &main["humidity"]));
        assert_eq!((&moment["wind_speed"], &moment["wind_deg"]), (&wind["speed"], &wind["deg"]));
        assert_eq!((&moment["weather"], &moment["dt"]), (&weather["weather"], &weather["dt"]));
        assert_eq!((&moment["clouds"], &moment["visibility"]), (&weather["clouds"]["all"], &weather["visibility"]));
    };
    agree(&all["current"], &weather);
    assert_eq!(all["current"]["sunrise"], weather["sys"]["sunrise"]);
    for hour in all["hourly"].as_array().unwrap() {
        agree(hour, &get("/data/2.5/weather", LONDON, hour["dt"].as_i64().unwrap()));
    }
    let days = get("/data/2.5/forecast/daily", &format!("{LONDON}&cnt=8"), NOW);
    for (ours, other) in all["daily"].as_array().unwrap().iter().zip(days["list"].as_array().unwrap()) {
        for field in
            ["dt", "sunrise", "sunset", "temp", "feels_like", "pressure", "humidity", "weather", "clouds", "pop"]
        {
            assert_eq!(ours[field], other[field], "{field}");
        }
    }
    let current = get("/data/4.0/onecall/current", LONDON, NOW);
    assert_eq!((&current["data"][0], &current["timezone"]), (&all["current"], &all["timezone"]));
}

#[test]
fn one_call_has_an_hour_two_days_and_eight_days_from_now_on() {
    let all = get(ONECALL, LONDON, NOW);
    let rows = |part: &str| {
        let rows = all[part].as_array().unwrap();
        (rows.len(), rows[0]["dt"].as_i64().unwrap(), rows[1]["dt"].as_i64().unwrap() - rows[0]["dt"].as_i64().unwrap())
    };
    assert_eq!(rows("minutely"), (60, 1_727_074_080, 60));
    assert_eq!(rows("hourly"), (48, 1_727_071_200, 3_600));
    assert_eq!(rows("daily"), (8, 1_727_092_800, 86_400));
    assert_eq!((&all["lat"], &all["lon"]), (&json!(51.5085), &json!(-0.1257)));
    assert_eq!((&all["timezone"], &all["timezone_offset"]), (&json!("Etc/GMT"), &json!(0)));
    let minutes = all["minutely"].as_array().unwrap().iter();
    for minute in minutes {
        let then = get("/data/2.5/weather", LONDON, minute["dt"].as_i64().unwrap());
        let falls = |kind: &str| then.get(kind).map_or(0.0, |amount| amount["1h"].as_f64().unwrap());
        assert_eq!(minute["precipitation"].as_f64().unwrap(), falls("rain") + falls("snow"));
    }
    for day in all["daily"].as_array().unwrap() {
        assert!(day["summary"].as_str().unwrap().starts_with("Simulated"), "{day}");
        assert!(["rain", "snow"].iter().all(|kind| day.get(kind).is_none_or(Value::is_number)), "{day}");
    }
}

#[test]
fn what_is_excluded_is_left_out() {
    let parts = |exclude: &str| {
        let body = get(ONECALL, &format!("{LONDON}&exclude={exclude}"), NOW);
        let parts = ["current", "minutely", "hourly", "daily"];
        parts.into_iter().filter(|part| body.get(part).is_some()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(parts(""), "current minutely hourly daily");
    assert_eq!(parts("alerts,hour"), "current minutely hourly daily");
    assert_eq!(parts("minutely,hourly,daily,alerts"), "current");
    assert_eq!(parts("current,%20minutely"), "hourly daily");
    assert_eq!(parts("current,minutely,hourly,daily,alerts"), "");
}

#[test]
fn the_time_machine_shows_the_weather_of_that_second() {
    let body = get("/data/3.0/onecall/timemachine", &format!("{LONDON}&dt=1589173205"), NOW);
    let moment = &body["data"][0];
    let weather = get("/data/2.5/weather", LONDON, 1_589_173_205);
    assert_eq!((&moment["dt"], &moment["temp"]), (&json!(1_589_173_205), &weather["main"]["temp"]));
    assert_eq!((body["data"].as_array().unwrap().len(), moment.get("pop"), moment.get("uvi")), (1, None, None));
    assert_eq!(get("/data/3.0/onecall/timemachine", LONDON, NOW)["data"][0]["dt"], 1_727_073_600);
}

#[test]
fn the_old_time_machine_shows_that_second_and_its_day_by_the_hour() {
    let body = get("/data/2.5/onecall/timemachine", &format!("{LONDON}&dt=1589173205"), NOW);
    let moment = &get("/data/3.0/onecall/timemachine", &format!("{LONDON}&dt=1589173205"), NOW)["data"][0];
    assert_eq!((&body["current"]["dt"], &body["current"]["temp"]), (&moment["dt"], &moment["temp"]));
    let hours = body["hourly"].as_array().unwrap();
    let times: Vec<_> = hours.iter().map(|hour| hour["dt"].as_i64().unwrap()).collect();
    assert_eq!(times, (0..24).map(|hour| 1_589_155_200 + hour * 3_600).collect::<Vec<_>>());
    let weather = get("/data/2.5/weather", LONDON, times[5]);
    assert_eq!((&hours[5]["temp"], hours[5].get("sunrise")), (&weather["main"]["temp"], None));
    // The last second that has a date is on a day that has no next.
    assert_eq!(
        get("/data/2.5/onecall/timemachine", &format!("{LONDON}&dt=99999999999999"), NOW)["hourly"][23]["dt"],
        253_402_297_200_i64
    );
}

#[test]
fn a_day_is_summed_up_on_the_clock_that_was_asked_for() {
    let query = format!("{LONDON}&date=2024-09-24");
    let body = get("/data/3.0/onecall/day_summary", &query, NOW);
    let day = &get("/data/2.5/forecast/daily", LONDON, NOW)["list"][1];
    for (ours, other) in [("min", "min"), ("max", "max"), ("afternoon", "day"), ("night", "night"), ("morning", "morn")]
    {
        assert_eq!(body["temperature"][ours].as_f64(), day["temp"][other].as_f64(), "{ours}");
    }
    assert_eq!(body["wind"]["max"]["speed"].as_f64(), day["speed"].as_f64());
    let text = ok("/data/3.0/onecall/day_summary", &query, NOW);
    let start = r#"{"lat":51.5085,"lon":-0.1257,"tz":"+00:00","date":"2024-09-24","units":"metric","cloud_cover":{"afternoon":"#;
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains(&format!(r#""humidity":{{"afternoon":{}.0}}"#, day["humidity"])), "{text}");

    let east = get("/data/3.0/onecall/day_summary", &format!("{query}&tz=%2B09:00"), NOW);
    assert_eq!(east["tz"], "+09:00");
    let at = |hour: i64| get("/data/2.5/weather", LONDON, 1_727_136_000 + (hour - 9) * 3_600)["main"]["temp"].as_f64();
    assert_eq!((east["temperature"]["afternoon"].as_f64(), east["temperature"]["night"].as_f64()), (at(12), at(0)));
    // Late in the evening of London it is tomorrow in Tokyo.
    let evening = 1_727_128_800;
    assert_eq!(get("/data/3.0/onecall/day_summary", LONDON, evening)["date"], "2024-09-23");
    assert_eq!(get("/data/3.0/onecall/day_summary", &format!("{LONDON}&tz=%2B09:00"), evening)["date"], "2024-09-24");
}

#[test]
fn an_overview_says_in_its_first_words_that_it_is_simulated() {
    let body = get("/data/3.0/onecall/overview", &format!("{LONDON}&date=2024-09-24"), NOW);
    let text = body["weather_overview"].as_str().unwrap();
    assert!(text.starts_with("This weather is simulated. London has ") && text.contains("on 2024-09-24"), "{text}");
    assert_eq!(keys(&body), BTreeSet::from(["lat", "lon", "tz", "date", "units", "weather_overview", "base"]));
}

/// All rows of a timeline and how many there were on each page, as a client gets them that follows the links.
fn follow(name: &str, query: &str) -> (Vec<Value>, Vec<usize>) {
    let path = format!("{TIMELINE}/{name}");
    let (mut rows, mut pages) = (Vec::new(), Vec::new());
    let mut query = query.to_owned();
    loop {
        let body = get(&path, &query, NOW);
        let page = body["data"].as_array().unwrap();
        pages.push(page.len());
        rows.extend(page.iter().cloned());
        let Some(next) = body.get("next") else { return (rows, pages) };
        let link = next.as_str().unwrap();
        query = link.strip_prefix(&format!("https://api.openweathermap.org{path}?")).unwrap().to_owned();
    }
}

#[test]
fn the_pages_of_a_timeline_lead_to_its_end_without_gaps() {
    for (name, step, pages) in [
        ("1min", 60, vec![60]),
        ("15min", 900, vec![50, 50, 50, 42]),
        ("1h", 3_600, vec![20, 20, 8]),
        ("1day", 86_400, [vec![10; 54], vec![8]].concat()),
    ] {
        let (rows, found) = follow(name, LONDON);
        assert_eq!(found, pages, "{name}");
        let times: Vec<i64> = rows.iter().map(|row| row["dt"].as_i64().unwrap()).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == step), "{name} {times:?}");
        assert!((times[0] - NOW).abs() <= 43_200, "{name}");
    }
    assert_eq!(follow("1h", &format!("{LONDON}&cnt=19")).1, [19, 19, 10]);
}

#[test]
fn the_rows_of_timelines_are_those_of_one_call() {
    let all = get(ONECALL, LONDON, NOW);
    let (hours, _) = follow("1h", LONDON);
    assert_eq!(hours, *all["hourly"].as_array().unwrap());
    let (days, _) = follow("1day", LONDON);
    assert_eq!(days[..8], all["daily"].as_array().unwrap()[..]);
    let (quarters, _) = follow("15min", LONDON);
    assert_eq!((&quarters[1], &quarters[5]), (&hours[1], &hours[2]));
    let (minutes, _) = follow("1min", LONDON);
    assert_eq!(minutes[1..], all["minutely"].as_array().unwrap()[..59]);
}

#[test]
fn links_repeat_what_was_asked_for() {
    let body = get(&format!("{TIMELINE}/1h"), "lat=51.5&lon=-0.1&lang=de&units=metric&start=1727100000", NOW);
    let link = |start: i64| {
        format!(
            "https://api.openweathermap.org/data/4.0/onecall/timeline/1h?lat=51.5000&lon=-0.1000&start={start}&units=metric&\
             lang=de&appid=demo"
        )
    };
    assert_eq!((&body["next"], &body["prev"]), (&json!(link(1_727_172_000)), &json!(link(1_727_028_000))));
    // There is no past of minutes, and nothing before 1979.
    assert_eq!(get(&format!("{TIMELINE}/15min"), LONDON, NOW).get("prev"), None);
    let oldest = get(&format!("{TIMELINE}/1day"), &format!("{LONDON}&start=0"), NOW);
    assert_eq!((oldest.get("prev"), &oldest["data"][0]["dt"]), (None, &json!(284_040_000)));
    let over = get(&format!("{TIMELINE}/1h"), &format!("{LONDON}&start=1999999999"), NOW);
    assert_eq!((&over["data"], over.get("next")), (&json!([]), None));
}
