//! How a call gets its permit: from the shared part if it may have a slot and one is free, else from the own part.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::calendar::UsedUp;
use super::shares::{Judge, Verdict};
use super::slots::Note;
use super::time::millis;
use super::{Budget, Permit, Refused, RefusedBecause, STOCK_LASTS, State};
use crate::store::{Claimed, Reader, StoreError};
use crate::weather::Purpose;

/// Slots that are tried by what is known before all are read.
const TRIES: usize = 4;
/// From the claim to the permit; what takes longer, on a machine that has no time for us, is claimed anew.
const HANDOVER: Duration = Duration::from_millis(500);
/// How often that is done for one permit.
const HANDOVERS: usize = 10;
/// A call that is counted in the day and the month is made within this time, or counted again: they may have ended.
const CHARGE_LASTS: Duration = Duration::from_secs(5);
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

    /// The day or the month is used up. What replicas own of it is for when the store is away.
    fn of(used_up: UsedUp, store_away: bool) -> Self {
        Self { because: used_up.because, lasts: Some(used_up.lasts), own: store_away }
    }

    fn refusal(&self, state: &mut State, purpose: Purpose, own_opens: Option<Duration>) -> Refused {
        state.refused.note(purpose, Instant::now());
        let soonest = [self.lasts, own_opens].into_iter().flatten().min();
        Refused { reason: self.because, retry_after: soonest.unwrap_or(BLIND_RETRY).max(MIN_RETRY) }
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
        if purpose == Purpose::Renewal
            && let Some(noted) = self.take_own_first()
        {
            return self.charge(noted).await;
        }
        let shut = match self.shared(purpose).await {
            Ok(permit) => return Ok(permit),
            Err(shut) => shut,
        };
        let taken = if shut.own { self.take_own(&mut self.lock(), purpose) } else { Err(None) };
        match taken {
            Ok(noted) => self.charge(noted).await,
            Err(wait) => Err(shut.refusal(&mut self.lock(), purpose, wait)),
        }
    }

    /// Counts a call of the own minute, which was `noted` then, in the day and the month: with all others if the store is
    /// there, so that no restart forgets it, else in the own part of them.
    async fn charge(&self, noted: Instant) -> Result<Permit, Refused> {
        match self.calendar.take_shared(&self.ledger).await {
            Ok(None) => return Ok(self.own_permit(noted)),
            Ok(Some(used_up)) => {
                return Err(Refused { reason: used_up.because, retry_after: used_up.lasts.max(MIN_RETRY) });
            }
            Err(_) => {}
        }
        let now = Instant::now();
        match self.calendar.own_used_up(now) {
            None => {
                self.calendar.note_own(now);
                Ok(self.own_permit(noted))
            }
            Some(used_up) => Err(Refused { reason: used_up.because, retry_after: used_up.lasts.max(MIN_RETRY) }),
        }
    }

    /// For a call of the own minute. One that took long to count is made later than was noted, and noted once more.
    fn own_permit(&self, noted: Instant) -> Permit {
        let now = Instant::now();
        if now <= noted + HANDOVER {
            return Permit { by: noted + HANDOVER };
        }
        self.lock().own.note(now);
        Permit { by: now + HANDOVER }
    }

    /// Why there is no permit for this purpose, if that is known without asking the store.
    pub(in crate::upstream) fn refusal(&self, purpose: Purpose) -> Option<Refused> {
        let now = Instant::now();
        let mut state = self.lock();
        state.asked = Some(now);
        state.look(now);
        let shut = match self.calendar.shared_used_up(now) {
            Some(used_up) => Shut::of(used_up, state.store_away),
            None if state.store_away => Shut::new(RefusedBecause::Minute, None),
            None => self.judge(&state, purpose, now).err()?,
        };
        let in_stock = shut.because == RefusedBecause::Minute && state.stock.left(now) > 0;
        let own = if shut.own { self.own_opens(&state, purpose, now) } else { Err(None) };
        let wait = own.err().filter(|_| !in_stock)?;
        Some(shut.refusal(&mut state, purpose, wait))
    }

    /// Whether there is a call of the own part; else, when there is one, if that is known.
    fn own_opens(&self, state: &State, purpose: Purpose, now: Instant) -> Result<(), Option<Duration>> {
        // The shared part opens again at the latest when the own one does.
        if self.calendar.own_used_up(now).is_some() {
            return Err(None);
        }
        // What a process before this one has used is not known here. While the shared part can be used, that must do.
        let shares = !state.store_away && state.view.usable(now) > 0;
        if state.own.is_new(now) && shares && self.watch.is_some() {
            return Err(None);
        }
        if state.own.is_open(purpose, now) { Ok(()) } else { Err(state.own.soonest(purpose, now).map(|at| at - now)) }
    }

    /// Takes a call of the own minute for what is asked for by many: nobody else can use it. A new process uses it only when
    /// it has to. Gives when it was noted, if there was one.
    fn take_own_first(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = Instant::now();
        let may = !state.own.is_new(now) && !state.store_away && self.calendar.shared_used_up(now).is_none();
        if may { self.take_own(&mut state, Purpose::Renewal).ok() } else { None }
    }

    /// Takes a call of the own minute, which is noted now; else, when there is one, if that is known.
    fn take_own(&self, state: &mut State, purpose: Purpose) -> Result<Instant, Option<Duration>> {
        let now = Instant::now();
        self.own_opens(state, purpose, now)?;
        state.own.note(now);
        Ok(now)
    }

    async fn shared(&self, purpose: Purpose) -> Result<Permit, Shut> {
        let began = Instant::now();
        let (mut place, mut charged) = (self.place(purpose).await?, None);
        for _ in 0..HANDOVERS {
            if let Some(by) = self.confirm(&place, &mut charged).await? {
                if began.elapsed() >= self.slot_ttl {
                    // A loss of the store's data since then may be over and forgotten, and the slot be another's.
                    break;
                }
                if let Place::Slot { claimed, .. } = place {
                    self.lock().stock.add(claimed, self.parts.weight - 1);
                }
                return Ok(Permit { by });
            }
            place = match place {
                Place::Slot { slot, claimed } => self.claim_again(slot, claimed, purpose).await?,
                Place::Stock { .. } => self.place(purpose).await?,
            };
        }
        Err(Shut::new(RefusedBecause::Minute, None))
    }

    /// A call of the minute.
    async fn place(&self, purpose: Purpose) -> Result<Place, Shut> {
        match self.known(purpose)? {
            Some(place) => Ok(place),
            None => {
                self.tried(self.look_at_store(Reader::Caller).await)?;
                self.claim_any(purpose).await
            }
        }
    }

    /// What can be said without the store: that it is in vain, or that there is one in stock.
    fn known(&self, purpose: Purpose) -> Result<Option<Place>, Shut> {
        let now = Instant::now();
        let mut state = self.lock();
        state.asked = Some(now);
        state.look(now);
        if let Some(used_up) = self.calendar.shared_used_up(now) {
            return Err(Shut::of(used_up, state.store_away));
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
        let judge = Judge::new(purpose, &state.view, self.parts.weight, &state.refused, now);
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
                self.tried(self.read_slots(Reader::Caller).await)?;
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
        state.view.hold(slot, purpose, now);
        Ok(slot)
    }

    /// Whether the slot is ours now, under every name: each replica knows at least one of them.
    async fn claim(&self, slot: usize, purpose: Purpose) -> Result<bool, StoreError> {
        let note = self.slot_note(purpose);
        for name in &self.slot_names.under(&self.ledger)[slot] {
            if let Claimed::Theirs(value) = self.ledger.claim(name, &note.encode(), self.slot_ttl).await? {
                self.found_taken(slot, name, &value);
                return Ok(false);
            }
        }
        self.lock().view.ours(slot, note, Instant::now());
        Ok(true)
    }

    /// Begins a slot of ours anew, which was claimed too long ago to be used: it costs nobody another one.
    async fn claim_again(&self, slot: usize, before: Instant, purpose: Purpose) -> Result<Place, Shut> {
        let (claimed, note) = (Instant::now(), self.slot_note(purpose));
        for name in &self.slot_names.under(&self.ledger)[slot] {
            self.tried(self.ledger.write(name, &note.encode(), self.slot_ttl).await)?;
        }
        let now = Instant::now();
        self.lock().view.ours(slot, note, now);
        // Otherwise it may have ended before, and be another's: it is taken for longer now, and not used here.
        if now < before + self.slot_ttl {
            Ok(Place::Slot { slot, claimed })
        } else {
            Err(Shut::new(RefusedBecause::Minute, None))
        }
    }

    fn slot_note(&self, purpose: Purpose) -> Note {
        Note { purpose, end_ms: self.ledger.clock.now_ms().saturating_add(millis(self.slot_ttl)) }
    }

    /// Whether a call of the minute is a permit, and until when: day and month allow it, the claim was good, and all that
    /// took no longer than it may. `charged` tells when day and month have counted it.
    async fn confirm(&self, place: &Place, charged: &mut Option<Instant>) -> Result<Option<Instant>, Shut> {
        let now = Instant::now();
        let is_charged = charged.is_some_and(|charged| now < charged + CHARGE_LASTS);
        let charge = async { if is_charged { Ok(None) } else { self.calendar.take_shared(&self.ledger).await } };
        let confirmed = async {
            match (&self.watch, place) {
                (Some(watch), Place::Slot { slot, .. }) => watch.confirms(&self.ledger, *slot).await,
                _ => Ok(true),
            }
        };
        let (used_up, confirmed) = tokio::join!(charge, confirmed);
        let used_up = self.tried(used_up)?;
        if !self.tried(confirmed)? {
            return Err(Shut::new(RefusedBecause::Minute, None));
        }
        if let Some(used_up) = used_up {
            return Err(Shut::of(used_up, false));
        }
        if !is_charged {
            *charged = Some(now);
        }
        let deadline = match place {
            Place::Slot { claimed, .. } => *claimed + HANDOVER,
            Place::Stock { claimed } => *claimed + STOCK_LASTS + HANDOVER,
        };
        Ok((Instant::now() <= deadline).then_some(deadline))
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
