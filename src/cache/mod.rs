//! The cache: one call, [`Cache::get`], which hides two levels, the sealing, the sharing of loads and staleness.
//!
//! 1. In memory and fresh: that is the answer. A little stale: that is the answer, too, and the source is asked behind
//!    it, once.
//! 2. Otherwise join the one lookup of this question, or lead it: memory again, then the sealed record in the store. What
//!    does not open is a counted miss. A usable copy answers as in 1.
//! 3. Otherwise join the one call to the source, or lead it: keep its answer in memory, seal it, write it to the store,
//!    answer. That a place is unknown is an answer, too, and kept for a shorter time.
//! 4. The source failed: a copy that is not dead yet is the answer, marked stale; else the error.
//!
//! A failure of the store is never an error here: it is counted, and the answer comes from the source.

mod answer;
mod backoff;
mod body;
mod demand;
mod fill;
#[cfg(test)]
mod fleet_tests;
mod flight;
mod freshness;
mod hot;
mod keys;
mod lease;
mod load;
mod oldest;
mod purge;
mod rare;
mod record;
mod shelf;
#[cfg(test)]
mod shelf_tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::store::Notebook;
pub use crate::store::{StoreError, StoreState};
use crate::telemetry::{KeyReport, Metrics, trace};
use crate::weather::{Caller, Failure, Location, Query, Source};
pub use answer::{Answer, GetError, Origin};
use backoff::BackOff;
pub use body::{Body, Coding, Encoded};
use fill::Called;
use flight::{Flights, WaitingRoom};
pub use freshness::{Freshness, Policy, Windows, age};
use hot::Hot;
use keys::Ends;
use oldest::Oldest;
use rare::Rare;
pub use record::Content;
use shelf::Shelf;

/// How answers are kept, and how much waiting there may be.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// How long answers are good.
    pub policy: Policy,
    /// Bytes in memory at most, bookkeeping included; 0 for no memory level.
    pub memory_max_bytes: u64,
    /// Callers that wait for a load at most, over all questions; further ones are refused at once.
    pub max_waiters: usize,
    /// How long a caller waits at most.
    pub wait_timeout: Duration,
    /// How long the source may take at most. It has limits of its own; this one holds even if they do not.
    pub load_timeout: Duration,
}

/// Where answers are kept and found.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    hot: Hot,
    shelf: Arc<Shelf>,
    source: Arc<dyn Source>,
    clock: Clock,
    metrics: Arc<Metrics>,
    load_timeout: Duration,
    wait_timeout: Duration,
    waiting: WaitingRoom,
    /// Looking in memory and store, and all that follows from it.
    lookups: Flights<Result<Answer, GetError>>,
    /// Asking the source.
    calls: Flights<Result<Called, Failure>>,
    /// Questions that are not put to the source again for a while.
    held: BackOff,
    /// The same for questions whose answers are still fresh.
    held_ahead: BackOff,
    oldest: Oldest,
    ends: Ends,
    rare: Rare,
}

impl Cache {
    /// Puts it together; needs a Tokio runtime.
    pub fn start(config: CacheConfig, notes: Notebook, source: Arc<dyn Source>, metrics: Arc<Metrics>) -> Self {
        let (clock, counts) = (notes.clock.clone(), Arc::clone(&metrics));
        let inner = Arc::new(Inner {
            hot: Hot::new(config.memory_max_bytes),
            shelf: Arc::new(Shelf::new(config.policy, notes, Arc::clone(&metrics))),
            source,
            clock,
            metrics,
            load_timeout: config.load_timeout,
            wait_timeout: config.wait_timeout,
            waiting: WaitingRoom::new(config.max_waiters),
            lookups: Flights::new("cache.lookup", |_, _| ()),
            calls: Flights::new("cache.load", move |called, took| fill::count(&counts, called, took)),
            held: BackOff::new(),
            held_ahead: BackOff::new(),
            oldest: Oldest::default(),
            ends: Ends::default(),
            rare: Rare::new(),
        });
        purge::watch(&inner);
        keys::tell(&inner);
        Self(inner)
    }

    /// Answers `query` from memory, without waiting for anything; `None` if only [`Cache::get`] can tell.
    pub fn recall(&self, query: &Query) -> Option<Answer> {
        let answer = self.0.recall(query)?;
        self.0.given(&answer);
        Some(answer)
    }

