//! One load a question in this process, however many ask for it.
//!
//! A load runs in its own task: a caller that leaves takes nobody's answer along, and what was fetched is still stored.
//! It can end in these ways, each with its own test:
//!
//! | end | what those who wait get |
//! |---|---|
//! | done | its result, all the same |
//! | failed | its error, all the same |
//! | lost (a panic, or its runtime ended) | the next of them leads, once |
//! | load deadline | the load is dropped, and all get a timeout |
//! | wait deadline | this caller gives up; the load goes on for the others |
//! | overloaded | too many wait already, or have left loads behind: this caller is refused at once |

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::oneshot;

use crate::telemetry::trace::{self, Link, Span};
use crate::weather::Query;

/// A load under way; `None` if it was lost.
pub(super) type Load<T> = Shared<Pin<Box<dyn Future<Output = Option<T>> + Send>>>;
/// Each with what the spans of those who join it link to.
type List<T> = HashMap<Arc<Query>, (Load<T>, Link)>;
type Loads<T> = Mutex<List<T>>;
/// Is told what came of a load, `None` if it was lost, and how long it took.
type Ended<T> = Arc<dyn Fn(Option<&T>, Duration) + Send + Sync>;

/// The loads that are under way.
pub(super) struct Flights<T: Clone> {
    loads: Arc<Loads<T>>,
    /// What their spans are called.
    name: &'static str,
    ended: Ended<T>,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// None yet; their spans are called `name`. `ended` is told of each when it is off the list: whoever learns of its end
    /// there can start the next one.
    pub(super) fn new(name: &'static str, ended: impl Fn(Option<&T>, Duration) + Send + Sync + 'static) -> Self {
        Self { loads: Arc::default(), name, ended: Arc::new(ended) }
    }

    /// Joins the load of `query`, or starts it with `load`; also whether it was somebody else's. The load goes on whether
    /// or not what is given here is awaited.
    pub(super) fn join<F>(&self, query: &Arc<Query>, load: impl FnOnce() -> F) -> (Load<T>, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (flight, launch) = {
            let mut loads = lock(&self.loads);
            if let Some((flight, link)) = loads.get(query) {
                trace::current().follow(link);
                return (flight.clone(), true);
            }
            self.announce(&mut loads, query, trace::child(self.name))
        };
        launch.go(load());
        (flight, false)
    }

    /// Starts the load of `query`, unless it is under way already or `limit` others are, or it is not `due`. That is asked
    /// when none is under way: what the last one has left behind is known then.
    pub(super) fn begin<F>(
        &self,
        query: &Arc<Query>,
        limit: usize,
        due: impl FnOnce() -> bool,
        load: impl FnOnce() -> F,
    ) where
        F: Future<Output = T> + Send + 'static,
    {
        let launch = {
            let mut loads = lock(&self.loads);
            if loads.len() >= limit || loads.contains_key(query) || !due() {
                return;
            }
            self.announce(&mut loads, query, trace::behind(self.name)).1
        };
        launch.go(load());
    }

    /// Whether `limit` loads are under way, and `query` is none of them.
    pub(super) fn is_full_for(&self, query: &Query, limit: usize) -> bool {
        let loads = lock(&self.loads);
        loads.len() >= limit && !loads.contains_key(query)
    }

    fn announce(&self, loads: &mut List<T>, query: &Arc<Query>, span: Span) -> (Load<T>, Launch<T>) {
        let (result, flight) = oneshot::channel();
        let flight = flight.map(Result::ok).boxed().shared();
        loads.insert(Arc::clone(query), (flight.clone(), span.link()));
        let ended = Some(Arc::clone(&self.ended));
        let landing =
            Landing { loads: Arc::clone(&self.loads), query: Arc::clone(query), began: Instant::now(), ended };
        (flight, Launch { landing, result, span })
    }
}

/// A load that is on the list and has still to be started. That happens when the list is no longer locked: a runtime
/// that ends drops a task at once, and with it its landing.
struct Launch<T: Clone> {
    landing: Landing<T>,
    result: oneshot::Sender<T>,
    span: Span,
}

impl<T: Clone + Send + Sync + 'static> Launch<T> {
    fn go<F>(self, load: F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let Self { landing, result, span } = self;
        tokio::spawn(async move {
            let loaded = span.during(load).await;
            // Off the list before anybody learns of it: who comes after that starts anew.
            landing.end(&loaded);
            // Nobody may be waiting any more.
            let _ = result.send(loaded);
        });
    }
}

/// Takes the flight off the list when its task ends, however it ends: a flight left there would wedge its key for ever.
struct Landing<T: Clone> {
    loads: Arc<Loads<T>>,
    query: Arc<Query>,
    began: Instant,
    /// `None` once it has been told.
    ended: Option<Ended<T>>,
}

impl<T: Clone> Landing<T> {
    fn end(mut self, loaded: &T) {
        self.land(Some(loaded));
    }

