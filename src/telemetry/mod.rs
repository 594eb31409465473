//! What operators see: the log and the metrics. Neither ever holds a location, a key or a body.

mod log;
mod metrics;

pub use log::{LogConfig, LogFormat, install as install_log};
pub use metrics::{InFlight, Metrics};
