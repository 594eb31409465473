//! The cache: one call, [`Cache::get`], which hides the store, the sealing, the sharing of loads and staleness.
//!
//! 1. Join the one load of this question, or lead it.
//! 2. Read the sealed record and open it. What does not open is a counted miss.
//! 3. Fresh: that is the answer.
//! 4. Otherwise ask the source; seal the answer, write it to the store, answer.
//! 5. The source failed: a copy that is not dead yet is the answer, marked stale; else the error.
//!
//! A failure of the store is never an error here: it is counted, and the answer comes from the source.

mod flight;
mod freshness;
mod memory;
mod redis;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::crypto::{Keyring, OpenError, Times};
use crate::telemetry::Metrics;
use crate::weather::{Fetched, Location, Query, Source, SourceError};
use flight::Flights;
pub use freshness::{CacheConfig, Freshness, age};
pub use redis::{Advice, Finding, RedisConfig, examine as examine_redis};
use store::Store;
pub use store::{StoreConfig, StoreError, StoreState};

/// The subject of the record that says when everything was purged last.
const PURGE_ALL: &str = "purge all";

/// An answer and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// OpenWeatherMap's body, byte for byte.
    pub body: Bytes,
    /// When it answered, Unix milliseconds.
    pub fetched_at_ms: u64,
    /// Where the answer came from.
    pub origin: Origin,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The store, fresh; the word says which (`redis` or `memory`).
    Store(&'static str),
    /// The store, stale, because the source failed.
    Stale(&'static str),
    /// The source.
    Source {
        /// It was written to the store.
        stored: bool,
        /// It was another caller's load.
        collapsed: bool,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetError {
    /// The source failed and there is no copy to fall back on.
    Source(SourceError),
    /// The load was lost by a fault of ours.
    Lost,
}

/// Where answers are kept and found.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
    flights: Arc<Flights<Result<Answer, SourceError>>>,
}

struct Inner {
    config: CacheConfig,
    keyring: Keyring,
    store: Store,
    source: Arc<dyn Source>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Cache {
    /// Starts the store; needs a Tokio runtime.
    pub fn start(
        config: CacheConfig,
        keyring: Keyring,
        store: StoreConfig,
        source: Arc<dyn Source>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let store = Store::start(store, clock.clone(), Arc::clone(&metrics));
        let inner = Arc::new(Inner { config, keyring, store, source, clock, metrics });
        Self { inner, flights: Arc::new(Flights::new()) }
    }

    /// Answers `query` from the store or the source.
    ///
    /// # Errors
    /// The source failed and no copy is left, or the load was lost.
    pub async fn get(&self, query: Query) -> Result<Answer, GetError> {
        let metrics = Arc::clone(&self.inner.metrics);
        let subject = query.subject();
        let flight = self.inner.keyring.names(&subject).swap_remove(0);
        let inner = Arc::clone(&self.inner);
        let (answer, joined) =
            self.flights.join(flight, move || async move { inner.load(&query, &subject).await }).await;
        let answer = match answer {
            Some(Ok(mut answer)) => {
                if let Origin::Source { collapsed, .. } = &mut answer.origin {
                    *collapsed = joined;
                }
                Ok(answer)
            }
            Some(Err(error)) => Err(GetError::Source(error)),
            None => Err(GetError::Lost),
        };
        metrics.answered(match &answer {
            Ok(Answer { origin: Origin::Store(_), .. }) => "hit",
            Ok(Answer { origin: Origin::Stale(_), .. }) => "stale",
            Ok(Answer { origin: Origin::Source { .. }, .. }) => "miss",
            Err(_) => "failed",
        });
        answer
    }

    /// Removes every variant of a place; how many records there were.
    ///
    /// # Errors
    /// The store cannot be used, so nothing was removed.
    pub async fn purge(&self, location: &Location) -> Result<u64, StoreError> {
        let names: Vec<_> =
            Query::all_about(location).flat_map(|query| self.inner.keyring.names(&query.subject())).collect();
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        self.inner.store.remove(&names).await
    }

    /// Makes every record that was fetched until now count as absent, on all replicas that share the store.
    ///
    /// # Errors
    /// The store cannot be used, so nothing was purged.
    pub async fn purge_all(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let now = inner.clock.now_ms();
        let name = inner.keyring.names(PURGE_ALL).swap_remove(0);
        // Once the oldest record is dead the mark has done its work.
        let record = inner.keyring.seal(&name, inner.times(now), &[]).map_err(|_| StoreError::Refused)?;
        inner.store.write(name.as_str(), record, inner.config.lifetime()).await
    }

    /// Whether the store can be used, as it changes.
    pub fn store_state(&self) -> watch::Receiver<StoreState> {
        self.inner.store.state()
    }

    /// `redis` or `memory`.
    pub fn store_kind(&self) -> &'static str {
        self.inner.store.kind()
    }

    /// The settings.
    pub fn config(&self) -> CacheConfig {
        self.inner.config
    }

    /// Now, by the clock that ages are computed with, Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }
}

impl Inner {
    async fn load(&self, query: &Query, subject: &str) -> Result<Answer, SourceError> {
        let freshness = |copy: &Fetched| self.config.freshness(copy.fetched_at_ms, self.clock.now_ms());
        let copy = self.find(subject).await;
        if let Some(copy) = &copy
            && freshness(copy) == Freshness::Fresh
        {
            return Ok(answer(copy.clone(), Origin::Store(self.store.kind())));
        }
        match self.source.fetch(query).await {
            Ok(fetched) => {
                let stored = self.keep(subject, &fetched).await;
                Ok(answer(fetched, Origin::Source { stored, collapsed: false }))
            }
            // The upstream knows better than an old copy of ours.
            Err(SourceError::UnknownLocation) => Err(SourceError::UnknownLocation),
            // Looked at once more: asking took its time.
            Err(error) => match copy.filter(|copy| freshness(copy) != Freshness::Dead) {
                Some(copy) => Ok(answer(copy, Origin::Stale(self.store.kind()))),
                None => Err(error),
            },
        }
    }

    /// The record about `subject`, under whichever key of the ring it was named, if it opens and was not purged.
    async fn find(&self, subject: &str) -> Option<Fetched> {
        let records = self.keyring.names(subject);
        let marks = self.keyring.names(PURGE_ALL);
        let names: Vec<_> = records.iter().chain(&marks).collect();
        let text: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        let values = self.store.read(&text).await.ok()?;

        let now = self.clock.now_ms();
        let mut opened = names.iter().zip(values).map(|(name, value)| {
            let opened = self.keyring.open(name, &value?, now);
            opened.inspect_err(|error| self.metrics.record_not_opened(word(*error))).ok()
        });
        let newest = |a: Fetched, b: Fetched| if b.fetched_at_ms > a.fetched_at_ms { b } else { a };
        let fetched = |opened: crate::crypto::Opened| Fetched {
            body: opened.plaintext.into(),
            fetched_at_ms: opened.times.fetched_at_ms,
        };
        let record = opened.by_ref().take(records.len()).flatten().map(fetched).reduce(newest);
        let purged_at_ms = opened.flatten().map(|mark| mark.times.fetched_at_ms).max();
        record.filter(|record| purged_at_ms.is_none_or(|purged| record.fetched_at_ms > purged))
    }

    /// Seals and stores what was fetched; whether that worked.
    async fn keep(&self, subject: &str, fetched: &Fetched) -> bool {
        let name = self.keyring.names(subject).swap_remove(0);
        match self.keyring.seal(&name, self.times(fetched.fetched_at_ms), &fetched.body) {
            Ok(record) => self.store.write(name.as_str(), record, self.config.lifetime()).await.is_ok(),
            Err(error) => {
                tracing::error!("a record could not be sealed and was not stored: {error}");
                false
            }
        }
    }

    fn times(&self, fetched_at_ms: u64) -> Times {
        let lifetime_ms = u64::try_from(self.config.lifetime().as_millis()).unwrap_or(u64::MAX);
        Times { fetched_at_ms, expires_at_ms: fetched_at_ms.saturating_add(lifetime_ms) }
    }
}

fn answer(fetched: Fetched, origin: Origin) -> Answer {
    Answer { body: fetched.body, fetched_at_ms: fetched.fetched_at_ms, origin }
}

fn word(error: OpenError) -> &'static str {
    match error {
        OpenError::Truncated => "truncated",
        OpenError::NewerVersion => "newer_version",
        OpenError::UnknownKey => "unknown_key",
        OpenError::NotAuthentic => "not_authentic",
        OpenError::Expired => "expired",
    }
}