    fn land(&mut self, loaded: Option<&T>) {
        // Only once: after that another flight may be on the list.
        if let Some(ended) = self.ended.take() {
            lock(&self.loads).remove(&self.query);
            ended(loaded, self.began.elapsed());
        }
    }
}

impl<T: Clone> Drop for Landing<T> {
    fn drop(&mut self) {
        self.land(None);
    }
}

/// The map is whole after every operation on it, so a panic elsewhere does not spoil it.
fn lock<T: Clone>(loads: &Loads<T>) -> MutexGuard<'_, List<T>> {
    loads.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The places for callers who wait, over all questions: each of them holds a connection and some memory.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    waiting: AtomicUsize,
    places: usize,
}

impl WaitingRoom {
    pub(super) fn new(places: usize) -> Self {
        Self { waiting: AtomicUsize::new(0), places }
    }

    pub(super) fn places(&self) -> usize {
        self.places
    }

    pub(super) fn taken(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A place until it is dropped; `None` if there is none left.
    pub(super) fn enter(&self) -> Option<Place<'_>> {
        let enter = |waiting| (waiting < self.places).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok().map(|_| Place(&self.waiting))
    }
}

/// One caller who waits.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Notify;

    fn query() -> Arc<Query> {
        Arc::new(Query::parse("London", "").unwrap())
    }

    #[tokio::test]
    async fn many_callers_share_one_load() {
        let (flights, query) = (Flights::new("cache.load", |_, _| ()), query());
        let (loads, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let (loads, go) = (Arc::clone(&loads), Arc::clone(&go));
                flights.join(&query, move || async move {
                    go.notified().await;
                    loads.fetch_add(1, Ordering::SeqCst)
                })
            })
            .collect();
        assert_eq!(callers.iter().filter(|(_, joined)| !joined).count(), 1);
        go.notify_one();
        let answers = futures_util::future::join_all(callers.into_iter().map(|(load, _)| load)).await;
        assert!(answers.iter().all(|answer| *answer == Some(0)));
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert!(lock(&flights.loads).is_empty());
    }

    #[tokio::test]
    async fn a_load_goes_on_when_its_caller_leaves_and_a_panic_frees_the_key() {
        let (flights, query) = (Flights::<u8>::new("cache.load", |_, _| ()), query());
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (caller, _) = {
            let (go, done) = (Arc::clone(&go), Arc::clone(&done));
            flights.join(&query, move || async move {
                go.notified().await;
                done.notify_one();
                1
            })
        };
        drop(caller);
        go.notify_one();
        done.notified().await;

        assert_eq!(flights.join(&query, || async { panic!("lost") }).0.await, None);
        let (next, joined) = flights.join(&query, || async { 2 });
        assert_eq!((next.await, joined), (Some(2), false));
    }

    #[test]
    fn a_load_whose_runtime_ends_is_lost_to_those_who_wait_elsewhere_and_frees_the_key() {
        let (flights, query) = (Flights::<u8>::new("cache.load", |_, _| ()), query());
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (leading, following) = (runtime(), runtime());
        let never = || flights.join(&query, std::future::pending::<u8>);
        let (_, joined) = leading.block_on(async { never() });
        assert!(!joined);
        let (load, joined) = following.block_on(async { never() });
        assert!(joined);
        drop(leading);
        assert_eq!(following.block_on(load), None);
        let next = || flights.join(&query, || async { 2 }).0;
        assert_eq!(following.block_on(async { next().await }), Some(2));
    }

    #[tokio::test]
    async fn a_background_load_is_begun_once_and_only_below_the_limit_and_when_it_is_due() {
        let (flights, query) = (Flights::<u8>::new("cache.load", |_, _| ()), query());
        let begun = Arc::new(AtomicUsize::new(0));
        let begin = |limit, due| {
            let begun = Arc::clone(&begun);
            let load = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                std::future::pending()
            };
            flights.begin(&query, limit, || due, load);
            lock(&flights.loads).len()
        };
        assert_eq!((begin(0, true), begin(1, false), begin(1, true), begin(2, true)), (0, 0, 1, 1));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn whoever_is_told_of_a_loads_end_can_start_the_next_one() {
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let flights = Arc::new_cyclic(|flights: &std::sync::Weak<Flights<u8>>| {
            let flights = std::sync::Weak::clone(flights);
            Flights::new("cache.load", move |loaded: Option<&u8>, _| {
                let flights = flights.upgrade().unwrap();
                told.send((loaded.copied(), lock(&flights.loads).len())).unwrap();
            })
        });
        let query = query();
        flights.begin(&query, 1, || true, || async { 1 });
        assert_eq!(heard.recv().await, Some((Some(1), 0)));
        flights.begin(&query, 1, || true, || async { panic!("lost") });
        assert_eq!(heard.recv().await, Some((None, 0)));
    }

    #[test]
    fn the_waiting_room_has_so_many_places_and_each_is_given_back() {
        let room = WaitingRoom::new(2);
        let (first, second) = (room.enter(), room.enter());
        assert!(first.is_some() && second.is_some() && room.enter().is_none());
        drop(first);
        assert!(room.enter().is_some());
    }
}
