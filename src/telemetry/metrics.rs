//! The metrics, one registry a server, so that two servers in one process do not mix theirs.
//!
//! Labels have few values and never a location, a key, an address or a caller.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::connections::ConnectionCounts;
use super::endings::EndingGauges;
use super::housekeeping::HousekeepingGauges;
use super::upstream::{UpstreamMetrics, durations};
use super::{CertificateReport, ConsumerEnds, KeyReport, TraceCounts};

pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The data route's template.
const WEATHER: &str = "/weather/{location}";
const HIT_MEMORY: &str = "hit_memory";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

/// The counters of hits, which need not be looked up by their labels.
#[derive(Debug)]
struct Frequent {
    weather: Counter,
    unchanged: Counter,
    hit_memory: Counter,
}

impl Frequent {
    fn of(requests: &Family<RequestLabels, Counter>, answers: &Family<Labels<1>, Counter>) -> Self {
        let request = |status| RequestLabels { route: WEATHER, method: "GET", status };
        Self {
            weather: requests.get_or_create_owned(&request(200)),
            unchanged: requests.get_or_create_owned(&request(304)),
            hit_memory: answers.get_or_create_owned(&[("result", HIT_MEMORY)]),
        }
    }
}

/// All counters and gauges, by what they count.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    frequent: Frequent,
    request_duration: Histogram,
    in_flight: Gauge,
    answers: Family<Labels<1>, Counter>,
    not_answered: Family<Labels<1>, Counter>,
    loads: Family<Labels<1>, Counter>,
    load_duration: Histogram,
    waiting: Gauge,
    memory_entries: Gauge,
    memory_bytes: Gauge,
    store_failures: Family<Labels<2>, Counter>,
    store_up: Gauge,
    unopened: Family<Labels<1>, Counter>,
    pub(super) upstream: UpstreamMetrics,
    oldest_answer: Gauge,
    limit_reservations: Family<Labels<1>, Counter>,
    pub(super) housekeeping: HousekeepingGauges,
    endings: EndingGauges,
    pub(super) connections: ConnectionCounts,
    traces: TraceCounts,
}

