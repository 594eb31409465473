//! The store in this process: the same sealed records, under the same names, with the same expiry as in Redis.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use super::{StoreError, StoreState};
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
///
/// What is claimed or counted is kept apart and never displaced: a place lost would be a call too many.
#[derive(Clone)]
pub struct MemoryStore {
    records: Arc<Cache<String, Entry, ByBytes>>,
    claims: Arc<Mutex<Claims>>,
    away: Arc<AtomicBool>,
    #[cfg(test)]
    full: Arc<AtomicBool>,
    state: watch::Sender<StoreState>,
    clock: Clock,
}

#[derive(Default)]
struct Claims {
    values: HashMap<String, Entry>,
    numbers: HashMap<String, (u64, u64)>,
}

impl Claims {
    fn drop_expired(&mut self, now_ms: u64) {
        self.values.retain(|_, entry| now_ms < entry.expires_at_ms);
        self.numbers.retain(|_, (_, expires_at_ms)| now_ms < *expires_at_ms);
    }
}

impl MemoryStore {
    /// An empty one.
    pub fn new(clock: Clock) -> Self {
        Self::bounded(clock, MAX_BYTES)
    }

    fn bounded(clock: Clock, max_bytes: u64) -> Self {
        Self {
            records: Arc::new(Cache::with_weighter(ESTIMATED_RECORDS, max_bytes, ByBytes)),
            claims: Arc::default(),
            away: Arc::default(),
            #[cfg(test)]
            full: Arc::default(),
            state: watch::Sender::new(StoreState::Up),
            clock,
        }
    }

