//! What became of spans, as metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of spans. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct TraceCounts {
    spans: Family<[(&'static str, &'static str); 1], Counter>,
}

impl TraceCounts {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "trace_spans",
            "Spans of traces, by what became of them: delivered, refused (by the collector), failed (to be delivered), \
             dropped (too many waited)",
            self.spans.clone(),
        );
    }

    pub(super) fn add(&self, outcome: &'static str, spans: usize) {
        self.spans.get_or_create(&[("outcome", outcome)]).inc_by(spans as u64);
    }

    #[cfg(test)]
    pub(super) fn of(&self, outcome: &'static str) -> u64 {
        self.spans.get_or_create(&[("outcome", outcome)]).get()
    }
}
