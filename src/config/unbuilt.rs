//! Settings of the contract that this version does not have yet.

use super::reader::Reader;

/// Settings whose neglect would leave an operator blind: refused until they work.
pub(super) fn refuse_unbuilt(reader: &mut Reader) {
    if !reader.get::<String>("telemetry.otlp_endpoint").is_empty() {
        reader.fault("telemetry.otlp_endpoint", "is not built into this version: leave it out");
    }
}
