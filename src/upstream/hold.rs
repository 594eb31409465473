//! What one replica has learnt of the account and all have to heed: the upstream's 429 and 401 are about the account and
//! its key, not about a replica. A note in the store says so for as long as nobody should ask.

use std::time::Duration;

use super::breaker::Reason;
use crate::store::{Note, Notebook, Reader};

const RATE_LIMITED: u8 = 1;
const KEY_REJECTED: u8 = 2;
// Followed by the milliseconds of the Unix epoch until which it holds, big-endian, and by the tag of the key that was used.
/// What is written by a clock far ahead must not hold for ever.
const LONGEST: Duration = Duration::from_secs(3_600 * 2);

/// The note, read before each call.
pub(super) struct Hold(Notebook);

impl Hold {
    pub(super) fn new(notes: Notebook) -> Self {
        Self(notes)
    }

    fn note(&self) -> Note {
        self.0.note("upstream hold")
    }

    /// Tells the other replicas. A store that cannot be written to is counted; each will then learn for itself.
    pub(super) async fn tell(&self, reason: Reason, pause: Duration, tag: u64) {
        let kind = match reason {
            Reason::RateLimited => RATE_LIMITED,
            Reason::KeyRejected => KEY_REJECTED,
            // That may be this replica's own way to the upstream.
            Reason::Failing => return,
        };
        if self.0.store.is_shared() {
            let until_ms = self.0.clock.now_ms().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            let text = [&[kind], &until_ms.to_be_bytes()[..], &tag.to_be_bytes()].concat();
            let _ = self.note().write(&text, pause).await;
        }
    }

    /// What another replica has told, and for how long it still holds. That a key was refused says nothing about another one
    /// than that.
    pub(super) async fn heard(&self, tag: u64) -> Option<(Reason, Duration)> {
        if !self.0.store.is_shared() {
            return None;
        }
        let told = self.note().read(Reader::Caller).await.ok()?;
        told.iter().filter_map(|text| self.understand(text, tag)).max_by_key(|(_, left)| *left)
    }

    fn understand(&self, text: &[u8], tag: u64) -> Option<(Reason, Duration)> {
        let (kind, rest) = text.split_first()?;
        let (until_ms, of) = rest.split_first_chunk()?;
        let until_ms = u64::from_be_bytes(*until_ms);
        let left = Duration::from_millis(until_ms.saturating_sub(self.0.clock.now_ms())).min(LONGEST);
        match *kind {
            _ if left.is_zero() => None,
            RATE_LIMITED => Some((Reason::RateLimited, left)),
            KEY_REJECTED if of == tag.to_be_bytes() => Some((Reason::KeyRejected, left)),
            _ => None,
        }
    }
}
