//! What is counted of the calls to the upstream and of what stands before them.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::metrics::Labels;
use super::{Metrics, UpstreamReport};

/// A histogram from 0.1 ms to 13 s.
pub(super) fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

#[derive(Debug)]
pub(super) struct UpstreamMetrics {
    upstream_calls: Family<Labels<1>, Counter>,
    upstream_duration: Histogram,
    upstream_retries: Counter,
    permits_refused: Family<Labels<1>, Counter>,
    budget_left: Family<Labels<1>, Gauge>,
    budget_limit: Family<Labels<1>, Gauge>,
    breaker: Family<Labels<1>, Gauge>,
    paused: Family<Labels<1>, Gauge>,
    adaptive_factor: Gauge<f64, AtomicU64>,
    simulated: Gauge,
}

impl Default for UpstreamMetrics {
    fn default() -> Self {
        Self {
            upstream_calls: Family::default(),
            upstream_duration: durations(),
            upstream_retries: Counter::default(),
            permits_refused: Family::default(),
            budget_left: Family::default(),
            budget_limit: Family::default(),
            breaker: Family::default(),
            paused: Family::default(),
            adaptive_factor: Gauge::default(),
            simulated: Gauge::default(),
        }
    }
}

impl UpstreamMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("upstream_calls", "Calls to the upstream, by outcome", self.upstream_calls.clone());
        registry.register_with_unit(
            "upstream_call_duration",
            "Time of a call to the upstream",
            Unit::Seconds,
            self.upstream_duration.clone(),
        );
        registry.register("upstream_retries", "Calls that were a second attempt", self.upstream_retries.clone());
        registry.register(
            "upstream_permits_refused",
            "Calls that were not made for lack of budget, by reason: minute, day, month, share, reserved, rare",
            self.permits_refused.clone(),
        );
        registry.register(
            "upstream_budget_left",
            "Calls that are left to the fleet, by window, as far as this replica knows",
            self.budget_left.clone(),
        );
        registry.register(
            "upstream_budget_limit",
            "Calls that the fleet may make, by window",
            self.budget_limit.clone(),
        );
        registry.register(
            "upstream_breaker_state",
            "1 for the state that the breaker is in: admitting, rejecting, probing",
            self.breaker.clone(),
        );
        registry.register(
            "upstream_paused",
            "1 while the upstream is not called, by reason: failing, rate_limited, key_rejected",
            self.paused.clone(),
        );
        registry.register(
            "upstream_adaptive_factor",
            "By how much more a renewal has to be worth than when there are calls enough",
            self.adaptive_factor.clone(),
        );
        registry.register(
            "upstream_simulated",
            "1 if this process makes the weather up, because there is no key",
            self.simulated.clone(),
        );
    }
}

impl Metrics {
    /// A call to the upstream ended.
    pub fn upstream_called(&self, outcome: &'static str, took: Duration) {
        self.upstream.upstream_calls.get_or_create(&[("outcome", outcome)]).inc();
        self.upstream.upstream_duration.observe(took.as_secs_f64());
    }

    /// A call was repeated.
    pub fn upstream_retried(&self) {
        self.upstream.upstream_retries.inc();
    }

    /// A call was not made for lack of budget.
    pub fn permit_refused(&self, reason: &'static str) {
        self.upstream.permits_refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// How it stands with the upstream now.
    pub fn set_upstream(&self, report: &UpstreamReport) {
        let upstream = &self.upstream;
        let gauge = |value| i64::try_from(value).unwrap_or(i64::MAX);
        for (window, calls) in report.windows() {
            upstream.budget_left.get_or_create(&[("window", window)]).set(gauge(calls.left));
            upstream.budget_limit.get_or_create(&[("window", window)]).set(gauge(calls.limit));
        }
        for state in ["admitting", "rejecting", "probing"] {
            upstream.breaker.get_or_create(&[("state", state)]).set(i64::from(report.breaker.state == state));
        }
        for reason in ["failing", "rate_limited", "key_rejected"] {
            upstream.paused.get_or_create(&[("reason", reason)]).set(i64::from(report.breaker.reason == Some(reason)));
        }
        upstream.adaptive_factor.set(report.adaptive_factor);
        upstream.simulated.set(i64::from(report.simulated));
        self.housekeeping.set_credentials(&report.credentials);
    }
}
