//! One load a question in the whole fleet: who loads holds a lease in the store, and the others wait for the record.
//!
//! The lease is a sealed note under a keyed name of its own, claimed in one atomic step. Its holder renews it while it
//! loads; one that dies stops, and after [`LEASE`] another takes over. When a load fails the note says so for the length of
//! the pause before the next one: all replicas give the same error, or their copy, and nobody tries meanwhile.
//!
//! A lease saves calls; it is not what the budget rests on. A holder that stood still for longer than its lease may load
//! beside another, and without a store each replica loads for itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use super::Inner;
use super::backoff::LONGEST_PAUSE;
use super::record::Record;
use crate::store::{Note, NoteClaim};
use crate::weather::{Query, SourceError};

/// How long a lease lasts that is not renewed.
const LEASE: Duration = Duration::from_millis(1_500);
/// How often it is renewed.
const RENEW: Duration = Duration::from_millis(500);
/// No store that keeps time shows the same bytes of a lease for longer.
const STALE_LEASE: Duration = Duration::from_millis(2_000);
/// Steps in which it is looked whether the holder has brought the record; the last one goes on.
const STEPS_MS: [u64; 5] = [5, 10, 15, 20, 25];

/// What a note says first.
const HELD: u8 = 1;
/// Followed by what failed, one byte, and until when nobody should try again: Unix milliseconds, big-endian.
const FAILED: u8 = 2;
/// What failed, by its place in this list.
const FAILURES: [SourceError; 4] =
    [SourceError::Timeout, SourceError::Unavailable, SourceError::Failed, SourceError::InvalidResponse];

/// Whose turn it is to load.
pub(super) enum Turn {
    /// Ours.
    Mine(Lease),
    /// Another replica has brought the record.
    Found(Record),
    /// Another replica has tried and failed, and nobody should try again for a while.
    Failed(SourceError, Duration),
    /// The store cannot tell.
    Alone,
}

impl Turn {
    /// The word in traces.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Mine(_) => "mine",
            Self::Found(_) => "found",
            Self::Failed(..) => "failed",
            Self::Alone => "alone",
        }
    }
}

/// The right to load, until it is released or forgotten.
pub(super) struct Lease {
    /// `None` once it is settled.
    note: Option<Note>,
    /// Whether a renewal failed: then it may be another's by now.
    doubtful: AtomicBool,
}

impl Inner {
    /// Waits for another replica's load of `query`, or gives the right to load. `wanted` tells which record will do.
    pub(super) async fn turn(&self, query: &Query, wanted: impl Fn(&Record) -> bool) -> Turn {
        let note = self.shelf.note(&format!("lease {}", query.subject()));
        let turns = async {
            let mut steps = STEPS_MS.into_iter();
            let mut step = 0;
            let mut loading_since: Option<Instant> = None;
            let mut shown: Option<(Bytes, Instant)> = None;
            loop {
                // In this order on one connection: who gets the lease sees what its last holder has brought.
                let (claimed, found) = tokio::join!(note.claim(&[HELD], LEASE), self.shelf.find_again(query));
                if let Some(record) = found.filter(&wanted) {
                    if claimed == Ok(NoteClaim::Ours) {
                        note.remove().await;
                    }
                    return Turn::Found(record);
                }
                match claimed {
                    Ok(NoteClaim::Ours) => return Turn::Mine(Lease::of(note)),
                    // Nobody's word, or that of a replica with keys that are not known here.
                    Ok(NoteClaim::Theirs { said: None, .. }) => return Turn::Alone,
                    Ok(NoteClaim::Theirs { said: Some(said), sealed }) => {
                        loading_since = Some(Instant::now());
                        if shown.as_ref().is_none_or(|(before, _)| *before != sealed) {
                            shown = Some((sealed, Instant::now()));
                        }
                        // Its holder would have renewed it, or the store let it end.
                        if shown.as_ref().is_some_and(|(_, since)| since.elapsed() > STALE_LEASE) {
                            return Turn::Alone;
                        }
                        if let Some((error, until_ms)) = failure(&said.content) {
                            // By a clock that is behind it would be longer than it was when it began.
                            let now_ms = self.clock.now_ms().max(said.times.fetched_at_ms);
                            let left = Duration::from_millis(until_ms.saturating_sub(now_ms));
                            if !left.is_zero() {
                                return Turn::Failed(error, left.min(LONGEST_PAUSE));
                            }
                            // Its time is over by our clock, if not yet by the store's. Two may do this at once.
                            if note.write(&[HELD], LEASE).await.is_err() {
                                return Turn::Alone;
                            }
                            return Turn::Mine(Lease::of(note));
                        }
                    }
                    // Somebody is loading, and a store that is restarted is soon back: better to wait than to load beside.
                    Err(_) if loading_since.is_some_and(|since| since.elapsed() < LEASE) => {}
                    Err(_) => return Turn::Alone,
                }
                step = steps.next().unwrap_or(step);
                sleep(Duration::from_millis(step)).await;
            }
        };
        timeout(self.load_timeout + LEASE, turns).await.unwrap_or(Turn::Failed(SourceError::Timeout, Duration::ZERO))
    }
}

/// The failure that a note tells of, and until when it holds.
fn failure(text: &[u8]) -> Option<(SourceError, u64)> {
    match text {
        [FAILED, failure, until_ms @ ..] => {
            let until_ms = u64::from_be_bytes(until_ms.try_into().ok()?);
            Some((*FAILURES.get(usize::from(*failure))?, until_ms))
        }
        _ => None,
    }
}

impl Lease {
    fn of(note: Note) -> Self {
        Self { note: Some(note), doubtful: AtomicBool::new(false) }
    }

    /// Does `work` and meanwhile renews the lease.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let renewals = async {
            loop {
                sleep(RENEW).await;
                if let Some(note) = &self.note {
                    let renewed = note.write(&[HELD], LEASE).await;
                    self.doubtful.fetch_or(renewed.is_err(), Ordering::Relaxed);
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = renewals => unreachable!("renewals go on for ever"),
        }
    }

    /// The load is done and its record is there.
    pub(super) async fn release(mut self) {
        if let Some(note) = self.note.take().filter(|_| !self.doubtful.load(Ordering::Relaxed)) {
            note.remove().await;
        }
    }

    /// The load failed; nobody shall try again for `pause`.
    pub(super) async fn fail(mut self, error: SourceError, pause: Option<Duration>, now_ms: u64) {
        let place = FAILURES.iter().position(|failure| *failure == error).and_then(|place| u8::try_from(place).ok());
        match (place, pause) {
            (Some(place), Some(pause)) => {
                // A note that cannot be written is counted; the lease ends by itself.
                let until_ms = now_ms.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                let Some(note) = self.note.take() else { return };
                let _ = note.write(&[&[FAILED, place], &until_ms.to_be_bytes()[..]].concat(), pause).await;
            }
            _ => self.release().await,
        }
    }
}

/// A load that is lost (a panic) gives its turn back at once.
impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(note), Ok(runtime)) = (self.note.take(), Handle::try_current()) {
            runtime.spawn(async move { note.remove().await });
        }
    }
}
