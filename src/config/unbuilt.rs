//! Settings of the contract that this version does not have yet.

use super::reader::Reader;

/// Settings whose neglect would weaken security or serve from the wrong place: refused until they work.
pub(super) fn refuse_unbuilt(reader: &mut Reader) {
    let empty = ["redis.sentinel_master", "telemetry.otlp_endpoint"];
    for key in empty {
        if !reader.get::<String>(key).is_empty() {
            reader.fault(key, "is not built into this version: leave it out");
        }
    }
    if !reader.list("redis.nodes").is_empty() {
        reader.fault("redis.nodes", "is not built into this version: leave it out");
    }
    if reader.word("redis.topology", &["single", "sentinel", "cluster"]).is_some_and(|word| word != "single") {
        reader.fault("redis.topology", "only \"single\" is built into this version");
    }
}
