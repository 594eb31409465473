//! How a call gets its permit: from the shared part if it may have a slot and one is free, else from the own part.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::ledger::{Claimed, Reader, millis};
use super::shares::{Judge, Verdict};
use super::slots::Note;
use super::{Budget, Permit, Refused, RefusedBecause, STOCK_LASTS, State};
use crate::store::StoreError;
use crate::weather::Purpose;

/// Slots that are tried by what is known before all are read.
const TRIES: usize = 4;
/// From the claim to the permit; what takes longer gets none, and the slot is lost.
const HANDOVER: Duration = Duration::from_millis(500);
/// Sooner nobody should ask again.
const MIN_RETRY: Duration = Duration::from_secs(1);
/// When to ask again if it is not known when there is a call: the store is away, say.
const BLIND_RETRY: Duration = Duration::from_secs(5);

/// Calls of claimed slots that were not made yet.
#[derive(Debug, Default)]
pub(super) struct Stock(VecDeque<Lot>);

#[derive(Debug, Clone, Copy)]
struct Lot {
    claimed: Instant,
    calls: u32,
}

impl Lot {
    fn is_good(&self, now: Instant) -> bool {
        self.calls > 0 && now < self.claimed + STOCK_LASTS
    }
}

impl Stock {
    fn add(&mut self, claimed: Instant, calls: u32) {
        if calls > 0 {
            self.0.push_back(Lot { claimed, calls });
        }
    }

    /// Takes one; when its slot was claimed.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        self.0.retain(|lot| lot.is_good(now));
        let lot = self.0.front_mut()?;
        lot.calls -= 1;
        Some(lot.claimed)
    }

    /// How many there are.
    pub(super) fn left(&self, now: Instant) -> u64 {
        self.0.iter().filter(|lot| lot.is_good(now)).map(|lot| u64::from(lot.calls)).sum()
    }
}

/// A call of the shared minute.
enum Place {
    /// Of a slot that was claimed just now.
    Slot { slot: usize, claimed: Instant },
    /// From the stock.
    Stock { claimed: Instant },
}

/// There is no call of the shared part.
struct Shut {
    because: RefusedBecause,
    /// Until when, if that is known.
    lasts: Option<Duration>,
    /// Whether the own part may be used instead.
    own: bool,
}

impl Shut {
    fn new(because: RefusedBecause, lasts: impl Into<Option<Duration>>) -> Self {
        Self { because, lasts: lasts.into(), own: true }
    }
}

impl From<StoreError> for Shut {
    fn from(_: StoreError) -> Self {
        Self::new(RefusedBecause::Minute, None)
    }
}

impl Budget {
    /// A permit for one call, which has to be made at once.
    ///
    /// # Errors
    /// There is none for this purpose now; why, and when to ask again.
    pub(in crate::upstream) async fn permit(&self, purpose: Purpose) -> Result<Permit, Refused> {
        let shut = match self.shared(purpose).await {
            Ok(permit) => return Ok(permit),
            Err(shut) => shut,
        };
        let mut state = self.lock();
        let own = if shut.own { self.own(&mut state, purpose) } else { Err(None) };
        own.map_err(|wait| {
            state.refused.note(purpose, Instant::now());
            let soonest = [shut.lasts, wait].into_iter().flatten().min();
            Refused { reason: shut.because, retry_after: soonest.unwrap_or(BLIND_RETRY).max(MIN_RETRY) }
        })
    }

    /// From the own part; else, when there is one, if that is known.
    fn own(&self, state: &mut State, purpose: Purpose) -> Result<Permit, Option<Duration>> {
        let now = Instant::now();
        if self.calendar.own_used_up(now).is_some() {
            // The shared part opens again at the latest when this does.
            return Err(None);
        }
        if !state.own.is_open(purpose, now) {
            return Err(state.own.soonest(purpose, now).map(|at| at - now));
        }
        state.own.note(now);
        self.calendar.note_own(now);
        Ok(Permit(()))
    }

    async fn shared(&self, purpose: Purpose) -> Result<Permit, Shut> {
        let place = match self.known(purpose)? {
            Some(place) => place,
            None => {
                self.tried(self.look_at_store(Reader::Call).await)?;
                self.claim_any(purpose).await?
            }
        };
        self.confirm(place).await
    }

