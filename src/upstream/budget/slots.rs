//! The slots of the shared minute, as this replica knows them.
//!
//! A slot is a name in the store. Whoever claims it may call once (or as often as a slot stands for), and nobody can claim
//! it again before the store has forgotten it. A claim carries this note, version 1:
//!
//! ```text
//! offset    bytes  field
//! 0         1      version, 1
//! 1         1      purpose: 0 miss, 1 renewal, 2 ahead
//! 2         8      the caller's number, big endian; 0 if the purpose has none
//! 10        8      when the slot ends, Unix milliseconds, big endian
//! ```
//!
//! What is known as taken is not tried before its end, whatever the store says: one that lost its data gives nobody who
//! knows better a slot twice. Ends are kept in monotonic time; wall clocks are asked once, to understand a note.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::names_of;
use super::time::until;
use crate::crypto::RecordName;
use crate::store::Notebook;
use crate::weather::{Caller, Purpose};

const VERSION: u8 = 1;
/// How long a slot counts as taken whose note cannot be read, or that is being claimed.
const UNKNOWN_END: Duration = Duration::from_secs(2);
/// How long a slot counts as taken that should have ended, but is still there: clocks differ.
const LINGERS: Duration = Duration::from_millis(250);

/// The names of each slot.
type Names = Arc<Vec<Vec<RecordName>>>;

/// The names of all slots, made anew only when the keys changed.
pub(super) struct SlotNames {
    slots: usize,
    /// By the version of the ring.
    made: Mutex<Option<(u64, Names)>>,
}

impl SlotNames {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots, made: Mutex::new(None) }
    }

    /// Those of each slot under the keys that `notes` has now.
    pub(super) fn under(&self, notes: &Notebook) -> Names {
        // Before the names are made: if the keys change meanwhile, they are made once more.
        let version = notes.keyring.version();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, names)) if *of == version => Arc::clone(names),
            _ => {
                let names = (0..self.slots).map(|slot| names_of(notes, &format!("budget slot {slot}"))).collect();
                Arc::clone(&made.insert((version, Arc::new(names))).1)
            }
        }
    }
}

/// What a claim says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) purpose: Purpose,
    pub(super) end_ms: u64,
}

impl Note {
    pub(super) fn encode(self) -> [u8; 18] {
        let (purpose, caller) = match self.purpose {
            Purpose::Miss(Caller(caller)) => (0, caller),
            Purpose::Renewal => (1, 0),
            Purpose::Ahead => (2, 0),
        };
        let mut note = [0; 18];
        note[0] = VERSION;
        note[1] = purpose;
        note[2..10].copy_from_slice(&caller.to_be_bytes());
        note[10..].copy_from_slice(&self.end_ms.to_be_bytes());
        note
    }

    /// `None` if it is none of ours.
    pub(super) fn decode(note: &[u8]) -> Option<Self> {
        let (head, rest) = note.split_first_chunk::<2>()?;
        let (caller, rest) = rest.split_first_chunk::<8>()?;
        let end_ms = u64::from_be_bytes(rest.try_into().ok()?);
        let purpose = match head {
            [VERSION, 0] => Purpose::Miss(Caller(u64::from_be_bytes(*caller))),
            [VERSION, 1] => Purpose::Renewal,
            [VERSION, 2] => Purpose::Ahead,
            _ => return None,
        };
        Some(Self { purpose, end_ms })
    }
}

#[derive(Debug, Clone)]
struct Slot {
    until: Instant,
    note: Option<Note>,
    /// What the note was read from, so that it is opened once.
    sealed: Bytes,
}

/// While it lasts, only the first slots may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quiet {
    /// How many.
    pub(super) allowance: usize,
    /// Its end.
    pub(super) until: Instant,
}

/// What is known of each slot.
#[derive(Debug)]
pub(super) struct View {
    slots: Vec<Slot>,
    ttl: Duration,
    /// What was read of it last.
    pub(super) quiet: Option<Quiet>,
}

