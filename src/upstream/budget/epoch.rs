//! Whether the store still has what it was told.
//!
//! All that the budget keeps in the store has names of one group, so that all of it is lost or nothing.
//! A store that lost its data would give every slot anew. So it carries a note that nobody writes twice, the epoch. Whoever
//! misses it, or finds another one than before, announces a quiet time that lasts as long as a slot: when it is over, every
//! call that was known to the lost data is older than a minute. Who claims a slot sees the same epoch before and after, so
//! the claim was made in the data of that epoch, in which a slot is claimed once.
//!
//! An epoch is told apart by its sealed bytes, which no other has: their nonce is random. So it need not be opened, and one
//! that was sealed with a newer key than ours is as good.
//!
//! The note of a quiet time, version 1:
//!
//! ```text
//! offset    bytes  field
//! 0         1      version, 1
//! 1         4      how many slots may be used meanwhile, big endian
//! 5         8      its end, Unix milliseconds, big endian
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::calendar::Calendar;
use super::names_of;
use super::slots::Quiet;
use super::time::{millis, until};
use crate::crypto::RecordName;
use crate::store::{Claimed, Notebook, Reader, StoreError};

const VERSION: u8 = 1;
/// What the notes are about.
const EPOCH: &str = "budget epoch";
const QUIET: &str = "budget quiet";
/// Of so many slots one may be used in the first minute of a store that is new to everybody: enough to begin with, and if it
/// is new because all was restarted and lost at once, so much more than the cap at most.
const FIRST_MINUTE: usize = 4;
/// How long the store keeps an epoch.
const EPOCH_TTL: Duration = Duration::from_hours(400 * 24);
/// A process that has run longer than this and finds no epoch is not part of a first start.
const FIRST_START: Duration = Duration::from_mins(1);
/// How long a quiet time is believed whose end is not known, or is over while its note is there.
const UNKNOWN_END: Duration = Duration::from_secs(1);

/// An epoch under each name of it where there is one.
type Epoch = BTreeMap<RecordName, Bytes>;

#[derive(Debug)]
struct Known {
    epoch: Epoch,
    seen: Instant,
}

/// What the store says.
struct Found {
    epoch: Epoch,
    quiet: Option<Quiet>,
}

/// What that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// All is as it was, or was never seen before.
    Same,
    /// The data was lost, somebody else found out, and we may have used the lost ones a moment ago.
    Changed,
    /// The data was lost long after we used it last.
    ChangedLongAgo,
    /// The data was lost, and we are the first to see it.
    Lost,
    /// There was never any.
    FirstStart,
}

/// The epoch as this replica knows it.
pub(super) struct Watch {
    slots: usize,
    slot_ttl: Duration,
    started: Instant,
    known: Mutex<Option<Known>>,
}

impl Watch {
    pub(super) fn new(slots: usize, slot_ttl: Duration, now: Instant) -> Self {
        Self { slots, slot_ttl, started: now, known: Mutex::new(None) }
    }

    /// Finds out whether the store lost its data, and if so, tells everybody; whether it is quiet now.
    pub(super) async fn look(
        &self,
        ledger: &Notebook,
        calendar: &Calendar,
        reader: Reader,
    ) -> Result<Option<Quiet>, StoreError> {
        let asked = Instant::now();
        let epoch_names = names_of(ledger, EPOCH);
        let Found { mut epoch, mut quiet } = self.read(ledger, &epoch_names, reader).await?;
        let meaning = self.meaning(&epoch_names, &epoch, asked);
        let allowance = match meaning {
            Meaning::Lost | Meaning::Changed => Some(0),
            Meaning::FirstStart => Some((self.slots / FIRST_MINUTE).max(1)),
            Meaning::Same | Meaning::ChangedLongAgo => None,
        };
        if let Some(allowance) = allowance
            && quiet.is_none_or(|quiet| quiet.allowance > allowance)
        {
            // First this, then an epoch: who sees that sees this, too.
            quiet = Some(self.announce(ledger, allowance).await?);
        }
        let is_new = |known: &Known| epoch_names.iter().any(|name| !known.epoch.contains_key(name));
        let renamed = epoch_names.len() > 1 && self.lock().as_ref().is_none_or(is_new);
        for name in epoch_names {
            if let Entry::Vacant(missing) = epoch.entry(name) {
                let claimed = ledger.claim(missing.key(), &[], EPOCH_TTL).await?;
                let (Claimed::Ours(bytes) | Claimed::Theirs(bytes)) = claimed;
                missing.insert(bytes);
            }
        }
        if meaning != Meaning::Same {
            calendar.restore(ledger).await?;
        }
        if renamed {
            calendar.level(ledger).await?;
        }
        *self.lock() = Some(Known { epoch, seen: asked });
        Ok(quiet)
    }

    /// Whether a slot that was claimed since the last look was claimed in the data of that epoch, and may be used.
    pub(super) async fn confirms(&self, ledger: &Notebook, slot: usize) -> Result<bool, StoreError> {
        let names = names_of(ledger, EPOCH);
        let Found { epoch, quiet } = self.read(ledger, &names, Reader::Caller).await?;
        let same = self.lock().as_ref().is_some_and(|known| is_same(&names, &known.epoch, &epoch));
        Ok(same && quiet.is_none_or(|quiet| slot < quiet.allowance))
    }