impl Metrics {
    /// An empty set.
    pub fn new() -> Arc<Self> {
        let (requests, answers) = (Family::default(), Family::default());
        let mut metrics = Self {
            registry: Registry::with_prefix("stratus"),
            frequent: Frequent::of(&requests, &answers),
            requests,
            request_duration: durations(),
            in_flight: Gauge::default(),
            answers,
            not_answered: Family::default(),
            loads: Family::default(),
            load_duration: durations(),
            waiting: Gauge::default(),
            memory_entries: Gauge::default(),
            memory_bytes: Gauge::default(),
            store_failures: Family::default(),
            store_up: Gauge::default(),
            unopened: Family::default(),
            upstream: UpstreamMetrics::default(),
            oldest_answer: Gauge::default(),
            limit_reservations: Family::default(),
            housekeeping: HousekeepingGauges::default(),
            endings: EndingGauges::default(),
            connections: ConnectionCounts::default(),
            traces: TraceCounts::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "http_requests",
            "HTTP requests answered, by route, method and status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's head to its answer",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        registry.register("http_requests_in_flight", "HTTP requests being answered now", self.in_flight.clone());
        registry.register(
            "cache_answers",
            "Questions, by how they were answered: hit_memory, hit_redis, negative, stale, miss, collapsed, failed",
            self.answers.clone(),
        );
        registry.register(
            "cache_failures",
            "Questions that were not answered (result failed above), by reason",
            self.not_answered.clone(),
        );
        registry.register(
            "cache_loads",
            "Loads from the upstream, by how they ended: done, found (renewed meanwhile), failed, lost",
            self.loads.clone(),
        );
        registry.register_with_unit(
            "cache_load_duration",
            "Time of a load, from deciding to ask to the record being kept",
            Unit::Seconds,
            self.load_duration.clone(),
        );
        registry.register("cache_waiting", "Callers that wait for a load now", self.waiting.clone());
        registry.register("memory_entries", "Records in the memory level", self.memory_entries.clone());
        registry.register_with_unit(
            "memory_size",
            "What the memory level takes, bookkeeping included",
            Unit::Bytes,
            self.memory_bytes.clone(),
        );
        registry.register(
            "store_failures",
            "Operations on the store that failed, by operation and reason",
            self.store_failures.clone(),
        );
        registry.register("store_up", "1 while the store can be used", self.store_up.clone());
        registry.register("records_not_opened", "Sealed records that did not open, by reason", self.unopened.clone());
        self.upstream.register(registry);
        registry.register_with_unit(
            "cache_oldest_answer_age",
            "Age of the oldest answer given in the last minute or two that could not be renewed in time",
            Unit::Seconds,
            self.oldest_answer.clone(),
        );
        registry.register(
            "limit_reservations",
            "Reservations of requests of a caller's limit in the store, by outcome: granted, partly, none, away",
            self.limit_reservations.clone(),
        );
        self.housekeeping.register(registry);
        self.endings.register(registry);
        self.connections.register(registry);
        self.traces.register(registry);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let build = Family::<Labels<1>, Gauge>::default();
        build.get_or_create(&version).set(1);
        registry.register("build_info", "1, with the version as a label", build);
    }

    /// A request came in; the value counts it as being answered until it is dropped.
    pub fn request_began(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A request was answered. `route` is the route's template, never the path.
    pub fn request_ended(&self, route: &'static str, method: &'static str, status: u16, took: Duration) {
        match (route, method, status) {
            (WEATHER, "GET", 200) => self.frequent.weather.inc(),
            (WEATHER, "GET", 304) => self.frequent.unchanged.inc(),
            _ => self.requests.get_or_create(&RequestLabels { route, method, status }).inc(),
        };
        self.request_duration.observe(took.as_secs_f64());
    }

    /// A question was answered: `hit_memory`, `hit_redis`, `negative` (a place remembered as unknown), `stale`, `miss` or
    /// `collapsed` (it waited for another's load).
    pub fn answered(&self, how: &'static str) {
        match how {
            HIT_MEMORY => self.frequent.hit_memory.inc(),
            _ => self.answers.get_or_create(&[("result", how)]).inc(),
        };
    }

    /// A question was not answered.
    pub fn not_answered(&self, reason: &'static str) {
        self.answered("failed");
        self.not_answered.get_or_create(&[("reason", reason)]).inc();
    }

    /// A load ended: `done`, `found` or `failed`.
    pub fn load_ended(&self, outcome: &'static str, took: Duration) {
        self.loads.get_or_create(&[("outcome", outcome)]).inc();
        self.load_duration.observe(took.as_secs_f64());
    }

    /// A load was lost: nobody knows how long it took.
    pub fn load_lost(&self) {
        self.loads.get_or_create(&[("outcome", "lost")]).inc();
    }

    /// So many callers wait for a load now.
    pub fn set_waiting(&self, callers: usize) {
        self.waiting.set(i64::try_from(callers).unwrap_or(i64::MAX));
    }

    /// What the memory level holds now.
    pub fn set_memory(&self, entries: u64, bytes: u64) {
        let gauge = |value| i64::try_from(value).unwrap_or(i64::MAX);
        self.memory_entries.set(gauge(entries));
        self.memory_bytes.set(gauge(bytes));
    }

    /// An operation on the store failed.
    pub fn store_failed(&self, operation: &'static str, reason: &'static str) {
        self.store_failures.get_or_create(&[("operation", operation), ("reason", reason)]).inc();
    }

    /// The store can be used, or no longer.
    pub fn set_store_up(&self, up: bool) {
        self.store_up.set(i64::from(up));
    }

    /// The user may run so many more commands in Redis than are used.
    pub fn set_excess_privileges(&self, commands: usize) {
        self.housekeeping.set_excess_privileges(commands);
    }

    /// A record did not open.
    pub fn record_not_opened(&self, reason: &'static str) {
        self.unopened.get_or_create(&[("reason", reason)]).inc();
    }

    /// Requests of a caller's limit were to be reserved in the store: `granted`, `partly`, `none` or `away`.
    pub fn limit_reserved(&self, outcome: &'static str) {
        self.limit_reservations.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Age of the oldest answer of late that could not be renewed in time.
    pub fn set_oldest_answer(&self, age: Duration) {
        self.oldest_answer.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// How it stands with the encryption keys.
    pub fn set_keys(&self, keys: &[KeyReport]) {
        self.housekeeping.set_keys(keys);
    }

    /// Settings whose files hold something that is not used because it is bad.
    pub fn set_files_refused(&self, settings: usize) {
        self.housekeeping.set_files_refused(settings);
    }

    /// What becomes of the spans of traces.
    pub fn traces(&self) -> TraceCounts {
        self.traces.clone()
    }

    /// When certificates end, and when consumers are without a key.
    pub fn set_endings(&self, certificates: &[CertificateReport], consumers: ConsumerEnds) {
        self.endings.set(certificates, consumers);
    }

    /// Everything in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        text
    }
}

/// One request being answered.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_read_in_the_text_format() {
        let metrics = Metrics::new();
        metrics.request_ended("/weather/{location}", "GET", 200, Duration::from_millis(3));
        metrics.answered("hit_memory");
        metrics.record_not_opened("truncated");
        let in_flight = metrics.request_began();
        let text = metrics.render();
        for line in [
            r#"stratus_http_requests_total{route="/weather/{location}",method="GET",status="200"} 1"#,
            r#"stratus_cache_answers_total{result="hit_memory"} 1"#,
            r#"stratus_records_not_opened_total{reason="truncated"} 1"#,
            "stratus_http_request_duration_seconds_count 1",
            "stratus_http_requests_in_flight 1",
            concat!(r#"stratus_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        drop(in_flight);
        assert!(metrics.render().contains("stratus_http_requests_in_flight 0"));
    }
}
