//! Who has a place on a listener. While there are places, everybody gets one. When all are taken, a newcomer takes one from
//! the address that has most, so that nobody can keep the others out by opening connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Closed;
use crate::weather::Caller;

/// Of the connections of an address so many are looked at, those that are open longest, for the one that is idle longest:
/// enough to find a good one, and few enough for every accept of a flood.
const LOOKED_AT: usize = 64;

/// One connection, as the listener sees it from outside.
#[derive(Debug)]
pub(super) struct Seat {
    /// Cancelled when the connection has to end at once.
    pub(super) leave: CancellationToken,
    /// Cancelled when its answers have to be the last ones. Its own, since each answer looks at it.
    pub(super) last_answers: CancellationToken,
    /// Requests so far. One task counts them, so they are stored and not added to.
    asked: AtomicU64,
    /// Requests that are not answered yet.
    in_flight: AtomicUsize,
    /// Whose share of the load its requests are of; nobody's if it stands for many callers.
    pub(super) sharer: Option<Caller>,
}

impl Seat {
    pub(super) fn new(leave: CancellationToken, last_answers: CancellationToken, sharer: Option<Caller>) -> Arc<Self> {
        Arc::new(Self { leave, last_answers, asked: AtomicU64::new(0), in_flight: AtomicUsize::new(0), sharer })
    }

    /// A request came in.
    pub(super) fn note_request(&self) {
        self.asked.store(self.asked() + 1, Ordering::Relaxed);
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) > 0
    }
}

/// One request that is not answered yet.
pub(super) struct InFlight(Arc<Seat>);

impl InFlight {
    pub(super) fn on(seat: &Arc<Seat>) -> Self {
        seat.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(seat))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// All places of a listener.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_per_caller: usize,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    open: usize,
    next: u64,
    /// By address, and there in the order in which they were opened.
    callers: HashMap<Caller, BTreeMap<u64, Taken>>,
    /// The addresses by how many places they have, those that nobody may take one from left out.
    by_count: BTreeSet<(usize, u64)>,
}

#[derive(Debug)]
struct Taken {
    seat: Arc<Seat>,
    /// How many requests it had made when it was looked at last, and since when at the latest it made none.
    asked: u64,
    quiet_since: Instant,
}

/// What a newcomer is told.
#[derive(Debug)]
pub(super) enum Seating {
    /// Here is a place; somebody may have had to leave it.
    Place(Place, Option<Closed>),
    /// All are taken, by callers who have no more than this one would have.
    Full,
    /// This address has all that one may have.
    OverCap,
}

/// A place that is taken; dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    caller: Caller,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not there any more if another one got it.
        if lock(&self.places.table).leave(self.caller, self.number).is_some() {
            self.places.freed.notify_one();
        }
    }
}

impl Places {
    /// `most_per_caller` places for one address at most.
    pub(super) fn new(most: usize, most_per_caller: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_caller, table: Mutex::default(), freed: Notify::new() })
    }

    /// Waits until a place is free that was not.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Gives a newcomer a place, or not. Who is `exempt` stands for many callers, and is never counted against.
    pub(super) fn take(self: &Arc<Self>, caller: Caller, exempt: bool, seat: &Arc<Seat>) -> Seating {
        let mut table = lock(&self.table);
        let held = if exempt { 0 } else { table.held(caller) };
        if held >= self.most_per_caller {
            return Seating::OverCap;
        }
        let mut displaced = None;
        if table.open >= self.most {
            // With one place fewer for the greediest and one more for the newcomer, the newcomer still has no more: two
            // addresses never take turns in displacing each other.
            let Some(&(_, greediest)) = table.by_count.last().filter(|(most, _)| held + 1 < *most) else {
                return Seating::Full;
            };
            let Some(left) = table.displace(Caller(greediest)) else { return Seating::Full };
            left.leave.cancel();
            displaced = Some(Closed::Displaced);
        }
        let number = table.enter(caller, exempt, seat);
        Seating::Place(Place { places: Arc::clone(self), caller, number }, displaced)
    }
}

impl Table {
    fn held(&self, caller: Caller) -> usize {
        self.callers.get(&caller).map_or(0, BTreeMap::len)
    }

