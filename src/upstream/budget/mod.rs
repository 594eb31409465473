//! The budget: how many calls all replicas together make in a minute, a day and a month. These are hard caps.
//!
//! `parts` cuts each cap up. Most of the minute are slots in the store (`slots`), each of which one replica at a time can
//! claim; the rest belongs to the replicas (`own`) and is used where the store is of no help. The store counts the calls of
//! the day and the month (`calendar`), and is watched for a loss of its data (`epoch`). When slots are scarce, `shares` says
//! whom the next one may go to, and `thrift` by how much less everybody should ask.
//!
//! A permit is for one call that reaches the upstream at most `call_lag` after its slot was claimed. The claim is kept for
//! a minute and that long, so two calls of one slot are a minute apart wherever they are counted.

mod calendar;
mod epoch;
#[cfg(test)]
mod fleet_tests;
mod own;
mod parts;
mod permits;
#[cfg(test)]
mod promises_tests;
mod shares;
mod slots;
mod thrift;
mod time;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use self::calendar::Calendar;
use self::epoch::Watch;
use self::own::OwnMinute;
use self::parts::Parts;
use self::permits::Stock;
use self::shares::{FOR_RENEWALS, RefusedCallers, is_short_for_misses};
use self::slots::{Note, SlotNames, View};
use self::thrift::{ENOUGH, Thrift};
use crate::crypto::RecordName;
use crate::store::{self, Notebook, Reader, StoreError, StoreState};
use crate::weather::Purpose;

/// What is counted in the shortest window.
const MINUTE: Duration = Duration::from_mins(1);
/// How long after its claim a slot that stands for several calls may be used.
const STOCK_LASTS: Duration = Duration::from_secs(2);
/// How often the view is refreshed while permits are asked for.
const REFRESH: Duration = Duration::from_secs(1);
/// How long after the last request for a permit it still is.
const REFRESH_FOR: Duration = Duration::from_mins(2);
/// Otherwise it is only looked, every so many times, whether the store lost its data.
const IDLE_REFRESHES: u32 = 20;

/// How many calls all replicas together may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetConfig {
    /// In any 60 seconds; at least 1.
    pub per_minute: u32,
    /// In a day of UTC; 0 for no cap.
    pub per_day: u64,
    /// In a calendar month of UTC; 0 for no cap.
    pub per_month: u64,
    /// How many replicas there are at most, with those that are being replaced; at least 1.
    pub max_replicas: u32,
    /// How much later than its slot was claimed a call may reach the upstream: the connect timeout and a second, of which
    /// the claim itself has half.
    pub call_lag: Duration,
}

/// One call may be made. It is used up by the call, so it can be neither copied nor kept.
#[derive(Debug)]
#[must_use = "a permit that is not used is a call lost"]
pub struct Permit {
    /// Until when the call may begin.
    by: Instant,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusedBecause {
    /// All calls of the minute are taken.
    Minute,
    /// All calls of the day are taken.
    Day,
    /// All calls of the month are taken.
    Month,
    /// The caller has had its fair share of the minute.
    Share,
    /// What is left of the minute is for more urgent purposes.
    Reserved,
}

impl RefusedBecause {
    /// A stable word for logs and metric labels.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Month => "month",
            Self::Share => "share",
            Self::Reserved => "reserved",
        }
    }
}

/// There is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// Why.
    pub(super) reason: RefusedBecause,
    /// When to ask again: sooner is in vain, then there is one if nobody else was quicker. At least 1 s.
    pub(super) retry_after: Duration,
}

/// What is left, as known here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Left {
    /// Calls of this minute that this replica could make.
    pub(super) minute: u32,
    /// Calls of this day, if it has a cap.
    pub(super) day: Option<u64>,
    /// Calls of this month, if it has a cap.
    pub(super) month: Option<u64>,
    /// The adaptive factor.
    pub(super) thrift: f64,
    /// The share of the minute that is taken, 0 to 1.
    pub(super) pressure: f64,
    /// The store lost its data less than a minute ago, or is new.
    pub(super) quiet: bool,
    /// The store could not be used when it was tried last.
    pub(super) store_away: bool,
}

