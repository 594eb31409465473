//! The gauges of what an operator looks after: encryption keys, credentials, files and rights.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{CredentialReport, KeyReport};

/// By key id. Ids are not secret, and few.
type ByKey = Family<[(&'static str, String); 1], Gauge>;

#[derive(Debug, Default)]
pub(super) struct HousekeepingGauges {
    key_seals: ByKey,
    key_needed: ByKey,
    credentials: Family<[(&'static str, &'static str); 1], Gauge>,
    files_refused: Gauge,
    excess_privileges: Gauge,
}

impl HousekeepingGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "encryption_key_seals",
            "1 for the key that seals, 0 for one that opens",
            self.key_seals.clone(),
        );
        registry.register_with_unit(
            "encryption_key_needed",
            "Until the last record ends that any replica sealed with the key; 0: it can be retired",
            Unit::Seconds,
            self.key_needed.clone(),
        );
        registry.register(
            "credentials",
            "Credentials in the vault, by state on this replica: in_use, put_aside, unused",
            self.credentials.clone(),
        );
        registry.register(
            "files_refused",
            "Settings whose files have a new content that is bad; the old one is in use",
            self.files_refused.clone(),
        );
        registry.register(
            "redis_excess_privileges",
            "Commands that the user may run in Redis beyond what is used, as last looked at",
            self.excess_privileges.clone(),
        );
    }

    pub(super) fn set_keys(&self, keys: &[KeyReport]) {
        // Those that are gone from the ring go from here.
        self.key_seals.clear();
        self.key_needed.clear();
        for key in keys {
            let label = [("key", key.id.clone())];
            self.key_seals.get_or_create(&label).set(i64::from(key.seals));
            let needed_for = i64::try_from(key.last_record_ends_in_secs).unwrap_or(i64::MAX);
            self.key_needed.get_or_create(&label).set(needed_for);
        }
    }

    pub(super) fn set_credentials(&self, credentials: &[CredentialReport]) {
        for state in ["in_use", "put_aside", "unused"] {
            let number = credentials.iter().filter(|credential| credential.state == state).count();
            self.credentials.get_or_create(&[("state", state)]).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn set_files_refused(&self, settings: usize) {
        self.files_refused.set(i64::try_from(settings).unwrap_or(i64::MAX));
    }

    pub(super) fn set_excess_privileges(&self, commands: usize) {
        self.excess_privileges.set(i64::try_from(commands).unwrap_or(i64::MAX));
    }
}
