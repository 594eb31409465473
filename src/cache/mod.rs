//! The cache: one call, [`Cache::get`], which hides the store, the sealing, the sharing of loads and staleness.
//!
//! 1. Join the one lookup of this question, or lead it: read the sealed record and open it. What does not open is a
//!    counted miss.
//! 2. Fresh: that is the answer.
//! 3. A little stale: that is the answer, too, and the source is asked behind it, once.
//! 4. Otherwise join the one call to the source, or lead it: seal its answer, write it to the store, answer. That a place
//!    is unknown is an answer, too, and kept for a shorter time.
//! 5. The source failed: a copy that is not dead yet is the answer, marked stale; else the error.
//!
//! A failure of the store is never an error here: it is counted, and the answer comes from the source.

mod flight;
mod freshness;
mod memory;
mod record;
mod redis;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::crypto::{Keyring, OpenError, Opened, RecordName, Times};
use crate::telemetry::Metrics;
use crate::weather::{Location, Query, Source, SourceError};
use flight::{Flights, Load};
pub use freshness::{CacheConfig, Freshness, Windows, age};
pub use record::Content;
use record::Record;
pub use redis::{Advice, Finding, RedisConfig, examine as examine_redis};
use store::Store;
pub use store::{StoreConfig, StoreError, StoreState};

/// By how much the clocks of replicas may differ. A record that is further in the future was written by a clock that is
/// wrong, or this one was set back: it would count as new for too long, and a mark would hide what is written now.
const CLOCK_TOLERANCE_MS: u64 = 60_000;
/// The subject of the record that says when everything was purged last.
const PURGE_ALL: &str = "purge all";

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
    /// The store, fresh; the word says which (`redis` or `memory`).
    Store(&'static str),
    /// The store, stale: the source is being asked behind it, or failed.
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
pub struct Cache(Arc<Inner>);

struct Inner {
    config: CacheConfig,
    keyring: Keyring,
    store: Store,
    source: Arc<dyn Source>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Reading the store, and all that follows from it.
    lookups: Flights<Result<Answer, GetError>>,
    /// How often something was purged here: what was asked before a purge is not stored after it.
    purges: AtomicU64,
    /// Asking the source.
    calls: Flights<Result<Called, SourceError>>,
}

/// What the source said, and whether it was stored.
#[derive(Clone)]
struct Called {
    record: Record,
    stored: bool,
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
        let (lookups, calls) = (Flights::new(), Flights::new());
        let purges = AtomicU64::new(0);
        Self(Arc::new(Inner { config, keyring, store, source, clock, metrics, lookups, purges, calls }))
    }

    /// Answers `query` from the store or the source.
    ///
    /// # Errors
    /// The source failed and no copy is left, or the load was lost.
    pub async fn get(&self, query: Query) -> Result<Answer, GetError> {
        let subject = query.subject();
        let name = self.0.name(&subject);
        let inner = Arc::clone(&self.0);
        let lookup = || async move { inner.look_up(query, subject).await };
        let (answer, joined) = self.0.lookups.join(name, lookup).await;
        let mut answer = answer.unwrap_or(Err(GetError::Lost));
        if let Ok(Answer { origin: Origin::Source { collapsed, .. }, .. }) = &mut answer {
            *collapsed |= joined;
        }
        self.0.metrics.answered(outcome(&answer));
        answer
    }

    /// Removes every variant of a place; how many records there were.
    ///
    /// # Errors
    /// The store cannot be used, so nothing was removed.
    pub async fn purge(&self, location: &Location) -> Result<u64, StoreError> {
        let names: Vec<_> =
            Query::all_about(location).flat_map(|query| self.0.keyring.names(&query.subject())).collect();
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        self.0.purges.fetch_add(1, Ordering::SeqCst);
        self.0.store.remove(&names).await
    }

    /// Makes every record that was fetched until now count as absent, on all replicas that share the store.
    ///
    /// # Errors
    /// The store cannot be used, so nothing was purged.
    pub async fn purge_all(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        inner.purges.fetch_add(1, Ordering::SeqCst);
        let now = inner.clock.now_ms();
        let name = inner.keyring.names(PURGE_ALL).swap_remove(0);
        // Once the oldest record is dead the mark has done its work.
        let lifetime = inner.config.longest_lifetime();
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let times = Times { fetched_at_ms: now, expires_at_ms: now.saturating_add(lifetime_ms) };
        let mark = inner.keyring.seal(&name, times, &[]).map_err(|_| StoreError::Refused)?;
        inner.store.write(name.as_str(), mark, lifetime).await
    }

    /// Whether the store can be used, as it changes.
    pub fn store_state(&self) -> watch::Receiver<StoreState> {
        self.0.store.state()
    }

    /// `redis` or `memory`.
    pub fn store_kind(&self) -> &'static str {
        self.0.store.kind()
    }

    /// Now, by the clock that ages are computed with, Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }
}

