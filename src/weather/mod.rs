//! The words of the domain: a place, a question about it, the answer, and who can be asked. No I/O.
//!
//! ```
//! use stratus::weather::Query;
//!
//! // Two spellings of one question, one canonical form.
//! let one = Query::parse("S%C3%A3o%20Paulo,%20BR", "lang=pt-BR").unwrap();
//! let two = Query::parse("sa%CC%83o+paulo,br", "lang=pt_br&units=metric").unwrap();
//! assert_eq!(one, two);
//! assert_eq!(one.location.to_string(), "são paulo,br");
//! ```

mod lang;
mod location;
mod query;

#[cfg(test)]
mod aliases_tests;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

pub use lang::{LANGUAGES, Lang};
pub use location::{Hundredths, Location, LocationError};
pub use query::{ParameterError, Query, Units};

/// A body as the upstream sent it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The body, byte for byte.
    pub body: Bytes,
    /// When the upstream answered, Unix milliseconds.
    pub fetched_at_ms: u64,
}

/// Why the upstream gave no weather. Each says what its caller can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceError {
    /// The upstream does not know the place: asking again will not help.
    UnknownLocation,
    /// There is no key to ask with: the operator has to give one.
    NoKey,
    /// The upstream refused the key: the operator has to replace it.
    RejectedKey,
    /// The upstream's limit is reached: nobody should ask before the time has passed.
    BudgetExhausted {
        /// How long to wait.
        retry_after: Duration,
    },
    /// No answer in time.
    Timeout,
    /// Not reachable, or it says itself that it is not available now.
    Unavailable,
    /// It answered with a failure of its own.
    Failed,
    /// It answered with something that is not weather.
    InvalidResponse,
}

impl SourceError {
    /// A stable word for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownLocation => "unknown_location",
            Self::NoKey => "no_key",
            Self::RejectedKey => "rejected_key",
            Self::BudgetExhausted { .. } => "budget_exhausted",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::InvalidResponse => "invalid_response",
        }
    }
}

/// What [`Source::fetch`] gives.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Fetched, SourceError>> + Send + 'a>>;

/// Something that can be asked for weather: the one seam between the cache and what fills it.
pub trait Source: Send + Sync + 'static {
    /// Asks once, within the source's own time limits.
    fn fetch<'a>(&'a self, query: &'a Query) -> Fetching<'a>;
}
