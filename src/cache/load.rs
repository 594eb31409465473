//! What is answered, and when it is asked anew: look in memory and store, load or have loaded behind the answer, fall back.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::answer::{Answer, GetError, MEMORY, Origin};
use super::backoff::BackOff;
use super::fill::Wish;
use super::freshness::Freshness;
use super::hot::Generation;
use super::record::Record;
use crate::telemetry::trace;
use crate::weather::{Caller, Failure, Purpose, Query, SourceError};

/// How often a load may be lost (a panic, an abort) before its callers are told so.
const LOADS: usize = 2;
/// When a rare question may be asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Renewals behind stale answers that may be under way at once. One more is not begun: the next caller of that question
/// tries again.
const MAX_RENEWALS: usize = 256;

impl Inner {
    /// The answer that memory has.
    pub(super) fn recall(self: &Arc<Self>, query: &Query) -> Option<Answer> {
        let now = self.clock.now_ms();
        let record = self.hot.get(query, now)?;
        let origin = match record.freshness(now) {
            Freshness::Fresh => {
                if record.is_due_ahead(now) {
                    self.renew(query, &record, Purpose::Ahead);
                }
                Origin::Fresh(MEMORY)
            }
            Freshness::Renew | Freshness::Fallback if !self.is_worth_asking(query, &record, Purpose::Renewal) => {
                // Nobody waits for what would not come. But another replica may have had it come.
                if self.shelf.store().is_shared() && record.demand()?.has_to_look(now) {
                    return None;
                }
                Origin::Stale(MEMORY)
            }
            Freshness::Renew => {
                self.begin(query, &record, Purpose::Renewal);
                Origin::Stale(MEMORY)
            }
            Freshness::Fallback | Freshness::Dead => return None,
        };
        if let Some(demand) = record.demand() {
            demand.count();
        }
        Some(Answer::new(record, origin))
    }

    /// Whether a call for `query`, of which there is this copy, can be had now and is the best use of it.
    fn is_worth_asking(&self, query: &Query, copy: &Record, purpose: Purpose) -> bool {
        copy.is_worth_renewing(self.source.thrift(), self.clock.now_ms())
            && self.held(purpose).holds(query, self.clock.instant()).is_none()
            && self.source.refusal(purpose).is_none()
    }

    /// The questions that are not put for this purpose for a while.
    pub(super) fn held(&self, purpose: Purpose) -> &BackOff {
        match purpose {
            Purpose::Ahead => &self.held_ahead,
            Purpose::Renewal | Purpose::Miss(_) => &self.held,
        }
    }

