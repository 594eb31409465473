use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::slots::SLOTS;
use super::*;
use crate::clock::Clock;
use crate::crypto::{Keyring, RecordName, generate_key_line};
use crate::store::{MemoryStore, Store, StoreConfig};
use crate::telemetry::Metrics;

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// One store, a clock that is turned by hand, and replicas with rings of their own.
struct Fleet {
    store: MemoryStore,
    now: Arc<AtomicU64>,
}

impl Fleet {
    fn new() -> Self {
        let now = Arc::new(AtomicU64::new(1_000_000));
        Self { store: MemoryStore::new(clock(&now, 0)), now }
    }

    fn notes(&self, ring: &str, ahead_ms: u64) -> Notebook {
        let clock = clock(&self.now, ahead_ms);
        Notebook {
            store: Store::start(StoreConfig::Shared(self.store.clone()), clock.clone(), Metrics::new()),
            keyring: Arc::new(Keyring::parse(ring).unwrap()),
            clock,
        }
    }

    fn replica(&self, ring: &str) -> Vault {
        Vault::start(self.notes(ring, 0))
    }

    fn advance(&self, by: Duration) {
        self.now.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

fn clock(now: &Arc<AtomicU64>, ahead_ms: u64) -> Clock {
    let now = Arc::clone(now);
    Clock::from_fn(move || now.load(Ordering::SeqCst) + ahead_ms)
}

fn key() -> String {
    generate_key_line().unwrap().to_string()
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

async fn put(vault: &Vault, id: &str, secret: &str, ttl: Duration) -> Result<Put, VaultError> {
    vault.put(id.parse().unwrap(), SecretString::from(secret), ttl).await
}

/// The secrets that a replica finds, by id.
async fn found(vault: &Vault) -> Vec<(String, String)> {
    let pair = |found: Arc<Credential>| (found.id.to_string(), found.secret().expose_secret().to_owned());
    vault.list().await.unwrap().into_iter().map(pair).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(id, secret)| ((*id).to_owned(), (*secret).to_owned())).collect()
}

/// What lies in the store, by name.
async fn stored(vault: &Vault) -> Vec<(RecordName, Bytes)> {
    let notes = &vault.0.slots.0;
    let names: Vec<_> = (0..SLOTS).flat_map(|slot| notes.keyring.names(&format!("credential slot {slot}"))).collect();
    let values = notes.read(&names.iter().collect::<Vec<_>>(), Reader::Caller).await.unwrap();
    names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
}

async fn store_under(vault: &Vault, name: &RecordName, value: &[u8]) {
    vault.0.slots.0.store.write(name.as_str(), value.to_vec(), HOUR).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_one_replica_puts_and_removes_the_others_find_and_miss() {
    let (fleet, ring) = (Fleet::new(), key());
    let (one, other) = (fleet.replica(&ring), fleet.replica(&ring));
    assert!(!put(&one, "a", "first", HOUR).await.unwrap().replaced);
    put(&one, "a/b", "second", HOUR).await.unwrap();
    assert_eq!(found(&other).await, pairs(&[("a", "first"), ("a/b", "second")]));
    assert!(put(&other, "a", "third", HOUR).await.unwrap().replaced);
    assert_eq!(found(&one).await, pairs(&[("a", "third"), ("a/b", "second")]));
    assert_eq!(one.remove(id("a")).await, Ok(true));
    assert_eq!((one.remove(id("a")).await, other.remove(id("never")).await), (Ok(false), Ok(false)));
    assert_eq!(found(&other).await, pairs(&[("a/b", "second")]));
    assert!(!put(&other, "a", "fourth", HOUR).await.unwrap().replaced);
    assert_eq!(found(&one).await, pairs(&[("a", "fourth"), ("a/b", "second")]));
}

#[tokio::test(start_paused = true)]
async fn a_credential_ends_in_memory_and_in_the_store_also_if_it_is_put_back_there() {
    let (fleet, ring) = (Fleet::new(), key());
    let vault = fleet.replica(&ring);
    put(&vault, "a", "secret", HOUR).await.unwrap();
    let [(name, sealed)] = &stored(&vault).await[..] else { panic!("one slot") };
    fleet.advance(HOUR - SECOND);
    assert_eq!((vault.view().len(), vault.view()[0].expires_in_secs(vault.now_ms())), (1, 1));
    fleet.advance(SECOND);
    assert!(vault.view().is_empty());
    store_under(&vault, name, sealed).await;
    assert_eq!(stored(&vault).await.len(), 1, "it is there again");
    assert_eq!(found(&vault).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_a_swapped_slot_and_a_record_in_place_of_a_credential_are_absent() {
    let (fleet, ring) = (Fleet::new(), key());
    let vault = fleet.replica(&ring);
    put(&vault, "a", "first", HOUR).await.unwrap();
    put(&vault, "b", "second", HOUR).await.unwrap();
    let [(one, first), (other, second)] = &stored(&vault).await[..] else { panic!("two slots") };
    let mut flipped = first.to_vec();
    flipped[100] ^= 1;
    store_under(&vault, one, &flipped).await;
    assert_eq!(found(&vault).await, pairs(&[("b", "second")]));
    store_under(&vault, one, second).await;
    store_under(&vault, other, first).await;
    assert_eq!(found(&vault).await, []);

    let keyring = &vault.0.slots.0.keyring;
    let times = Times { fetched_at_ms: vault.now_ms(), expires_at_ms: vault.now_ms() + 1_000 };
    let content = Credential::new(id("a"), Reference([0; 6]), SecretString::from("x"), times).encode();
    let record = keyring.seal(one, times, &content, crate::crypto::Padding::Record).unwrap();
    store_under(&vault, one, &record).await;
    assert_eq!(found(&vault).await, []);
    assert!(keyring.open(one, first, vault.now_ms()).is_err(), "a key of records opens no credential");
}

#[tokio::test(start_paused = true)]
async fn every_sealed_credential_has_one_length_whatever_its_secret() {
    let (fleet, ring) = (Fleet::new(), key());
    let vault = fleet.replica(&ring);
    let long = "x".repeat(64);
    put(&vault, "a", "s", HOUR).await.unwrap();
    put(&vault, &format!("{long}/{long}"), &"s".repeat(512), HOUR).await.unwrap();
    vault.remove(id("a")).await.unwrap();
    let lengths: Vec<_> = stored(&vault).await.iter().map(|(_, sealed)| sealed.len()).collect();
    assert!(lengths.len() == 2 && lengths[0] == lengths[1], "{lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_or_a_time_to_live_out_of_bounds_is_refused_and_nothing_is_kept() {
    let (fleet, ring) = (Fleet::new(), key());
    let vault = fleet.replica(&ring);
    for secret in ["", "a b", "ä", &"s".repeat(513)] {
        assert_eq!(put(&vault, "a", secret, HOUR).await.unwrap_err(), VaultError::BadSecret, "{secret}");
    }
    for ttl in [Duration::ZERO, LONGEST_TTL + SECOND] {
        assert_eq!(put(&vault, "a", "s", ttl).await.unwrap_err(), VaultError::BadTtl, "{ttl:?}");
    }
    assert!(stored(&vault).await.is_empty());
    put(&vault, "a", "s", LONGEST_TTL).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_vault_refuses_what_is_new_and_replaces_what_is_there() {
    let (fleet, ring) = (Fleet::new(), key());
    let vault = fleet.replica(&ring);
    for number in 0..SLOTS {
        put(&vault, &format!("id{number}"), "s", HOUR).await.unwrap();
    }
    assert_eq!(put(&vault, "new", "s", HOUR).await.unwrap_err(), VaultError::Full);
    assert!(put(&vault, "id7", "other", HOUR).await.unwrap().replaced);
    vault.remove(id("id0")).await.unwrap();
    fleet.advance(REMOVED_FOR);
    put(&vault, "new", "s", HOUR).await.unwrap();
    assert_eq!(vault.view().len(), SLOTS);
}

/// Two slots of one id, as two replicas leave them that put at the same moment.
async fn put_twice(vault: &Vault, first: Duration, second: Duration) {
    let inner = &vault.0;
    let mut slots = inner.slots.read(Reader::Caller).await.unwrap();
    let now = vault.now_ms();
    for (slot, (at, secret, ttl)) in slots.iter_mut().zip([(now, "first", first), (now + 1, "second", second)]) {
        let ends = now + u64::try_from(ttl.as_millis()).unwrap();
        let times = Times { fetched_at_ms: at, expires_at_ms: ends };
        let credential = Credential::new(id("a"), Reference([1; 6]), SecretString::from(secret), times);
        assert!(inner.slots.claim(slot, &Arc::new(credential)).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_puts_at_one_moment_the_later_counts_and_the_other_does_not_come_back_when_it_ends() {
    let (fleet, ring) = (Fleet::new(), key());
    let vault = fleet.replica(&ring);
    put_twice(&vault, HOUR, 2 * SECOND).await;
    assert_eq!(found(&vault).await, pairs(&[("a", "second")]));
    fleet.advance(2 * SECOND);
    assert_eq!(found(&vault).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_put_takes_the_place_of_both_and_a_removal_removes_both() {
    for removes in [false, true] {
        let (fleet, ring) = (Fleet::new(), key());
        let vault = fleet.replica(&ring);
        put_twice(&vault, HOUR, HOUR).await;
        if removes {
            assert_eq!(vault.remove(id("a")).await, Ok(true));
        } else {
            put(&vault, "a", "third", SECOND).await.unwrap();
            assert_eq!(vault.view().len(), 1);
        }
        assert_eq!(stored(&vault).await.len(), 1, "the other slot is empty");
        fleet.advance(REMOVED_FOR);
        assert_eq!(found(&vault).await, [], "{removes}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_put_later_counts_also_if_the_clock_of_its_replica_is_behind() {
    let (fleet, old, new) = (Fleet::new(), key(), key());
    // It has a name more than the other one: what it puts is not written over by that.
    let ahead = Vault::start(fleet.notes(&format!("{old}\n{new}"), 5_000));
    let behind = fleet.replica(&old);
    put(&ahead, "a", "first", HOUR).await.unwrap();
    put(&behind, "a", "second", HOUR).await.unwrap();
    assert_eq!(found(&ahead).await, pairs(&[("a", "second")]));
    ahead.remove(id("a")).await.unwrap();
    put(&behind, "a", "third", HOUR).await.unwrap();
    assert_eq!(found(&ahead).await, pairs(&[("a", "third")]));
    behind.remove(id("a")).await.unwrap();
    assert_eq!(found(&ahead).await, []);
}

#[tokio::test(start_paused = true)]
async fn replicas_one_step_of_a_rotation_apart_share_credentials_and_references() {
    let (fleet, old, new) = (Fleet::new(), key(), key());
    let before = fleet.replica(&old);
    let standby = fleet.replica(&format!("{old}\n{new}"));
    let promoted = fleet.replica(&format!("{new}\n{old}"));
    let after = fleet.replica(&new);

    put(&before, "a", "first", HOUR).await.unwrap();
    let reference = before.view()[0].reference;
    assert_eq!(found(&standby).await, pairs(&[("a", "first")]));
    // It has put the credential under the new key's name, too, and the next one seals it anew.
    assert_eq!(found(&promoted).await, pairs(&[("a", "first")]));
    assert_eq!(found(&after).await, pairs(&[("a", "first")]), "nothing needs the old key any more");
    assert_eq!(after.view()[0].reference, reference);
    let again = put(&after, "a", "first", HOUR).await.unwrap();
    assert_eq!(again.credential.reference, reference, "the same secret");

    put(&standby, "b", "second", HOUR).await.unwrap();
    assert_eq!(found(&before).await[1..], pairs(&[("b", "second")]));
    promoted.remove(id("b")).await.unwrap();
    for replica in [&standby, &promoted, &after] {
        assert_eq!(found(replica).await.last().unwrap().0, "a", "it was removed");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_removal_and_is_written_after_it_does_not_come_back() {
    let (fleet, old, new) = (Fleet::new(), key(), key());
    let before = fleet.replica(&old);
    let promoted = fleet.replica(&format!("{new}\n{old}"));
    put(&before, "a", "first", HOUR).await.unwrap();
    let mut read_before = promoted.0.slots.read(Reader::Caller).await.unwrap();
    promoted.remove(id("a")).await.unwrap();
    promoted.0.slots.mend(&mut read_before).await.unwrap();
    assert_eq!(found(&promoted).await, []);
    fleet.advance(REMOVED_FOR);
    assert_eq!(found(&promoted).await, []);
    assert!(stored(&promoted).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_from_the_store_is_put_back_and_what_was_removed_is_not() {
    let (fleet, ring) = (Fleet::new(), key());
    let (one, other) = (fleet.replica(&ring), fleet.replica(&ring));
    put(&one, "a", "first", HOUR).await.unwrap();
    put(&one, "b", "second", HOUR).await.unwrap();
    let all = pairs(&[("a", "first"), ("b", "second")]);
    assert_eq!(found(&other).await, all);
    fleet.store.lose_everything();
    // Also by who puts something else into the first free slot.
    put(&other, "c", "third", HOUR).await.unwrap();
    assert_eq!(found(&one).await, [all, pairs(&[("c", "third")])].concat());
    assert_eq!(stored(&one).await.len(), 3, "once each");
    assert_eq!(found(&one).await[0], found(&other).await[0]);

    one.remove(id("a")).await.unwrap();
    fleet.advance(REMEMBERED_FOR - SECOND);
    assert_eq!(found(&other).await, pairs(&[("b", "second"), ("c", "third")]));
    fleet.store.lose_everything();
    assert_eq!(found(&other).await, pairs(&[("b", "second"), ("c", "third")]));
    fleet.store.lose_everything();
    fleet.advance(REMEMBERED_FOR);
    assert_eq!(found(&other).await, [], "it is not known here whether they were removed");
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_does_not_come_back_by_a_replica_whose_own_change_failed_meanwhile() {
    let (fleet, ring) = (Fleet::new(), key());
    let (one, other) = (fleet.replica(&ring), fleet.replica(&ring));
    put(&one, "a", "first", HOUR).await.unwrap();
    assert_eq!(found(&other).await, pairs(&[("a", "first")]));
    one.remove(id("a")).await.unwrap();
    fleet.advance(REMEMBERED_FOR - SECOND);
    // As when the store fails between reading and writing.
    let mut turn = other.0.turn.lock().await;
    other.0.read(&mut turn, Reader::Caller).await.unwrap();
    drop(turn);
    fleet.advance(REMEMBERED_FOR - SECOND);
    assert_eq!(found(&other).await, []);
    assert!(stored(&other).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_while_the_machine_of_a_replica_slept_does_not_come_back_when_it_wakes() {
    let (fleet, ring) = (Fleet::new(), key());
    let (one, other) = (fleet.replica(&ring), fleet.replica(&ring));
    put(&one, "a", "first", HOUR).await.unwrap();
    assert_eq!(found(&other).await, pairs(&[("a", "first")]));
    one.remove(id("a")).await.unwrap();
    fleet.advance(HOUR / 2);
    // Its clock that never steps stood still.
    let mut turn = other.0.turn.lock().await;
    turn.read_at = turn.read_at.map(|(_, wall)| (other.0.slots.0.clock.instant(), wall));
    drop(turn);
    assert_eq!(found(&other).await, []);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_put_back_also_if_its_slot_was_given_to_another_and_once() {
    let (fleet, ring) = (Fleet::new(), key());
    let (one, other) = (fleet.replica(&ring), fleet.replica(&ring));
    put(&one, "a", "first", HOUR).await.unwrap();
    assert_eq!(found(&other).await, pairs(&[("a", "first")]));
    fleet.store.lose_everything();
    // By one that has just started and saw nothing.
    let mut slots = one.0.slots.read(Reader::Caller).await.unwrap();
    let times = Times { fetched_at_ms: one.now_ms(), expires_at_ms: one.now_ms() + 60_000 };
    let credential = Credential::new(id("b"), Reference([2; 6]), SecretString::from("second"), times);
    assert!(one.0.slots.claim(&mut slots[0], &Arc::new(credential)).await.unwrap());
    assert_eq!(found(&one).await, pairs(&[("a", "first"), ("b", "second")]));
    assert_eq!(found(&other).await, pairs(&[("a", "first"), ("b", "second")]));
    assert_eq!(stored(&one).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_two_replicas_put_back_into_two_slots_is_kept_in_one() {
    let (fleet, ring) = (Fleet::new(), key());
    let vault = fleet.replica(&ring);
    put(&vault, "a", "first", HOUR).await.unwrap();
    let mut slots = vault.0.slots.read(Reader::Caller).await.unwrap();
    assert!(vault.0.slots.claim(&mut slots[5], &vault.view()[0]).await.unwrap());
    assert_eq!(stored(&vault).await.len(), 2);
    assert_eq!(found(&vault).await, pairs(&[("a", "first")]));
    assert_eq!(stored(&vault).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_ended_is_not_put_back_by_a_replica_whose_clock_is_a_little_behind() {
    for behind_by_ms in [2_000, 10_000] {
        let (fleet, ring) = (Fleet::new(), key());
        let ahead = Vault::start(fleet.notes(&ring, behind_by_ms));
        let behind = fleet.replica(&ring);
        put(&ahead, "a", "first", HOUR).await.unwrap();
        fleet.advance(HOUR - SECOND);
        assert_eq!(found(&behind).await, pairs(&[("a", "first")]));
        fleet.advance(SECOND);
        assert_eq!(found(&behind).await, []);
        assert!(stored(&behind).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_ends_in_use_when_its_end_is_told_and_no_more_than_the_clocks_differ_later() {
    for (wrote_ms, reads_ms) in [(0, 10_000), (10_000, 0), (5_000, 5_000)] {
        let (fleet, ring) = (Fleet::new(), key());
        let writer = Vault::start(fleet.notes(&ring, wrote_ms));
        let reader = Vault::start(fleet.notes(&ring, reads_ms));
        put(&writer, "a", "first", HOUR).await.unwrap();
        assert_eq!(found(&reader).await.len(), 1);
        // The store does not answer any more: the end that is known has to do.
        fleet.store.set_away(true);
        let ends_in = Duration::from_millis(3_600_000 + wrote_ms - reads_ms);
        fleet.advance(ends_in - Duration::from_millis(1));
        assert_eq!(reader.view().len(), 1, "{wrote_ms} {reads_ms}");
        fleet.advance(Duration::from_millis(1));
        assert!(reader.view().is_empty(), "{wrote_ms} {reads_ms}");
        assert!(ends_in <= HOUR + 10 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_by_a_clock_far_behind_does_not_come_back_from_the_name_of_another_key() {
    let (fleet, old, new) = (Fleet::new(), key(), key());
    let before = fleet.replica(&old);
    // For whom what ends in ten seconds ended a while ago.
    let ahead = Vault::start(fleet.notes(&format!("{old}\n{new}"), 60_000));
    put(&ahead, "a", "first", HOUR).await.unwrap();
    assert_eq!(before.remove(id("a")).await, Ok(true));
    assert_eq!(found(&ahead).await, []);
    assert_eq!(found(&before).await, []);
    fleet.advance(2 * REMOVED_FOR);
    assert_eq!(found(&ahead).await, []);
    assert!(stored(&ahead).await.is_empty(), "and what tells of it ends");
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_each_credential_stays_in_use_until_its_end_and_nothing_is_put() {
    let (fleet, ring) = (Fleet::new(), key());
    let vault = fleet.replica(&ring);
    put(&vault, "a", "first", HOUR).await.unwrap();
    fleet.store.set_away(true);
    assert_eq!(vault.list().await.unwrap_err(), StoreError::Away);
    assert_eq!(put(&vault, "b", "s", HOUR).await.unwrap_err(), VaultError::Store(StoreError::Away));
    assert_eq!(vault.remove(id("a")).await, Err(VaultError::Store(StoreError::Away)));
    fleet.advance(HOUR - SECOND);
    assert_eq!(vault.view().len(), 1);
    fleet.advance(SECOND);
    assert!(vault.view().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_is_in_the_memory_of_every_replica_within_a_second() {
    let (fleet, ring) = (Fleet::new(), key());
    let (one, other) = (fleet.replica(&ring), fleet.replica(&ring));
    put(&one, "a", "first", HOUR).await.unwrap();
    assert_eq!(one.view().len(), 1, "here at once");
    sees(&other, 1).await;
    one.remove(id("a")).await.unwrap();
    assert!(one.view().is_empty());
    sees(&other, 0).await;
}

/// Within a second of the clock that is paused.
async fn sees(vault: &Vault, credentials: usize) {
    let seen = async {
        while vault.view().len() != credentials {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SECOND, seen).await.unwrap();
}