/// What changes with every permit.
struct State {
    view: View,
    stock: Stock,
    own: OwnMinute,
    refused: RefusedCallers,
    thrift: Thrift,
    store_away: bool,
    asked: Option<Instant>,
}

impl State {
    fn pressure(&self, now: Instant) -> f64 {
        if self.store_away || self.view.usable(now) == 0 { self.own.pressure(now) } else { self.view.pressure(now) }
    }

    /// Brings the adaptive factor up to date.
    fn look(&mut self, now: Instant) -> f64 {
        // Only renewals are made fewer by it, so it is for them: not for misses that fill what renewals do not need.
        let renewals = self.view.renewals(now) as f64 / (FOR_RENEWALS * self.view.len() as f64);
        let pressure = self.pressure(now);
        let pressure = if self.store_away { pressure } else { pressure.min(renewals) };
        self.thrift.look(now, pressure)
    }
}

/// What the names of all that the budget keeps in the store have in common.
const GROUP: &str = "budget";

/// The names of `subject` in the store: in one place with all others of the budget, so that they are lost together, and the
/// epoch with them.
fn names_of(ledger: &Notebook, subject: &str) -> Vec<RecordName> {
    ledger.names_together(GROUP, subject)
}

/// The note about `subject`, in the same place.
fn note_of(ledger: &Notebook, subject: &str) -> store::Note {
    ledger.note_together(GROUP, subject)
}

/// The calls that all replicas together may make, seen from one of them.
pub(super) struct Budget {
    parts: Parts,
    /// How long a slot is claimed for.
    slot_ttl: Duration,
    slot_names: SlotNames,
    ledger: Notebook,
    /// `None` for a store that nobody else uses: it is lost with this process.
    watch: Option<Watch>,
    calendar: Calendar,
    state: Mutex<State>,
}

impl Budget {
    /// Starts to watch the store if it is shared; needs a Tokio runtime.
    pub(super) fn start(config: BudgetConfig, ledger: Notebook) -> Arc<Self> {
        let now = Instant::now();
        let parts = Parts::of(&config, ledger.store.is_shared());
        let counts_for = MINUTE + config.call_lag;
        let slot_ttl = counts_for + if parts.weight > 1 { STOCK_LASTS } else { Duration::ZERO };
        let state = State {
            view: View::new(parts.slots, slot_ttl, now),
            stock: Stock::default(),
            own: OwnMinute::new(parts.own, counts_for, now),
            refused: RefusedCallers::default(),
            thrift: Thrift::new(now),
            store_away: false,
            asked: None,
        };
        let budget = Arc::new(Self {
            slot_names: SlotNames::new(parts.slots),
            watch: ledger.store.is_shared().then(|| Watch::new(parts.slots, slot_ttl, now)),
            calendar: Calendar::new(&parts, ledger.clock.now_ms(), now),
            state: Mutex::new(state),
            parts,
            slot_ttl,
            ledger,
        });
        if budget.watch.is_some() {
            tokio::spawn(refresh_again_and_again(Arc::downgrade(&budget), budget.ledger.store.state()));
        }
        budget
    }

    /// A permit for what counts as so many calls, which has to be made at once.
    ///
    /// # Errors
    /// There are not enough for this purpose now; why, and when to ask again. Those that there were are lost.
    pub(super) async fn permits(&self, purpose: Purpose, calls: usize) -> Result<Permit, Refused> {
        if calls <= 1 {
            return self.permit(purpose).await;
        }
        // All at once: one after another the first would be too old by the last. A slot that stands for several calls has
        // the others in stock.
        let ask = |calls: usize| join_all((0..calls).map(|_| self.permit(purpose)));
        let slots = calls.div_ceil(self.parts.weight as usize);
        let mut permits = ask(slots).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        permits.extend(ask(calls - slots).await.into_iter().collect::<Result<Vec<_>, _>>()?);
        let first = permits.into_iter().min_by_key(|permit| permit.by).filter(|first| Instant::now() <= first.by);
        first.ok_or(Refused { reason: RefusedBecause::Minute, retry_after: REFRESH })
    }

