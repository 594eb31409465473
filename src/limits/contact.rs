//! What is said to the store and heard from it.
//!
//! A reservation is counted first and the others' are read after that: of two replicas at least one sees the other. Under
//! rotation a bucket has a name under each key; it is counted under all of them, and the largest number is the one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;

use super::state::{Correction, Errand, Mode, Reply};
use super::window::{KEPT_MS, bucket_of};
use super::{Limits, Meter, Standing};
use crate::crypto::RecordName;
use crate::store::{Reader, StoreError, StoreState};

/// How long the store keeps a number.
const TTL: Duration = Duration::from_millis(KEPT_MS);
/// How often it is tried whether a store that is away is back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Meters that are settled at a time.
const AT_A_TIME: usize = 64;

/// When the store was away, as far as this replica noticed.
#[derive(Debug, Default)]
pub(super) struct Outages {
    pub(super) times: AtomicU64,
    /// When the last one began and ended, Unix milliseconds.
    pub(super) began_ms: AtomicU64,
    ended_ms: AtomicU64,
    is_away: AtomicBool,
}

impl Outages {
    fn begin(&self, now_ms: u64) {
        if !self.is_away.load(Ordering::Acquire) {
            self.began_ms.store(now_ms, Ordering::Relaxed);
            self.times.fetch_add(1, Ordering::Relaxed);
            self.is_away.store(true, Ordering::Release);
        }
    }

    fn end(&self, now_ms: u64) {
        if self.is_away.load(Ordering::Acquire) {
            self.ended_ms.store(now_ms, Ordering::Relaxed);
            self.is_away.store(false, Ordering::Release);
        }
    }

    /// Until the end of the next bucket replicas tell the store what they granted without it.
    pub(super) fn mode(&self, now_ms: u64) -> Mode {
        if self.is_away.load(Ordering::Acquire) {
            return Mode::Away;
        }
        match self.ended_ms.load(Ordering::Relaxed) {
            0 => Mode::Shared,
            // Either way: the clock may have been put back since.
            ended_ms if bucket_of(now_ms).abs_diff(bucket_of(ended_ms)) < 2 => Mode::Returning,
            _ => Mode::Shared,
        }
    }
}

impl Limits {
    /// Reserves something in the store, of which one request is granted to whom has asked, or finds out that there is nothing;
    /// or that the store is away.
    pub(super) async fn ask_for(&self, meter: &Arc<Meter>) -> Option<Standing> {
        let now_ms = self.notes.clock.now_ms();
        if *self.notes.store.state().borrow() != StoreState::Up {
            self.outages.begin(now_ms);
        }
        if self.outages.mode(now_ms) != Mode::Shared {
            self.list(meter);
        }
        if self.outages.mode(now_ms) == Mode::Away {
            return None;
        }
        let asked = self.contact(meter, meter.waiting.load(Ordering::Relaxed)).await;
        if asked.is_err() {
            self.metrics.limit_reserved("away");
            self.list(meter);
        }
        asked.ok().flatten()
    }

    /// One contact with the store, for so many callers who wait; the first of them is granted a request if something was
    /// reserved. Whoever calls this has the turn.
    async fn contact(&self, meter: &Meter, waiting: u32) -> Result<Option<Standing>, StoreError> {
        let asked_ms = self.notes.clock.now_ms();
        let errand = meter.lock().errand(&self.terms(meter), &self.sight(asked_ms), waiting, asked_ms);
        let totals = self.run(meter, &errand).await;
        let reply = Reply { asked_ms, totals: self.heard(totals)? };
        let now_ms = self.notes.clock.now_ms();
        let sight = self.sight(now_ms);
        let (first, corrections) = {
            let mut state = meter.lock();
            let (granted, corrections) = state.learn(&self.terms(meter), &sight, &errand, &reply, now_ms);
            self.reserved(errand.by, granted);
            let first = if granted > 0 { state.take_in_hand(&self.terms(meter), now_ms) } else { None };
            (first, corrections)
        };
        let corrected = self.heard(self.correct(meter, corrections).await);
        // What was granted is granted.
        if first.is_none() {
            corrected?;
        }
        Ok(first)
    }

    fn reserved(&self, by: u32, granted: u32) {
        match granted {
            _ if by == 0 => {}
            0 => self.metrics.limit_reserved("none"),
            granted if granted < by => self.metrics.limit_reserved("partly"),
            _ => self.metrics.limit_reserved("granted"),
        }
    }

    async fn run(&self, meter: &Meter, errand: &Errand) -> Result<Vec<(u64, Option<u32>)>, StoreError> {
        let mut totals = Vec::with_capacity(errand.reads.len() + 1);
        if errand.by > 0 {
            let counts = self
                .names(meter, errand.bucket)
                .into_iter()
                .map(|name| async move { self.notes.store.count(name.as_str(), 0, errand.by.into(), TTL).await });
            let total = try_join_all(counts).await?.into_iter().max();
            totals.push((errand.bucket, total.map(number)));
        }
        let names: Vec<_> = errand.reads.iter().map(|bucket| self.names(meter, *bucket)).collect();
        let values = self.notes.read(&names.iter().flatten().collect::<Vec<_>>(), Reader::Caller).await?;
        let mut values = values.into_iter();
        for (bucket, names) in errand.reads.iter().zip(&names) {
            let found = values.by_ref().take(names.len()).flatten().map(|value| parse(&value));
            totals.push((*bucket, found.max()));
        }
        Ok(totals)
    }

