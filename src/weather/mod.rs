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
use std::net::IpAddr;
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

/// Who asks, as a number that says nothing else: callers are only ever told apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller(pub u64);

impl From<IpAddr> for Caller {
    /// An IPv4 address, or the /64 of an IPv6 address, which is what one customer has (RFC 6177).
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits())),
            #[allow(clippy::cast_possible_truncation, reason = "the upper half has 64 bits")]
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}

/// What a call is for: when calls are scarce, not every purpose is worth one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// There is nothing to answer this caller with.
    Miss(Caller),
    /// There is a copy, but it is not fresh any more.
    Renewal,
    /// There is a fresh copy that will not be fresh much longer, and it is asked for often.
    Ahead,
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
    /// The caller has had more than a fair part of the calls that are left.
    OverShare {
        /// How long to wait.
        retry_after: Duration,
    },
    /// It failed so often that it is left alone for a while.
    Paused {
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
            Self::OverShare { .. } => "over_share",
            Self::Paused { .. } => "paused",
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
    /// Asks, within the source's own limits in time and in calls.
    fn fetch<'a>(&'a self, query: &'a Query, purpose: Purpose) -> Fetching<'a>;

    /// The adaptive factor: 1 while there are calls enough; at 2, a place has to be twice as popular, or its copy twice as
    /// old, to be worth one.
    fn thrift(&self) -> f64 {
        1.0
    }

    /// Whether it has refused the key, and nothing else was heard since.
    fn rejects_key(&self) -> bool {
        false
    }

    /// Whether calls for new questions are short: nearly all that may be made now are made.
    fn is_short(&self) -> bool {
        false
    }

    /// What asking for this purpose would only give now, as far as is known without asking anybody.
    fn refusal(&self, _: Purpose) -> Option<SourceError> {
        None
    }
}
