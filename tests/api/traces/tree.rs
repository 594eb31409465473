//! Which spans a request has, what they say, and how they hang together.

use std::time::Duration;

use futures_util::future::join_all;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::time::timeout;

use super::{SPAN, Seen, TRACE, WEATHER, ask_with, ended, only, passed_on, start, traced, tree};
use crate::harness::{Gate, PATIENCE, Redis, Reply, ScriptedUpstream, Service, Setup, body};

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_shows_every_step_from_the_request_to_the_upstream_and_the_store() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("Rome"))).await, Redis::start().await);
    let collector = start().await;
    let mut service = traced(Setup::redis(&upstream, &redis), &collector).start().await;
    service.store_up().await;
    assert_eq!(service.get("/weather/Rome").await.x_cache(), "MISS");
    let spans = ended(service, &collector).await;
    let expected = [
        ("", WEATHER),
        (WEATHER, "cache.lookup"),
        (WEATHER, "cache.memory"),
        ("cache.load", "GET"),
        ("cache.load", "cache.lease"),
        ("cache.load", "cache.store.write"),
        ("cache.load", "upstream.permit"),
        ("cache.lookup", "cache.load"),
        ("cache.lookup", "cache.store.read"),
    ];
    assert_eq!(tree(&spans), expected, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == spans[0].trace && !span.failed && span.links.is_empty()));

    let request = only(&spans, WEATHER);
    assert_eq!((request.kind, request.parent.as_str()), (SpanKind::Server, ""));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/weather/{location}"),
        ("http.response.status_code", "200"),
        ("stratus.cache.result", "miss"),
        ("stratus.cache.age_secs", "0"),
    ] {
        assert_eq!(request.attribute(name), value, "{name}: {request:#?}");
    }
    let call = only(&spans, "GET");
    let port = upstream.url().rsplit(':').next().expect("a port").to_owned();
    assert_eq!((call.kind, call.attribute("server.address")), (SpanKind::Client, "127.0.0.1"));
    assert_eq!((call.attribute("server.port"), call.attribute("http.response.status_code")), (port.as_str(), "200"));
    assert_eq!(call.attribute("url.template"), "/data/2.5/weather");
    assert_eq!(only(&spans, "cache.store.read").attribute("stratus.cache.result"), "none");
    assert_eq!(only(&spans, "cache.store.write").attribute("db.system.name"), "redis");
    assert_eq!(only(&spans, "cache.lease").attribute("stratus.lease.turn"), "mine");
    let load = only(&spans, "cache.load");
    assert_eq!((load.attribute("stratus.load.purpose"), load.attribute("stratus.load.outcome")), ("miss", "done"));
    assert_eq!(load.attribute("stratus.upstream.breaker"), "admitting");
    // The upstream is asked below the span of the call.
    assert_eq!(passed_on(&upstream), [Some(format!("00-{}-{}-01", call.trace, call.id))]);

    let resources = collector.resources();
    let names: Vec<_> = resources[0].keys().map(String::as_str).collect();
    assert_eq!(names, ["service.instance.id", "service.name", "service.version"]);
    assert_eq!((resources[0]["service.name"].as_str(), resources[0]["service.instance.id"].len()), ("stratus", 36));
    let head = &collector.heads()[0];
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.contains("application/x-protobuf"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_says_which_level_had_it() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("Rome"))).await, Redis::start().await);
    let collector = start().await;
    let first = Setup::redis(&upstream, &redis).start().await;
    assert_eq!(first.get("/weather/Rome").await.x_cache(), "MISS");
    let setup = Setup::redis(&upstream, &redis).clock(&first.clock).set("cache.memory_max_bytes", 1 << 20);
    let mut service = traced(setup, &collector).start().await;
    service.store_up().await;
    first.clock.advance(Duration::from_secs(7));
    for _ in 0..2 {
        assert_eq!(service.get("/weather/Rome").await.x_cache(), "HIT");
    }
    let spans = ended(service, &collector).await;
    let of = |result: &str| {
        let spans: Vec<_> = spans.iter().filter(|span| span.attribute("stratus.cache.result") == result).collect();
        spans.into_iter().find(|span| span.name == WEATHER).expect("a request").clone()
    };
    let below = |trace: &str| {
        let of_it: Vec<_> = spans.iter().filter(|span| span.trace == trace).cloned().collect();
        tree(&of_it).into_iter().map(|(parent, name)| format!("{parent}>{name}")).collect::<Vec<_>>()
    };
    let (redis, memory) = (of("hit_redis"), of("hit_memory"));
    assert_eq!((redis.attribute("stratus.cache.age_secs"), memory.attribute("stratus.cache.age_secs")), ("7", "7"));
    let [request, looked] = [format!(">{WEATHER}"), format!("{WEATHER}>cache.memory")];
    assert_eq!(below(&memory.trace), [request.clone(), looked.clone()]);
    let [lookup, read] = [format!("{WEATHER}>cache.lookup"), "cache.lookup>cache.store.read".to_owned()];
    assert_eq!(below(&redis.trace), [request, lookup, looked, read]);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_behind_an_answer_is_a_trace_of_its_own_that_links_to_the_request_that_began_it() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("old"))).await;
    let collector = start().await;
    let service = traced(Setup::memory(&upstream), &collector).start().await;
    service.get("/weather/Rome").await;
    service.clock.advance(Duration::from_secs(330));
    upstream.reply(Reply::json(200, body("new")));
    assert_eq!(ask_with(&service, "/weather/Rome", &format!("00-{TRACE}-{SPAN}-01")).await.x_cache(), "STALE");
    renewed(&service).await;
    let spans = ended(service, &collector).await;
    let request = spans.iter().find(|span| span.trace == TRACE && span.name == WEATHER).expect("the request");
    assert_eq!((request.parent.as_str(), request.attribute("stratus.cache.result")), (SPAN, "stale"));
    let renewal = spans.iter().find(|span| span.name == "cache.load" && !span.links.is_empty()).expect("a renewal");
    assert_eq!(renewal.links, [(TRACE.to_owned(), request.id.clone())]);
    assert!(renewal.trace != TRACE && renewal.parent.is_empty(), "{renewal:#?}");
    assert_eq!(renewal.attribute("stratus.load.purpose"), "renewal");
    let call = spans.iter().find(|span| span.name == "GET" && span.parent == renewal.id).expect("the call");
    assert_eq!(call.trace, renewal.trace);
    // Of the caller's trace the upstream learns nothing.
    assert_eq!(passed_on(&upstream)[1], Some(format!("00-{}-{}-01", call.trace, call.id)));
}

