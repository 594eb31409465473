//! Where credentials lie in the store: slots with opaque names, each empty or with one sealed credential in it. Nobody has
//! to list names, and there is no index that could lose an entry.
//!
//! A slot has a name under each key of the ring, and what is put there is put under all of them; of what is found there
//! the latest counts. So replicas meet while a rotation is rolled out, and whoever finds that a name lacks what another
//! one has, or that the key which seals now has not sealed it, puts that right: the old key can be retired at once.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::{Padding, RecordName, Times};
use crate::store::{Notebook, Reader, StoreError};

use super::REMOVED_FOR;
use super::entry::Credential;

/// Credentials at most. They are read together, twice a second, by every replica.
pub(super) const SLOTS: usize = 32;

/// One name of a slot.
struct Place {
    name: RecordName,
    found: Found,
}

/// What is under a name.
enum Found {
    Nothing,
    /// Something that does not open here: another replica may have a newer key.
    Closed,
    Open {
        credential: Arc<Credential>,
        /// The key that seals now has sealed it.
        current: bool,
    },
}

impl Found {
    fn credential(&self) -> Option<&Arc<Credential>> {
        match self {
            Self::Open { credential, .. } => Some(credential),
            Self::Nothing | Self::Closed => None,
        }
    }
}

/// A slot as it was read. The first place is that of the key that seals.
pub(super) struct Slot(Vec<Place>);

impl Slot {
    /// The latest of what was found there.
    pub(super) fn latest(&self) -> Option<&Arc<Credential>> {
        self.0.iter().filter_map(|place| place.found.credential()).max_by_key(|found| found.age())
    }

    pub(super) fn is_free(&self) -> bool {
        self.0.iter().all(|place| matches!(place.found, Found::Nothing))
    }

    fn fill(&mut self, credential: &Arc<Credential>) {
        for place in &mut self.0 {
            place.found = Found::Open { credential: Arc::clone(credential), current: true };
        }
    }
}

/// The slots.
pub(super) struct Slots(pub(super) Notebook);

impl Slots {
    /// All of them, in one round trip.
    pub(super) async fn read(&self, reader: Reader) -> Result<Vec<Slot>, StoreError> {
        let names: Vec<Vec<_>> =
            (0..SLOTS).map(|slot| self.0.keyring.names(&format!("credential slot {slot}"))).collect();
        let values = self.0.read(&names.iter().flatten().collect::<Vec<_>>(), reader).await?;
        let mut values = values.into_iter();
        let mut slot = |names: Vec<RecordName>| {
            let place = |name| Place { found: self.open(&name, values.next().flatten().as_deref()), name };
            Slot(names.into_iter().map(place).collect())
        };
        Ok(names.into_iter().map(&mut slot).collect())
    }

    fn open(&self, name: &RecordName, sealed: Option<&[u8]>) -> Found {
        let Some(sealed) = sealed else { return Found::Nothing };
        let Ok(opened) = self.0.keyring.open_credential(name, sealed, self.0.clock.now_ms()) else {
            return Found::Closed;
        };
        match Credential::decode(&opened.content, opened.times) {
            Some(credential) => Found::Open { credential: Arc::new(credential), current: opened.current },
            None => Found::Closed,
        }
    }

    /// Puts a credential into a free slot, unless another replica was faster.
    pub(super) async fn claim(&self, slot: &mut Slot, credential: &Arc<Credential>) -> Result<bool, StoreError> {
        // In one order everywhere: who claims several meets the others at the first name that they have in common.
        let mut names: Vec<_> = slot.0.iter().map(|place| &place.name).collect();
        names.sort_unstable();
        for (taken, name) in names.iter().enumerate() {
            let (sealed, ttl) = self.seal(name, credential)?;
            if self.0.store.claim(name.as_str(), sealed, ttl).await?.is_some() {
                self.remove(&names[..taken]).await?;
                return Ok(false);
            }
        }
        slot.fill(credential);
        Ok(true)
    }

    /// Puts a credential into a slot, in place of what is there.
    pub(super) async fn write(&self, slot: &mut Slot, credential: &Arc<Credential>) -> Result<(), StoreError> {
        for place in &slot.0 {
            self.write_to(&place.name, credential).await?;
        }
        slot.fill(credential);
        Ok(())
    }

    /// Empties a slot.
    pub(super) async fn clear(&self, slot: &mut Slot) -> Result<(), StoreError> {
        self.remove(&slot.0.iter().map(|place| &place.name).collect::<Vec<_>>()).await?;
        for place in &mut slot.0 {
            place.found = Found::Nothing;
        }
        Ok(())
    }

    /// Puts right what lacks under some names, and empties slots whose credential is a later one's in another slot: else
    /// it would come back when that one ends. Of the same one in two slots, the first is kept.
    pub(super) async fn mend(&self, slots: &mut [Slot]) -> Result<(), StoreError> {
        for index in 0..slots.len() {
            let Some(latest) = slots[index].latest().cloned() else { continue };
            let of_id = |(index, slot): (usize, &Slot)| {
                slot.latest().filter(|other| other.id == latest.id).map(|other| (other.age(), Reverse(index)))
            };
            if slots.iter().enumerate().filter_map(of_id).max() > Some((latest.age(), Reverse(index))) {
                self.clear(&mut slots[index]).await?;
                continue;
            }
            for (number, place) in slots[index].0.iter_mut().enumerate() {
                let lacks = match &place.found {
                    Found::Open { credential, .. } if credential.age() < latest.age() => true,
                    // That something was removed ends by itself, and is told once under each name.
                    _ if latest.is_removed() => false,
                    Found::Open { current, .. } => number == 0 && !current,
                    Found::Nothing | Found::Closed => true,
                };
                if lacks {
                    self.write_to(&place.name, &latest).await?;
                    place.found = Found::Open { credential: Arc::clone(&latest), current: true };
                }
            }
        }
        Ok(())
    }

    async fn write_to(&self, name: &RecordName, credential: &Credential) -> Result<(), StoreError> {
        let (sealed, ttl) = self.seal(name, credential)?;
        self.0.store.write(name.as_str(), sealed, ttl).await
    }

    async fn remove(&self, names: &[&RecordName]) -> Result<(), StoreError> {
        if !names.is_empty() {
            self.0.store.remove(&names.iter().map(|name| name.as_str()).collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// The sealed bytes, and how long the store shall keep them.
    fn seal(&self, name: &RecordName, credential: &Credential) -> Result<(Vec<u8>, Duration), StoreError> {
        let Times { expires_at_ms, .. } = credential.times;
        let left = Duration::from_millis(expires_at_ms.saturating_sub(self.0.clock.now_ms()));
        let ttl = if credential.is_removed() { REMOVED_FOR } else { left };
        let sealed = self.0.keyring.seal(name, credential.times, &credential.encode(), Padding::Credential);
        let sealed = sealed.map_err(|error| {
            tracing::error!("a credential could not be sealed: {error}");
            StoreError::Refused
        })?;
        Ok((sealed, ttl))
    }
}