    async fn read(&self, ledger: &Notebook, names: &[RecordName], reader: Reader) -> Result<Found, StoreError> {
        let quiet_names = names_of(ledger, QUIET);
        let all: Vec<_> = names.iter().chain(&quiet_names).collect();
        let mut epoch = ledger.read(&all, reader).await?;
        let quiets = epoch.split_off(names.len());
        let epoch = names.iter().zip(epoch).filter_map(|(name, value)| Some((name.clone(), value?))).collect();
        let now = Instant::now();
        let quiets = quiet_names.iter().zip(quiets);
        let quiets = quiets.filter_map(|(name, value)| Some(self.understand(ledger, name, &value?, now)));
        let strictest = |one: Quiet, other: Quiet| Quiet {
            allowance: one.allowance.min(other.allowance),
            until: one.until.max(other.until),
        };
        Ok(Found { epoch, quiet: quiets.reduce(strictest) })
    }

    fn meaning(&self, names: &[RecordName], found: &Epoch, now: Instant) -> Meaning {
        let known = self.lock();
        if found.is_empty() {
            let is_first = known.is_none() && now.duration_since(self.started) <= FIRST_START;
            return if is_first { Meaning::FirstStart } else { Meaning::Lost };
        }
        let Some(known) = known.as_ref() else { return Meaning::Same };
        match is_same(names, &known.epoch, found) {
            true => Meaning::Same,
            false if now.duration_since(known.seen) < self.slot_ttl => Meaning::Changed,
            false => Meaning::ChangedLongAgo,
        }
    }

    /// Makes it quiet, unless it is at least as quiet already.
    async fn announce(&self, ledger: &Notebook, allowance: usize) -> Result<Quiet, StoreError> {
        let mut note = [0; 13];
        note[0] = VERSION;
        note[1..5].copy_from_slice(&u32::try_from(allowance).unwrap_or(0).to_be_bytes());
        note[5..].copy_from_slice(&ledger.clock.now_ms().saturating_add(millis(self.slot_ttl)).to_be_bytes());
        let mut quiet = Quiet { allowance, until: Instant::now() + self.slot_ttl };
        for name in &names_of(ledger, QUIET) {
            // Claimed, so that what allows more never replaces what allows less.
            let Claimed::Theirs(value) = ledger.claim(name, &note, self.slot_ttl).await? else { continue };
            let theirs = self.understand(ledger, name, &value, Instant::now());
            if theirs.allowance > allowance {
                ledger.write(name, &note, self.slot_ttl).await?;
            }
            quiet.allowance = quiet.allowance.min(theirs.allowance);
        }
        Ok(quiet)
    }