impl View {
    /// Nothing is known to be taken. `ttl` is how long the store keeps a claim.
    pub(super) fn new(slots: usize, ttl: Duration, now: Instant) -> Self {
        Self { slots: vec![Slot { until: now, note: None, sealed: Bytes::new() }; slots], ttl, quiet: None }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Somebody here is about to claim it for this purpose, which counts from now on.
    pub(super) fn hold(&mut self, slot: usize, purpose: Purpose, now: Instant) {
        let note = Some(Note { purpose, end_ms: 0 });
        self.slots[slot] = Slot { until: now + UNKNOWN_END, note, sealed: Bytes::new() };
    }

    /// It was claimed here just now.
    pub(super) fn ours(&mut self, slot: usize, note: Note, now: Instant) {
        self.slots[slot] = Slot { until: now + self.ttl, note: Some(note), sealed: Bytes::new() };
    }

    /// The note in a value that was found there, opened if it was not before.
    pub(super) fn read(&mut self, slot: usize, sealed: &Bytes, open: impl FnOnce() -> Option<Note>) -> Option<Note> {
        let known = &mut self.slots[slot];
        if known.note.is_some() && known.sealed == *sealed {
            return known.note;
        }
        let note = open()?;
        known.sealed = sealed.clone();
        Some(note)
    }

    /// It was found taken, with this note if it could be read.
    pub(super) fn theirs(&mut self, slot: usize, note: Option<Note>, now: Instant, wall_ms: u64) {
        let known = &mut self.slots[slot];
        let end = match note {
            None => now + UNKNOWN_END,
            // Seen before: a wall clock that was set since changes nothing.
            Some(_) if note == known.note => now + if known.until > now { Duration::ZERO } else { LINGERS },
            Some(note) => now + until(note.end_ms, wall_ms, self.ttl).max(LINGERS),
        };
        known.until = known.until.max(end);
        known.note = note.or(known.note);
    }

    /// How many slots may be used at all.
    pub(super) fn usable(&self, at: Instant) -> usize {
        self.quiet.filter(|quiet| at < quiet.until).map_or(self.len(), |quiet| quiet.allowance.min(self.len()))
    }

    /// The slots that are free by what is known.
    pub(super) fn free(&self, at: Instant) -> impl Iterator<Item = usize> {
        let usable = self.usable(at);
        self.slots.iter().enumerate().take(usable).filter(move |(_, slot)| slot.until <= at).map(|(index, _)| index)
    }

    /// Who holds slots for misses, once for each slot.
    pub(super) fn misses(&self, at: Instant) -> impl Iterator<Item = Caller> {
        let live = self.slots.iter().filter(move |slot| at < slot.until);
        live.filter_map(|slot| match slot.note?.purpose {
            Purpose::Miss(caller) => Some(caller),
            Purpose::Renewal | Purpose::Ahead => None,
        })
    }

    /// How many are taken by renewals.
    pub(super) fn renewals(&self, at: Instant) -> usize {
        let renews = |slot: &&Slot| at < slot.until && slot.note.is_some_and(|note| note.purpose == Purpose::Renewal);
        self.slots.iter().filter(renews).count()
    }

    /// The share that is taken of the slots that may be used at all, 0 to 1.
    pub(super) fn pressure(&self, at: Instant) -> f64 {
        let usable = self.usable(at);
        if usable == 0 { 1.0 } else { 1.0 - self.free(at).count() as f64 / usable as f64 }
    }

    /// When something ends that is known here, in order.
    pub(super) fn ends(&self, after: Instant) -> Vec<Instant> {
        let quiet = self.quiet.map(|quiet| quiet.until);
        let mut ends: Vec<_> =
            self.slots.iter().map(|slot| slot.until).chain(quiet).filter(|end| *end > after).collect();
        ends.sort_unstable();
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TTL: Duration = Duration::from_secs(63);
    const WALL: u64 = 1_000_000_000;

    fn note(end_ms: u64) -> Note {
        Note { purpose: Purpose::Miss(Caller(7)), end_ms }
    }

    fn is_free(view: &View, at: Instant) -> bool {
        view.free(at).next().is_some()
    }

    #[test]
    fn a_note_of_another_version_purpose_or_length_is_none() {
        let whole = note(5).encode();
        assert_eq!(Note::decode(&whole), Some(note(5)));
        for (at, byte) in [(0, 2), (1, 3)] {
            let mut other = whole;
            other[at] = byte;
            assert_eq!(Note::decode(&other), None);
        }
        assert_eq!(Note::decode(&whole[..17]), None);
        assert_eq!(Note::decode(&[&whole[..], &[0]].concat()), None);
    }

    #[test]
    fn a_slot_is_taken_until_the_end_in_its_note() {
        let now = Instant::now();
        let mut view = View::new(1, TTL, now);
        view.theirs(0, Some(note(WALL + 20_000)), now, WALL);
        assert!(!is_free(&view, now + Duration::from_millis(19_999)));
        assert!(is_free(&view, now + Duration::from_secs(20)));
        assert_eq!(view.misses(now).collect::<Vec<_>>(), [Caller(7)]);
    }

    #[test]
    fn a_wall_clock_that_is_wrong_or_set_holds_no_slot_longer_than_a_claim_lasts() {
        let now = Instant::now();
        let mut view = View::new(1, TTL, now);
        view.theirs(0, Some(note(WALL + 63_000)), now, WALL - 3_600_000);
        let later = now + Duration::from_secs(30);
        view.theirs(0, Some(note(WALL + 63_000)), later, WALL - 7_200_000);
        assert!(!is_free(&view, now + Duration::from_secs(62)));
        assert!(is_free(&view, now + TTL));
        view.theirs(0, Some(note(WALL + 63_000)), now + TTL, WALL + 7_200_000);
        assert!(!is_free(&view, now + TTL), "it is still there");
        assert!(is_free(&view, now + TTL + LINGERS));
    }

    #[test]
    fn what_is_known_as_taken_stays_so_whatever_is_found_later() {
        let now = Instant::now();
        let mut view = View::new(1, TTL, now);
        view.ours(0, note(WALL + 63_000), now);
        view.theirs(0, Some(note(WALL + 1_000)), now, WALL);
        view.theirs(0, None, now, WALL);
        assert!(!is_free(&view, now + Duration::from_secs(62)));
        assert!(is_free(&view, now + TTL));
    }

    #[test]
    fn in_a_quiet_time_only_the_first_slots_may_be_used() {
        let now = Instant::now();
        let mut view = View::new(10, TTL, now);
        view.quiet = Some(Quiet { allowance: 2, until: now + TTL });
        assert_eq!(view.free(now).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(view.pressure(now), 0.0);
        assert_eq!((view.ends(now), view.usable(now + TTL)), (vec![now + TTL], 10));
    }

    proptest! {
        #[test]
        fn every_note_comes_back_and_no_bytes_panic(
            caller in any::<u64>(), end_ms in any::<u64>(), class in 0..3_u8, bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let purpose = [Purpose::Miss(Caller(caller)), Purpose::Renewal, Purpose::Ahead][usize::from(class)];
            let note = Note { purpose, end_ms };
            prop_assert_eq!(Note::decode(&note.encode()), Some(note));
            let _ = Note::decode(&bytes);
        }
    }
}
