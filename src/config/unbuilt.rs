//! Settings of the contract that this version does not have yet.

use super::reader::Reader;

/// Settings whose neglect would weaken security or serve from the wrong place: refused until they work.
pub(super) fn refuse_unbuilt(reader: &mut Reader) {
    let empty = [
        "server.tls_cert_file",
        "server.tls_key_file",
        "redis.sentinel_master",
        "access.consumers_file",
        "telemetry.otlp_endpoint",
    ];
    for key in empty {
        if !reader.get::<String>(key).is_empty() {
            reader.fault(key, "is not built into this version: leave it out");
        }
    }
    for key in ["server.trusted_proxies", "redis.nodes"] {
        if !reader.list(key).is_empty() {
            reader.fault(key, "is not built into this version: leave it out");
        }
    }
    if reader.word("redis.topology", &["single", "sentinel", "cluster"]).is_some_and(|word| word != "single") {
        reader.fault("redis.topology", "only \"single\" is built into this version");
    }
    if reader.get::<bool>("access.required") {
        reader.fault("access.required", "consumer keys are not built into this version: leave it out");
    }
}

/// Settings whose neglect costs efficiency only: accepted, and said so at start when they were changed.
pub(super) fn unenforced(reader: &mut Reader) -> Vec<String> {
    [("access.anonymous_per_minute", 600)]
        .into_iter()
        .filter(|(key, default)| reader.number(key, 0..=u64::MAX / 2) != *default)
        .map(|(key, _)| format!("{key} has no effect in this version"))
        .collect()
}
