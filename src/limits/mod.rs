//! How many requests a caller may make in a minute, over the whole fleet.
//!
//! A caller who made none in the last minute may make all of them at once, and nobody makes more than his limit in any 60
//! seconds. What was granted counts in buckets of three seconds (`window`). Most of a limit is shared: a replica reserves
//! some of it in the store before it grants them, and sees there what the others have reserved (`contact`). It reserves
//! more at once the more is asked for, so that most requests are granted without asking anybody. A small own part of each
//! replica (`own`) serves callers that ask seldom. `state` decides, by what is known; [`Addresses`] keeps the meters of
//! callers without a name.
//!
//! While the store is away, or so full that nothing can be counted in it, a caller has the share of each replica: what was
//! left to all, divided by how many replicas there may be. When it is back, all tell it what they granted meanwhile before
//! any uses more than its share.
//!
//! Clocks of replicas may be five seconds wrong, either way. What is not covered: a replica that alone cannot reach the store grants a
//! share of what the others go on to grant in full. A store that goes away and loses everything also loses what was reserved by
//! replicas that are not asked again, and a replica that has not seen a caller for a minute knows nothing of him.

mod addresses;
#[cfg(test)]
mod addresses_tests;
mod contact;
#[cfg(test)]
mod fleet_tests;
mod own;
#[cfg(test)]
mod promises_tests;
mod state;
mod window;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::store::Notebook;
use crate::telemetry::Metrics;
use crate::weather::Caller;
pub use addresses::Addresses;
use contact::Outages;
use state::{Mode, Sight, State};
use window::Terms;

/// So old a process has an own part: one before it may have used that of this minute.
const PROCESS_IS_NEW_MS: u64 = 60_000;
/// Attempts of one request to be decided. One contact with the store is enough unless a bucket ends meanwhile, or the store
/// goes away.
const ATTEMPTS: u32 = 8;

/// How a caller stands with his limit, as far as this replica knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Requests a minute.
    pub limit: u32,
    /// Requests that are left.
    pub left: u32,
    /// When there are more.
    pub resets_in: Duration,
}

/// What can be said of a request at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is counted, and may be answered.
    Granted(Standing),
    /// It is one too many.
    Refused {
        /// When one more can be granted at the soonest; at least 1 s.
        retry_after: Duration,
        /// How the caller stands.
        standing: Standing,
    },
    /// The store has to be asked: [`Limits::take`].
    Ask,
}

/// What is said of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is counted, and may be answered.
    Granted(Standing),
    /// It is one too many.
    Refused {
        /// When one more can be granted at the soonest; at least 1 s.
        retry_after: Duration,
        /// How the caller stands.
        standing: Standing,
    },
}

/// Whom a meter is of: what its counters in the store are named by, under a keyed digest.
#[derive(Debug)]
enum Subject {
    Named(Box<str>),
    Address(Caller),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "named {name}"),
            Self::Address(Caller(number)) => write!(f, "address {number:x}"),
        }
    }
}

/// The requests of one caller. It belongs to the [`Limits`] that it is used with first.
pub struct Meter {
    subject: Subject,
    per_minute: AtomicU32,
    state: Mutex<State>,
    /// Held by whom asks the store.
    turn: tokio::sync::Mutex<()>,
    /// How many callers wait for that.
    waiting: AtomicU32,
    /// Whether it is on the list of those to settle when the store is back.
    is_listed: AtomicBool,
}

impl Meter {
    /// Of whoever `subject` stands for: of one line, and the same in all replicas. It is seen nowhere.
    pub fn new(subject: String, per_minute: u32) -> Arc<Self> {
        Self::of(Subject::Named(subject.into()), per_minute, State::new(0, 0))
    }

    fn of(subject: Subject, per_minute: u32, state: State) -> Arc<Self> {
        Arc::new(Self {
            subject,
            per_minute: per_minute.into(),
            state: state.into(),
            turn: tokio::sync::Mutex::default(),
            waiting: AtomicU32::default(),
            is_listed: AtomicBool::default(),
        })
    }

    /// Requests a minute.
    pub fn per_minute(&self) -> u32 {
        self.per_minute.load(Ordering::Relaxed)
    }

    /// Another limit from now on. What was counted stays counted.
    pub fn set_per_minute(&self, per_minute: u32) {
        if self.per_minute.swap(per_minute, Ordering::Relaxed) != per_minute {
            self.lock().forget_hand();
        }
    }

