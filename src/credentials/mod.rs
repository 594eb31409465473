//! The vault: secrets of other people's services, sealed in the store with an end, for all replicas. Whoever needs one
//! looks at what is in memory, which is read again twice a second.
//!
//! - `entry` is a credential: id, secret, and the reference that people and logs see in its place.
//! - `slots` is where they lie in the store.
//!
//! A credential is believed until the end that is sealed with it, by the clock of each replica, whatever the store says
//! and also while the store is away. Of two that were put under one id the later one counts. What is lost from the store
//! is put back by whoever saw it a moment ago.

mod entry;
mod slots;

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::crypto::Times;
use crate::store::{Notebook, Reader, StoreError};
pub use entry::{BadId, Credential, Id, Reference};
use slots::{Slot, Slots};

/// How often the store is read. With the time of one command a change is everywhere within a second.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long it is kept in the store that a credential was removed: what was read before that must not be written after it.
/// By the store's clock: the sealed end is later, since to a replica whose clock is ahead it would be over at once.
const REMOVED_FOR: Duration = Duration::from_secs(10);
/// How long ago a credential may have been seen that is put back when it is gone: if it was removed since, that is still
/// told.
const REMEMBERED_FOR: Duration = Duration::from_secs(8);
const REMEMBERED_FOR_MS: u64 = REMEMBERED_FOR.as_secs() * 1_000;
/// How far apart the clocks of two replicas may be: each five seconds wrong, either way.
const CLOCKS_DIFFER_MS: u64 = 10_000;
/// How often it is tried to put back what was lost: others do so, too, and may take the slot for something else.
const ATTEMPTS: usize = 3;
/// Putting right takes no longer, so that it ends before [`REMOVED_FOR`] does.
const MENDING: Duration = Duration::from_secs(5);
/// How long a credential lives unless it is said.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3_600);
/// How long a credential lives at most: one that nobody looks after ends.
pub const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Why a credential was not kept or not removed. No message repeats what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The secret is empty, too long, or has characters that fit into no header and no URL.
    #[error("a secret is 1 to 512 visible ASCII characters, without spaces")]
    BadSecret,
    /// It would live too short or too long.
    #[error("a credential lives for 1 to 2592000 seconds (30 days)")]
    BadTtl,
    /// Every slot is taken.
    #[error("the vault holds 32 credentials and is full: remove one, and try again after ten seconds")]
    Full,
    /// The store cannot be used, or did not answer in time: then it may have been done all the same.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
}

/// A credential that was put into the vault.
#[derive(Debug)]
pub struct Put {
    /// The credential.
    pub credential: Arc<Credential>,
    /// There was one under its id.
    pub replaced: bool,
}

/// The vault. Clones share it.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    slots: Slots,
    view: ArcSwap<View>,
    turn: Mutex<Turn>,
}

/// Held by whoever reads the slots, up to the view that follows from it: none takes the place of a later one.
#[derive(Default)]
struct Turn {
    /// When the slots were read last, by both clocks: the one that never steps stands still while the machine sleeps.
    read_at: Option<(Instant, u64)>,
}

/// What is in the vault as it was read last, by id, each with the number of its slot.
type View = Vec<(usize, Arc<Credential>)>;

impl Vault {
    /// An empty view of the vault in the store of `notes`, which is read from now on; needs a Tokio runtime.
    pub fn start(notes: Notebook) -> Self {
        // A store in this process has no other replicas.
        let shared = notes.store.is_shared();
        let inner = Inner { slots: Slots(notes), view: ArcSwap::default(), turn: Mutex::default() };
        let vault = Self(Arc::new(inner));
        if shared {
            tokio::spawn(look_again_and_again(Arc::downgrade(&vault.0)));
        }
        vault
    }

