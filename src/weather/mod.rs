//! The words of the domain: a place, a question about it, the answer, and who can be asked. No I/O. What can be asked is one
//! table, `endpoint`.
//!
//! ```
//! use stratus::weather::Query;
//!
//! // Two spellings of one question, one canonical form.
//! let one = Query::parse("S%C3%A3o%20Paulo,%20BR", "lang=pt-BR").unwrap();
//! let two = Query::parse("sa%CC%83o+paulo,br", "lang=pt_br&units=metric").unwrap();
//! assert_eq!(one, two);
//! assert_eq!(one.value("q").as_deref(), Some("são paulo,br"));
//!
//! // OpenWeatherMap's own path asks the same.
//! use stratus::weather::Endpoint;
//! let weather = Endpoint::at("/data/2.5/weather").unwrap();
//! let three = Query::openweathermap(weather, "q=S%C3%A3o%20Paulo,BR&units=metric&lang=pt_br&APPID=x").unwrap();
//! assert_eq!(one, three);
//! ```

mod endpoint;
mod format;
mod lang;
mod location;
mod parameter;
mod query;
#[cfg(test)]
mod query_tests;
mod written;

#[cfg(test)]
mod aliases_tests;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

pub use endpoint::{
    Cost, ENDPOINTS, Endpoint, Host, Json, LINKS, LOCATION, LONGEST_FRESH, Place, Plan, Shape, WEATHER,
};
pub use format::{FORMAT, Format};
pub use lang::{LANGUAGES, Lang, MAX_TAG_CHARS};
pub use location::{Hundredths, Location, LocationError, MAX_CHARS as MAX_LOCATION_CHARS};
pub use parameter::{Kind, MAX_WORD, Parameter};
pub use query::{ParameterError, Query, Refused, Units, appid};

/// An answer as the upstream sent it, and when.
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

impl Purpose {
    /// The word in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Miss(_) => "miss",
            Self::Renewal => "renewal",
            Self::Ahead => "ahead",
        }
    }
}

/// The longest refusal that is kept and passed on, bytes. Those recorded have 17 to 400.
pub const MAX_WORDS: usize = 2_048;

/// What the upstream said instead of an answer: for callers that know its errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Words {
    /// The status code.
    pub status: u16,
    /// The body, byte for byte; at most [`MAX_WORDS`].
    pub body: Bytes,
}

/// The length only: an error may repeat what was asked.
impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("status", &self.status).field("len", &self.body.len()).finish_non_exhaustive()
    }
}

/// Why there is no answer, and in which words the upstream said so, if it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub error: SourceError,
    /// In its own words.
    pub words: Option<Words>,
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self { error, words: None }
    }
}

/// Why the upstream gave no answer. Each says what its caller can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceError {
    /// The upstream does not know the place, or makes nothing of the question: asking again will not help.
    UnknownLocation,
    /// The plan of the key does not have this: the operator has to get another one, or nobody should ask for it.
    NotInPlan,
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
            Self::NotInPlan => "not_in_plan",
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
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Fetched, Failure>> + Send + 'a>>;

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