impl Inner {
    async fn look_up(self: Arc<Self>, query: Query, subject: String) -> Result<Answer, GetError> {
        let store = self.store.kind();
        let Some(copy) = self.find(&subject).await else { return self.call(query, subject, false).await };
        match copy.freshness(self.clock.now_ms()) {
            Freshness::Fresh => Ok(answer(copy, Origin::Store(store))),
            Freshness::Renew => {
                // It goes on by itself; whoever asks next finds what it brings.
                drop(self.begin_call(query, subject, true));
                Ok(answer(copy, Origin::Stale(store)))
            }
            Freshness::Fallback | Freshness::Dead => {
                let called = self.call(query, subject, true).await;
                // Looked at only now: asking took its time.
                let usable = copy.freshness(self.clock.now_ms()) != Freshness::Dead;
                if called.is_err() && usable { Ok(answer(copy, Origin::Stale(store))) } else { called }
            }
        }
    }

    async fn call(self: &Arc<Self>, query: Query, subject: String, had_copy: bool) -> Result<Answer, GetError> {
        let (call, collapsed) = self.begin_call(query, subject, had_copy);
        let called = call.await.ok_or(GetError::Lost)?.map_err(GetError::Source)?;
        Ok(answer(called.record, Origin::Source { stored: called.stored, collapsed }))
    }

    fn begin_call(
        self: &Arc<Self>,
        query: Query,
        subject: String,
        had_copy: bool,
    ) -> (Load<Result<Called, SourceError>>, bool) {
        let inner = Arc::clone(self);
        let name = self.name(&subject);
        self.calls.begin(name, move || async move { inner.ask(&query, &subject, had_copy).await })
    }

    /// Asks the source and stores what it says. With `had_copy` the store is looked at once more before: another call may
    /// have ended since the copy was read.
    async fn ask(&self, query: &Query, subject: &str, had_copy: bool) -> Result<Called, SourceError> {
        if had_copy
            && let Some(record) = self.find(subject).await
            && record.freshness(self.clock.now_ms()) == Freshness::Fresh
        {
            return Ok(Called { record, stored: true });
        }
        let purges = self.purges.load(Ordering::SeqCst);
        let (content, fetched_at_ms) = match self.source.fetch(query).await {
            Ok(fetched) => (Content::Weather(fetched.body), fetched.fetched_at_ms),
            Err(SourceError::UnknownLocation) => (Content::UnknownPlace, self.clock.now_ms()),
            Err(error) => return Err(error),
        };
        let name = self.name(subject);
        let record = Record::new(content, fetched_at_ms, &name, &self.config);
        let stored = self.purges.load(Ordering::SeqCst) == purges && self.keep(&name, &record).await;
        Ok(Called { record, stored })
    }

    /// What a new record about `subject` is called.
    fn name(&self, subject: &str) -> RecordName {
        self.keyring.names(subject).swap_remove(0)
    }

    /// The record about `subject`, under whichever key of the ring it was named, if it opens and was not purged.
    async fn find(&self, subject: &str) -> Option<Record> {
        let records = self.keyring.names(subject);
        let marks = self.keyring.names(PURGE_ALL);
        let names: Vec<_> = records.iter().chain(&marks).collect();
        let text: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        let values = self.store.read(&text).await.ok()?;

        let now = self.clock.now_ms();
        let mut opened = names.iter().zip(values).map(|(name, value)| {
            let opened = self.keyring.open(name, &value?, now);
            let opened = opened.inspect_err(|error| self.metrics.record_not_opened(word(*error))).ok()?;
            let from_the_future = opened.times.fetched_at_ms > now.saturating_add(CLOCK_TOLERANCE_MS);
            if from_the_future {
                self.metrics.record_not_opened("from_the_future");
            }
            (!from_the_future).then_some(opened)
        });
        let newest = |a: Record, b: Record| if b.fetched_at_ms > a.fetched_at_ms { b } else { a };
        let read = |(opened, name): (Option<Opened>, &RecordName)| {
            let record = Record::read(opened?, name, &self.config);
            if record.is_none() {
                self.metrics.record_not_opened("unknown_kind");
            }
            record
        };
        let record = opened.by_ref().take(records.len()).zip(&records).filter_map(read).reduce(newest);
        let purged_at_ms = opened.flatten().map(|mark| mark.times.fetched_at_ms).max();
        record.filter(|record| purged_at_ms.is_none_or(|purged| record.fetched_at_ms > purged))
    }

    /// Seals and stores a record; whether that worked.
    async fn keep(&self, name: &RecordName, record: &Record) -> bool {
        let lifetime = record.windows.lifetime();
        if lifetime.is_zero() {
            return false;
        }
        let times = Times { fetched_at_ms: record.fetched_at_ms, expires_at_ms: record.expires_at_ms() };
        match self.keyring.seal(name, times, &record.plaintext()) {
            Ok(sealed) => self.store.write(name.as_str(), sealed, lifetime).await.is_ok(),
            Err(error) => {
                tracing::error!("a record could not be sealed and was not stored: {error}");
                false
            }
        }
    }
}

fn answer(record: Record, origin: Origin) -> Answer {
    Answer { content: record.content, fetched_at_ms: record.fetched_at_ms, windows: record.windows, origin }
}

/// The label under which an answer is counted.
fn outcome(answer: &Result<Answer, GetError>) -> &'static str {
    match answer {
        Ok(Answer { content: Content::UnknownPlace, origin: Origin::Store(_), .. }) => "negative",
        Ok(Answer { origin: Origin::Store(_), .. }) => "hit",
        Ok(Answer { origin: Origin::Stale(_), .. }) => "stale",
        Ok(Answer { origin: Origin::Source { .. }, .. }) => "miss",
        Err(_) => "failed",
    }
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
