//! Until when each key of the ring is needed. Who seals records with a key tells the other replicas when the last of them
//! ends, every few seconds; so each can say when nothing in the store needs that key any more, also of what it did not seal itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Inner;
use crate::crypto::KeyUse;
use crate::store::{Notebook, Reader};
use crate::telemetry::KeyReport;

/// How often a replica tells the others. What is told late is told with its end, so nothing is lost by it.
const INTERVAL: Duration = Duration::from_secs(5);

/// The ends of the last records by key id, Unix milliseconds, as the other replicas know them.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<HashMap<String, u64>>);

impl Ends {
    /// The later of what is known and what was found.
    fn learn(&self, id: &str, end_ms: u64) -> u64 {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ends.entry(id.to_owned()).or_default();
        *known = end_ms.max(*known);
        *known
    }
}

/// Tells again and again as long as the cache is in use. A store in this process ends with its records.
pub(super) fn tell(inner: &Arc<Inner>) {
    if inner.shelf.store().is_shared() {
        tokio::spawn(tell_again_and_again(Arc::downgrade(inner)));
    }
}

async fn tell_again_and_again(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        inner.tell_ends().await;
    }
}

impl Inner {
    /// How it stands with each key, the sealing one first, by what is known here: nobody waits for the store.
    pub(super) fn keys(&self) -> Vec<KeyReport> {
        let now = self.clock.now_ms();
        let report = |key: KeyUse| KeyReport {
            last_record_ends_in_secs: self.ends.learn(&key.id, key.last_end_ms).saturating_sub(now).div_ceil(1_000),
            id: key.id,
            seals: key.seals,
            records_sealed: key.sealed,
            records_opened: key.opened,
        };
        self.shelf.notes().keyring.uses().into_iter().map(report).collect()
    }

    /// Hears of each key's last record what the others know, and tells them if it ends later. A store that cannot be used is
    /// counted.
    async fn tell_ends(&self) {
        let (notes, now) = (self.shelf.notes(), self.clock.now_ms());
        for key in notes.keyring.uses() {
            let Some(told_ms) = told(notes, &key.id).await else { return };
            let end_ms = self.ends.learn(&key.id, key.last_end_ms.max(told_ms));
            if end_ms > told_ms.max(now) {
                // A store that cannot is counted, and told again.
                let lasts = Duration::from_millis(end_ms - now);
                let _ = notes.note(&subject(&key.id)).write(&end_ms.to_be_bytes(), lasts).await;
            }
        }
    }
}

fn subject(id: &str) -> String {
    format!("key {id}")
}

/// When the last record of a key ends, as the replicas have told; 0 if none has. `None`: the store cannot be used.
async fn told(notes: &Notebook, id: &str) -> Option<u64> {
    let said = notes.note(&subject(id)).read(Reader::Background).await.ok()?;
    let ends = said.iter().filter_map(|said| Some(u64::from_be_bytes(said.as_slice().try_into().ok()?)));
    Some(ends.max().unwrap_or_default())
}
