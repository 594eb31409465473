//! The log: one line an event on standard output, JSON for machines or a readable form for people.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::access;
use super::lines::{Lines, LogGuard};

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
        // A bare word that is no level would be taken for a module, and silence everything else.
        let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok() && !word.is_empty();
        let sound = |directive: &str| directive.contains('=') || is_level(directive.trim());
        filter.split(',').all(sound) && EnvFilter::builder().parse(filter).is_ok()
    }
}

/// Installs the log for the whole process; where one is installed already, that one stays. What still waits is written
/// when the guard is dropped, unless nobody reads.
///
/// # Errors
/// The system gives no thread to write with.
pub fn install(config: &LogConfig) -> io::Result<LogGuard> {
    let (lines, guard) = Lines::start(io::stdout())?;
    if config.format == LogFormat::Json {
        access::write_to(lines.clone());
    }
    let filter = EnvFilter::builder().parse_lossy(&config.filter);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    let installed = match config.format {
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
        }
        LogFormat::Pretty => log.compact().with_target(false).finish().try_init(),
    };
    if installed.is_err() {
        tracing::debug!("a log is installed already");
    }
    Ok(guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_no_filter() {
        for filter in ["info", "off", "WARN", "stratus=debug", "info,hyper=warn"] {
            assert!(LogConfig::is_filter(filter), "{filter}");
        }
        for filter in ["", "inof", "info,", "info,hyper", "stratus=loud"] {
            assert!(!LogConfig::is_filter(filter), "{filter}");
        }
    }
}
