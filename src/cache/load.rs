//! What happens when memory has no answer: look in the store, ask the source, fall back.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Inner;
use super::answer::{Answer, GetError, MEMORY, Origin};
use super::body::Body;
use super::freshness::Freshness;
use super::hot::Generation;
use super::record::{Content, Record};
use crate::telemetry::Metrics;
use crate::weather::{Purpose, Query, SourceError};

/// How often a load may be lost (a panic, an abort) before its callers are told so.
const LOADS: usize = 2;
/// Renewals behind stale answers that may be under way at once. One more is not begun: the next caller of that question
/// tries again.
const MAX_RENEWALS: usize = 256;

/// What the source said, or what another load had brought meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Called {
    record: Record,
    origin: Origin,
}

impl Inner {
    /// The answer that memory has.
    pub(super) fn recall(self: &Arc<Self>, query: &Query) -> Option<Answer> {
        let now = self.clock.now_ms();
        let record = self.hot.get(query, now)?;
        match record.freshness(now) {
            Freshness::Fresh => Some(Answer::new(record, Origin::Fresh(MEMORY))),
            Freshness::Renew => {
                self.renew(&Arc::new(query.clone()));
                Some(Answer::new(record, Origin::Stale(MEMORY)))
            }
            Freshness::Fallback | Freshness::Dead => None,
        }
    }

    /// Waits for the lookup, as long as a caller may and among as many as may.
    pub(super) async fn wait(self: &Arc<Self>, query: &Arc<Query>) -> Result<Answer, GetError> {
        let _place = self.waiting.enter().ok_or(GetError::Overloaded)?;
        // A caller who leaves gives back the place, but the load goes on.
        if self.lookups.is_full_for(query, self.waiting.places()) {
            return Err(GetError::Overloaded);
        }
        let waited = tokio::time::timeout(self.wait_timeout, self.lead_or_follow(query)).await;
        waited.unwrap_or_else(|_| self.last_copy(query).ok_or(GetError::WaitTimeout))
    }

    /// A copy in memory that is better than an error.
    fn last_copy(&self, query: &Query) -> Option<Answer> {
        self.as_it_is(self.hot.get(query, self.clock.now_ms())?, MEMORY)
    }

