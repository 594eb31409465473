//! What is told of the connections of callers.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;

#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    open: Gauge,
    closed: Family<[(&'static str, &'static str); 1], Counter>,
}

impl ConnectionCounts {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("http_connections", "Connections of callers that are open now", self.open.clone());
        registry.register(
            "http_connections_closed",
            "Connections of callers that we closed, by reason: displaced, over_address_cap, turned_away, \
             handshake_failed, handshake_timeout, not_tls, header_timeout (idle or half a head), write_timeout",
            self.closed.clone(),
        );
    }
}

impl Metrics {
    /// A caller has a connection; the value counts it as open until it is dropped.
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections.open.inc();
        OpenConnection(self.connections.open.clone())
    }

    /// A caller's connection was closed by us.
    pub fn connection_closed(&self, reason: &'static str) {
        self.connections.closed.get_or_create(&[("reason", reason)]).inc();
    }
}

/// One open connection.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