    /// Makes every operation fail until it is called with `false`: how a simulation takes its store away.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
        let down = || StoreState::Down { reason: "away".to_owned(), fix: "" };
        self.state.send_replace(if away { down() } else { StoreState::Up });
    }

    /// Makes every operation fail that adds something, as in a Redis without room.
    #[cfg(test)]
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Loses everything, as a Redis without persistence does when it ends.
    pub fn lose_everything(&self) {
        self.records.clear();
        *self.lock() = Claims::default();
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    fn there(&self) -> Result<u64, StoreError> {
        if self.away.load(Ordering::SeqCst) { Err(StoreError::Away) } else { Ok(self.clock.now_ms()) }
    }

    fn has_room(&self) -> Result<u64, StoreError> {
        #[cfg(test)]
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Refused);
        }
        self.there()
    }

    pub(super) fn read(&self, names: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let now = self.there()?;
        let claims = self.lock();
        let number = |name: &str| {
            let (number, expires_at_ms) = *claims.numbers.get(name)?;
            Some(Entry { record: number.to_string().into(), expires_at_ms })
        };
        let claimed = |name: &str| claims.values.get(name).cloned().or_else(|| number(name));
        let entry = |name: &str| claimed(name).or_else(|| self.records.get(name));
        let live = |name: &&str| entry(name).filter(|entry| now < entry.expires_at_ms);
        Ok(names.iter().map(|name| live(name).map(|entry| entry.record)).collect())
    }

    pub(super) fn write(&self, name: &str, record: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        let expires_at_ms = self.has_room()?.saturating_add(millis(ttl));
        let entry = Entry { record: record.into(), expires_at_ms };
        match self.lock().values.get_mut(name) {
            Some(claimed) => *claimed = entry,
            None => self.records.insert(name.to_owned(), entry),
        }
        Ok(())
    }

    pub(super) fn remove(&self, names: &[&str]) -> Result<u64, StoreError> {
        self.there()?;
        let mut claims = self.lock();
        let mut remove = |name: &str| claims.values.remove(name).is_some() | self.records.remove(name).is_some();
        Ok(names.iter().filter(|name| remove(name)).count() as u64)
    }

    pub(super) fn claim(&self, name: &str, value: Vec<u8>, ttl: Duration) -> Result<Option<Bytes>, StoreError> {
        let now = self.has_room()?;
        let mut claims = self.lock();
        claims.drop_expired(now);
        let written = || self.records.get(name).filter(|entry| now < entry.expires_at_ms);
        if let Some(entry) = claims.values.get(name).cloned().or_else(written) {
            return Ok(Some(entry.record));
        }
        let entry = Entry { record: value.into(), expires_at_ms: now.saturating_add(millis(ttl)) };
        claims.values.insert(name.to_owned(), entry);
        Ok(None)
    }

    pub(super) fn count(&self, name: &str, start: u64, by: u64, ttl: Duration) -> Result<u64, StoreError> {
        let now = self.has_room()?;
        let mut claims = self.lock();
        claims.drop_expired(now);
        let (number, _) = claims.numbers.entry(name.to_owned()).or_insert((start, now.saturating_add(millis(ttl))));
        *number = number.saturating_add(by);
        Ok(*number)
    }

    pub(super) fn take_back(&self, name: &str, by: u64, ttl: Duration) -> Result<u64, StoreError> {
        let now = self.has_room()?;
        let mut claims = self.lock();
        claims.drop_expired(now);
        let (number, _) = claims.numbers.entry(name.to_owned()).or_insert((by, now.saturating_add(millis(ttl))));
        *number = number.saturating_sub(by);
        Ok(*number)
    }

    /// The maps are whole whatever happens to their holder.
    fn lock(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} records)", self.records.len())
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn a_record_is_gone_when_its_time_is_over() {
        let now = Arc::new(AtomicU64::new(1_000));
        let clock = Clock::from_fn({
            let now = Arc::clone(&now);
            move || now.load(Ordering::SeqCst)
        });
        let store = MemoryStore::new(clock);
        store.write("a", b"x".to_vec(), Duration::from_millis(500)).unwrap();
        assert_eq!(store.read(&["a", "b"]).unwrap(), [Some(Bytes::from_static(b"x")), None]);
        assert_eq!(store.claim("c", b"1".to_vec(), Duration::from_millis(500)).unwrap(), None);
        assert_eq!(store.count("n", 40, 2, Duration::from_millis(500)).unwrap(), 42);
        assert_eq!(store.claim("c", b"2".to_vec(), Duration::from_secs(1)).unwrap(), Some(Bytes::from_static(b"1")));
        assert_eq!(store.count("n", 7, 1, Duration::from_secs(1)).unwrap(), 43);
        assert_eq!(store.read(&["n"]).unwrap(), [Some(Bytes::from_static(b"43"))]);
        assert_eq!(store.take_back("n", 3, Duration::from_secs(1)).unwrap(), 40);
        assert_eq!(store.count("n", 7, 3, Duration::from_secs(1)).unwrap(), 43);
        now.store(1_500, Ordering::SeqCst);
        assert_eq!(store.read(&["a", "c"]).unwrap(), [None, None]);
        assert_eq!(store.claim("c", b"3".to_vec(), Duration::from_secs(1)).unwrap(), None);
        assert_eq!(store.take_back("n", 3, Duration::from_secs(1)).unwrap(), 0);
        assert_eq!(store.count("n", 7, 1, Duration::from_secs(1)).unwrap(), 1);
    }

    #[test]
    fn a_store_that_is_away_fails_and_keeps_what_it_has() {
        let store = MemoryStore::new(Clock::system());
        store.write("a", b"x".to_vec(), Duration::from_secs(60)).unwrap();
        store.set_away(true);
        assert_eq!(store.read(&["a"]), Err(StoreError::Away));
        assert_eq!(store.claim("b", Vec::new(), Duration::from_secs(60)), Err(StoreError::Away));
        store.set_away(false);
        assert!(store.read(&["a"]).unwrap()[0].is_some());
        store.lose_everything();
        assert_eq!(store.read(&["a"]).unwrap(), [None]);
    }

    #[test]
    fn the_bytes_are_bounded_and_what_was_removed_is_gone() {
        let store = MemoryStore::bounded(Clock::system(), 100_000);
        for number in 0..1_000 {
            store.write(&format!("n{number}"), vec![0; 1_000], Duration::from_secs(60)).unwrap();
        }
        assert!(store.records.weight() <= 100_000, "{}", store.records.weight());
        store.write("last", vec![1], Duration::from_secs(60)).unwrap();
        assert_eq!(store.remove(&["last", "never there"]).unwrap(), 1);
        assert_eq!(store.read(&["last"]).unwrap(), [None]);
    }
}
