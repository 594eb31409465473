//! Recorded answers of OpenWeatherMap: what it sent goes out byte for byte, and its errors become our codes.
//!
//! The recordings are read from the folder that `STRATUS_RECORDED_BODIES` names (`weather/*.json`, `errors/*.json`).
//! Without it the same is shown on a few bodies of our own, with the oddities of the recorded ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;

use crate::cache_status::decoded;
use crate::harness::{Inspector, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

#[path = "../../benches/fixture/forecast.rs"]
mod forecast;

use forecast::forecast;

fn recorded(kind: &str) -> Option<Vec<(String, Bytes)>> {
    let dir = PathBuf::from(std::env::var_os("STRATUS_RECORDED_BODIES")?).join(kind);
    let read = |path: &Path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, Bytes::from(fs::read(path).expect("a recorded body")))
    };
    let mut bodies: Vec<_> =
        fs::read_dir(dir).expect("recorded bodies").map(|entry| read(&entry.expect("an entry").path())).collect();
    bodies.sort();
    Some(bodies)
}

/// White space, a string `cod`, a body without `cod`, escapes, a number with an exponent, big integers, UTF-8.
fn own_bodies() -> Vec<(String, Bytes)> {
    let odd = [
        body("London"),
        body("東京都"),
        body("London").replace(",\"", " ,\n\t\""),
        body("London").replace("\"cod\":200", "\"cod\":\"200\""),
        body("London").replace(",\"cod\":200", ""),
        body("London").replace("\"temp\":12", "\"temp\":1.2E1"),
        body("London").replace("2643743", "18446744073709551616"),
        body("Lond\\u00f6n") + "\n",
    ];
    odd.into_iter().enumerate().map(|(number, body)| (format!("own {number}"), Bytes::from(body))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_weather_body_comes_out_as_it_came_in_from_upstream_from_redis_and_after_a_restart() {
    let bodies = recorded("weather").unwrap_or_else(own_bodies);
    assert!(bodies.len() >= 8);
    let (upstream, mut redis) = (ScriptedUpstream::start(Reply::json(500, "")).await, Redis::start().await);
    let service = Setup::redis(&upstream, &redis).start().await;
    for (number, (name, body)) in bodies.iter().enumerate() {
        upstream.once(Reply::json(200, body.clone()));
        let path = format!("/weather/id:{}", number + 1);
        let (miss, hit) = (service.get(&path).await, service.get(&path).await);
        assert_eq!((miss.x_cache(), hit.x_cache()), ("MISS", "HIT"), "{name}");
        assert!(miss.body == body[..] && hit.body == body[..], "{name}");
    }
    let clock = service.clock.clone();
    assert!(service.stop().await);

    let service = Setup::redis(&upstream, &redis).clock(&clock).start().await;
    for (number, (name, body)) in bodies.iter().enumerate() {
        let hit = service.get(&format!("/weather/id:{}", number + 1)).await;
        assert!(hit.x_cache() == "HIT" && hit.body == body[..], "{name}");
    }
    assert_eq!(upstream.calls(), bodies.len());
    clock.advance(Duration::from_secs(3_960));
    redis.server.stop().await;
    assert_eq!(service.get("/weather/id:1").await.code(), "upstream-failed");
}

/// Weather with a long part: the recorded answers of all endpoints, each as that part, or forecasts of our own.
fn long_bodies() -> Vec<(String, Bytes)> {
    const RECORDED: [&str; 6] =
        ["air_pollution", "box_city", "forecast", "forecast_climate_pro", "forecast_hourly_pro", "onecall"];
    let recorded: Option<Vec<_>> = RECORDED.into_iter().map(recorded).collect();
    let parts = recorded.map_or_else(
        || (1..9).map(|number| (format!("own {number}"), forecast(number, number * 16).into())).collect(),
        |kinds| kinds.concat(),
    );
    let weather = |part: &[u8]| {
        let part = String::from_utf8_lossy(part);
        Bytes::from(body("London").replacen('{', &format!(r#"{{"more":{part},"#), 1))
    };
    let bodies = parts.into_iter().map(|(name, part): (String, Bytes)| (name, weather(&part)));
    bodies.filter(|(_, body)| body.len() > 4_000).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_long_body_comes_out_in_every_coding_as_it_came_in_and_takes_less_than_half_of_its_length_in_redis() {
    let bodies = long_bodies();
    assert!(bodies.len() >= 8);
    let (upstream, mut redis) = (ScriptedUpstream::start(Reply::json(500, "")).await, Redis::start().await);
    let mut inspector = Inspector::enter(&mut redis).await;
    let service = Setup::redis(&upstream, &redis).start().await;
    let (mut names, mut tags) = (Vec::new(), Vec::new());
    for (number, (name, body)) in bodies.iter().enumerate() {
        upstream.once(Reply::json(200, body.clone()));
        let path = format!("/weather/id:{}", number + 1);
        assert!(service.get(&path).await.body == body[..], "{name}");
        tags.push(in_every_coding(&service, &path, body).await);
        let sealed = inspector.new_name(&names).await;
        assert!(inspector.value(&sealed).await.len() * 2 < body.len(), "{name}");
        names.push(sealed);
    }
    let clock = service.clock.clone();
    assert!(service.stop().await);

    // Each coding from the record in Redis, then from memory.
    let service = Setup::redis(&upstream, &redis).clock(&clock).start().await;
    for (number, (_, body)) in bodies.iter().enumerate() {
        assert_eq!(in_every_coding(&service, &format!("/weather/id:{}", number + 1), body).await, tags[number]);
    }
    let without_memory = Setup::redis(&upstream, &redis).clock(&clock).set("cache.memory_max_bytes", 0).start().await;
    for (number, (_, body)) in bodies.iter().enumerate() {
        assert_eq!(in_every_coding(&without_memory, &format!("/weather/id:{}", number + 1), body).await, tags[number]);
    }
    assert_eq!(upstream.calls(), bodies.len());
}

/// Asks for a body that is there, as it is and in each coding; gives the tags.
async fn in_every_coding(service: &Service, path: &str, body: &[u8]) -> Vec<String> {
    let mut tags = Vec::new();
    for coding in ["", "gzip", "br", "zstd", ""] {
        let given = answer(service.request(Method::GET, path).header("accept-encoding", coding)).await;
        assert_eq!((given.x_cache(), given.header("content-encoding")), ("HIT", coding), "{path}");
        assert_eq!(given.header("content-length"), given.body.len().to_string(), "{path} {coding}");
        assert!(decoded(coding, &given.body) == body, "{path} {coding}");
        tags.push(given.header("etag").to_owned());
    }
    tags
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_error_gets_its_code_and_is_never_stored() {
    let own = [
        ("200-cod-str404.json", r#"{"message":"","cod":"404"}"#),
        ("401-cod-int401.json", r#"{"cod":401, "message": "Invalid API key."}"#),
        ("404-internal-error-unknown-path.json", r#"{"cod":"404","message":"Internal error"}"#),
        ("429-blocked.json", "{\n\"cod\": 429,\n\"message\": \"blocked\"\n}"),
    ];
    let own = || own.map(|(name, body)| (name.to_owned(), Bytes::from(body))).to_vec();
    let upstream = ScriptedUpstream::start(Reply::json(500, "")).await;
    let service = Setup::memory(&upstream).set("cache.not_found_secs", 0).start().await;
    for (name, body) in recorded("errors").unwrap_or_else(own) {
        let (status, expected_status, code) = expected(&name);
        upstream.once(Reply::json(status, body));
        // However long the upstream was left alone after the one before.
        service.clock.advance(Duration::from_secs(7_200));
        let failed = service.get("/weather/London").await;
        assert_eq!((failed.status.as_u16(), failed.code().as_str()), (expected_status, code), "{name}");
    }
    upstream.once(Reply::json(200, body("London")));
    service.clock.advance(Duration::from_secs(7_200));
    assert_eq!(service.get("/weather/London").await.x_cache(), "MISS");
}

/// By the name of the recording: the status it came with, and what it has to become.
fn expected(name: &str) -> (u16, u16, &'static str) {
    let status = match name {
        "lisbon-404-not-found.json" => 404,
        _ => name[..3].parse().expect("a name that begins with its status"),
    };
    let (answered, code) = match (status, name) {
        (404, name) if name.contains("internal-error") => (502, "upstream-failed"),
        (400 | 404, _) => (404, "unknown-location"),
        (401, _) => (502, "upstream-rejected-key"),
        (429, _) => (503, "upstream-budget-exhausted"),
        (500, _) => (502, "upstream-failed"),
        (200, name) if name.contains("404") || name.contains("not-found") => (404, "unknown-location"),
        // A list of places is not the weather of one.
        (200, name) if name.contains("str200") => (502, "upstream-invalid-response"),
        _ => (502, "upstream-failed"),
    };
    (status, answered, code)
}