    /// Brings the store to what was used here.
    async fn correct(&self, meter: &Meter, corrections: Vec<Correction>) -> Result<(), StoreError> {
        let corrections = corrections.into_iter().map(|correction| async move {
            let (bucket, by) = correction;
            for name in self.names(meter, bucket) {
                if by > 0 {
                    self.notes.store.count(name.as_str(), 0, by.unsigned_abs(), TTL).await?;
                } else {
                    self.notes.store.take_back(name.as_str(), by.unsigned_abs(), TTL).await?;
                }
            }
            if by > 0 {
                meter.lock().corrected(correction);
            }
            Ok(())
        });
        join_all(corrections).await.into_iter().collect()
    }

    fn names(&self, meter: &Meter, bucket: u64) -> Vec<RecordName> {
        self.notes.names(&format!("limit {bucket} {}", meter.subject))
    }

    /// Remembers that the store could not be used. That it can be used again is for [`Limits::settle`] to find out: one
    /// that is full can still be read.
    fn heard<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|_| self.outages.begin(self.notes.clock.now_ms()))
    }

    /// Whether something can be counted in the store.
    async fn takes_counts(&self) -> bool {
        let counts = self.notes.names("limits are counted");
        let counts = counts.iter().map(|name| self.notes.store.count(name.as_str(), 0, 0, TTL));
        try_join_all(counts).await.is_ok()
    }

    /// This meter goes on without the store, and is settled when that is back.
    fn list(&self, meter: &Arc<Meter>) {
        let mut unsettled = self.unsettled();
        if !meter.is_listed.swap(true, Ordering::Relaxed) {
            // Before it grows: so it has at most twice as many as there are meters.
            if unsettled.len() == unsettled.capacity() {
                unsettled.retain(|meter| meter.strong_count() > 0);
            }
            unsettled.push(Arc::downgrade(meter));
        }
    }

    fn unsettled(&self) -> MutexGuard<'_, Vec<Weak<Meter>>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the store what was granted without it, if it is back.
    async fn settle(&self) {
        if !self.takes_counts().await {
            return self.outages.begin(self.notes.clock.now_ms());
        }
        self.outages.end(self.notes.clock.now_ms());
        let mut at_a_time = 1;
        let mut meters = self.unsettled().clone();
        while !meters.is_empty() {
            let some = meters.split_off(meters.len().saturating_sub(at_a_time));
            let settled = some.iter().filter_map(Weak::upgrade).map(|meter| async move {
                let _turn = meter.turn.lock().await;
                self.contact(&meter, 0).await
            });
            // If one fails the others wait for another time.
            if join_all(settled).await.into_iter().any(|settled| settled.is_err()) {
                return;
            }
            at_a_time = AT_A_TIME;
        }
        if self.outages.mode(self.notes.clock.now_ms()) == Mode::Shared {
            for meter in self.unsettled().drain(..).filter_map(|meter| meter.upgrade()) {
                meter.is_listed.store(false, Ordering::Relaxed);
            }
        }
    }
}

/// Looks for the store again and again while it is away, and until everything is settled.
pub(super) async fn watch_store(limits: Weak<Limits>, mut state: watch::Receiver<StoreState>) {
    // That it is not there from the beginning is no outage: nobody has known it.
    let _ = state.wait_for(|state| *state != StoreState::Connecting).await;
    let mut is_told = true;
    loop {
        let mut has_changed = false;
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            changed = state.changed(), if is_told => (is_told, has_changed) = (changed.is_ok(), changed.is_ok()),
        }
        let Some(limits) = limits.upgrade() else { return };
        if has_changed {
            // It may be back already, and still be another one.
            limits.outages.begin(limits.notes.clock.now_ms());
        }
        let is_up = *state.borrow_and_update() == StoreState::Up;
        if is_up && (limits.outages.is_away.load(Ordering::Relaxed) || !limits.unsettled().is_empty()) {
            limits.settle().await;
        }
    }
}

/// What is no number is the largest: whoever spoils it takes the limit from its caller, and from nobody else.
fn parse(value: &Bytes) -> u32 {
    let total = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    // Less than nothing is what a lost number may be for a moment.
    total.map_or(u32::MAX, |total| number(total.max(0).unsigned_abs()))
}

fn number(total: u64) -> u32 {
    u32::try_from(total).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fleet_tests::{Fleet, NOON};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_no_number_in_the_store_takes_the_limit_from_its_caller_only() {
        let fleet = Fleet::new(60, 3, &[0]);
        let limits = &fleet.replicas[0].limits;
        let [spoilt, other] = ["spoilt", "other"].map(|name| Meter::new(name.to_owned(), 60));
        for name in limits.names(&spoilt, bucket_of(NOON) - 1) {
            limits.notes.store.write(name.as_str(), b"x".to_vec(), TTL).await.unwrap();
        }
        let mut granted = [0, 0];
        for _ in 0..3 {
            granted[0] += u32::from(matches!(limits.take(&spoilt).await, Verdict::Granted(_)));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        for _ in 0..60 {
            granted[1] += u32::from(matches!(limits.take(&other).await, Verdict::Granted(_)));
        }
        assert_eq!(granted, [0, 60]);
    }

    #[test]
    fn a_store_that_is_back_is_shared_again_within_two_buckets_also_by_a_clock_that_was_put_back() {
        let outages = Outages::default();
        assert_eq!(outages.mode(NOON), Mode::Shared);
        outages.begin(NOON);
        assert_eq!(outages.mode(NOON), Mode::Away);
        outages.end(NOON + 1_000);
        assert_eq!((outages.mode(NOON + 1_000), outages.mode(NOON + 5_999)), (Mode::Returning, Mode::Returning));
        assert_eq!((outages.mode(NOON + 6_000), outages.mode(NOON - 3_600_000)), (Mode::Shared, Mode::Shared));
    }
}