    /// The same with a span of its own below the one that is under way.
    pub fn recall_traced(&self, query: &Query) -> Option<Answer> {
        let looked = trace::child("cache.memory");
        let answer = self.recall(query);
        looked.set_result(answer.as_ref().map_or("none", Answer::outcome), None);
        answer
    }

    /// Answers `query` from memory, the store or the source.
    ///
    /// # Errors
    /// The source failed and no copy is left, the caller waited too long or among too many, or the load was lost.
    pub async fn get(&self, query: Query, caller: Caller) -> Result<Answer, GetError> {
        match self.recall_traced(&query) {
            Some(answer) => {
                answer.tell(&trace::current(), self.now_ms());
                Ok(answer)
            }
            None => self.load(query, caller).await,
        }
    }

    /// The same for a question that [`Cache::recall`] could not answer.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn load(&self, query: Query, caller: Caller) -> Result<Answer, GetError> {
        let answer = self.0.wait(&Arc::new(query), caller).await;
        let span = trace::current();
        match &answer {
            Ok(answer) => {
                self.0.given(answer);
                answer.tell(&span, self.now_ms());
            }
            Err(error) => {
                self.0.metrics.not_answered(error.as_str());
                span.set_result("failed", None);
                span.set("stratus.cache.failure", error.as_str());
            }
        }
        answer
    }

    /// Removes every variant of a place, on this replica at once and on the others within a second; how many records there
    /// were in the store.
    ///
    /// # Errors
    /// The store cannot be used, so nothing was purged.
    pub async fn purge(&self, location: &Location) -> Result<u64, StoreError> {
        let (inner, location) = (Arc::clone(&self.0), location.clone());
        purged(async move {
            // Before: what is being asked now shall not be kept. After: nor what is there or was found meanwhile.
            inner.hot.next_generation();
            let removed = inner.shelf.remove(&location).await?;
            inner.hot.clear();
            Ok(removed)
        })
        .await
    }

    /// Makes every record that was fetched until now count as absent: here at once, on the other replicas within a
    /// second.
    ///
    /// # Errors
    /// The store cannot be used, so nothing was purged.
    pub async fn purge_all(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.0);
        purged(async move {
            inner.hot.next_generation();
            inner.shelf.remove_all().await?;
            inner.hot.clear();
            Ok(())
        })
        .await
    }

    /// Whether the store can be used, as it changes.
    pub fn store_state(&self) -> watch::Receiver<StoreState> {
        self.0.shelf.store().state()
    }

    /// `redis` or `memory`.
    pub fn store_kind(&self) -> &'static str {
        self.0.shelf.store().kind()
    }

    /// Entries and bytes of the memory level, bookkeeping included.
    pub fn memory_size(&self) -> (u64, u64) {
        self.0.hot.size()
    }

    /// Callers that wait for a load now.
    pub fn waiting(&self) -> usize {
        self.0.waiting.taken()
    }

    /// Age of the oldest answer given in the last minute or two that should have been renewed long before, and was not; zero if
    /// there was none. A copy that is given while it is renewed is none of these: of a forecast it is half an hour old.
    pub fn oldest_answer(&self) -> Duration {
        self.0.oldest.age(self.0.clock.instant())
    }

    /// Whether the source refuses the key.
    pub fn source_rejects_key(&self) -> bool {
        self.0.source.rejects_key()
    }

    /// How it stands with each encryption key, the sealing one first.
    pub fn keys(&self) -> Vec<KeyReport> {
        self.0.keys()
    }

    /// Now, by the clock that ages are computed with, Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }
}

impl Inner {
    /// Counts an answer.
    fn given(&self, answer: &Answer) {
        self.metrics.answered(answer.outcome());
        let now_ms = self.clock.now_ms();
        if matches!(answer.origin, Origin::Stale(_))
            && answer.windows.freshness(answer.fetched_at_ms, now_ms) != Freshness::Renew
        {
            self.oldest.given(age(answer.fetched_at_ms, now_ms), self.clock.instant());
        }
    }
}

/// Runs a purge in a task of its own: an operator who hangs up must not leave it half done.
async fn purged<T: Send + 'static>(
    purge: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(purge).await.unwrap_or(Err(StoreError::Away))
}
