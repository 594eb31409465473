//! The log: one line an event on standard output, JSON for machines or a readable form for people.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person's eyes.
    Pretty,
}

/// The log's settings.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// Levels, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

impl LogConfig {
    /// Whether `filter` is a list of levels that [`install`] takes.
    pub fn is_filter(filter: &str) -> bool {
        EnvFilter::builder().parse(filter).is_ok()
    }
}

/// Installs the log for the whole process; where one is installed already, that one stays.
pub fn install(config: &LogConfig) {
    let filter = EnvFilter::builder().parse_lossy(&config.filter);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stdout);
    let installed = match config.format {
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
        }
        LogFormat::Pretty => log.compact().with_target(false).finish().try_init(),
    };
    if installed.is_err() {
        tracing::debug!("a log is installed already");
    }
}
