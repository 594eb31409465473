//! Notes that replicas leave each other in the store: a few sealed bytes under a keyed name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Store, StoreError};
use crate::clock::Clock;
use crate::crypto::{Keyring, RecordName, Times};

/// How much longer than in the store a note can be opened: the store's clock is the one that counts, and those of replicas
/// may be wrong, or be put right by hours.
pub const CLOCKS_DIFFER: Duration = Duration::from_hours(24);

/// One note: its name and how it is sealed.
#[derive(Clone)]
pub struct Note {
    store: Store,
    keyring: Arc<Keyring>,
    clock: Clock,
    name: RecordName,
}

impl Note {
    /// The note about `subject`, which must not have the form of a question. The oldest key of the ring names it, so that
    /// all replicas find it under one name: during a rotation the newest key is not known everywhere yet.
    pub fn new(store: &Store, keyring: &Arc<Keyring>, clock: &Clock, subject: &str) -> Self {
        // A ring has at least one key.
        let name = keyring.names(subject).swap_remove(keyring.ids().count() - 1);
        Self { store: store.clone(), keyring: Arc::clone(keyring), clock: clock.clone(), name }
    }

    /// Leaves the note for `ttl` unless there is one, which is then given; [`Store::claim`].
    ///
    /// # Errors
    /// The store cannot be used, or the note could not be sealed.
    pub async fn claim(&self, text: &[u8], ttl: Duration) -> Result<Option<Bytes>, StoreError> {
        self.store.claim(self.name.as_str(), self.sealed(text, ttl)?, ttl).await
    }

    /// Leaves the note for `ttl` in place of one that is there.
    ///
    /// # Errors
    /// As [`Note::claim`].
    pub async fn write(&self, text: &[u8], ttl: Duration) -> Result<(), StoreError> {
        self.store.write(self.name.as_str(), self.sealed(text, ttl)?, ttl).await
    }

    /// What the note says, if there is one that opens.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed = self.store.read(&[self.name.as_str()]).await?.pop().flatten();
        Ok(sealed.and_then(|sealed| self.open(&sealed)))
    }

    /// Takes the note away. A store that cannot is counted; the note ends by itself.
    pub async fn remove(&self) {
        let _ = self.store.remove(&[self.name.as_str()]).await;
    }

    /// What a sealed note says, if it opens: it was left under this name by somebody with a key.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(self.keyring.open(&self.name, sealed, self.clock.now_ms()).ok()?.plaintext)
    }

    fn sealed(&self, text: &[u8], ttl: Duration) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now_ms();
        let lifetime_ms = u64::try_from((ttl + CLOCKS_DIFFER).as_millis()).unwrap_or(u64::MAX);
        let times = Times { fetched_at_ms: now, expires_at_ms: now.saturating_add(lifetime_ms) };
        self.keyring.seal(&self.name, times, text).map_err(|_| StoreError::Refused)
    }
}
