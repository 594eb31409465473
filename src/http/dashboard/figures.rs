//! What one event says: what `/status` says, what changed in the last minute, and who asks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::consumers::Consumers;
use crate::http::admin::{AdminState, standing};
use crate::telemetry::{Readings, quantile};

/// Ratios, latencies and counts are of so much time at most: long enough to be steady, short enough to show what happens.
const WINDOW: Duration = Duration::from_secs(60);
/// Numbers a second are of so much at most.
const PACE: Duration = Duration::from_secs(10);
/// Consumers that are named: those that ask most.
const NAMED: usize = 20;
/// Answers for which nobody waited for OpenWeatherMap.
const HITS: [&str; 4] = ["hit_memory", "hit_redis", "negative", "stale"];
/// What the routes of data begin with.
const DATA: [&str; 7] = ["/weather/", "/forecast/", "/air/", "/data/", "/geo/", "/img/", "/map/"];
const REQUESTS: &str = "stratus_http_requests_total";
const DURATION: &str = "stratus_http_request_duration_seconds";
const ANSWERS: &str = "stratus_cache_answers_total";
const CALLS: &str = "stratus_upstream_calls_total";
const NOT_OPENED: &str = "stratus_records_not_opened_total";

/// How often each consumer was let in and refused, by name.
type Asked = HashMap<Arc<str>, [u64; 2]>;

/// What was counted until one moment.
struct Look {
    at: Instant,
    readings: Readings,
    asked: Asked,
}

/// The looks of the last minute, the oldest first.
#[derive(Default)]
pub(super) struct History(VecDeque<Look>);

impl History {
    /// Looks, and gives what is to be told.
    pub(super) fn look(&mut self, state: &AdminState) -> Value {
        let now = Look { at: Instant::now(), readings: state.metrics.read(), asked: asked(state) };
        self.0.retain(|look| now.at.duration_since(look.at) <= WINDOW);
        let mut told = standing(state);
        told["traffic"] = self.traffic(&now);
        told["traffic"]["waiting"] = state.cache.waiting().into();
        told["records_not_opened"] = self.not_opened(&now);
        let (entries, bytes) = state.cache.memory_size();
        told["memory"] = json!({"entries": entries, "bytes": bytes});
        if let Some(consumers) = &state.consumers {
            told["consumers"] = self.consumers(&now, &consumers.load(), state.clock.now_ms());
        }
        self.0.push_back(now);
        told
    }

    /// The oldest look that is no older than this; none at first.
    fn within(&self, now: &Look, time: Duration) -> Option<&Look> {
        self.0.iter().find(|look| now.at.duration_since(look.at) <= time)
    }

    fn traffic(&self, now: &Look) -> Value {
        let then = self.within(now, WINDOW).unwrap_or(now);
        let lately = self.within(now, PACE).unwrap_or(now);
        let new = |then: &Look, status: &str| requests(&now.readings, status) - requests(&then.readings, status);
        let (all, errors) = (new(then, ""), new(then, "5"));
        let answers = since(&now.readings, &then.readings, ANSWERS, "result");
        let answered: u64 = answers.values().sum();
        let hits: u64 = HITS.iter().filter_map(|hit| answers.get(hit)).sum();
        let calls = since(&now.readings, &then.readings, CALLS, "outcome");
        let made: u64 = calls.values().sum();
        let buckets = now.readings.buckets_since(&then.readings, DURATION);
        // Operators' requests are in there, too, and without others they would be all.
        let millis = |part| quantile(part, &buckets).filter(|_| all > 0).map(|secs| rounded(secs * 1_000.0));
        let elapsed = now.at.duration_since(lately.at).as_secs_f64();
        json!({
            "over_secs": rounded(now.at.duration_since(then.at).as_secs_f64()),
            "requests": all,
            "requests_per_second": (elapsed > 0.0).then(|| rounded(new(lately, "") as f64 / elapsed)),
            "answers": answers,
            "hit_ratio": ratio(hits, answered),
            "refused": new(then, "429"),
            "errors": errors,
            "error_ratio": ratio(errors, all),
            "latency_ms": {"p50": millis(0.5), "p90": millis(0.9), "p99": millis(0.99)},
            "in_flight": whole(now.readings.gauge("stratus_http_requests_in_flight")),
            "connections": whole(now.readings.gauge("stratus_http_connections")),
            "upstream_calls": made,
            "upstream_calls_failed": made - calls.get("ok").copied().unwrap_or_default(),
        })
    }

    /// By reason, in the last minute.
    fn not_opened(&self, now: &Look) -> Value {
        let then = self.within(now, WINDOW).unwrap_or(now);
        let mut records = since(&now.readings, &then.readings, NOT_OPENED, "reason");
        records.retain(|_, number| *number > 0);
        json!(records)
    }

    /// Those that asked most in the last minute.
    fn consumers(&self, now: &Look, consumers: &Consumers, now_ms: u64) -> Value {
        let then = self.within(now, WINDOW).unwrap_or(now);
        let mut rows: Vec<_> = consumers
            .iter()
            .map(|consumer| {
                let until = |look: &Look| look.asked.get(&consumer.name).copied().unwrap_or_default();
                let ([admitted, refused], before) = (until(now), until(then));
                let asked = [admitted.saturating_sub(before[0]), refused.saturating_sub(before[1])];
                (consumer, asked)
            })
            .collect();
        rows.sort_by_key(|(consumer, [admitted, refused])| (Reverse(admitted + refused), Arc::clone(&consumer.name)));
        let ends_in = |end: u64| i64::try_from(end / 1_000).unwrap_or(i64::MAX).saturating_sub_unsigned(now_ms / 1_000);
        let named: Vec<_> = rows
            .iter()
            .take(NAMED)
            .map(|(consumer, [admitted, refused])| {
                json!({
                    "name": &*consumer.name,
                    "limit_per_minute": consumer.meter.per_minute(),
                    "admitted": admitted,
                    "refused": refused,
                    "ends_in_secs": consumer.ends_at_ms.map(ends_in),
                })
            })
            .collect();
        let ending = consumers.ends(now_ms);
        json!({"known": consumers.len(), "ending": ending.ending, "most": named})
    }
}

fn asked(state: &AdminState) -> Asked {
    let Some(consumers) = &state.consumers else { return Asked::new() };
    let consumers = consumers.load();
    // Most of ten thousand may never have asked.
    let counts = consumers.iter().map(|consumer| (Arc::clone(&consumer.name), consumer.asked.counts()));
    counts.filter(|(_, counts)| *counts != [0, 0]).collect()
}

/// Requests for data whose status begins so.
fn requests(readings: &Readings, status: &str) -> u64 {
    let of_data = |route: &str| DATA.iter().any(|root| route.starts_with(root));
    whole(readings.sum(REQUESTS, |labels| of_data(labels.value("route")) && labels.value("status").starts_with(status)))
}

/// By how much each series has grown.
fn since<'a>(now: &'a Readings, then: &Readings, name: &str, label: &str) -> BTreeMap<&'a str, u64> {
    let then = then.by_label(name, label);
    let grown = |(value, number): (&'a str, f64)| (value, whole(number - then.get(value).copied().unwrap_or_default()));
    now.by_label(name, label).into_iter().map(grown).collect()
}

fn ratio(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| rounded(part as f64 / all as f64))
}

/// What is counted in ones, and read as any number.
fn whole(count: f64) -> u64 {
    count as u64
}

/// To thousandths, so that people can read it.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}
