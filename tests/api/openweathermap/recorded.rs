//! What OpenWeatherMap sent goes out byte for byte, answers and errors, from wherever it is kept.
//!
//! The recordings are those of the folder that `STRATUS_RECORDED_BODIES` names, by the index in it (`SOURCES.tsv`: file,
//! kind, status, request). Without it the same is shown on small bodies of our own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;

use super::{EACH, body_of, decoded, endpoint, has_their_headers, retry_after, says};
use crate::harness::{Answer, Redis, Reply, ScriptedUpstream, Service, Setup, answer};

/// After this time nothing is left of any answer: the longest is fresh for a day.
const FORGOTTEN: Duration = Duration::from_secs(86_400 + 60 + 3_600);

/// An answer or an error of OpenWeatherMap's.
struct Recording {
    name: String,
    status: u16,
    /// What it is the answer to; for an error, any question that it may be the answer to.
    question: String,
    body: Bytes,
}

/// All recordings, if there are any; errors or answers.
fn recorded(errors: bool) -> Option<Vec<Recording>> {
    let folder = PathBuf::from(std::env::var_os("STRATUS_RECORDED_BODIES")?);
    let index = fs::read_to_string(folder.join("SOURCES.tsv")).expect("an index");
    let recordings = index.lines().skip(1).enumerate().map(|(number, line)| {
        let [file, kind, status, request, ..] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let question = if is_error(file) { failing(file, number) } else { answered(file, kind, request) };
        let status = status[..3].parse().expect("a status");
        Recording { name: file.to_owned(), status, question, body: fs::read(folder.join(file)).expect(file).into() }
    });
    Some(recordings.filter(|recording| is_error(&recording.name) == errors).collect())
}

/// That nothing is in some box is no error, though it is kept with them.
fn is_error(file: &str) -> bool {
    file.starts_with("errors/") && !file.contains("str200")
}

/// The recorded request, or one for which there is such an answer.
fn answered(file: &str, kind: &str, request: &str) -> String {
    let at = request.find("/data/").or_else(|| request.find("/geo/"));
    if let Some(recorded) = at.map(|at| &request[at..])
        && recorded.contains('?')
        && !recorded.contains(['(', '|'])
    {
        return recorded.replace(' ', "%20");
    }
    let name = file.rsplit('/').next().unwrap_or_default();
    match (kind, name) {
        ("uvi", name) if name.ends_with("forecast.json") => "/data/2.5/uvi/forecast?lat=37.75&lon=-122.37",
        ("uvi", name) if name.ends_with("history.json") => "/data/2.5/uvi/history?lat=37.75&lon=-122.37",
        ("uvi", _) => "/data/2.5/uvi?lat=43.75&lon=8.25",
        ("onecall", "lisbon-day-summary.json") => "/data/3.0/onecall/day_summary?lat=38.71&lon=-9.14&date=2023-05-01",
        ("onecall", _) => "/data/3.0/onecall?lat=38.71&lon=-9.14&units=metric",
        ("onecall_timemachine", _) => "/data/3.0/onecall/timemachine?lat=38.71&lon=-9.14&dt=1589173200",
        ("air_pollution", _) => "/data/2.5/air_pollution?lat=50&lon=50",
        ("box_city", _) => "/data/2.5/box/city?bbox=12,32,15,37,10",
        ("find", _) => "/data/2.5/find?q=London&units=metric",
        ("forecast", _) => "/data/2.5/forecast?q=Lisbon&units=metric",
        ("geo_direct", _) => "/geo/1.0/direct?q=Lisbon&limit=5",
        ("geo_reverse", _) => "/geo/1.0/reverse?lat=51.5073&lon=-0.1276",
        ("geo_zip", _) => "/geo/1.0/zip?zip=1000-001,PT",
        ("weather", _) => "/data/2.5/weather?q=Lisbon&units=metric",
        _ => panic!("no question for {file}"),
    }
    .to_owned()
}

