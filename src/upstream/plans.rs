//! What the account's plan does not have: an endpoint that was refused with every key is left alone for a while, on this
//! replica. Its 401 says nothing about the keys, which are good for other endpoints.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::weather::{Endpoint, Failure, SourceError, Words};

/// How long it is left alone: a subscription can be taken at any time, and each attempt is a call.
const LEFT_ALONE: Duration = Duration::from_mins(10);

/// The endpoints that are left alone.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<HashMap<&'static Endpoint, (Instant, Option<Words>)>>);

impl Plans {
    /// Why this endpoint is not asked at `now`, in the words that it was refused with.
    pub(super) fn refusal(&self, endpoint: &Endpoint, now: Instant) -> Option<Failure> {
        let closed = self.lock();
        let (until, words) = closed.get(endpoint)?;
        (now < *until).then(|| Failure { error: SourceError::NotInPlan, words: words.clone() })
    }

    /// It was refused with every key.
    pub(super) fn refused(&self, endpoint: &'static Endpoint, words: Option<Words>, now: Instant) {
        if self.lock().insert(endpoint, (now + LEFT_ALONE, words)).is_none() {
            tracing::warn!(
                endpoint = endpoint.paths[0],
                pause_secs = LEFT_ALONE.as_secs(),
                "the upstream refuses this endpoint (401): the plan of our key does not have it, or the key is wrong"
            );
        }
    }

    /// It was answered.
    pub(super) fn answered(&self, endpoint: &Endpoint) {
        self.lock().remove(endpoint);
    }

    /// There is another key, which may have another plan.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// The map is whole after every operation on it.
    fn lock(&self) -> MutexGuard<'_, HashMap<&'static Endpoint, (Instant, Option<Words>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
