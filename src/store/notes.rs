//! Notes that replicas leave each other in the store: a few sealed bytes under keyed names.
//!
//! A note has a name under each key of the ring, and is left under all of them. So replicas meet, also while a rotation is
//! rolled out and not all have the same ring: each two have a key in common.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Store, StoreError};
use crate::clock::Clock;
use crate::crypto::{Keyring, Opened, Padding, RecordName, Times};

/// How much longer than in the store a note can be opened: the store's clock is the one that counts, and those of replicas
/// may be wrong, or be put right by hours.
const CLOCKS_DIFFER: Duration = Duration::from_hours(24);

/// Who waits for what is read, so that failures are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A caller, or a call for one.
    Caller,
    /// Nobody.
    Background,
}

/// The bytes that are there after a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Put there just now.
    Ours(Bytes),
    /// There before.
    Theirs(Bytes),
}

/// A store and what is needed to leave notes in it. Clones share it.
#[derive(Clone)]
pub struct Notebook {
    /// Where.
    pub store: Store,
    /// How names are made, and notes sealed.
    pub keyring: Arc<Keyring>,
    /// The clock that notes are dated by.
    pub clock: Clock,
}

impl Notebook {
    /// The note about `subject`, which must not have the form of a question.
    pub fn note(&self, subject: &str) -> Note {
        Note { names: self.names(subject), book: self.clone() }
    }

    /// The same in one place with the rest of its `group`; [`Notebook::names_together`].
    pub fn note_together(&self, group: &str, subject: &str) -> Note {
        Note { names: self.names_together(group, subject), book: self.clone() }
    }

    /// The names of `subject`, in one order in all replicas: who claims several then meets the others at the first one
    /// that they have in common.
    pub fn names(&self, subject: &str) -> Vec<RecordName> {
        sorted(self.keyring.names(subject))
    }

    /// The same for what has to be in one place with the rest of its `group`: a store that is spread over several servers
    /// then loses all of it or nothing.
    pub fn names_together(&self, group: &str, subject: &str) -> Vec<RecordName> {
        sorted(self.keyring.names_together(group, subject))
    }

    /// What is under each of `names`, in their order.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn read(&self, names: &[&RecordName], reader: Reader) -> Result<Vec<Option<Bytes>>, StoreError> {
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        match reader {
            Reader::Caller => self.store.read(&names).await,
            Reader::Background => self.store.watch(&names).await,
        }
    }

    /// Puts a note under `name` unless there is one, which is then given; [`Store::claim`].
    ///
    /// # Errors
    /// The store cannot be used, or the note could not be sealed.
    pub async fn claim(&self, name: &RecordName, text: &[u8], ttl: Duration) -> Result<Claimed, StoreError> {
        let value = self.seal(name, text, ttl)?;
        Ok(match self.store.claim(name.as_str(), value.clone(), ttl).await? {
            None => Claimed::Ours(value.into()),
            Some(value) => Claimed::Theirs(value),
        })
    }

    /// Puts a note under `name` in place of one that is there.
    ///
    /// # Errors
    /// As [`Notebook::claim`].
    pub async fn write(&self, name: &RecordName, text: &[u8], ttl: Duration) -> Result<(), StoreError> {
        self.store.write(name.as_str(), self.seal(name, text, ttl)?, ttl).await
    }

    /// What a sealed note says; `None` if it does not open here. That is nothing to report: another replica may have a
    /// newer key.
    pub fn open(&self, name: &RecordName, sealed: &[u8]) -> Option<Vec<u8>> {
        self.keyring.open(name, sealed, self.clock.now_ms()).ok().map(|opened| opened.content)
    }

    fn seal(&self, name: &RecordName, text: &[u8], ttl: Duration) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now_ms();
        let lifetime_ms = u64::try_from((ttl + CLOCKS_DIFFER).as_millis()).unwrap_or(u64::MAX);
        let times = Times { fetched_at_ms: now, expires_at_ms: now.saturating_add(lifetime_ms) };
        self.keyring.seal(name, times, text, Padding::Note).map_err(|error| {
            tracing::error!("a note could not be sealed: {error}");
            StoreError::Refused
        })
    }
}

fn sorted(mut names: Vec<RecordName>) -> Vec<RecordName> {
    names.sort_unstable();
    names
}

/// One note, under all its names.
#[derive(Clone)]
pub struct Note {
    book: Notebook,
    names: Vec<RecordName>,
}

