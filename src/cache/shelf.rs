//! The shelf: records in the store, sealed, under keyed names, and what counts as purged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::freshness::{Freshness, Policy, Spread, is_from_the_future};
use super::record::{Content, Record};
use quick_cache::sync::Cache;

use crate::crypto::{OpenError, Opened, Padding, RecordName, Times};
use crate::store::{Note, Notebook, Reader, Store, StoreError};
use crate::telemetry::Metrics;
use crate::weather::{Location, Query};

/// Places whose purges are remembered. One that is forgotten costs calls for a minute after its purge.
const PLACES: usize = 4_096;

/// What the name of a note is the keyed digest of that says when a place was purged. Not of the form of a question.
fn purge_of(place: &str) -> String {
    format!("purge of {place}")
}

/// What a mark says to the replicas that find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Every record that was loaded by somebody who did not know of it counts as absent.
    All,
    /// The records of some place were removed: memory has to forget.
    Place,
}

impl Mark {
    pub(super) const EACH: [Self; 2] = [Self::All, Self::Place];

    /// What its name is the keyed digest of. Not of the form of a question.
    fn subject(self) -> &'static str {
        match self {
            Self::All => "purge all",
            Self::Place => "purge place",
        }
    }
}

/// Sealed records in the store.
pub(super) struct Shelf {
    notes: Notebook,
    policy: Policy,
    metrics: Arc<Metrics>,
    /// When everything was purged last, as far as known here, Unix milliseconds.
    purged_at_ms: AtomicU64,
    /// Whether the mark of that is watched; until then it is read with every record.
    watched: AtomicBool,
    /// The same of places, as far as notes of it were found.
    places: Cache<String, u64>,
}

impl Shelf {
    pub(super) fn new(policy: Policy, notes: Notebook, metrics: Arc<Metrics>) -> Self {
        let (purged_at_ms, watched) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { notes, policy, metrics, purged_at_ms, watched, places: Cache::new(PLACES) }
    }

    /// Where the records are.
    pub(super) fn store(&self) -> &Store {
        &self.notes.store
    }

    /// What replicas leave each other there.
    pub(super) fn notes(&self) -> &Notebook {
        &self.notes
    }

    /// A new record that answers `query`, and what it is called. Whoever loaded it knew of this purge when he began.
    pub(super) fn record(
        &self,
        query: &Query,
        content: Content,
        fetched_at_ms: u64,
        purged_at_ms: u64,
    ) -> (RecordName, Record) {
        let name = self.notes.keyring.names(&query.subject()).swap_remove(0);
        let good_for = query.endpoint().fresh;
        let record = Record::new(content, fetched_at_ms, &name, &self.policy, good_for).after_purge(purged_at_ms);
        (name, record)
    }

    /// When everything was purged last, as far as known here, Unix milliseconds; 0 if it never was.
    pub(super) fn purged_at_ms(&self) -> u64 {
        self.purged_at_ms.load(Ordering::Acquire)
    }

    /// The same of everything or of the place that `query` is about.
    pub(super) fn purged_before(&self, query: &Query) -> u64 {
        let place = query.place().and_then(|place| self.places.get(&place));
        self.purged_at_ms().max(place.unwrap_or_default())
    }

    /// The record that answers `query`, under whichever key of the ring it was named, if it opens and was not purged.
    pub(super) async fn find(&self, query: &Query) -> Option<Record> {
        self.look(query, |error| self.metrics.record_not_opened(error)).await
    }

    /// Looks once more for what [`Shelf::find`] has just not found: what does not open is counted already.
    pub(super) async fn find_again(&self, query: &Query) -> Option<Record> {
        self.look(query, |_| ()).await
    }