/// A question of its own that may be answered with this error.
fn failing(file: &str, number: usize) -> String {
    if file.contains("onecall") {
        format!("/data/3.0/onecall?lat={}&lon=1", number % 90)
    } else {
        format!("/data/2.5/weather?id={}", number + 1)
    }
}

fn answers() -> Vec<Recording> {
    let of_each = |case: &super::Case| Recording {
        name: case.question.to_owned(),
        status: 200,
        question: case.question.to_owned(),
        body: case.body.into(),
    };
    recorded(false).unwrap_or_else(|| EACH.iter().map(of_each).collect())
}

fn errors() -> Vec<Recording> {
    let own = [
        (200, "errors/200-cod-404.json", r#"{"message":"","cod":"404"}"#),
        (200, "errors/200-cod-500.json", r#"{"message":"exception: limit must be >=0","cod":"500"}"#),
        (400, "errors/400.json", r#"{"cod":"400","message":"Nothing to geocode"}"#),
        (401, "errors/401.json", r#"{"cod":401, "message": "Invalid API key."}"#),
        (401, "errors/401-onecall.json", r#"{"cod":401, "message": "requires a separate subscription"}"#),
        (404, "errors/404.json", r#"{"cod":"404","message":"city not found"}"#),
        (404, "errors/404-internal-error.json", r#"{"cod":"404","message":"Internal error"}"#),
        (429, "errors/429.json", "{\n\"cod\": 429,\n\"message\": \"blocked\"\n}"),
        (500, "errors/500.json", r#"{"cod":"500","message":"Internal error: 500001"}"#),
    ];
    let own = own.iter().enumerate().map(|(number, (status, name, body))| Recording {
        name: (*name).to_owned(),
        status: *status,
        question: failing(name, number),
        body: Bytes::from_static(body.as_bytes()),
    });
    recorded(true).unwrap_or_else(|| own.collect())
}

async fn encoded(service: &Service, question: &str, coding: &str) -> Answer {
    answer(service.request(Method::GET, question).header("accept-encoding", coding)).await
}

/// Two replicas with memory, on one Redis.
async fn replicas(upstream: &ScriptedUpstream, redis: &Redis) -> (Service, Service) {
    let setup = || Setup::redis(upstream, redis).set("cache.memory_max_bytes", 16 << 20);
    let mut one = setup().start().await;
    let mut other = setup().clock(&one.clock).start().await;
    one.store_up().await;
    other.store_up().await;
    (one, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_comes_out_as_it_came_in_from_upstream_from_redis_from_memory_and_compressed() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(500, "")).await, Redis::start().await);
    let (one, other) = replicas(&upstream, &redis).await;
    let answers = answers();
    assert!(answers.len() >= EACH.len());
    for Recording { name, question, body, .. } in answers {
        let calls = upstream.calls();
        upstream.once(Reply::json(200, body.clone()));
        for (replica, x_cache, from) in
            [(&one, "MISS", "stored"), (&other, "HIT", "redis"), (&other, "HIT", "memory"), (&one, "HIT", "memory")]
        {
            let given = replica.get(&question).await;
            assert_eq!((given.status.as_u16(), given.x_cache()), (200, x_cache), "{name}: {given:?}");
            assert!(given.header("cache-status").ends_with(from), "{name}: {given:?}");
            assert!(given.body == body, "{name}: {given:?}");
            has_their_headers(&given);
        }
        for coding in ["gzip", "br", "zstd"] {
            let given = encoded(&one, &question, coding).await;
            // What is short stays as it is.
            let coded = if body.len() > 2_048 { coding } else { given.header("content-encoding") };
            assert_eq!(given.header("content-encoding"), coded, "{name}");
            assert!(decoded(given.header("content-encoding"), &given.body) == body, "{name} as {coding}");
            has_their_headers(&given);
        }
        assert_eq!(upstream.calls(), calls + 1, "{name}");
        one.clock.advance(FORGOTTEN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_comes_out_as_it_came_in_and_only_that_a_place_is_unknown_is_remembered() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(500, "")).await, Redis::start().await);
    let (one, other) = replicas(&upstream, &redis).await;
    let errors = errors();
    assert!(errors.len() >= 9);
    for Recording { name, status, question, body } in errors {
        let calls = upstream.calls();
        upstream.once(Reply::json(status, body.clone()));
        let (text, path) = (std::str::from_utf8(&body).expect("JSON"), endpoint(&question).paths[0]);
        let told = one.get(&question).await;
        says(&told, status, text);
        assert_eq!((told.x_cache(), told.header("cache-control")), ("MISS", "no-store"), "{name}");
        if status == 429 {
            assert!(retry_after(&told) >= 60, "{told:?}");
        }
        let says_unknown = text.contains("40") && !text.contains("Internal error") && !text.contains("401");
        if says_unknown {
            for (replica, from) in [(&one, "memory"), (&other, "redis"), (&other, "memory")] {
                let again = replica.get(&question).await;
                says(&again, status, text);
                assert!(again.header("cache-status").ends_with(from), "{name}: {again:?}");
            }
            assert_eq!(upstream.calls(), calls + 1, "{name}");
        } else {
            assert!(!told.header("cache-status").contains("stored"), "{name}: {told:?}");
            // For so long the endpoint, or the upstream, is left alone at most; an answer would still be kept then.
            one.clock.advance(Duration::from_secs(if path.contains("onecall") { 600 } else { 70 }));
            upstream.once(Reply::json(200, body_of(path)));
            let good = other.get(&question).await;
            assert_eq!((good.status.as_u16(), good.x_cache(), good.text()), (200, "MISS", body_of(path)), "{name}");
        }
        one.clock.advance(FORGOTTEN);
    }
}

/// What is said of a condition that is ours, or in the place of an upstream that said nothing: the name of the recording, and
/// the answer.
async fn said_in_its_place() -> Vec<(&'static str, Answer)> {
    let upstream = ScriptedUpstream::start(Reply::json(401, "")).await;
    let limited = Setup::memory(&upstream).set("access.anonymous_per_minute", 7).start().await;
    let mut said = Vec::new();
    for (name, question) in [
        ("401-onecall3", "/data/3.0/onecall?lat=1&lon=1"),
        ("401-cod-int401", "/data/2.5/weather?q=London"),
        ("404-internal-error", "/data/2.5/"),
        ("404-internal-error", "/data/3.0/weather?q=London"),
        ("400-cod-str400-nothing", "/data/2.5/onecall?lat=&lon=&units=imperial"),
        ("400-cod-str400-wrong-latitude", "/data/2.5/onecall?lat=9999999&lon=-9999999"),
        ("400-wrong-longitude", "/data/2.5/weather?lat=1&lon=east"),
        ("429-blocked", "/data/2.5/weather?q=London"),
    ] {
        said.push((name, limited.get(question).await));
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_its_place_is_what_it_was_recorded_to_say() {
    let recordings = recorded(true);
    for (name, answer) in said_in_its_place().await {
        let status: u16 = name[..3].parse().expect("a status");
        has_their_headers(&answer);
        assert_eq!(answer.status.as_u16(), status, "{name}: {answer:?}");
        let Some(recordings) = &recordings else {
            let code = answer.json()["cod"].clone();
            // Of some errors it is a number, of others a text.
            assert_eq!(code.as_u64().is_some(), matches!(status, 401 | 429), "{name}: {answer:?}");
            continue;
        };
        let found = recordings.iter().find(|recording| recording.name.contains(name)).expect("a recording");
        // Its links have got an `s` since some were recorded.
        let text = std::str::from_utf8(&found.body).expect("JSON").replace("http://", "https://");
        if status == 429 {
            // Recorded in other white space.
            assert_eq!(answer.json(), serde_json::from_str::<serde_json::Value>(&text).expect("JSON"));
        } else {
            assert_eq!(answer.text(), text, "{name}");
        }
    }
}
