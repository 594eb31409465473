//! Consumers: apps that have a key of their own, and with it their own share of the service.
//!
//! `key` says what a key looks like, `file` what is written down of it. Here is who is found by the key that a request
//! brings.

mod file;
mod key;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use file::{ConsumerFault, Entry, PER_MINUTE, entry, is_name, is_origin, parse, parse_moment};
pub use key::{KeyDigest, NoRandomness, generate_key, is_well_formed};

use crate::limits::Meter;
use crate::telemetry::ConsumerEnds;
use crate::weather::Caller;

/// What ends sooner than this is to be seen to: 14 days, in which somebody has time for it.
const SOON_MS: u64 = 14 * 86_400_000;

/// How often a consumer has asked this replica since it started.
#[derive(Debug, Default)]
pub struct Asked {
    admitted: AtomicU64,
    refused: AtomicU64,
}

impl Asked {
    /// One request was let in.
    pub fn note_admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// One was refused for the consumer's limit.
    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were let in, and those that were refused.
    pub fn counts(&self) -> [u64; 2] {
        [&self.admitted, &self.refused].map(|count| count.load(Ordering::Relaxed))
    }
}

/// An app that may ask.
pub struct Consumer {
    /// What people call it.
    pub name: Arc<str>,
    /// Tells it apart where callers get their share of the upstream.
    pub caller: Caller,
    /// Pages that may use its keys; all when empty.
    allow_origins: Vec<String>,
    /// What counts against its limit.
    pub meter: Arc<Meter>,
    /// How often it has asked.
    pub asked: Arc<Asked>,
    /// When its last key ends, Unix milliseconds; `None` if it has one that does not.
    pub ends_at_ms: Option<u64>,
}

/// Shows its name only.
impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Consumer {
    /// Whether a page of this origin may use its keys.
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.allow_origins.is_empty() || self.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin)
    }
}

struct Known {
    digest: KeyDigest,
    expires_at_ms: Option<u64>,
    consumer: Arc<Consumer>,
}

/// Why a key lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// It is not in the file, be it wrong or revoked.
    Key,
    /// Its time is over.
    Expired,
}

/// Everybody in the consumers file.
pub struct Consumers {
    /// By a keyed hash of the digest, so that nothing about a digest can be learnt from how long a look takes.
    keys: HashMap<u64, Vec<Known>>,
    hash: RandomState,
    consumers: Vec<Arc<Consumer>>,
}

/// Shows names only.
impl fmt::Debug for Consumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.consumers).finish()
    }
}

impl Consumers {
    /// Those of the file. Who was there `before` goes on with what it has asked already.
    pub fn new(entries: Vec<Entry>, before: Option<&Self>) -> Self {
        let mut all = Self { keys: HashMap::new(), hash: RandomState::new(), consumers: Vec::new() };
        for entry in entries {
            let known = before.and_then(|before| before.consumers.iter().find(|known| *known.name == *entry.name));
            let meter = known.map(|known| Arc::clone(&known.meter));
            let meter = meter.unwrap_or_else(|| Meter::new(format!("consumer {}", entry.name), entry.per_minute));
            meter.set_per_minute(entry.per_minute);
            let ends = entry.keys.iter().map(|key| key.expires_at_ms.unwrap_or(u64::MAX));
            let consumer = Arc::new(Consumer {
                ends_at_ms: ends.max().filter(|end| *end < u64::MAX),
                asked: known.map(|known| Arc::clone(&known.asked)).unwrap_or_default(),
                caller: caller(&entry.name),
                name: entry.name.into(),
                allow_origins: entry.allow_origins,
                meter,
            });
            for key in entry.keys {
                let known =
                    Known { digest: key.digest, expires_at_ms: key.expires_at_ms, consumer: Arc::clone(&consumer) };
                all.keys.entry(all.hash.hash_one(key.digest.bytes())).or_default().push(known);
            }
            all.consumers.push(consumer);
        }
        all
    }