    async fn look(&self, query: &Query, unopened: impl Fn(&'static str)) -> Option<Record> {
        let mut names = self.notes.keyring.names(&query.subject());
        let records = names.len();
        let place = query.place();
        names.extend(place.iter().flat_map(|place| self.notes.keyring.names(&purge_of(place))));
        let notes = names.len() - records;
        if !self.watched.load(Ordering::Acquire) {
            names.extend(self.notes.keyring.names(Mark::All.subject()));
        }
        let values = self.notes.read(&names.iter().collect::<Vec<_>>(), Reader::Caller).await.ok()?;

        let now = self.notes.clock.now_ms();
        let mut found =
            names.iter().zip(values).map(|(name, value)| Some((name, self.open(name, &value?, now, &unopened)?)));
        let record = found
            .by_ref()
            .take(records)
            .flatten()
            .filter_map(|(name, opened)| self.read(name, opened, query, &unopened))
            // It lies there for longer than it is good for, like all others.
            .filter(|record| record.freshness(now) != Freshness::Dead)
            .max_by_key(|record| record.fetched_at_ms);
        let purged = found.by_ref().take(notes).flatten().map(|(_, note)| note.times.fetched_at_ms).max();
        if let (Some(place), Some(purged_ms)) = (place, purged) {
            self.places.insert(place, purged_ms);
        }
        for (_, mark) in found.flatten() {
            self.purged_at_ms.fetch_max(mark.times.fetched_at_ms, Ordering::AcqRel);
        }
        record.filter(|record| record.survives(self.purged_at_ms()) && record.survives(purged.unwrap_or_default()))
    }

    fn open(&self, name: &RecordName, value: &[u8], now_ms: u64, unopened: impl Fn(&'static str)) -> Option<Opened> {
        let opened = self.notes.keyring.open(name, value, now_ms);
        let opened = opened.inspect_err(|error| unopened(word(*error))).ok()?;
        let from_the_future = is_from_the_future(opened.times.fetched_at_ms, now_ms);
        if from_the_future {
            unopened("from_the_future");
        }
        (!from_the_future).then_some(opened)
    }

    fn read(
        &self,
        name: &RecordName,
        opened: Opened,
        query: &Query,
        unopened: impl Fn(&'static str),
    ) -> Option<Record> {
        let record = Record::read(opened, name, &self.policy, query.endpoint().fresh);
        if record.is_none() {
            unopened("unknown_kind");
        }
        record
    }

    /// A note for the other replicas.
    pub(super) fn note(&self, subject: &str) -> Note {
        self.notes.note(subject)
    }

    /// Seals and stores the record that answers `query`; whether that worked.
    pub(super) async fn keep(&self, query: &Query, name: &RecordName, record: &Record) -> bool {
        let spread = Spread::of(name.as_str(), record.fetched_at_ms);
        let kept = self.policy.kept(&record.windows, query.endpoint().fresh, spread);
        let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let expires_at_ms = record.fetched_at_ms.saturating_add(kept_ms);
        let times = Times { fetched_at_ms: record.fetched_at_ms, expires_at_ms };
        match self.notes.keyring.seal(name, times, &record.content(), Padding::Record) {
            Ok(sealed) => self.notes.store.write(name.as_str(), sealed, kept).await.is_ok(),
            Err(error) => {
                tracing::error!("a record could not be sealed and was not stored: {error}");
                false
            }
        }
    }

    /// Takes one record away again.
    pub(super) async fn discard(&self, name: &RecordName) {
        // A store that cannot remove it is counted; its end is the record's.
        let _ = self.notes.store.remove(&[name.as_str()]).await;
    }

    /// Removes the weather of now at a place, makes all other records about it count as absent, and tells the other replicas;
    /// how many records there were of the weather.
    pub(super) async fn remove(&self, location: &Location) -> Result<u64, StoreError> {
        let names: Vec<_> =
            Query::all_about(location).flat_map(|query| self.notes.keyring.names(&query.subject())).collect();
        let names: Vec<_> = names.iter().map(RecordName::as_str).collect();
        let removed = self.notes.store.remove(&names).await?;
        // What else can be asked about it nobody can count. Who looks for such a record looks for this, too.
        let place = location.parameters();
        let known = self.places.get(&place).unwrap_or_default();
        let now = self.leave(&purge_of(&place), known).await?;
        self.places.insert(place, now);
        // Only now: whoever reads the mark finds the records gone.
        self.mark(Mark::Place).await?;
        Ok(removed)
    }

    /// Makes every record that was fetched until now count as absent.
    pub(super) async fn remove_all(&self) -> Result<(), StoreError> {
        // Of two purges the later one has the later mark, whatever the clocks of those who gave them say.
        self.marks().await?;
        let now = self.mark(Mark::All).await?;
        self.purged_at_ms.fetch_max(now, Ordering::AcqRel);
        Ok(())
    }

    /// Leaves a mark with the time of now, and later than the purge that is known. Once the oldest record is dead it has done its work.
    async fn mark(&self, mark: Mark) -> Result<u64, StoreError> {
        self.leave(mark.subject(), self.purged_at_ms()).await
    }

    /// The same for what says when something was purged, and later than `known_ms`.
    async fn leave(&self, subject: &str, known_ms: u64) -> Result<u64, StoreError> {
        let now = self.notes.clock.now_ms().max(known_ms.saturating_add(1));
        let lifetime = self.policy.longest_lifetime();
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let times = Times { fetched_at_ms: now, expires_at_ms: now.saturating_add(lifetime_ms) };
        // Under every name of the ring: a replica that has not got the newest key yet looks under the others.
        for name in self.notes.keyring.names(subject) {
            let sealed = self.notes.keyring.seal(&name, times, &[], Padding::Note).map_err(|_| StoreError::Refused)?;
            self.notes.store.write(name.as_str(), sealed, lifetime).await?;
        }
        Ok(now)
    }

    /// The sealed bytes of the marks that are there. Also of those that do not open: another replica may have a newer key,
    /// and to forget too much costs a read.
    pub(super) async fn marks(&self) -> Result<Vec<(Mark, bytes::Bytes)>, StoreError> {
        let names: Vec<_> = Mark::EACH
            .iter()
            .flat_map(|mark| self.notes.keyring.names(mark.subject()).into_iter().map(|name| (*mark, name)))
            .collect();
        let values =
            self.notes.read(&names.iter().map(|(_, name)| name).collect::<Vec<_>>(), Reader::Background).await?;
        let now = self.notes.clock.now_ms();
        let mut marks = Vec::new();
        for ((mark, name), value) in names.iter().zip(values) {
            let Some(value) = value else { continue };
            if let Some(opened) = self.open(name, &value, now, |error| self.metrics.record_not_opened(error))
                && *mark == Mark::All
            {
                self.purged_at_ms.fetch_max(opened.times.fetched_at_ms, Ordering::AcqRel);
            }
            marks.push((*mark, value));
        }
        self.watched.store(true, Ordering::Release);
        Ok(marks)
    }
}

fn word(error: OpenError) -> &'static str {
    match error {
        OpenError::Truncated => "truncated",
        OpenError::OtherVersion => "other_version",
        OpenError::UnknownKey => "unknown_key",
        OpenError::NotAuthentic => "not_authentic",
        OpenError::Expired => "expired",
    }
}