    /// Waits for the lookup, as long as a caller may and among as many as may.
    pub(super) async fn wait(self: &Arc<Self>, query: &Arc<Query>, caller: Caller) -> Result<Answer, GetError> {
        let _place = self.waiting.enter().ok_or(GetError::Overloaded)?;
        // A caller who leaves gives back the place, but the load goes on.
        if self.lookups.is_full_for(query, self.waiting.places()) {
            return Err(GetError::Overloaded);
        }
        let waited = tokio::time::timeout(self.wait_timeout, self.lead_or_follow(query, caller)).await;
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

    async fn lead_or_follow(self: &Arc<Self>, query: &Arc<Query>, caller: Caller) -> Result<Answer, GetError> {
        let mut answer = Err(GetError::Lost);
        for _ in 0..LOADS {
            let inner = Arc::clone(self);
            let (lookup, joined) = self.lookups.join(query, || inner.look_up(Arc::clone(query), caller));
            // A lookup that is lost is led by one of those who waited for it; so is one whose caller has had enough.
            let Some(found) = lookup.await else { continue };
            answer = found;
            match &mut answer {
                Err(GetError::Source(Failure { error: SourceError::OverShare { .. }, .. })) if joined => {}
                Ok(Answer { origin: Origin::Source { collapsed, .. }, .. }) => {
                    *collapsed |= joined;
                    break;
                }
                _ => break,
            }
        }
        answer
    }

    async fn look_up(self: Arc<Self>, query: Arc<Query>, caller: Caller) -> Result<Answer, GetError> {
        let generation = self.hot.generation();
        let Some((copy, level)) = self.find(&query).await else {
            if self.rare.has_to_wait(&query, self.source.is_short(), self.clock.instant()) {
                self.metrics.permit_refused("rare");
                return Err(SourceError::BudgetExhausted { retry_after: ASK_AGAIN }.into());
            }
            return self.call(&query, Wish::miss(caller)).await;
        };
        if let Some(demand) = copy.demand() {
            demand.count();
        }
        match copy.freshness(self.clock.now_ms()) {
            Freshness::Fresh => Ok(Answer::new(copy, Origin::Fresh(level))),
            Freshness::Renew => {
                self.renew(&query, &copy, Purpose::Renewal);
                Ok(Answer::new(copy, Origin::Stale(level)))
            }
            Freshness::Fallback if !self.is_worth_asking(&query, &copy, Purpose::Renewal) => {
                Ok(Answer::new(copy, Origin::Stale(level)))
            }
            freshness @ (Freshness::Fallback | Freshness::Dead) => {
                let dead = freshness == Freshness::Dead;
                let purpose = if dead { Purpose::Miss(caller) } else { Purpose::Renewal };
                let called = self.call(&query, Wish::newer_than(&copy, purpose)).await;
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
            && record.freshness(self.clock.now_ms()) == Freshness::Fresh
        {
            return kept.map(|record| (record, MEMORY));
        }
        let looked = trace::command("cache.store.read", self.shelf.store().kind(), "MGET");
        let found = self.shelf.find(query).await;
        looked.set_result(found.as_ref().map_or("none", |record| record.freshness(self.clock.now_ms()).as_str()), None);
        drop(looked);
        match (kept, found) {
            (Some(kept), Some(found)) if kept.fetched_at_ms >= found.fetched_at_ms => Some((kept, MEMORY)),
            (_, Some(found)) => {
                self.hot.keep(query, &found, generation, self.clock.now_ms());
                Some((found, self.shelf.store().kind()))
            }
            (kept, None) => kept.map(|record| (record, MEMORY)),
        }
    }

    async fn call(self: &Arc<Self>, query: &Arc<Query>, wish: Wish) -> Result<Answer, GetError> {
        let mut answer = Err(GetError::Lost);
        for _ in 0..LOADS {
            let inner = Arc::clone(self);
            let (call, joined) = self.calls.join(query, || inner.load(Arc::clone(query), wish));
            let Some(called) = call.await else { continue };
            match called {
                // It was for another caller.
                Err(failure @ Failure { error: SourceError::OverShare { .. }, .. }) if joined => {
                    answer = Err(GetError::Source(failure));
                }
                Err(failure) => return Err(GetError::Source(failure)),
                Ok(mut called) => {
                    if let Origin::Source { collapsed, .. } = &mut called.origin {
                        *collapsed |= joined;
                    }
                    return Ok(Answer::new(called.record, called.origin));
                }
            }
        }
        answer
    }

    /// Asks the source behind an answer, if that is worth a call. It goes on by itself; whoever asks next finds what it
    /// brings.
    fn renew(self: &Arc<Self>, query: &Query, copy: &Record, purpose: Purpose) {
        if self.is_worth_asking(query, copy, purpose) {
            self.begin(query, copy, purpose);
        }
    }

    fn begin(self: &Arc<Self>, query: &Query, copy: &Record, purpose: Purpose) {
        let (inner, query) = (Arc::clone(self), Arc::new(query.clone()));
        let wish = Wish::newer_than(copy, purpose);
        // A load may have failed since the caller looked, and its pause has begun.
        let due = || self.held(purpose).holds(&query, self.clock.instant()).is_none();
        self.calls.begin(&query, MAX_RENEWALS, due, || inner.load(Arc::clone(&query), wish));
    }
}
