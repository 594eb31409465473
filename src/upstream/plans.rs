//! What the plans of our keys do not have: an endpoint that was refused with a key is not asked with it for a while, on this
//! replica. Its 401 says nothing about the key, which is good for other endpoints, nor about other keys.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::keys::Which;
use crate::weather::{Endpoint, Words};

/// For how long: a subscription can be taken at any time, and each attempt is a call.
const LEFT_ALONE: Duration = Duration::from_mins(10);

/// What was refused.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<Vec<Refusal>>);

#[derive(Debug)]
struct Refusal {
    endpoint: &'static Endpoint,
    with: Which,
    until: Instant,
    words: Option<Words>,
}

/// The keys that an endpoint is not asked with, and the words in which it was refused with one of them.
#[derive(Debug, Default)]
pub(super) struct Without {
    pub(super) keys: Vec<Which>,
    pub(super) words: Option<Words>,
}

impl Plans {
    /// Without which keys this endpoint has to do at `now`.
    pub(super) fn without(&self, endpoint: &Endpoint, now: Instant) -> Without {
        let mut without = Without::default();
        for refusal in self.lock().iter().filter(|refusal| refusal.endpoint == endpoint && now < refusal.until) {
            without.keys.push(refusal.with.clone());
            without.words.clone_from(&refusal.words);
        }
        without
    }

    /// It was refused with this key.
    pub(super) fn refused(&self, endpoint: &'static Endpoint, with: Which, words: Option<Words>, now: Instant) {
        let mut refusals = self.lock();
        let known = refusals.iter().position(|refusal| refusal.endpoint == endpoint && refusal.with == with);
        if known.is_none() {
            tracing::warn!(
                endpoint = endpoint.paths[0],
                pause_secs = LEFT_ALONE.as_secs(),
                "the upstream refuses this endpoint with one of our keys (401): its plan does not have it, or it is wrong"
            );
        }
        let refusal = Refusal { endpoint, with, until: now + LEFT_ALONE, words };
        match known {
            Some(known) => refusals[known] = refusal,
            None => refusals.push(refusal),
        }
    }

    /// It was answered with this key.
    pub(super) fn answered(&self, endpoint: &Endpoint, with: &Which) {
        self.lock().retain(|refusal| refusal.endpoint != endpoint || refusal.with != *with);
    }

    /// There is another key: the keys that were there before may be gone.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// The list is whole after every operation on it.
    fn lock(&self) -> MutexGuard<'_, Vec<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