    /// Puts `secret` under `id` for `ttl`, in place of what is there: here at once, on the other replicas within a second.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn put(&self, id: Id, secret: SecretString, ttl: Duration) -> Result<Put, VaultError> {
        if !entry::is_secret(secret.expose_secret()) {
            return Err(VaultError::BadSecret);
        }
        if ttl < Duration::from_secs(1) || ttl > LONGEST_TTL {
            return Err(VaultError::BadTtl);
        }
        let inner = Arc::clone(&self.0);
        finished(async move { inner.put(id, secret, ttl).await }).await
    }

    /// Removes what is under `id`: here at once, on the other replicas within a second. Whether there was something.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn remove(&self, id: Id) -> Result<bool, VaultError> {
        let inner = Arc::clone(&self.0);
        finished(async move { inner.remove(&id).await }).await
    }

    /// What is under `id` in the store.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn get(&self, id: &Id) -> Result<Option<Arc<Credential>>, StoreError> {
        Ok(self.list().await?.into_iter().find(|credential| credential.id == *id))
    }

    /// All that is in the store, by id.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn list(&self) -> Result<Vec<Arc<Credential>>, StoreError> {
        self.0.look(Reader::Caller).await?;
        Ok(self.view())
    }

    /// What has not ended of what is known in memory, by id; nobody waits for the store.
    pub fn view(&self) -> Vec<Arc<Credential>> {
        let (view, now) = (self.0.view.load(), self.now_ms());
        let all = view.iter().map(|(_, credential)| credential);
        all.filter(|credential| now < credential.times.expires_at_ms).cloned().collect()
    }

    /// Now, by the clock that ends are computed with, Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.0.slots.0.clock.now_ms()
    }
}

/// Runs a change in a task of its own: an operator who hangs up must not leave it half done.
async fn finished<T: Send + 'static>(
    change: impl Future<Output = Result<T, VaultError>> + Send + 'static,
) -> Result<T, VaultError> {
    tokio::spawn(change).await.unwrap_or(Err(VaultError::Store(StoreError::Away)))
}

async fn look_again_and_again(inner: Weak<Inner>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        // A store that cannot be used is counted, and what is known stays in use.
        let _ = inner.look(Reader::Background).await;
    }
}

impl Inner {
    /// Reads the slots, and puts right what is wrong with them.
    async fn look(&self, reader: Reader) -> Result<(), StoreError> {
        let mut turn = self.turn.lock().await;
        let mut slots = self.read(&mut turn, reader).await?;
        // Here, too, a failure is counted; it is tried again at the next look.
        let _ = timeout(MENDING, self.slots.mend(&mut slots)).await;
        Ok(())
    }

    /// Reads the slots, and takes what they hold into memory. What vanished from them without having been removed was lost,
    /// and is put back.
    async fn read(&self, turn: &mut Turn, reader: Reader) -> Result<Vec<Slot>, StoreError> {
        let (now, now_ms) = (self.slots.0.clock.instant(), self.slots.0.clock.now_ms());
        let mut slots = self.slots.read(reader).await?;
        if turn.read_at.is_some_and(|(before, before_ms)| {
            now < before + REMEMBERED_FOR && now_ms < before_ms.saturating_add(REMEMBERED_FOR_MS)
        }) {
            for _ in 0..ATTEMPTS {
                if !self.put_back(&mut slots).await? {
                    break;
                }
                slots = self.slots.read(reader).await?;
            }
        }
        // Both or neither: whatever fails after this, what is in memory was seen at that time.
        self.show(&slots);
        turn.read_at = Some((now, now_ms));
        Ok(slots)
    }

    /// Whether there was something to put back. Another replica may have been faster, with that or with something else.
    async fn put_back(&self, slots: &mut [Slot]) -> Result<bool, StoreError> {
        let now = self.slots.0.clock.now_ms();
        let mut any = false;
        for (slot, known) in self.view.load_full().iter() {
            let is_there = slots.iter().filter_map(Slot::latest).any(|found| found.id == known.id);
            // What is about to end may have ended by the clock of whoever put it.
            if is_there || known.times.expires_at_ms <= now.saturating_add(CLOCKS_DIFFER_MS) {
                continue;
            }
            // Where it was: of several replicas that do this at once, one does it. Elsewhere, if that was given to another one
            // since; what does not open there may say that it was removed.
            let given_away = slots[*slot].latest().is_some();
            let free = if given_away { slots.iter().position(Slot::is_free) } else { Some(*slot) };
            let Some(free) = free.filter(|free| slots[*free].is_free()) else { continue };
            any = true;
            if self.slots.claim(&mut slots[free], known).await? {
                let (id, reference) = (&known.id, known.reference);
                tracing::warn!(%id, %reference, "a credential was lost from the store, and was put back there");
            }
        }
        Ok(any)
    }