    /// The answer when asking failed: the copy, if it is still there and not dead. That is looked at only now, since asking
    /// took its time, and a purge that came meanwhile may have been of this copy.
    async fn fall_back(&self, query: &Query, copy: (Record, &'static str), found_in: Generation) -> Option<Answer> {
        let copy = if self.hot.generation() == found_in { Some(copy) } else { self.find(query).await };
        let (record, level) = copy?;
        self.as_it_is(record, level)
    }

    /// A copy that is better than an error, unless it is dead. It may even be fresh: another load has just brought it.
    fn as_it_is(&self, record: Record, level: &'static str) -> Option<Answer> {
        let origin = match record.freshness(self.clock.now_ms()) {
            Freshness::Fresh => Origin::Fresh(level),
            Freshness::Renew | Freshness::Fallback => Origin::Stale(level),
            Freshness::Dead => return None,
        };
        Some(Answer::new(record, origin))
    }

    async fn lead_or_follow(self: &Arc<Self>, query: &Arc<Query>) -> Result<Answer, GetError> {
        for _ in 0..LOADS {
            let inner = Arc::clone(self);
            let (lookup, joined) = self.lookups.join(query, || inner.look_up(Arc::clone(query)));
            // A lookup that is lost is led by one of those who waited for it.
            if let Some(mut answer) = lookup.await {
                if let Ok(Answer { origin: Origin::Source { collapsed, .. }, .. }) = &mut answer {
                    *collapsed |= joined;
                }
                return answer;
            }
        }
        Err(GetError::Lost)
    }

    async fn look_up(self: Arc<Self>, query: Arc<Query>) -> Result<Answer, GetError> {
        let generation = self.hot.generation();
        let Some((copy, level)) = self.find(&query).await else { return self.call(&query, false).await };
        match copy.freshness(self.clock.now_ms()) {
            Freshness::Fresh => Ok(Answer::new(copy, Origin::Fresh(level))),
            Freshness::Renew => {
                self.renew(&query);
                Ok(Answer::new(copy, Origin::Stale(level)))
            }
            Freshness::Fallback | Freshness::Dead => {
                let called = self.call(&query, true).await;
                if called.is_ok() {
                    return called;
                }
                self.fall_back(&query, (copy, level), generation).await.map_or(called, Ok)
            }
        }
    }

    /// The newest copy and its level. Memory is looked at first: another lookup may have ended since the caller looked.
    async fn find(&self, query: &Query) -> Option<(Record, &'static str)> {
        let generation = self.hot.generation();
        let kept = self.hot.get(query, self.clock.now_ms());
        if let Some(record) = &kept
            && matches!(record.freshness(self.clock.now_ms()), Freshness::Fresh | Freshness::Renew)
        {
            return kept.map(|record| (record, MEMORY));
        }
        let found = self.shelf.find(&query.subject()).await;
        match (kept, found) {
            (Some(kept), Some(found)) if kept.fetched_at_ms >= found.fetched_at_ms => Some((kept, MEMORY)),
            (_, Some(found)) => {
                self.hot.keep(query, &found, generation, self.clock.now_ms());
                Some((found, self.shelf.store.kind()))
            }
            (kept, None) => kept.map(|record| (record, MEMORY)),
        }
    }

    async fn call(self: &Arc<Self>, query: &Arc<Query>, stale: bool) -> Result<Answer, GetError> {
        for _ in 0..LOADS {
            let inner = Arc::clone(self);
            let (call, joined) = self.calls.join(query, || inner.load(Arc::clone(query), stale));
            let Some(called) = call.await else { continue };
            let mut called = called.map_err(GetError::Source)?;
            if let Origin::Source { collapsed, .. } = &mut called.origin {
                *collapsed |= joined;
            }
            return Ok(Answer::new(called.record, called.origin));
        }
        Err(GetError::Lost)
    }

    /// Asks the source behind a stale answer. It goes on by itself; whoever asks next finds what it brings.
    fn renew(self: &Arc<Self>, query: &Arc<Query>) {
        let inner = Arc::clone(self);
        self.calls.begin(query, MAX_RENEWALS, || inner.load(Arc::clone(query), true));
    }

    async fn load(self: Arc<Self>, query: Arc<Query>, stale: bool) -> Result<Called, SourceError> {
        let began = Instant::now();
        let unended = Unended(&self.metrics);
        let called = self.ask(&query, stale).await;
        std::mem::forget(unended);
        let outcome = match &called {
            Ok(Called { origin: Origin::Source { .. }, .. }) => "done",
            Ok(_) => "found",
            Err(_) => "failed",
        };
        self.metrics.load_ended(outcome, began.elapsed());
        called
    }

    /// Asks the source and keeps what it says. With a `stale` copy both levels are looked at once more before: another
    /// call may have ended since the copy was read, or another replica has renewed it.
    async fn ask(&self, query: &Query, stale: bool) -> Result<Called, SourceError> {
        if stale && let Some((record, level)) = self.find_renewed(query).await {
            return Ok(Called { record, origin: Origin::Fresh(level) });
        }
        let generation = self.hot.generation();
        let fetch = tokio::time::timeout(self.load_timeout, self.source.fetch(query, Purpose::Renewal));
        let (content, fetched_at_ms) = match fetch.await.unwrap_or(Err(SourceError::Timeout)) {
            // Copied: the buffer that it was read into may be twice as long, and would be kept with it.
            Ok(fetched) => (Content::Weather(Body::new(Bytes::copy_from_slice(&fetched.body))), fetched.fetched_at_ms),
            Err(SourceError::UnknownLocation) => (Content::UnknownPlace, self.clock.now_ms()),
            Err(error) => return Err(error),
        };
        let (name, record) = self.shelf.record(&query.subject(), content, fetched_at_ms);
        let mut stored = false;
        // What was asked before a purge is not kept after it.
        if self.hot.generation() == generation && !record.windows.lifetime().is_zero() {
            let in_memory = self.hot.keep(query, &record, generation, self.clock.now_ms());
            let on_the_shelf = self.shelf.keep(&name, &record).await;
            if self.hot.generation() == generation {
                stored = in_memory || on_the_shelf;
            } else {
                // The purge may have come before the record did.
                self.shelf.discard(&name).await;
            }
        }
        Ok(Called { record, origin: Origin::Source { stale, stored, collapsed: false } })
    }

    /// A fresh copy, in memory or in the store.
    async fn find_renewed(&self, query: &Query) -> Option<(Record, &'static str)> {
        let fresh = |record: &Record| record.freshness(self.clock.now_ms()) == Freshness::Fresh;
        let generation = self.hot.generation();
        if let Some(record) = self.hot.get(query, self.clock.now_ms()).filter(fresh) {
            return Some((record, MEMORY));
        }
        let found = self.shelf.find(&query.subject()).await.filter(fresh)?;
        if self.hot.generation() != generation {
            // It may have been purged meanwhile, and callers who came after that may share this.
            return None;
        }
        self.hot.keep(query, &found, generation, self.clock.now_ms());
        Some((found, self.shelf.store.kind()))
    }
}

/// A load that has not ended: dropped with it (a panic, or its runtime ended), it is counted as lost, also if nobody waits.
struct Unended<'a>(&'a Metrics);

impl Drop for Unended<'_> {
    fn drop(&mut self) {
        self.0.load_lost();
    }
}
