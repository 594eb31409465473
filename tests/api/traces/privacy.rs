//! Nothing that callers send, nothing secret and no place is in a trace, nor does anybody get a trace that was not to.

use std::time::Instant;

use reqwest::Method;
use stratus::consumers::{entry, generate_key};

use super::{SPAN, TRACE, WEATHER, ask_with, ended, start, traced};
use crate::harness::program::parsed;
use crate::harness::{Canaries, Program, Redis, Reply, ScriptedUpstream, Setup, answer, body};

/// What callers send, in every part of a request.
const SENT: [&str; 6] = [
    "qanarytown-place",
    "canary-in-the-parameters",
    "canary-in-tracestate",
    "canary-in-the-baggage",
    "canary-user-agent",
    "canary-request-id",
];

async fn ask(program: &Program, path: &str, key: &str) -> u16 {
    let request = program.request(Method::GET, path).header("x-api-key", key).header("user-agent", SENT[4]);
    let request = request.header("traceparent", format!("00-{TRACE}-{SPAN}-01")).header("x-request-id", SENT[5]);
    let request =
        request.header("tracestate", format!("vendor={}", SENT[2])).header("baggage", format!("a={}", SENT[3]));
    answer(request).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_place_no_secret_and_no_word_of_a_caller_is_in_a_trace() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("canary-in-the-body-of-weather"))).await;
    let (redis, collector) = (Redis::start().await, start().await);
    let key = generate_key().expect("a key").to_string();
    let file = redis.secret("consumers.toml");
    std::fs::write(&file, entry("canary-consumer", 600, key.as_bytes(), None)).expect("a file");
    let setup = Setup::redis(&upstream, &redis).set("access.consumers_file", file.display());
    // Whatever the log tells, traces do not tell more for it.
    let program = traced(setup.set("log.filter", "trace"), &collector).program().await;
    let paths = [
        format!("/weather/{}", SENT[0]),
        format!("/weather/{}", SENT[0]),
        format!("/weather/{}?units={}", SENT[0], SENT[1]),
        format!("/{}", SENT[0]),
        format!("/data/2.5/weather?q={}&appid={key}", SENT[0]),
    ];
    for path in &paths {
        ask(&program, path, &key).await;
    }
    // What fails is told without the words of those who made it fail.
    upstream.reply(Reply::json(500, r#"{"cod":500,"message":"canary-in-the-body-of-weather"}"#));
    for place in ["/weather/qanarytown-place,GB", "/weather/id:7654321987"] {
        assert!(ask(&program, place, &key).await >= 500);
    }
    assert_eq!(ask(&program, "/weather/Rome", "canary-of-a-key-that-is-nobodys").await, 401);
    program.stop().await;
    assert!(collector.spans().len() > 20, "{:#?}", collector.spans());
    let more = ["canary-in-the-body-of-weather", "canary-of-a-key-that-is-nobodys", key.as_str()];
    Canaries::secrets_and(&redis, more).absent_from("traces", &collector.bytes());
    let sent = SENT.into_iter().chain(["7654321987", "canary-consumer"]);
    Canaries::texts(sent).absent_from("traces", &collector.bytes());
    // The upstream gets the trace, and nothing that came with it.
    for request in upstream.requests() {
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        assert!(names.contains(&"traceparent".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name == "tracestate" || name == "baggage"), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_trace_of_a_request_and_is_as_ever_without_a_collector() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = start().await;
    let mut names = Vec::new();
    for setup in [Setup::memory(&upstream), traced(Setup::memory(&upstream), &collector)] {
        let program = setup.program().await;
        for flags in ["01", "00"] {
            let request = program.request(Method::GET, "/weather/Rome");
            answer(request.header("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"))).await;
        }
        let lines = program.stop().await;
        let requests = parsed(&lines).into_iter().filter(|line| line["message"] == "request").collect::<Vec<_>>();
        assert_eq!(requests.len(), 2, "{lines:#?}");
        for request in requests {
            names.push(request.as_object().expect("an object").keys().cloned().collect::<Vec<_>>());
            assert!(request["trace_id"].is_null() || request["trace_id"] == TRACE, "{request}");
        }
    }
    let usual =
        ["cache", "duration_us", "level", "message", "method", "request_id", "route", "status", "target", "timestamp"];
    let mut with_trace = usual.to_vec();
    with_trace.push("trace_id");
    names.iter_mut().for_each(|names| names.sort_unstable());
    assert_eq!(names, [usual.to_vec(), usual.to_vec(), with_trace.clone(), with_trace]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_lines_of_requests_does_not_turn_traces_off() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = start().await;
    let setup = traced(Setup::memory(&upstream), &collector).set("log.filter", "stratus::app=info");
    let program = setup.program().await;
    assert_eq!(program.get("/weather/Rome").await.status, 200);
    let lines = program.stop().await;
    assert!(parsed(&lines).iter().all(|line| line["message"] != "request"), "{lines:#?}");
    assert!(collector.spans().iter().any(|span| span.name == WEATHER));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_want_all_their_requests_traced_get_some_of_them_traced() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = start().await;
    let service = traced(Setup::memory(&upstream), &collector).start().await;
    let began = Instant::now();
    for _ in 0..400 {
        assert_eq!(ask_with(&service, "/weather/Rome", &format!("00-{TRACE}-{SPAN}-01")).await.status, 200);
    }
    let seconds = began.elapsed().as_secs() + 1;
    // Those of others are traced all the same.
    assert_eq!(service.get("/weather/Rome").await.status, 200);
    let spans = ended(service, &collector).await;
    let (theirs, others): (Vec<_>, Vec<_>) =
        spans.iter().filter(|span| span.name == WEATHER).partition(|span| span.trace == TRACE);
    // Fifty at once, and as many in each second that it took.
    assert!(theirs.len() >= 50 && theirs.len() as u64 <= 50 + 50 * seconds, "{} in {seconds} s", theirs.len());
    assert_eq!(others.len(), 1);
}
