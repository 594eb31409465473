//! A load: ask the source, once in the fleet, and keep what it says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Inner;
use super::answer::{MEMORY, Origin};
use super::body::Body;
use super::freshness::Freshness;
use super::lease::Turn;
use super::record::{Content, Record};
use crate::telemetry::{Metrics, trace};
use crate::weather::{Caller, Failure, Purpose, Query, SourceError};

/// What a load is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    purpose: Purpose,
    /// When the copy was fetched that there is already, Unix milliseconds.
    known_ms: Option<u64>,
}

impl Wish {
    pub(super) fn miss(caller: Caller) -> Self {
        Self { purpose: Purpose::Miss(caller), known_ms: None }
    }

    pub(super) fn newer_than(copy: &Record, purpose: Purpose) -> Self {
        Self { purpose, known_ms: Some(copy.fetched_at_ms) }
    }
}

/// What the source said, or what another load had brought meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Called {
    pub(super) record: Record,
    pub(super) origin: Origin,
}

impl Inner {
    /// Loads, and says in the load's span what came of it.
    pub(super) async fn load(self: Arc<Self>, query: Arc<Query>, wish: Wish) -> Result<Called, Failure> {
        let called = self.load_in_turn(&query, wish).await;
        let span = trace::current();
        span.set("stratus.load.purpose", wish.purpose.as_str());
        span.set("stratus.load.outcome", outcome(&called));
        if let Err(failure) = &called {
            span.fail(failure.error.as_str());
        }
        called
    }

    /// Loads when it is this replica's turn, and takes what another has brought when it is not.
    async fn load_in_turn(&self, query: &Query, wish: Wish) -> Result<Called, Failure> {
        let held = self.held(wish.purpose);
        if let Some(failure) = held.holds(query, self.clock.instant()) {
            return Err(failure);
        }
        if let Some(error) = self.source.refusal(wish.purpose) {
            return Err(error.into());
        }
        if wish.known_ms.is_some()
            && let Some((record, level)) = self.find_renewed(query, wish).await
        {
            return Ok(Called { record, origin: Origin::Fresh(level) });
        }
        let lease = loop {
            if !self.shelf.store().is_shared() {
                break None;
            }
            let generation = self.hot.generation();
            let waited = trace::child("cache.lease");
            let turn = self.turn(query, |record| self.will_do(record, wish)).await;
            waited.set("stratus.lease.turn", turn.as_str());
            drop(waited);
            match turn {
                Turn::Mine(lease) => break Some(lease),
                Turn::Alone => break None,
                Turn::Found(record) => {
                    self.hot.keep(query, &record, generation, self.clock.now_ms());
                    if self.hot.generation() == generation {
                        let level = self.shelf.store().kind();
                        let is_fresh = record.freshness(self.clock.now_ms()) == Freshness::Fresh;
                        let origin = if is_fresh { Origin::Fresh(level) } else { Origin::Stale(level) };
                        return Ok(Called { record, origin });
                    }
                    // It may have been purged meanwhile, and callers who came after that may share this.
                }
                Turn::Failed(error, pause) => {
                    held.follow(query, error, pause, self.clock.instant());
                    return Err(error.into());
                }
            }
        };
        let called = match &lease {
            Some(lease) => lease.during(self.ask(query, wish)).await,
            None => self.ask(query, wish).await,
        };
        match &called {
            Ok(_) => held.succeeded(query),
            Err(failure) => {
                let pause = held.failed(query, failure, self.clock.instant());
                if let Some(lease) = lease {
                    lease.fail(failure.error, pause, self.clock.now_ms()).await;
                }
                return called;
            }
        }
        if let Some(lease) = lease {
            lease.release().await;
        }
        called
    }

    /// Asks the source and keeps what it says.
    async fn ask(&self, query: &Query, wish: Wish) -> Result<Called, Failure> {
        let (generation, purged_at_ms) = (self.hot.generation(), self.shelf.purged_before(query));
        let fetch = tokio::time::timeout(self.load_timeout, self.source.fetch(query, wish.purpose));
        let (content, fetched_at_ms) = match fetch.await.unwrap_or(Err(SourceError::Timeout.into())) {
            // Copied: the buffer that it was read into may be twice as long, and would be kept with it.
            Ok(fetched) => (Content::Weather(Body::new(Bytes::copy_from_slice(&fetched.body))), fetched.fetched_at_ms),
            Err(Failure { error: SourceError::UnknownLocation, words }) => {
                (Content::UnknownPlace(words), self.clock.now_ms())
            }
            Err(failure) => return Err(failure),
        };
        let (name, record) = self.shelf.record(query, content, fetched_at_ms, purged_at_ms);
        let mut stored = false;
        // What was asked before a purge is not kept after it.
        if self.hot.generation() == generation && !record.windows.lifetime().is_zero() {
            let in_memory = self.hot.keep(query, &record, generation, self.clock.now_ms());
            let writing = trace::command("cache.store.write", self.shelf.store().kind(), "SET");
            let on_the_shelf = self.shelf.keep(query, &name, &record).await;
            if !on_the_shelf {
                writing.fail("not_stored");
            }
            drop(writing);
            if self.hot.generation() == generation {
                stored = in_memory || on_the_shelf;
            } else {
                // The purge may have come before the record did.
                self.shelf.discard(&name).await;
            }
        }
        Ok(Called { record, origin: Origin::Source { stale: wish.known_ms.is_some(), stored, collapsed: false } })
    }

    /// Whether a record answers a wish: it can be given, and is newer than the copy that there is.
    fn will_do(&self, record: &Record, wish: Wish) -> bool {
        let usable = matches!(record.freshness(self.clock.now_ms()), Freshness::Fresh | Freshness::Renew);
        usable && wish.known_ms.is_none_or(|known_ms| record.fetched_at_ms > known_ms)
    }

    /// A record that is as good as asking anew, in memory or in the store: another call may have ended since the copy was
    /// read, or another replica has renewed it.
    async fn find_renewed(&self, query: &Query, wish: Wish) -> Option<(Record, &'static str)> {
        let will_do =
            |record: &Record| record.freshness(self.clock.now_ms()) == Freshness::Fresh && self.will_do(record, wish);
        let generation = self.hot.generation();
        if let Some(record) = self.hot.get(query, self.clock.now_ms()).filter(will_do) {
            return Some((record, MEMORY));
        }
        if self.shelf.store().is_shared() {
            // The store is looked at with the lease.
            return None;
        }
        let found = self.shelf.find(query).await.filter(will_do)?;
        if self.hot.generation() != generation {
            // It may have been purged meanwhile, and callers who came after that may share this.
            return None;
        }
        self.hot.keep(query, &found, generation, self.clock.now_ms());
        Some((found, self.shelf.store().kind()))
    }
}

/// Counts a load that has ended: `None` was lost (a panic, or its runtime ended), whether or not anybody waited for it.
pub(super) fn count(metrics: &Metrics, called: Option<&Result<Called, Failure>>, took: Duration) {
    match called {
        Some(called) => metrics.load_ended(outcome(called), took),
        None => metrics.load_lost(),
    }
}

/// The word for how a load ended, in metrics and traces.
fn outcome(called: &Result<Called, Failure>) -> &'static str {
    match called {
        Ok(Called { origin: Origin::Source { .. }, .. }) => "done",
        Ok(_) => "found",
        Err(_) => "failed",
    }
}
