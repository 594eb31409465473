//! What the cache gives: an answer and how it came about, or why there is none.

use super::freshness::{Windows, age};
use super::record::{Content, Record};
use crate::telemetry::Span;
use crate::weather::{Failure, SourceError};

/// The memory level, in `Cache-Status`.
pub(super) const MEMORY: &str = "memory";

/// An answer and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the upstream said.
    pub content: Content,
    /// When it said so, Unix milliseconds.
    pub fetched_at_ms: u64,
    /// How long that is good for.
    pub windows: Windows,
    /// Where the answer came from.
    pub origin: Origin,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A copy, fresh; the word says from where (`memory` or `redis`).
    Fresh(&'static str),
    /// A copy, stale: the source is being asked behind it, or failed.
    Stale(&'static str),
    /// The source.
    Source {
        /// There was a copy, but too old.
        stale: bool,
        /// The answer is kept.
        stored: bool,
        /// It was another caller's load.
        collapsed: bool,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GetError {
    /// The source failed and there is no copy to fall back on.
    Source(Failure),
    /// The load was lost by a fault of ours, and so was the next one.
    Lost,
    /// The load took longer than a caller waits.
    WaitTimeout,
    /// As many callers wait as may.
    Overloaded,
}

impl GetError {
    /// A stable word for metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Source(failure) => failure.error.as_str(),
            Self::Lost => "lost",
            Self::WaitTimeout => "wait_timeout",
            Self::Overloaded => "overloaded",
        }
    }
}

impl From<SourceError> for GetError {
    fn from(error: SourceError) -> Self {
        Self::Source(error.into())
    }
}

impl Answer {
    pub(super) fn new(record: Record, origin: Origin) -> Self {
        Self { content: record.content, fetched_at_ms: record.fetched_at_ms, windows: record.windows, origin }
    }

    /// Says in the request's span how it came about.
    pub fn tell(&self, span: &Span, now_ms: u64) {
        span.set_result(self.outcome(), Some(age(self.fetched_at_ms, now_ms)));
    }

    /// The label under which it is counted.
    pub(super) fn outcome(&self) -> &'static str {
        match (self.origin, &self.content) {
            (Origin::Fresh(_), Content::UnknownPlace(_)) => "negative",
            (Origin::Fresh(MEMORY), Content::Weather(_)) => "hit_memory",
            (Origin::Fresh(_), Content::Weather(_)) => "hit_redis",
            (Origin::Stale(_), _) => "stale",
            (Origin::Source { collapsed: false, .. }, _) => "miss",
            (Origin::Source { collapsed: true, .. }, _) => "collapsed",
        }
    }
}
