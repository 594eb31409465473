//! What operators see: the log, the metrics and, if there is a collector, traces. None of them ever holds a location, a key or a body.

mod access;
mod connections;
mod endings;
mod housekeeping;
mod lines;
mod log;
mod metrics;
mod readings;
mod report;
pub mod trace;
mod trace_counts;
mod upstream;

pub use access::Access;
pub use connections::OpenConnection;
pub use lines::LogGuard;
pub use log::{LogConfig, LogFormat, install as install_log};
pub use metrics::{InFlight, Metrics};
pub use readings::{Readings, SeriesLabels, quantile};
pub use report::{
    BreakerReport, BudgetReport, CertificateReport, ConsumerEnds, CredentialReport, KeyReport, UpstreamReport,
    WindowReport,
};
pub use trace::{Span, TraceConfig, Traces};
pub use trace_counts::TraceCounts;
