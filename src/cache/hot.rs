//! The memory level: records of this process, opened and prepared, in front of the store. Nothing in it ever leaves the
//! process but as an answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::freshness::is_from_the_future;
use super::record::{Content, Record};
use crate::weather::Query;

/// What an entry takes beside the bytes of its body and its parameters: the record, the question, the tag, and what the
/// cache and the allocator add. Measured with a million entries, see `docs/benchmarks.md`.
const ENTRY_BYTES: u64 = 480;
/// What the cache is laid out for: a weather body has about 500 bytes.
const ESTIMATED_ENTRY_BYTES: u64 = 1_024;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Query, Record> for ByBytes {
    fn weight(&self, query: &Query, record: &Record) -> u64 {
        let body = match &record.content {
            Content::Weather(body) => body.max_bytes(),
            Content::UnknownPlace(words) => words.as_ref().map_or(0, |words| words.body.len()),
        };
        ENTRY_BYTES + (body + query.parameters().len()) as u64
    }
}

/// Which of the purges a lookup began after. What it finds is not kept if another purge came since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// The records, bounded in bytes; the least useful go first (S3-FIFO).
pub(super) struct Hot {
    /// `None` if the level is off.
    records: Option<Cache<Query, Record, ByBytes>>,
    /// How often everything was dropped, or was about to be. Held while something is kept or dropped, so that neither
    /// crosses the other.
    generation: Mutex<u64>,
}

impl Hot {
    /// Holds `max_bytes` at most; 0 turns the level off.
    pub(super) fn new(max_bytes: u64) -> Self {
        let entries = usize::try_from(max_bytes / ESTIMATED_ENTRY_BYTES).unwrap_or(usize::MAX).max(1);
        let records = (max_bytes > 0).then(|| Cache::with_weighter(entries, max_bytes, ByBytes));
        Self { records, generation: Mutex::new(0) }
    }

    /// The record, unless the clock was set back since it was kept: it would count as new until the clock is there again.
    pub(super) fn get(&self, query: &Query, now_ms: u64) -> Option<Record> {
        self.records.as_ref()?.get(query).filter(|kept| !is_from_the_future(kept.fetched_at_ms, now_ms))
    }

    pub(super) fn generation(&self) -> Generation {
        Generation(*self.lock())
    }

    /// Keeps `record` unless everything was dropped since `generation`, or what is kept already is newer. Gives whether
    /// it is kept.
    pub(super) fn keep(&self, query: &Query, record: &Record, generation: Generation, now_ms: u64) -> bool {
        let Some(records) = &self.records else { return false };
        let current = self.lock();
        if generation != Generation(*current) {
            return false;
        }
        let gives_way =
            |kept: Record| kept.fetched_at_ms <= record.fetched_at_ms || is_from_the_future(kept.fetched_at_ms, now_ms);
        let kept = records.peek(query);
        if kept.clone().is_none_or(gives_way) {
            if let Some(kept) = kept {
                record.follow(&kept);
            }
            records.insert(query.clone(), record.clone());
        }
        // It may be too large for the bound.
        records.contains_key(query)
    }

    /// What lookups that are under way will find is not kept.
    pub(super) fn next_generation(&self) {
        *self.lock() += 1;
    }

    /// Drops everything, also what lookups that are under way will find.
    pub(super) fn clear(&self) {
        let mut generation = self.lock();
        *generation += 1;
        if let Some(records) = &self.records {
            records.clear();
        }
    }

    /// How many records there are, and their bytes with what they take beside their bodies.
    pub(super) fn size(&self) -> (u64, u64) {
        self.records.as_ref().map_or((0, 0), |records| (records.len() as u64, records.weight()))
    }

    /// The number is whole whatever happens to its holder.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::Body;
    use super::super::freshness::{Policy, Spread};
    use super::*;
    use crate::weather::{Location, Units};
    use bytes::Bytes;
    use std::time::Duration;

    const NOW: u64 = 1_000;

    fn record(fetched_at_ms: u64, length: usize) -> Record {
        let policy = Policy {
            fresh: Duration::from_secs(300),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            not_found: Duration::ZERO,
            jitter_percent: 0,
        };
        let content = Content::Weather(Body::new(Bytes::from(vec![b'x'; length])));
        Record::with(content, fetched_at_ms, Spread::of("x", 0), &policy, None)
    }

    fn query(id: u64) -> Query {
        Query::parse(&format!("id:{id}"), "").unwrap()
    }

    #[test]
    fn an_older_record_never_replaces_a_newer_one() {
        let hot = Hot::new(1_000_000);
        let generation = hot.generation();
        for fetched_at_ms in [5, 9, 7] {
            assert!(hot.keep(&query(1), &record(fetched_at_ms, 10), generation, NOW));
        }
        assert_eq!(hot.get(&query(1), NOW).unwrap().fetched_at_ms, 9);
    }

    #[test]
    fn what_a_clock_that_was_set_back_had_dated_is_not_given_and_gives_way() {
        let hot = Hot::new(1_000_000);
        let (later, generation) = (NOW + 86_400_000, hot.generation());
        assert!(hot.keep(&query(1), &record(later, 10), generation, later));
        assert!(hot.get(&query(1), later).is_some());
        assert!(hot.get(&query(1), NOW).is_none());
        assert!(hot.keep(&query(1), &record(NOW, 10), generation, NOW));
        assert_eq!(hot.get(&query(1), NOW).unwrap().fetched_at_ms, NOW);
    }

    #[test]
    fn what_was_looked_up_before_a_purge_is_not_kept_after_it() {
        let hot = Hot::new(1_000_000);
        let before = hot.generation();
        assert!(hot.keep(&query(1), &record(5, 10), before, NOW));
        hot.clear();
        assert!(hot.get(&query(1), NOW).is_none());
        assert!(!hot.keep(&query(1), &record(5, 10), before, NOW));
        assert!(hot.get(&query(1), NOW).is_none());
        assert!(hot.keep(&query(1), &record(5, 10), hot.generation(), NOW));
    }

    #[test]
    fn a_million_places_stay_within_the_bound_and_a_record_larger_than_the_bound_is_not_kept() {
        let hot = Hot::new(1_000_000);
        let record_of_500 = record(5, 500);
        for id in 1..=1_000_000 {
            let query = Query::weather(&Location::Id(id), Units::Metric, None);
            hot.keep(&query, &record_of_500, hot.generation(), NOW);
            if id % 100_000 == 0 {
                let (entries, bytes) = hot.size();
                assert!(bytes <= 1_000_000 && entries > 500, "{entries} entries, {bytes} bytes");
            }
        }
        assert!(!hot.keep(&query(1), &record(6, 2_000_000), hot.generation(), NOW));
        assert!(hot.size().1 <= 1_000_000);
    }

    #[test]
    fn a_level_of_no_bytes_is_off() {
        let hot = Hot::new(0);
        assert!(!hot.keep(&query(1), &record(5, 1), hot.generation(), NOW));
        assert!(hot.get(&query(1), NOW).is_none());
        assert_eq!(hot.size(), (0, 0));
    }
}
