//! The log: one line an event on standard output, JSON for machines or a readable form for people.

use std::io::BufWriter;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::access;

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

/// Lines that are ready are written together, up to so many bytes; none waits for another.
const BATCH_BYTES: usize = 64 * 1024;
/// Lines that wait for a slow reader; more are dropped.
const WAITING_LINES: usize = 16 * 1024;

/// Installs the log for the whole process; where one is installed already, that one stays. What still waits is written
/// when the guard is dropped, unless nobody reads.
///
/// Lines are written by a thread of their own: a reader that stops reading (a terminal on hold, a full pipe) costs log
/// lines, never answers.
pub fn install(config: &LogConfig) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(BufWriter::with_capacity(BATCH_BYTES, std::io::stdout()));
    if config.format == LogFormat::Json {
        access::write_to(writer.clone());
    }
    let filter = EnvFilter::builder().parse_lossy(&config.filter);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let installed = match config.format {
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
        }
        LogFormat::Pretty => log.compact().with_target(false).finish().try_init(),
    };
    if installed.is_err() {
        tracing::debug!("a log is installed already");
    }
    guard
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