    /// The adaptive factor: 1 while there are calls enough.
    pub(super) fn thrift(&self) -> f64 {
        self.lock().look(Instant::now())
    }

    /// Whether nearly all calls are made, or all that are for new places.
    pub(super) fn is_short(&self) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        state.look(now) > 1.0 || state.pressure(now) >= ENOUGH || is_short_for_misses(&state.view, now)
    }

    /// What is left, as known here.
    pub(super) fn left(&self) -> Left {
        let now = Instant::now();
        let mut state = self.lock();
        let slots = state.view.free(now).count() as u64 * u64::from(self.parts.weight) + state.stock.left(now);
        let shared = if state.store_away { 0 } else { slots };
        let mut left = Left {
            minute: u32::try_from(shared + state.own.left(now)).unwrap_or(u32::MAX),
            day: None,
            month: None,
            thrift: state.look(now),
            pressure: state.pressure(now),
            quiet: state.view.usable(now) < state.view.len(),
            store_away: state.store_away,
        };
        self.calendar.tell(now, &mut left);
        left
    }

    /// Finds out whether the store still has its data.
    async fn look_at_store(&self, reader: Reader) -> Result<(), StoreError> {
        let Some(watch) = &self.watch else { return Ok(()) };
        let quiet = watch.look(&self.ledger, &self.calendar, reader).await?;
        self.lock().view.quiet = quiet;
        Ok(())
    }

    /// Brings the view of all slots up to date.
    async fn read_slots(&self, reader: Reader) -> Result<(), StoreError> {
        let slot_names = self.slot_names.under(&self.ledger);
        let names: Vec<_> = slot_names.iter().flatten().collect();
        let values = self.ledger.read(&names, reader).await?;
        let slots = slot_names.iter().enumerate().flat_map(|(slot, names)| names.iter().map(move |_| slot));
        for ((slot, name), value) in slots.zip(names).zip(values) {
            if let Some(value) = value {
                self.found_taken(slot, name, &value);
            }
        }
        Ok(())
    }

    fn found_taken(&self, slot: usize, name: &RecordName, value: &Bytes) {
        let mut state = self.lock();
        let open = || self.ledger.open(name, value).and_then(|note| Note::decode(&note));
        let note = state.view.read(slot, value, open);
        state.view.theirs(slot, note, Instant::now(), self.ledger.clock.now_ms());
    }

    /// Remembers whether the store could be used.
    fn tried<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.lock().store_away = outcome.is_err();
        outcome
    }

    async fn refresh(&self, times: u32) {
        let (is_asked, is_away) = {
            let mut state = self.lock();
            let now = Instant::now();
            state.look(now);
            (state.asked.is_some_and(|asked| now < asked + REFRESH_FOR), state.store_away)
        };
        if !is_asked && !is_away && !times.is_multiple_of(IDLE_REFRESHES) {
            return;
        }
        let refreshed = async {
            self.look_at_store(Reader::Background).await?;
            if is_asked { self.read_slots(Reader::Background).await } else { Ok(()) }
        };
        // A store that is away is counted, and remembered here.
        let _ = self.tried(refreshed.await);
    }

    /// The state is whole after every operation on it, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the view up to date as long as the budget is in use, and looks at a store as soon as it can be used again: it may
/// have lost its data.
async fn refresh_again_and_again(budget: Weak<Budget>, mut store: watch::Receiver<StoreState>) {
    // A store that never says more is up already.
    let _ = store.wait_for(|state| *state != StoreState::Connecting).await;
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut times, mut is_told) = (0, true);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = store.changed(), if is_told => {
                is_told = changed.is_ok();
                times = 0;
            }
        }
        let Some(budget) = budget.upgrade() else { return };
        budget.refresh(times).await;
        times += 1;
    }
}
