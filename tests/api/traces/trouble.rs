//! A collector that is away, slow or hostile costs spans, one line of the log, and nothing else.

use std::net::TcpListener;

use reqwest::Method;

use super::{Collector, Manner, ended, start, traced};
use crate::harness::program::peak_kib;
use crate::harness::{Program, Reply, ScriptedUpstream, Setup, answer, body};

const LOST: &str = "traces are lost";

/// Asks a few times; all are answered.
async fn ask(program: &Program) {
    for number in 0..20 {
        let path = format!("/weather/id:{}", 1 + number % 4);
        assert_eq!(answer(program.request(Method::GET, &path)).await.status, 200);
    }
}

/// What the metrics say of spans.
async fn counted(program: &Program, outcome: &str) -> u64 {
    let metrics = answer(program.admin_request(Method::GET, "/metrics")).await;
    let line = format!(r#"stratus_trace_spans_total{{outcome="{outcome}"}} "#);
    let value = metrics.text().lines().find_map(|found| found.strip_prefix(&line));
    value.map_or(0, |value| value.parse().expect("a number"))
}

async fn until_counted(program: &Program, outcome: &str) {
    let there = async { while counted(program, outcome).await == 0 {} };
    tokio::time::timeout(crate::harness::PATIENCE, there).await.expect("spans are counted in time");
}

fn told(lines: &[String], words: &str) -> usize {
    lines.iter().filter(|line| line.contains(words)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_take_spans_costs_no_answer_and_is_told_once() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let elsewhere = start().await;
    let nobody = TcpListener::bind("127.0.0.3:0").expect("a port").local_addr().expect("an address");
    let redirects = Manner::Redirects(format!("{}/v1/traces", elsewhere.url()));
    let troubles = [
        (None, "cannot be reached"),
        (Some(Manner::Status(500)), "answers with status 500"),
        (Some(Manner::Status(429)), "answers with status 429"),
        (Some(redirects), "answers with status 307"),
    ];
    for (manner, words) in troubles {
        let collector = Collector::start(manner.clone().unwrap_or(Manner::Takes)).await;
        let url = if manner.is_some() { collector.url() } else { format!("http://{nobody}") };
        let program = Setup::memory(&upstream).set("telemetry.otlp_endpoint", url).program().await;
        ask(&program).await;
        until_counted(&program, "failed").await;
        ask(&program).await;
        assert_eq!(counted(&program, "delivered").await, 0);
        let lines = program.stop().await;
        assert_eq!((told(&lines, LOST), told(&lines, words)), (1, 1), "{manner:?}: {lines:#?}");
        assert_eq!(told(&lines, "the collector's own words"), 0, "{lines:#?}");
    }
    assert_eq!(elsewhere.requests(), 0, "nobody else gets them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_up_neither_answers_nor_the_end() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = Collector::start(Manner::Hangs).await;
    let program = traced(Setup::memory(&upstream), &collector).program().await;
    ask(&program).await;
    collector.wait_for_requests(1).await;
    ask(&program).await;
    // It ends while the collector is still waited for: else that would have been told.
    let lines = program.stop().await;
    assert_eq!(told(&lines, LOST), 0, "{lines:#?}");
    assert_eq!(told(&lines, "every request in flight was answered"), 1, "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_collector_that_talks_without_end_little_is_read() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = Collector::start(Manner::Endless).await;
    let program = traced(Setup::memory(&upstream), &collector).program().await;
    ask(&program).await;
    until_counted(&program, "delivered").await;
    let before = peak_kib(program.pid());
    ask(&program).await;
    collector.wait_for_requests(2).await;
    ask(&program).await;
    collector.wait_for_requests(3).await;
    let grown = peak_kib(program.pid()) - before;
    assert!(grown < 16 * 1_024, "{grown} KiB more");
    assert_eq!(told(&program.stop().await, LOST), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_a_collector_refuses_are_counted_and_one_that_is_back_is_told() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = Collector::start(Manner::Status(503)).await;
    let program = traced(Setup::memory(&upstream), &collector).program().await;
    ask(&program).await;
    until_counted(&program, "failed").await;
    collector.behave(Manner::Refuses(3));
    ask(&program).await;
    until_counted(&program, "refused").await;
    until_counted(&program, "delivered").await;
    let lines = program.stop().await;
    assert_eq!((told(&lines, LOST), told(&lines, "takes traces again")), (1, 1), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_before_the_end() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Rome"))).await;
    let collector = start().await;
    let service = traced(Setup::memory(&upstream), &collector).start().await;
    service.get("/weather/Rome").await;
    let spans = ended(service, &collector).await;
    assert!(spans.iter().any(|span| span.name == "GET"), "{spans:#?}");
}
