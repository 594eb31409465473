//! What operators see: the log and the metrics. Neither ever holds a location, a key or a body.

mod access;
mod connections;
mod endings;
mod housekeeping;
mod lines;
mod log;
mod metrics;
mod readings;
mod report;
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