    /// Whose key this is. How long it takes says nothing about the keys that there are.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn find(&self, key: &[u8], now_ms: u64) -> Result<Arc<Consumer>, Unknown> {
        let digest = KeyDigest::of(key);
        let known = self.keys.get(&self.hash.hash_one(digest.bytes())).map_or(&[][..], Vec::as_slice);
        let found = known.iter().find(|known| known.digest == digest).ok_or(Unknown::Key)?;
        match found.expires_at_ms {
            Some(end) if end <= now_ms => Err(Unknown::Expired),
            _ => Ok(Arc::clone(&found.consumer)),
        }
    }

    /// Each of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().map(|consumer| &**consumer)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.consumers.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.consumers.is_empty()
    }

    /// Whether pages of this origin may use a key of somebody: what a browser's question before the question is answered
    /// with, which brings no key.
    pub fn any_names(&self, origin: &[u8]) -> bool {
        self.consumers.iter().any(|consumer| !consumer.allow_origins.is_empty() && consumer.allows(origin))
    }

    /// How many are soon without a key or are so already, and when the next one is.
    pub fn ends(&self, now_ms: u64) -> ConsumerEnds {
        let ends = || self.iter().filter_map(|consumer| consumer.ends_at_ms);
        ConsumerEnds {
            next_end_secs: ends().filter(|end| *end > now_ms).min().map(|end| end / 1_000),
            ending: ends().filter(|end| *end <= now_ms.saturating_add(SOON_MS)).count(),
        }
    }

    /// The next key to end after `now_ms`: whose, and when, in Unix milliseconds.
    pub fn next_end(&self, now_ms: u64) -> Option<(&str, u64)> {
        let ends = self.keys.values().flatten().filter_map(|known| Some((&*known.consumer.name, known.expires_at_ms?)));
        ends.filter(|(_, end)| *end > now_ms).min_by_key(|(_, end)| *end)
    }
}

/// The same in all replicas; far from the numbers of addresses.
fn caller(name: &str) -> Caller {
    let [a, b, c, d, e, f, g, h, ..] = *KeyDigest::of(name.as_bytes()).bytes();
    Caller(u64::from_be_bytes([a, b, c, d, e, f, g, h]) | 1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, before: Option<&Consumers>) -> Consumers {
        Consumers::new(parse(text).unwrap(), before)
    }

    #[test]
    fn a_key_finds_its_consumer_until_it_ends_and_nothing_else_does() {
        let text = entry("one", 60, b"k1", None) + &entry("two", 60, b"k2", Some("1970-01-02"));
        let all = all(&text, None);
        let find = |key: &[u8], now| all.find(key, now).map(|consumer| consumer.name.to_string());
        assert_eq!(find(b"k1", u64::MAX), Ok("one".to_owned()));
        assert_eq!(find(b"k2", 86_399_999), Ok("two".to_owned()));
        assert_eq!(find(b"k2", 86_400_000), Err(Unknown::Expired));
        for wrong in [&b""[..], b"k", b"k11", b"K1", b"one"] {
            assert_eq!(find(wrong, 0), Err(Unknown::Key));
        }
        assert_eq!((all.len(), all.next_end(0), all.next_end(86_400_000)), (2, Some(("two", 86_400_000)), None));
        assert_eq!(format!("{all:?}"), "[one, two]");
    }

    #[test]
    fn two_keys_are_good_at_once_and_a_revoked_one_is_not() {
        let digest = |key: &[u8]| KeyDigest::of(key).to_string();
        let (old, new) = (digest(b"old"), digest(b"new"));
        let text = |keys: &str| format!("[[consumer]]\nname = \"a\"\nper_minute = 9\nkeys = [{keys}]\n");
        let both = all(&text(&format!("{{ sha256 = \"{old}\" }}, {{ sha256 = \"{new}\" }}")), None);
        assert!(both.find(b"old", 0).is_ok() && both.find(b"new", 0).is_ok());
        let after = all(&text(&format!("{{ sha256 = \"{new}\" }}")), Some(&both));
        assert_eq!(after.find(b"old", 0).map(drop), Err(Unknown::Key));
        let meter = |all: &Consumers| Arc::clone(&all.find(b"new", 0).unwrap().meter);
        assert!(Arc::ptr_eq(&meter(&both), &meter(&after)), "what it has asked goes on counting");
    }

    #[test]
    fn origins_are_allowed_by_consumer() {
        let text = entry("any", 60, b"k1", None)
            + &entry("one", 60, b"k2", None)
            + "allow_origins = [\"https://app.example\"]\n";
        let all = all(&text, None);
        let allows = |key: &[u8], origin: &[u8]| all.find(key, 0).unwrap().allows(origin);
        assert!(allows(b"k1", b"https://evil.example") && allows(b"k2", b"https://app.example"));
        for other in [&b"https://evil.example"[..], b"http://app.example", b"https://app.example.", b"null", b""] {
            assert!(!allows(b"k2", other) && !all.any_names(other));
        }
        assert!(all.any_names(b"https://app.example"));
    }
}
