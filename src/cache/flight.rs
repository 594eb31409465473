//! One load a record in this process, however many ask for it.
//!
//! A load runs in its own task: a caller that leaves takes nobody's answer along, and what was fetched is still stored.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;

use crate::crypto::RecordName;

/// A load under way.
pub(super) type Load<T> = Shared<Pin<Box<dyn Future<Output = Option<T>> + Send>>>;
type Loads<T> = Mutex<HashMap<RecordName, Load<T>>>;

/// The loads that are under way.
#[derive(Debug)]
pub(super) struct Flights<T: Clone>(Arc<Loads<T>>);

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(HashMap::new())))
    }

    /// Joins the load of `name`, or starts it with `load`. Gives its result (`None` if its task was lost, by a panic or
    /// at shutdown) and whether it was somebody else's.
    pub(super) async fn join<F>(&self, name: RecordName, load: impl FnOnce() -> F) -> (Option<T>, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (flight, joined) = self.begin(name, load);
        (flight.await, joined)
    }

    /// The same without waiting: the load goes on whether or not what is given here is awaited.
    pub(super) fn begin<F>(&self, name: RecordName, load: impl FnOnce() -> F) -> (Load<T>, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut loads = lock(&self.0);
        if let Some(flight) = loads.get(&name) {
            return (flight.clone(), true);
        }
        let (all, own_name, load) = (Arc::clone(&self.0), name.clone(), load());
        let task = tokio::spawn(async move {
            // Made in here: a runtime that ends drops what it is given at once, and the list is locked by us now.
            let _landing = Landing { loads: all, name: own_name };
            load.await
        });
        let flight = task.map(Result::ok).boxed().shared();
        loads.insert(name, flight.clone());
        (flight, false)
    }
}

/// Takes the flight off the list when its task ends, however it ends: a flight left there would wedge its key for ever.
struct Landing<T: Clone> {
    loads: Arc<Loads<T>>,
    name: RecordName,
}

impl<T: Clone> Drop for Landing<T> {
    fn drop(&mut self) {
        lock(&self.loads).remove(&self.name);
    }
}

/// The map is whole after every operation on it, so a panic elsewhere does not spoil it.
fn lock<T: Clone>(loads: &Loads<T>) -> MutexGuard<'_, HashMap<RecordName, Load<T>>> {
    loads.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Keyring;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    fn name() -> RecordName {
        Keyring::ephemeral().unwrap().names("x").remove(0)
    }

    #[tokio::test]
    async fn many_callers_share_one_load() {
        let (flights, name) = (Flights::new(), name());
        let (loads, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let (loads, go) = (Arc::clone(&loads), Arc::clone(&go));
                flights.join(name.clone(), move || async move {
                    go.notified().await;
                    loads.fetch_add(1, Ordering::SeqCst)
                })
            })
            .collect();
        let answers = futures_util::future::join_all(callers);
        let (answers, ()) = tokio::join!(answers, async { go.notify_one() });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert_eq!(answers.iter().filter(|(_, joined)| !joined).count(), 1);
        assert!(answers.iter().all(|(answer, _)| *answer == Some(0)));
        assert!(lock(&flights.0).is_empty());
    }

    #[tokio::test]
    async fn a_load_goes_on_when_its_caller_leaves_and_a_panic_frees_the_key() {
        let (flights, name) = (Flights::<u8>::new(), name());
        let (started, go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let caller = {
            let (started, go, done) = (Arc::clone(&started), Arc::clone(&go), Arc::clone(&done));
            flights.join(name.clone(), move || async move {
                started.notify_one();
                go.notified().await;
                done.notify_one();
                1
            })
        };
        tokio::select! {
            _ = caller => unreachable!("the load waits for its signal"),
            () = started.notified() => {}
        }
        go.notify_one();
        done.notified().await;

        let (lost, _) = flights.join(name.clone(), || async { panic!("lost") }).await;
        assert_eq!(lost, None);
        let (next, joined) = flights.join(name, || async { 2 }).await;
        assert_eq!((next, joined), (Some(2), false));
    }
}
