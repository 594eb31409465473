//! Long bodies on the shelf: what is sealed of them, and that nothing else than that is read back.

use std::time::Duration;

use super::record::Record;
use super::*;
use crate::crypto::{Keyring, Padding, RecordName, Times};
use crate::store::{Store, StoreConfig};

const NOW: u64 = 1_795_348_800_000;
const LIFETIME: Duration = Duration::from_secs(300);

fn query() -> Query {
    Query::parse("London", "").unwrap()
}

struct Parts {
    shelf: Shelf,
    notes: Notebook,
    metrics: Arc<Metrics>,
}

fn parts() -> Parts {
    let (clock, metrics) = (Clock::from_fn(|| NOW), Metrics::new());
    let policy = Policy {
        fresh: LIFETIME,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        not_found: LIFETIME,
        jitter_percent: 0,
    };
    let store = Store::start(StoreConfig::Memory, clock.clone(), Arc::clone(&metrics));
    let notes = Notebook { store, keyring: Arc::new(Keyring::ephemeral().unwrap()), clock };
    Parts { shelf: Shelf::new(policy, notes.clone(), Arc::clone(&metrics)), notes, metrics }
}

impl Parts {
    fn record(&self, text: &str, purged_at_ms: u64) -> (RecordName, Record) {
        let content = Content::Weather(Body::new(text.to_owned().into()));
        self.shelf.record(&query(), content, NOW, purged_at_ms)
    }

    /// What is found if this was sealed, and how many records were of an unknown kind until now.
    async fn find(&self, content: &[u8]) -> (Option<Content>, u64) {
        let name = self.notes.keyring.names(&query().subject()).swap_remove(0);
        let times = Times { fetched_at_ms: NOW, expires_at_ms: NOW + 300_000 };
        let sealed = self.notes.keyring.seal(&name, times, content, Padding::Record).unwrap();
        self.notes.store.write(name.as_str(), sealed, LIFETIME).await.unwrap();
        let found = self.shelf.find(&query()).await.map(|record| record.content);
        let counted = self.metrics.render();
        let counted = counted.lines().find_map(|line| line.strip_prefix(UNKNOWN_KIND)?.trim().parse().ok());
        (found, counted.unwrap_or(0))
    }
}

const UNKNOWN_KIND: &str = r#"stratus_records_not_opened_total{reason="unknown_kind"}"#;

/// A text that is worth packing.
fn long() -> String {
    (0..400).map(|hour| format!(r#"{{"dt":{hour},"temp":{}}},"#, hour * 7_919 % 40)).collect()
}

#[tokio::test]
async fn of_a_long_body_the_packed_form_is_sealed_and_comes_back_also_soon_after_a_purge() {
    let parts = parts();
    for (purged_at_ms, first_byte, before) in [(0, 0x81, 1), (NOW - 1, 0xc1, 9)] {
        let (name, record) = parts.record(&long(), purged_at_ms);
        let content = record.content();
        assert_eq!(content[0], first_byte);
        assert!(content.len() * 2 < long().len());
        assert_eq!(zstd::bulk::decompress(&content[before..], 1 << 20).unwrap(), long().as_bytes());
        assert!(parts.shelf.keep(&query(), &name, &record).await);
        let found = parts.shelf.find(&query()).await.unwrap();
        assert_eq!((found.content, found.fetched_at_ms), (record.content, NOW));
    }
}

#[tokio::test]
async fn a_short_body_is_sealed_as_it_is() {
    let parts = parts();
    let (name, record) = parts.record(r#"{"cod":200}"#, 0);
    assert_eq!(record.content(), b"\x01{\"cod\":200}");
    assert!(parts.shelf.keep(&query(), &name, &record).await);
    assert_eq!(parts.shelf.find(&query()).await.unwrap().content, record.content);
}

#[tokio::test]
async fn a_packed_record_that_claims_too_much_or_is_damaged_inside_is_a_counted_miss() {
    let parts = parts();
    let whole = parts.record(&long(), 0).1.content();
    let found = Some(Content::Weather(Body::new(long().into())));
    assert_eq!(parts.find(&whole).await, (found, 0));

    let bomb = zstd::bulk::compress(&vec![b' '; 64 << 20], 6).unwrap();
    let cut_off = &whole[..whole.len() - 1];
    let damaged = [&whole[..whole.len() / 2], &[!whole[whole.len() / 2]], &whole[whole.len() / 2 + 1..]].concat();
    let unknown_place = [&[0x82], &whole[1..]].concat();
    let after_purge = [&[0xc1], &whole[1..]].concat();
    let wrong = [&[&[0x81], &bomb[..]].concat(), cut_off, &damaged, &unknown_place, &after_purge, &[0x81], &[0x80]];
    for (content, counted) in wrong.into_iter().zip(1..) {
        assert_eq!(parts.find(content).await, (None, counted));
    }
}
