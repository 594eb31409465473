//! Notes in the store: sealed, and under keyed names.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Clock;
use crate::crypto::{Keyring, RecordName, Times};
use crate::store::{CLOCKS_DIFFER, Store, StoreError};

/// Who waits for what is read, so that failures are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A call.
    Call,
    /// Nobody.
    Background,
}

/// The store and what is needed to write into it.
pub(super) struct Ledger {
    pub(super) store: Store,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: Clock,
}

impl Ledger {
    /// The names of `subject`, in one order in all replicas: who claims several then meets the others at the first one.
    pub(super) fn names(&self, subject: &str) -> Vec<RecordName> {
        let mut names = self.keyring.names(subject);
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names
    }

    pub(super) async fn read(&self, names: &[&RecordName], reader: Reader) -> Result<Vec<Option<Bytes>>, StoreError> {
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        match reader {
            Reader::Call => self.store.read(&names).await,
            Reader::Background => self.store.watch(&names).await,
        }
    }

    pub(super) fn seal(&self, name: &RecordName, note: &[u8], ttl: Duration) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now_ms();
        let times = Times { fetched_at_ms: now, expires_at_ms: now.saturating_add(millis(ttl + CLOCKS_DIFFER)) };
        self.keyring.seal(name, times, note).map_err(|error| {
            tracing::error!("a note could not be sealed: {error}");
            StoreError::Refused
        })
    }

    /// What was sealed; `None` if it does not open here. That is nothing to report: another replica may have a newer key.
    pub(super) fn open(&self, name: &RecordName, value: &[u8]) -> Option<Vec<u8>> {
        self.keyring.open(name, value, self.clock.now_ms()).ok().map(|opened| opened.plaintext)
    }

    /// Puts a note there unless there is one, which is then given.
    pub(super) async fn claim(&self, name: &RecordName, note: &[u8], ttl: Duration) -> Result<Claimed, StoreError> {
        let value = self.seal(name, note, ttl)?;
        Ok(match self.store.claim(name.as_str(), value.clone(), ttl).await? {
            None => Claimed::Ours(value.into()),
            Some(value) => Claimed::Theirs(value),
        })
    }
}

/// The bytes that are there after a claim.
pub(super) enum Claimed {
    /// Put there just now.
    Ours(Bytes),
    /// There before.
    Theirs(Bytes),
}

/// In milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long it is until `end_ms` of a wall clock. Clocks that are wrong make it wrong, but never longer than `longest`.
pub(super) fn until(end_ms: u64, wall_ms: u64, longest: Duration) -> Duration {
    Duration::from_millis(end_ms.saturating_sub(wall_ms)).min(longest)
}