    async fn put(&self, id: Id, secret: SecretString, ttl: Duration) -> Result<Put, VaultError> {
        let mut turn = self.turn.lock().await;
        let mut slots = self.read(&mut turn, Reader::Caller).await?;
        let holders = holders(&slots, &id);
        let known = holders.first().and_then(|holder| slots[*holder].latest().cloned());
        let live = known.as_ref().filter(|known| !known.is_removed());
        let same = live.filter(|live| {
            let (known, given) = (live.secret().expose_secret().as_bytes(), secret.expose_secret().as_bytes());
            known.ct_eq(given).into()
        });
        // The same secret keeps its reference, also if the keys were rotated since.
        let reference = same.map_or_else(
            || Reference(self.slots.0.keyring.reference(id.as_str(), secret.expose_secret().as_bytes())),
            |same| same.reference,
        );
        let replaced = live.is_some();
        let credential = Arc::new(Credential::new(id, reference, secret, self.times(ttl, known.as_deref())));
        if let Some((first, others)) = holders.split_first() {
            self.slots.write(&mut slots[*first], &credential).await?;
            for other in others {
                self.slots.clear(&mut slots[*other]).await?;
            }
        } else {
            self.claim(&mut slots, &credential).await?;
        }
        self.show(&slots);
        Ok(Put { credential, replaced })
    }

    async fn claim(&self, slots: &mut [Slot], credential: &Arc<Credential>) -> Result<(), VaultError> {
        for slot in slots.iter_mut().filter(|slot| slot.is_free()) {
            if self.slots.claim(slot, credential).await? {
                return Ok(());
            }
        }
        Err(VaultError::Full)
    }

    async fn remove(&self, id: &Id) -> Result<bool, VaultError> {
        let mut turn = self.turn.lock().await;
        let mut slots = self.read(&mut turn, Reader::Caller).await?;
        let holders = holders(&slots, id);
        let Some((first, others)) = holders.split_first() else { return Ok(false) };
        let Some(known) = slots[*first].latest().cloned().filter(|known| !known.is_removed()) else { return Ok(false) };
        let removed = Arc::new(Credential::removed(id.clone(), self.times(LONGEST_TTL, Some(&known))));
        self.slots.write(&mut slots[*first], &removed).await?;
        for other in others {
            self.slots.clear(&mut slots[*other]).await?;
        }
        self.show(&slots);
        Ok(true)
    }

    /// From now on for `ttl`, and later than what is known: replicas' clocks differ.
    fn times(&self, ttl: Duration, known: Option<&Credential>) -> Times {
        let now = self.slots.0.clock.now_ms();
        let fetched_at_ms = known.map_or(now, |known| now.max(known.put_at_ms().saturating_add(1)));
        let expires_at_ms = now.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        Times { fetched_at_ms, expires_at_ms }
    }

    /// Takes what the slots hold into memory.
    fn show(&self, slots: &[Slot]) {
        let mut view: View =
            slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.latest()?.clone()))).collect();
        // The latest of each id first.
        view.sort_by(|(_, one), (_, other)| one.id.cmp(&other.id).then(other.age().cmp(&one.age())));
        view.dedup_by(|(_, later), (_, first)| later.id == first.id);
        view.retain(|(_, credential)| !credential.is_removed());
        self.view.store(Arc::new(view));
    }
}

/// The slots that hold a credential of this id, or that it was removed; the latest first.
fn holders(slots: &[Slot], id: &Id) -> Vec<usize> {
    let of_id =
        |(index, slot): (usize, &Slot)| slot.latest().filter(|found| found.id == *id).map(|found| (found.age(), index));
    let mut holders: Vec<_> = slots.iter().enumerate().filter_map(of_id).collect();
    holders.sort_unstable();
    holders.into_iter().rev().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests;