    /// What can be said without the store: that it is in vain, or that there is one in stock.
    fn known(&self, purpose: Purpose) -> Result<Option<Place>, Shut> {
        let now = Instant::now();
        let mut state = self.lock();
        state.asked = Some(now);
        state.look(now);
        if let Some(used_up) = self.calendar.shared_used_up(now) {
            return Err(Shut::new(used_up.because, used_up.lasts));
        }
        let judged = self.judge(&state, purpose, now);
        if matches!(judged, Err(Shut { own: false, .. })) {
            return judged.map(|()| None);
        }
        match state.stock.take(now) {
            Some(claimed) => Ok(Some(Place::Stock { claimed })),
            None => judged.map(|()| None),
        }
    }

    fn judge(&self, state: &State, purpose: Purpose, now: Instant) -> Result<(), Shut> {
        let judge = Judge::new(purpose, &state.view, self.parts.weight, state.thrift.is_tight(), &state.refused, now);
        let (because, own) = match judge.verdict(now) {
            Verdict::Open => return Ok(()),
            Verdict::Full => (RefusedBecause::Minute, true),
            Verdict::OverShare => (RefusedBecause::Share, false),
            Verdict::Reserved => (RefusedBecause::Reserved, false),
        };
        Err(Shut { because, lasts: judge.soonest(now).map(|at| at - now), own })
    }

    /// Claims one of the slots that are free.
    async fn claim_any(&self, purpose: Purpose) -> Result<Place, Shut> {
        for tried in 0..=TRIES {
            if tried == TRIES {
                self.tried(self.read_slots(Reader::Call).await)?;
            }
            let slot = self.pick(purpose)?;
            let claimed = Instant::now();
            if self.tried(self.claim(slot, purpose).await)? {
                return Ok(Place::Slot { slot, claimed });
            }
        }
        // Others are quicker.
        Err(Shut::new(RefusedBecause::Minute, MIN_RETRY))
    }

    /// One of the slots that are free by what is known, any one, so that replicas do not meet.
    fn pick(&self, purpose: Purpose) -> Result<usize, Shut> {
        let now = Instant::now();
        let mut state = self.lock();
        self.judge(&state, purpose, now)?;
        let free: Vec<_> = state.view.free(now).collect();
        let slot = *fastrand::choice(&free).ok_or_else(|| Shut::new(RefusedBecause::Minute, MIN_RETRY))?;
        state.view.hold(slot, now);
        Ok(slot)
    }

    /// Whether the slot is ours now, under every name: each replica knows at least one of them.
    async fn claim(&self, slot: usize, purpose: Purpose) -> Result<bool, StoreError> {
        let note = Note { purpose, end_ms: self.ledger.clock.now_ms().saturating_add(millis(self.slot_ttl)) };
        for name in &self.slot_names[slot] {
            if let Claimed::Theirs(value) = self.ledger.claim(name, &note.encode(), self.slot_ttl).await? {
                self.found_taken(slot, name, &value);
                return Ok(false);
            }
        }
        self.lock().view.ours(slot, note, Instant::now());
        Ok(true)
    }

    /// Turns a call of the minute into a permit, if day and month allow it and the claim was good.
    async fn confirm(&self, place: Place) -> Result<Permit, Shut> {
        let confirmed = async {
            match (&self.watch, &place) {
                (Some(watch), Place::Slot { slot, .. }) => watch.confirms(&self.ledger, *slot).await,
                _ => Ok(true),
            }
        };
        let (used_up, confirmed) = tokio::join!(self.calendar.take_shared(&self.ledger), confirmed);
        let used_up = self.tried(used_up)?;
        if !self.tried(confirmed)? {
            return Err(Shut::new(RefusedBecause::Minute, None));
        }
        if let Some(used_up) = used_up {
            return Err(Shut::new(used_up.because, used_up.lasts));
        }
        let deadline = match place {
            Place::Slot { claimed, .. } => claimed + HANDOVER,
            Place::Stock { claimed } => claimed + STOCK_LASTS + HANDOVER,
        };
        if Instant::now() > deadline {
            return Err(Shut::new(RefusedBecause::Minute, None));
        }
        if let Place::Slot { claimed, .. } = place {
            self.lock().stock.add(claimed, self.parts.weight - 1);
        }
        Ok(Permit(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_stock_is_used_within_two_seconds_or_lost() {
        let (now, mut stock) = (Instant::now(), Stock::default());
        stock.add(now, 2);
        stock.add(now, 0);
        assert_eq!((stock.left(now), stock.take(now), stock.left(now)), (2, Some(now), 1));
        let late = now + STOCK_LASTS;
        assert_eq!((stock.left(late), stock.take(late)), (0, None));
        stock.add(late, 1);
        assert_eq!((stock.take(late), stock.take(late)), (Some(late), None));
    }
}