    /// What cannot be read allows nothing.
    fn understand(&self, ledger: &Notebook, name: &RecordName, value: &[u8], now: Instant) -> Quiet {
        let note = ledger.open(name, value).and_then(|note| <[u8; 13]>::try_from(note).ok());
        let Some([VERSION, a, b, c, d, end @ ..]) = note else {
            return Quiet { allowance: 0, until: now + UNKNOWN_END };
        };
        let allowance = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(0);
        let lasts = until(u64::from_be_bytes(end), ledger.clock.now_ms(), self.slot_ttl);
        Quiet { allowance, until: now + lasts.max(UNKNOWN_END) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what was `known` is what was `found` under these names, of which there is at least one in both. A rotation may have
/// come between them: a name that is not asked for any more says nothing, nor does one that is new. One that was known and is
/// gone says that the data under the names of its key were lost: in a cluster those of each key are in another place.
fn is_same(names: &[RecordName], known: &Epoch, found: &Epoch) -> bool {
    let mut common = names.iter().filter_map(|name| Some((known.get(name)?, found.get(name)))).peekable();
    common.peek().is_some() && common.all(|(known, found)| found == Some(known))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::BudgetConfig;
    use super::super::parts::Parts;
    use super::*;
    use crate::clock::Clock;
    use crate::crypto::{Keyring, generate_key_line};
    use crate::store::{MemoryStore, Store, StoreConfig};
    use crate::telemetry::Metrics;

    const TTL: Duration = Duration::from_secs(62);

    struct Replica {
        ledger: Notebook,
        calendar: Calendar,
        watch: Watch,
    }

    impl Replica {
        fn new(store: &MemoryStore, clock: &Clock, keyring: &Arc<Keyring>) -> Self {
            let (clock, keyring, now) = (clock.clone(), Arc::clone(keyring), Instant::now());
            let store = Store::start(StoreConfig::Shared(store.clone()), clock.clone(), Metrics::new());
            let ledger = Notebook { store, keyring, clock };
            let config =
                BudgetConfig { per_minute: 60, per_day: 0, per_month: 0, max_replicas: 2, call_lag: Duration::ZERO };
            let calendar = Calendar::new(&Parts::of(&config, true), ledger.clock.now_ms(), now);
            let watch = Watch::new(50, TTL, now);
            Self { ledger, calendar, watch }
        }

        /// How many slots may be used; `None` for all.
        async fn look(&self) -> Option<usize> {
            let quiet = self.watch.look(&self.ledger, &self.calendar, Reader::Caller).await.unwrap();
            quiet.map(|quiet| quiet.allowance)
        }

        async fn confirms(&self, slot: usize) -> bool {
            self.watch.confirms(&self.ledger, slot).await.unwrap()
        }
    }

    fn two() -> (MemoryStore, Replica, Replica) {
        let began = Instant::now();
        let clock = Clock::from_fn(move || 1_000_000 + began.elapsed().as_millis() as u64);
        let (store, keyring) = (MemoryStore::new(clock.clone()), Arc::new(Keyring::ephemeral().unwrap()));
        let (one, other) = (Replica::new(&store, &clock, &keyring), Replica::new(&store, &clock, &keyring));
        (store, one, other)
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_start_has_a_quarter_of_the_slots_for_a_minute_and_who_comes_later_sees_it() {
        let (_store, one, other) = two();
        assert_eq!((one.look().await, other.look().await), (Some(12), Some(12)));
        assert!(one.confirms(11).await && !one.confirms(12).await);
        tokio::time::advance(TTL).await;
        assert_eq!((one.look().await, other.look().await), (None, None));
        assert!(one.confirms(49).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_makes_nothing_quiet_and_lost_data_is_seen_through_it() {
        let (store, one, other) = two();
        assert_eq!((one.look().await, other.look().await), (Some(12), Some(12)));
        tokio::time::advance(TTL).await;
        let (first, second) = (generate_key_line().unwrap(), generate_key_line().unwrap());
        let ring = |lines: &[&str]| Keyring::parse(&lines.join("\n")).unwrap();
        // Both have the same ring, and so at once what one takes in.
        one.ledger.keyring.replace(&ring(&[&first])).unwrap();
        assert_eq!((one.look().await, other.look().await), (Some(0), Some(0)), "all other keys: as good as lost");
        tokio::time::advance(TTL).await;
        for lines in [&[first.as_str(), &second][..], &[&second, &first], &[&second]] {
            assert_eq!((one.look().await, other.look().await), (None, None));
            one.ledger.keyring.replace(&ring(lines)).unwrap();
            assert!(one.confirms(0).await, "a claim under way is good");
            assert_eq!((one.look().await, other.look().await), (None, None), "{} keys", lines.len());
        }
        store.lose_everything();
        assert_eq!((one.look().await, other.look().await), (Some(0), Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn data_that_were_lost_under_the_names_of_one_key_only_make_it_quiet_for_who_knows_no_other() {
        let (store, one, other) = two();
        let (first, second) = (generate_key_line().unwrap(), generate_key_line().unwrap());
        let ring = |lines: &[&str]| Arc::new(Keyring::parse(&lines.join("\n")).unwrap());
        let with = |replica: Replica, keyring| Replica { ledger: Notebook { keyring, ..replica.ledger }, ..replica };
        let (during, after) = (with(one, ring(&[&first, &second])), with(other, ring(&[&second])));
        assert_eq!(during.look().await, Some(12));
        tokio::time::advance(TTL).await;
        assert_eq!(during.look().await, None);
        // The node with all that has names of the second key ends, and comes back empty.
        for subject in [EPOCH, QUIET] {
            for name in names_of(&after.ledger, subject) {
                after.ledger.store.remove(&[name.as_str()]).await.unwrap();
            }
        }
        assert!(!during.confirms(0).await, "it may have been claimed in what is lost");
        assert_eq!((during.look().await, after.look().await), (Some(0), Some(0)));
        tokio::time::advance(TTL).await;
        assert_eq!((during.look().await, after.look().await), (None, None));
        drop(store);
    }

    #[tokio::test(start_paused = true)]
    async fn lost_data_makes_it_quiet_whoever_sees_it_first_and_spoils_claims_under_way() {
        for the_new_one_is_first in [false, true] {
            let (store, one, other) = two();
            one.look().await;
            tokio::time::advance(TTL).await;
            assert_eq!(one.look().await, None);
            store.lose_everything();
            assert!(!one.confirms(0).await, "claimed in which data?");
            let late = Replica { watch: Watch::new(50, TTL, Instant::now()), ..other };
            if the_new_one_is_first {
                assert_eq!(late.look().await, Some(12), "it cannot know better");
            }
            assert_eq!((one.look().await, late.look().await), (Some(0), Some(0)));
            assert!(!one.confirms(0).await && !late.confirms(0).await);
            tokio::time::advance(TTL).await;
            assert_eq!((one.look().await, late.look().await), (None, None));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_looked_for_longer_than_a_slot_lasts_makes_nothing_quiet() {
        let (store, one, other) = two();
        assert_eq!((one.look().await, other.look().await), (Some(12), Some(12)));
        tokio::time::advance(TTL).await;
        store.lose_everything();
        assert_eq!(one.look().await, Some(0));
        tokio::time::advance(TTL).await;
        assert_eq!((other.look().await, one.look().await), (None, None));
    }
}
