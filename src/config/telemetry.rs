//! `log` and `telemetry`: what operators see.

use url::Url;

use super::reader::Reader;
use crate::telemetry::{LogConfig, LogFormat, TraceConfig};

/// The path that is added to the endpoint.
const TRACES: &str = "/v1/traces";

pub(super) fn log(reader: &mut Reader) -> LogConfig {
    let format = match reader.word("log.format", &["json", "pretty"]) {
        Some("pretty") => LogFormat::Pretty,
        _ => LogFormat::Json,
    };
    let filter: String = reader.get("log.filter");
    if !LogConfig::is_filter(&filter) {
        reader.fault("log.filter", "is not a list of levels such as info or stratus=debug,hyper=warn");
    }
    LogConfig { format, filter }
}

/// The collector, if there is one.
pub(super) fn traces(reader: &mut Reader) -> Option<TraceConfig> {
    let key = "telemetry.otlp_endpoint";
    if reader.get::<String>(key).is_empty() {
        return None;
    }
    let endpoint = reader.parsed::<Url>(key, "a URL such as http://127.0.0.1:4318")?;
    let mut is_good = true;
    let mut fault = |what: &str| {
        reader.fault(key, what);
        is_good = false;
    };
    if !matches!(endpoint.scheme(), "http" | "https") {
        fault("has to begin with http:// or https://");
    }
    if !endpoint.username().is_empty() || endpoint.password().is_some() {
        fault("holds a credential, and none is sent: name a collector of yours that needs none and adds it on the way");
    }
    if endpoint.query().is_some() || endpoint.fragment().is_some() {
        fault("has to be scheme, host, port and path only");
    }
    if endpoint.path().trim_end_matches('/').ends_with(TRACES) {
        fault("is the base of the collector's addresses: leave /v1/traces out, it is added");
    }
    is_good.then_some(TraceConfig { endpoint })
}
