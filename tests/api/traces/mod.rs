//! Traces (`telemetry.otlp_endpoint`): what a collector sees of requests, and that it sees nothing else.

mod collector;
mod privacy;
mod tree;
mod trouble;

use reqwest::Method;

use crate::harness::{Answer, Service, Setup, answer};
use collector::{Collector, Manner, Seen};

/// A caller's trace and its span in it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
/// The span of a request.
const WEATHER: &str = "GET /weather/{location}";

/// The same service with a collector.
fn traced(setup: Setup, collector: &Collector) -> Setup {
    setup.set("telemetry.otlp_endpoint", collector.url())
}

/// Asks as somebody who has a trace, or says so.
async fn ask_with(service: &Service, path: &str, traceparent: &str) -> Answer {
    answer(service.request(Method::GET, path).header("traceparent", traceparent)).await
}

/// Ends the service, by which the last spans are sent, and gives all that the collector has.
async fn ended(service: Service, collector: &Collector) -> Vec<Seen> {
    assert!(service.stop().await);
    collector.spans()
}

/// The only span of this name.
fn only<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let mut named = spans.iter().filter(|span| span.name == name);
    let one = named.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(named.next().is_none(), "more than one {name} in {spans:#?}");
    one
}

/// Names of spans, each with that of its parent.
fn tree(spans: &[Seen]) -> Vec<(&str, &str)> {
    let name = |id: &str| spans.iter().find(|span| span.id == id).map_or("", |span| &span.name);
    let mut tree: Vec<_> = spans.iter().map(|span| (name(&span.parent), span.name.as_str())).collect();
    tree.sort_unstable();
    tree
}

/// The traceparents that the upstream was asked with.
fn passed_on(upstream: &crate::harness::ScriptedUpstream) -> Vec<Option<String>> {
    let of = |headers: &[(String, String)]| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
        found.map(|(_, value)| value.clone())
    };
    upstream.requests().iter().map(|request| of(&request.headers)).collect()
}

async fn start() -> Collector {
    Collector::start(Manner::Takes).await
}
