//! The meters of callers without a name, told apart by their addresses: a table that cannot grow, whoever fills it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrayvec::ArrayVec;

use super::state::{Known, State};
use super::{Limits, Meter, Subject};
use crate::weather::Caller;

/// Addresses that have the same place in the table, and may be there together.
const WAYS: usize = 8;
/// Places. With [`WAYS`] 32 768 meters.
const SETS: usize = 4_096;
/// A meter with what it knows, and what counting its owners and two allocations add: measured, with a little to spare.
const METER_BYTES: usize = size_of::<Meter>() + size_of::<Known>() + 96;
/// Nothing of a meter that was not used for this long counts any more: a minute, a bucket, and as far as clocks differ.
const COUNTS_FOR_MS: u64 = 73_000;

struct Entry {
    caller: Caller,
    meter: Arc<Meter>,
    seen_ms: u64,
    /// Requests since the last pause of a minute.
    uses: u32,
}

impl Entry {
    fn is_over(&self, now_ms: u64) -> bool {
        self.seen_ms + COUNTS_FOR_MS <= now_ms
    }
}

#[derive(Default)]
struct Set {
    entries: ArrayVec<Entry, WAYS>,
    /// When somebody who still counted had to go the last time, Unix milliseconds; 0 for never.
    displaced_ms: u64,
}

impl Set {
    fn meter(&mut self, caller: Caller, per_minute: u32, now_ms: u64) -> Arc<Meter> {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.caller == caller) {
            entry.uses = if entry.is_over(now_ms) { 1 } else { entry.uses.saturating_add(1) };
            entry.seen_ms = entry.seen_ms.max(now_ms);
            return Arc::clone(&entry.meter);
        }
        let mut inherited = 0;
        if self.entries.is_full() {
            // Who has asked little: of a flood of addresses each asks once.
            let last = |(_, entry): &(usize, &Entry)| (!entry.is_over(now_ms), entry.uses, entry.seen_ms);
            if let Some((place, _)) = self.entries.iter().enumerate().min_by_key(last) {
                let displaced = self.entries.swap_remove(place);
                if !displaced.is_over(now_ms) {
                    self.displaced_ms = now_ms;
                    inherited = displaced.meter.lock().known_here_only(now_ms);
                }
            }
        }
        // It may be one who was displaced and comes again: the own part would be a second one.
        let has_own = self.displaced_ms == 0 || self.displaced_ms + COUNTS_FOR_MS <= now_ms;
        let own_from_ms = if has_own { 0 } else { now_ms + COUNTS_FOR_MS };
        let meter = Meter::of(Subject::Address(caller), per_minute, State::new(own_from_ms, inherited));
        self.entries.push(Entry { caller, meter: Arc::clone(&meter), seen_ms: now_ms, uses: 1 });
        meter
    }
}

/// At most 32 768 meters, of which those that are used stay; all of them together take at most [`Addresses::MAX_BYTES`].
///
/// Who is displaced by others and comes again has no more than his limit: what he was granted is in the store, and if
/// nobody but this replica knows of it, it counts for those who take his place.
pub struct Addresses {
    limits: Arc<Limits>,
    per_minute: u32,
    sets: Box<[Mutex<Set>]>,
    /// Keyed, so that nobody can choose whom he displaces.
    hasher: RandomState,
}

impl Addresses {
    /// Bytes of all meters and the table at most, with what an allocator adds.
    pub const MAX_BYTES: usize = SETS * (size_of::<Mutex<Set>>() + WAYS * METER_BYTES);

    /// Whose meters are used with `limits`, each with this many requests a minute.
    pub fn new(limits: Arc<Limits>, per_minute: u32) -> Self {
        Self::with_sets(limits, per_minute, SETS)
    }

    pub(super) fn with_sets(limits: Arc<Limits>, per_minute: u32, sets: usize) -> Self {
        let sets = std::iter::repeat_with(Mutex::default).take(sets).collect();
        Self { limits, per_minute, sets, hasher: RandomState::new() }
    }

    /// The meter of a caller who makes a request now.
    pub fn meter(&self, caller: Caller) -> Arc<Meter> {
        let now_ms = self.limits.notes.clock.now_ms();
        self.set(caller).meter(caller, self.per_minute, now_ms)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn meters(&self) -> usize {
        let count = |set: &Mutex<Set>| set.lock().unwrap_or_else(PoisonError::into_inner).entries.len();
        self.sets.iter().map(count).sum()
    }

    /// The set is whole after every operation on it.
    fn set(&self, caller: Caller) -> MutexGuard<'_, Set> {
        let place = self.hasher.hash_one(caller) % self.sets.len() as u64;
        let set = &self.sets[usize::try_from(place).unwrap_or(0)];
        set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addresses({} a minute)", self.per_minute)
    }
}