/// What came of claiming a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteClaim {
    /// It is ours, under all its names.
    Ours,
    /// There is one already.
    Theirs {
        /// What it says and when it was written, if it opens here.
        said: Option<Opened>,
        /// Its bytes, by which a note that is written again can be told from one that just lies there.
        sealed: Bytes,
    },
}

impl Note {
    /// Leaves the note for `ttl` unless there is one under any of its names.
    ///
    /// # Errors
    /// As [`Notebook::claim`]; under some names it may be left then.
    pub async fn claim(&self, text: &[u8], ttl: Duration) -> Result<NoteClaim, StoreError> {
        for (taken, name) in self.names.iter().enumerate() {
            if let Claimed::Theirs(sealed) = self.book.claim(name, text, ttl).await? {
                self.remove_from(&self.names[..taken]).await;
                let said = self.book.keyring.open(name, &sealed, self.book.clock.now_ms()).ok();
                return Ok(NoteClaim::Theirs { said, sealed });
            }
        }
        Ok(NoteClaim::Ours)
    }

    /// Leaves the note for `ttl` in place of one that is there.
    ///
    /// # Errors
    /// As [`Notebook::claim`]; under some names it may be left then.
    pub async fn write(&self, text: &[u8], ttl: Duration) -> Result<(), StoreError> {
        for name in &self.names {
            self.book.write(name, text, ttl).await?;
        }
        Ok(())
    }

    /// What the note says under each of its names where one opens.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn read(&self, reader: Reader) -> Result<Vec<Vec<u8>>, StoreError> {
        let sealed = self.book.read(&self.names.iter().collect::<Vec<_>>(), reader).await?;
        let opened = self.names.iter().zip(sealed).filter_map(|(name, sealed)| self.book.open(name, &sealed?));
        Ok(opened.collect())
    }

    /// Takes the note away. A store that cannot is counted; the note ends by itself.
    pub async fn remove(&self) {
        self.remove_from(&self.names).await;
    }

    async fn remove_from(&self, names: &[RecordName]) {
        if !names.is_empty() {
            let names: Vec<_> = names.iter().map(RecordName::as_str).collect();
            let _ = self.book.store.remove(&names).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryStore, StoreConfig};
    use super::*;
    use crate::crypto::generate_key_line;
    use crate::telemetry::Metrics;

    const TTL: Duration = Duration::from_secs(60);

    /// Replicas on one store: before a rotation, while it is under way, and after.
    fn replicas() -> [Notebook; 3] {
        let (old, new) = (generate_key_line().unwrap(), generate_key_line().unwrap());
        let clock = Clock::from_fn(|| 1_000_000);
        let store = MemoryStore::new(clock.clone());
        [old.to_string(), format!("{}\n{}", new.as_str(), old.as_str()), new.to_string()].map(|ring| Notebook {
            store: Store::start(StoreConfig::Shared(store.clone()), clock.clone(), Metrics::new()),
            keyring: Arc::new(Keyring::parse(&ring).unwrap()),
            clock: clock.clone(),
        })
    }

    #[tokio::test]
    async fn replicas_with_a_key_in_common_meet_at_a_note_whoever_claims_it_first() {
        let [before, during, after] = replicas().map(|book| book.note("x"));
        for (one, other) in [(&before, &during), (&during, &before), (&during, &after), (&after, &during)] {
            assert_eq!(one.claim(b"one", TTL).await, Ok(NoteClaim::Ours));
            assert!(matches!(other.claim(b"other", TTL).await, Ok(NoteClaim::Theirs { .. })));
            one.remove().await;
            assert_eq!(other.claim(b"other", TTL).await, Ok(NoteClaim::Ours), "nothing was left behind");
            other.remove().await;
        }
    }

    #[tokio::test]
    async fn what_is_told_during_a_rotation_is_heard_by_who_has_the_old_key_only_and_who_has_the_new_one() {
        let [before, during, after] = replicas().map(|book| book.note("x"));
        during.write(b"said", TTL).await.unwrap();
        assert_eq!(after.read(Reader::Caller).await.unwrap(), [b"said"]);
        // It was sealed with the new key, which this one has not got: it sees that there is one.
        assert_eq!(before.read(Reader::Caller).await.unwrap(), Vec::<Vec<u8>>::new());
        assert!(matches!(before.claim(b"one", TTL).await, Ok(NoteClaim::Theirs { said: None, .. })));
        before.write(b"answered", TTL).await.unwrap();
        let heard = during.read(Reader::Caller).await.unwrap();
        assert!(heard.contains(&b"answered".to_vec()) && heard.contains(&b"said".to_vec()));
    }
}