    fn enter(&mut self, caller: Caller, exempt: bool, seat: &Arc<Seat>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open += 1;
        let held = self.callers.entry(caller).or_default();
        let taken = Taken { seat: Arc::clone(seat), asked: 0, quiet_since: Instant::now() };
        held.insert(number, taken);
        self.by_count.remove(&(held.len() - 1, caller.0));
        if !exempt {
            self.by_count.insert((held.len(), caller.0));
        }
        number
    }

    fn leave(&mut self, caller: Caller, number: u64) -> Option<Arc<Seat>> {
        let held = self.callers.get_mut(&caller)?;
        let taken = held.remove(&number)?;
        self.open -= 1;
        let left = held.len();
        let counted = self.by_count.remove(&(left + 1, caller.0));
        if left == 0 {
            self.callers.remove(&caller);
        } else if counted {
            self.by_count.insert((left, caller.0));
        }
        Some(taken.seat)
    }

    /// Frees a place of this address: that of the connection which is idle longest, or if all are busy, of the one that is
    /// so without a new request for longest.
    fn displace(&mut self, caller: Caller) -> Option<Arc<Seat>> {
        let now = Instant::now();
        let held = self.callers.get_mut(&caller)?;
        for taken in held.values_mut().take(LOOKED_AT) {
            let asked = taken.seat.asked();
            if asked != taken.asked {
                (taken.asked, taken.quiet_since) = (asked, now);
            }
        }
        let looked_at = held.iter().take(LOOKED_AT);
        let (number, _) = looked_at.min_by_key(|(_, taken)| (taken.seat.is_busy(), taken.quiet_since))?;
        let number = *number;
        self.leave(caller, number)
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests that are being answered on a whole listener, of so many at most. No address has more of them than are left for
/// all others, so that none can take them all: one alone gets half, two a third each.
#[derive(Debug)]
pub(super) struct Load {
    most: usize,
    taken: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    all: usize,
    /// Of those that have any.
    by_caller: HashMap<Caller, usize>,
}

impl Load {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// Whether one more of this caller would be refused.
    pub(super) fn is_full(&self, sharer: Option<Caller>) -> bool {
        self.refuses(&lock(&self.taken), sharer)
    }

    /// Counts one more, until the value is dropped, or none if there are too many.
    pub(super) fn enter(self: &Arc<Self>, sharer: Option<Caller>) -> Option<Entered> {
        let mut taken = lock(&self.taken);
        if self.refuses(&taken, sharer) {
            return None;
        }
        taken.all += 1;
        if let Some(caller) = sharer {
            *taken.by_caller.entry(caller).or_default() += 1;
        }
        Some(Entered { load: Arc::clone(self), sharer })
    }

    fn refuses(&self, taken: &Requests, sharer: Option<Caller>) -> bool {
        let held = sharer.and_then(|caller| taken.by_caller.get(&caller)).copied().unwrap_or_default();
        let left = self.most.saturating_sub(taken.all);
        left == 0 || held > left
    }
}

/// One request that is being answered.
#[derive(Debug)]
pub(super) struct Entered {
    load: Arc<Load>,
    sharer: Option<Caller>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut taken = lock(&self.load.taken);
        taken.all -= 1;
        if let Some(caller) = self.sharer
            && let Some(held) = taken.by_caller.get_mut(&caller)
        {
            *held -= 1;
            if *held == 0 {
                taken.by_caller.remove(&caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(load: &Arc<Load>, sharer: Option<Caller>) -> Vec<Entered> {
        std::iter::from_fn(|| load.enter(sharer)).collect()
    }

    #[test]
    fn no_address_takes_more_requests_than_are_left_for_the_others_and_a_proxy_takes_all() {
        let load = Load::new(100);
        let first = fill(&load, Some(Caller(1)));
        assert_eq!(first.len(), 51);
        let second = fill(&load, Some(Caller(2)));
        assert_eq!(second.len(), 25);
        assert!(!load.is_full(Some(Caller(3))) && load.is_full(Some(Caller(1))) && load.is_full(Some(Caller(2))));
        drop(first);
        assert_eq!(fill(&load, Some(Caller(1))).len(), 38);
        drop(second);
        assert_eq!(fill(&load, None).len(), 100);
        assert_eq!(fill(&load, None).len(), 100, "what ended is free again");
        assert!(lock(&load.taken).by_caller.is_empty(), "and forgotten");
    }
}