    /// The state is whole after every operation on it, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Meter {
    /// Whose it is stays out of sight.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({} a minute)", self.per_minute())
    }
}

/// What all meters share.
pub struct Limits {
    notes: Notebook,
    max_replicas: u32,
    own_from_ms: u64,
    outages: Outages,
    /// Those that may have something to tell the store when it is back.
    unsettled: Mutex<Vec<Weak<Meter>>>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limits(of {} replicas)", self.max_replicas)
    }
}

impl Limits {
    /// Watches the store if it is shared; needs a Tokio runtime. Counted in `notes`, by up to `max_replicas` replicas with those that are being replaced.
    pub fn new(notes: Notebook, max_replicas: u32, metrics: Arc<Metrics>) -> Arc<Self> {
        let limits = Arc::new(Self {
            max_replicas,
            own_from_ms: notes.clock.now_ms() + PROCESS_IS_NEW_MS,
            outages: Outages::default(),
            unsettled: Mutex::default(),
            metrics,
            notes,
        });
        if limits.notes.store.is_shared() {
            tokio::spawn(contact::watch_store(Arc::downgrade(&limits), limits.notes.store.state()));
        }
        limits
    }

    /// Counts a request if that can be decided at once.
    pub fn try_take(&self, meter: &Meter) -> Decision {
        let (now_ms, terms) = (self.notes.clock.now_ms(), self.terms(meter));
        let mut state = meter.lock();
        if let Some(standing) = state.take_in_hand(&terms, now_ms) {
            return Decision::Granted(standing);
        }
        let sight = self.sight(now_ms);
        if sight.mode == Mode::Away && !meter.is_listed.load(Ordering::Relaxed) {
            return Decision::Ask;
        }
        state.take(&terms, &sight, now_ms)
    }

    /// Counts a request, and asks the store where that is needed. It never waits for a store that is known to be away. If
    /// the caller of this goes away meanwhile, his request may count all the same.
    pub async fn take(self: &Arc<Self>, meter: &Arc<Meter>) -> Verdict {
        let (limits, of) = (Arc::clone(self), Arc::clone(meter));
        // In a task of its own: with who goes away in the middle of it, what was reserved for others would be lost, and what
        // the store said, so that it would be asked again and again.
        match tokio::spawn(async move { limits.decide(&of).await }).await {
            Ok(verdict) => verdict,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process ends.
                Err(_) => undecided(meter),
            },
        }
    }

    async fn decide(&self, meter: &Arc<Meter>) -> Verdict {
        for _ in 0..ATTEMPTS {
            if let Some(verdict) = self.try_take(meter).verdict() {
                return verdict;
            }
            let waiting = Waiting::beside(meter);
            let _turn = meter.turn.lock().await;
            if let Some(verdict) = self.try_take(meter).verdict() {
                return verdict;
            }
            if let Some(standing) = self.ask_for(meter).await {
                return Verdict::Granted(standing);
            }
            drop(waiting);
        }
        undecided(meter)
    }

    fn sight(&self, now_ms: u64) -> Sight {
        let mode = if self.notes.store.is_shared() { self.outages.mode(now_ms) } else { Mode::Alone };
        let outages = self.outages.times.load(Ordering::Relaxed);
        let since_ms = self.outages.began_ms.load(Ordering::Relaxed);
        Sight { mode, outages, since_ms, own_from_ms: self.own_from_ms }
    }

    fn terms(&self, meter: &Meter) -> Terms {
        let per_minute = meter.per_minute();
        if self.notes.store.is_shared() {
            Terms::shared(per_minute, self.max_replicas)
        } else {
            Terms::alone(per_minute)
        }
    }
}

/// What is said where nothing was found out.
fn undecided(meter: &Meter) -> Verdict {
    let retry_after = Duration::from_secs(1);
    let standing = Standing { limit: meter.per_minute(), left: 0, resets_in: retry_after };
    Verdict::Refused { retry_after, standing }
}

impl Decision {
    fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Granted(standing) => Some(Verdict::Granted(standing)),
            Self::Refused { retry_after, standing } => Some(Verdict::Refused { retry_after, standing }),
            Self::Ask => None,
        }
    }
}

/// A caller who waits for the store, counted until this is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn beside(meter: &'a Meter) -> Self {
        meter.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&meter.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
