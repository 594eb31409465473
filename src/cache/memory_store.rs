//! The store in this process: the same sealed records, under the same names, with the same expiry as in Redis.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::clock::Clock;

/// Bytes of names and records at most: about 75 000 places.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What the cache is laid out for; a weather record has about 700 bytes and its name 51.
const ESTIMATED_RECORDS: usize = 80_000;
/// Bookkeeping of one entry.
const ENTRY_BYTES: u64 = 100;

#[derive(Clone)]
struct Entry {
    record: Bytes,
    expires_at_ms: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<String, Entry> for ByBytes {
    fn weight(&self, name: &String, entry: &Entry) -> u64 {
        ENTRY_BYTES + name.len() as u64 + entry.record.len() as u64
    }
}

/// Sealed records in memory, bounded in bytes; the least useful go first.
#[derive(Clone)]
pub(super) struct MemoryStore {
    records: Arc<Cache<String, Entry, ByBytes>>,
    clock: Clock,
}

impl MemoryStore {
    pub(super) fn new(clock: Clock) -> Self {
        Self::bounded(clock, MAX_BYTES)
    }

    fn bounded(clock: Clock, max_bytes: u64) -> Self {
        Self { records: Arc::new(Cache::with_weighter(ESTIMATED_RECORDS, max_bytes, ByBytes)), clock }
    }

    pub(super) fn read(&self, names: &[&str]) -> Vec<Option<Bytes>> {
        let now = self.clock.now_ms();
        let live = |name: &&str| self.records.get(*name).filter(|entry| now < entry.expires_at_ms);
        names.iter().map(|name| live(name).map(|entry| entry.record)).collect()
    }

    pub(super) fn write(&self, name: &str, record: Vec<u8>, ttl: Duration) {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let expires_at_ms = self.clock.now_ms().saturating_add(ttl_ms);
        self.records.insert(name.to_owned(), Entry { record: record.into(), expires_at_ms });
    }

    pub(super) fn remove(&self, names: &[&str]) -> u64 {
        names.iter().filter(|name| self.records.remove(**name).is_some()).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_record_is_gone_when_its_time_is_over() {
        let now = Arc::new(AtomicU64::new(1_000));
        let clock = Clock::from_fn({
            let now = Arc::clone(&now);
            move || now.load(Ordering::SeqCst)
        });
        let store = MemoryStore::new(clock);
        store.write("a", b"x".to_vec(), Duration::from_millis(500));
        assert_eq!(store.read(&["a", "b"]), [Some(Bytes::from_static(b"x")), None]);
        now.store(1_500, Ordering::SeqCst);
        assert_eq!(store.read(&["a"]), [None]);
    }

    #[test]
    fn the_bytes_are_bounded_and_what_was_removed_is_gone() {
        let store = MemoryStore::bounded(Clock::system(), 100_000);
        for number in 0..1_000 {
            store.write(&format!("n{number}"), vec![0; 1_000], Duration::from_secs(60));
        }
        assert!(store.records.weight() <= 100_000, "{}", store.records.weight());
        store.write("last", vec![1], Duration::from_secs(60));
        assert_eq!(store.remove(&["last", "never there"]), 1);
        assert_eq!(store.read(&["last"]), [None]);
    }
}
