//! The gauges of what ends on a date: certificates, and the keys of consumers.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{CertificateReport, ConsumerEnds};

#[derive(Debug, Default)]
pub(super) struct EndingGauges {
    certificate_expiry: Family<[(&'static str, &'static str); 1], Gauge>,
    /// Without a label, so that it can be absent: while no consumer's access ends, there is no date.
    consumer_expiry: Family<[(&'static str, &'static str); 0], Gauge>,
    consumers_ending: Gauge,
}

impl EndingGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When a certificate in use ends, Unix time: https, redis_client, redis_authority, redis_server (as shown last)",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        registry.register_with_unit(
            "consumer_expiry_timestamp",
            "When the next consumer is without a key, because its last one ends, Unix time",
            Unit::Seconds,
            self.consumer_expiry.clone(),
        );
        registry.register(
            "consumers_ending",
            "Consumers whose last key ends within 14 days, or has ended",
            self.consumers_ending.clone(),
        );
    }

    pub(super) fn set(&self, certificates: &[CertificateReport], consumers: ConsumerEnds) {
        let gauge = |value| i64::try_from(value).unwrap_or(i64::MAX);
        // What is not used any more goes from here.
        self.certificate_expiry.clear();
        for certificate in certificates {
            let name = [("certificate", certificate.name)];
            self.certificate_expiry.get_or_create(&name).set(gauge(certificate.ends_at_secs));
        }
        self.consumer_expiry.clear();
        if let Some(next_end_secs) = consumers.next_end_secs {
            self.consumer_expiry.get_or_create(&[]).set(gauge(next_end_secs));
        }
        self.consumers_ending.set(i64::try_from(consumers.ending).unwrap_or(i64::MAX));
    }
}