async fn renewed(service: &Service) {
    let renewed = async { while service.get("/weather/Rome").await.x_cache() != "HIT" {} };
    timeout(PATIENCE, renewed).await.expect("a renewed record in time");
}

/// In one thread, where a request that is in flight has joined its lookup already.
#[tokio::test]
async fn callers_who_share_a_load_link_to_it() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Lima")))).await;
    let collector = start().await;
    let service = traced(Setup::memory(&upstream), &collector).start().await;
    tokio::join!(join_all((0..5).map(|_| service.get("/weather/Lima"))), async {
        let in_flight = async { while service.metric("stratus_http_requests_in_flight").await != 6 {} };
        timeout(PATIENCE, in_flight).await.expect("five requests in flight");
        gate.open();
    });
    let spans = ended(service, &collector).await;
    let lookup = only(&spans, "cache.lookup");
    let (mut leads, mut follows) = (0, 0);
    for request in spans.iter().filter(|span| span.name == WEATHER) {
        if request.id == lookup.parent {
            assert_eq!((request.attribute("stratus.cache.result"), request.links.len()), ("miss", 0));
            leads += 1;
        } else {
            assert_eq!(request.links, [(lookup.trace.clone(), lookup.id.clone())]);
            assert_eq!(request.attribute("stratus.cache.result"), "collapsed");
            assert_ne!(request.trace, lookup.trace);
            follows += 1;
        }
    }
    assert_eq!((leads, follows, upstream.calls()), (1, 4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_told_where_it_happened_and_a_callers_mistake_is_none_of_ours() {
    let upstream = ScriptedUpstream::start(Reply::json(500, "{}")).await;
    let collector = start().await;
    let service = traced(Setup::memory(&upstream), &collector).start().await;
    assert_eq!(service.get("/weather/Rome").await.status, 502);
    assert_eq!(service.get("/weather/%00").await.status, 400);
    assert_eq!(service.get("/nothing").await.status, 404);
    let spans = ended(service, &collector).await;
    let request = |status: &str| {
        let found = spans
            .iter()
            .find(|span| span.kind == SpanKind::Server && span.attribute("http.response.status_code") == status);
        found.unwrap_or_else(|| panic!("{status}: {spans:#?}"))
    };
    let failed = request("502");
    assert!(failed.failed && !failed.attribute("error.type").is_empty(), "{failed:#?}");
    assert_eq!(failed.attribute("stratus.cache.result"), "failed");
    let (load, call) = (only(&spans, "cache.load"), only(&spans, "GET"));
    assert!(load.failed && call.failed, "{load:#?} {call:#?}");
    assert_eq!((call.attribute("http.response.status_code"), call.attribute("error.type")), ("500", "failed"));
    for (status, name) in [("400", WEATHER), ("404", "GET other")] {
        let mistaken = request(status);
        assert_eq!((mistaken.failed, mistaken.name.as_str()), (false, name));
        assert!(!mistaken.attribute("stratus.problem").is_empty(), "{mistaken:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_continued_and_what_is_not_well_formed_begins_a_new_one() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = start().await;
    let service = traced(Setup::memory(&upstream), &collector).start().await;
    ask_with(&service, "/weather/Rome", &format!("00-{TRACE}-{SPAN}-01")).await;
    // The long way, too.
    ask_with(&service, "/weather/%00", &format!("00-{TRACE}-{SPAN}-03")).await;
    let malformed = [
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("ff-{TRACE}-{SPAN}-01"),
        "garbage".to_owned(),
    ];
    for malformed in &malformed {
        assert_eq!(ask_with(&service, "/weather/Rome", malformed).await.status, 200);
    }
    // Of two there is no telling which is meant.
    let twice = format!("GET /weather/Rome HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{0}{0}\r\n", {
        format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n")
    });
    assert!(crate::harness::raw(&service, twice.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let spans = ended(service, &collector).await;
    let requests: Vec<_> = spans.iter().filter(|span| span.kind == SpanKind::Server).collect();
    let (continued, new): (Vec<&Seen>, Vec<&Seen>) = requests.into_iter().partition(|span| span.trace == TRACE);
    assert_eq!((continued.len(), new.len()), (2, malformed.len() + 1), "{spans:#?}");
    assert!(continued.iter().all(|span| span.parent == SPAN) && new.iter().all(|span| span.parent.is_empty()));
    let call = only(&spans, "GET");
    assert_eq!(passed_on(&upstream), [Some(format!("00-{TRACE}-{}-01", call.id))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_its_caller_does_not_sample_is_not_sent_and_not_passed_on() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = start().await;
    let service = traced(Setup::memory(&upstream), &collector).start().await;
    for flags in ["00", "02"] {
        for _ in 0..2 {
            let (path, traceparent) = (format!("/weather/id:{flags}1"), format!("00-{TRACE}-{SPAN}-{flags}"));
            assert_eq!(ask_with(&service, &path, &traceparent).await.status, 200);
        }
    }
    assert_eq!(service.get("/weather/Bergen").await.status, 200);
    let spans = ended(service, &collector).await;
    assert!(!spans.is_empty() && spans.iter().all(|span| span.trace != TRACE), "{spans:#?}");
    let passed_on = passed_on(&upstream);
    assert_eq!(passed_on.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true]);
}
