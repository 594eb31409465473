//! Three replicas on one store whose clocks are five seconds wrong, either way: what a record, a purge and a pause are worth
//! to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::store::{MemoryStore, Store, StoreConfig};
use crate::weather::{Fetched, Fetching, Purpose, SourceError};

/// 2026-11-22, noon.
const NOON: u64 = 1_795_348_800_000;
const WRONG_BY_MS: [i64; 3] = [-5_000, 0, 5_000];
/// Within which a purge is everywhere: two looks.
const SECOND: Duration = Duration::from_secs(1);
const FRESH: Duration = Duration::from_secs(300);
const MEMORY: Origin = Origin::Fresh(super::answer::MEMORY);

/// What all replicas ask.
#[derive(Default)]
struct Told {
    calls: AtomicU64,
    fails: AtomicBool,
}

impl Told {
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

struct Teller {
    told: Arc<Told>,
    clock: Clock,
}

impl Source for Teller {
    /// The number of the call.
    fn fetch<'a>(&'a self, _: &'a Query, _: Purpose) -> Fetching<'a> {
        let call = self.told.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let failed = self.told.fails.load(Ordering::SeqCst);
        let fetched = Fetched { body: call.to_string().into(), fetched_at_ms: self.clock.now_ms() };
        Box::pin(async move { if failed { Err(SourceError::Failed.into()) } else { Ok(fetched) } })
    }
}

struct Fleet {
    told: Arc<Told>,
    replicas: Vec<Cache>,
}

impl Fleet {
    fn new() -> Self {
        let began = Instant::now();
        let clock = |wrong_by: i64| {
            Clock::from_fn(move || NOON.saturating_add_signed(wrong_by) + began.elapsed().as_millis() as u64)
        };
        let (store, keyring) = (MemoryStore::new(clock(0)), Arc::new(Keyring::ephemeral().unwrap()));
        let told = Arc::<Told>::default();
        let replica = |wrong_by: i64| {
            let metrics = Metrics::new();
            let store = Store::start(StoreConfig::Shared(store.clone()), clock(0), Arc::clone(&metrics));
            let notes = Notebook { store, keyring: Arc::clone(&keyring), clock: clock(wrong_by) };
            let policy = Policy {
                fresh: FRESH,
                stale_while_revalidate: Duration::from_secs(60),
                stale_if_error: Duration::ZERO,
                not_found: Duration::ZERO,
                jitter_percent: 0,
            };
            let config = CacheConfig {
                policy,
                memory_max_bytes: 1 << 20,
                max_waiters: 100,
                wait_timeout: Duration::from_secs(9),
                load_timeout: Duration::from_secs(6),
            };
            let source = Teller { told: Arc::clone(&told), clock: clock(wrong_by) };
            Cache::start(config, notes, Arc::new(source), metrics)
        };
        let replicas = WRONG_BY_MS.into_iter().map(replica).collect();
        Self { told, replicas }
    }

    async fn ask(&self, replica: usize, id: usize) -> Result<Answer, GetError> {
        let query = Query::parse(&format!("id:{id}"), "").unwrap();
        self.replicas[replica].get(query, Caller(1)).await
    }

    /// Which call the answer is of.
    async fn call_of(&self, replica: usize, id: usize) -> u64 {
        match self.ask(replica, id).await.unwrap().content {
            Content::Weather(body) => std::str::from_utf8(&body.bytes()).unwrap().parse().unwrap(),
            Content::UnknownPlace(_) => panic!("it is known"),
        }
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..3).flat_map(|one| (0..3).map(move |other| (one, other)))
}

#[tokio::test(start_paused = true)]
async fn a_record_is_fresh_to_others_for_no_longer_than_it_says_and_the_clocks_differ_and_never_of_an_age_below_none() {
    let fleet = Fleet::new();
    for (writer, reader) in pairs() {
        let id = 10 * writer + reader + 1;
        let written = fleet.ask(writer, id).await.unwrap();
        let read = fleet.ask(reader, id).await.unwrap();
        assert_eq!((read.content, read.fetched_at_ms), (written.content, written.fetched_at_ms));
    }
    assert_eq!(fleet.told.calls(), 9);
    let began = Instant::now();
    for (at, is_fresh) in [(0, true), (289, true), (310, false)] {
        sleep((began + Duration::from_secs(at)).duration_since(Instant::now())).await;
        for (writer, reader) in pairs() {
            let found = fleet.ask(reader, 10 * writer + reader + 1).await.unwrap();
            let now_ms = fleet.replicas[reader].now_ms();
            let (age, ttl) = (age(found.fetched_at_ms, now_ms), found.windows.ttl_secs(found.fetched_at_ms, now_ms));
            assert_eq!(matches!(found.origin, Origin::Fresh(_)), is_fresh, "{writer} to {reader} at {at} s");
            assert!(
                age <= Duration::from_secs(at + 10) && ttl <= 300,
                "{writer} to {reader} at {at} s: {age:?}, {ttl}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_is_in_the_memory_of_every_replica_within_a_second() {
    for purger in 0..3 {
        for all in [false, true] {
            let fleet = Fleet::new();
            for replica in 0..3 {
                fleet.ask(replica, 1).await.unwrap();
                assert_eq!(fleet.ask(replica, 1).await.unwrap().origin, MEMORY);
            }
            if all {
                fleet.replicas[purger].purge_all().await.unwrap();
            } else {
                fleet.replicas[purger].purge(&"id:1".parse().unwrap()).await.unwrap();
            }
            assert_eq!(fleet.replicas[purger].memory_size(), (0, 0));
            sleep(SECOND).await;
            for replica in 0..3 {
                assert_eq!(fleet.replicas[replica].memory_size(), (0, 0), "replica {replica}, purger {purger}");
            }
            assert_eq!([0, 1, 2].map(|_| fleet.told.calls()), [1; 3]);
            for replica in 0..3 {
                assert_eq!(fleet.call_of(replica, 1).await, 2, "replica {replica}, purger {purger}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_everything_is_of_all_that_was_loaded_before_it_whatever_clocks_say_and_nothing_comes_back() {
    for (loader, purger) in pairs() {
        let fleet = Fleet::new();
        fleet.ask(loader, 1).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        fleet.replicas[purger].purge_all().await.unwrap();
        sleep(SECOND).await;
        // By none of them, now or when the clocks of all have passed that time.
        for secs in [0, 1, 12, 70] {
            sleep(Duration::from_secs(secs)).await;
            for replica in 0..3 {
                assert_eq!(fleet.call_of(replica, 1).await, 2, "{loader} loads, {purger} purges, {replica} reads");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_after_a_purge_of_everything_is_of_use_to_all_whatever_clocks_say() {
    for (purger, loader) in pairs() {
        let fleet = Fleet::new();
        fleet.replicas[purger].purge_all().await.unwrap();
        sleep(SECOND).await;
        fleet.ask(loader, 1).await.unwrap();
        for replica in 0..3 {
            assert_eq!(fleet.call_of(replica, 1).await, 1, "{purger} purges, {loader} loads, {replica} reads");
        }
        // Of two purges the second one counts, also if its clock says that it was the first.
        fleet.replicas[loader].purge_all().await.unwrap();
        sleep(SECOND).await;
        for replica in 0..3 {
            assert_eq!(fleet.call_of(replica, 1).await, 2, "{purger} and {loader} purge, {replica} reads");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_after_a_failure_is_heeded_by_all_and_no_more_than_five_seconds_longer() {
    for (fails, follows) in pairs().filter(|(fails, follows)| fails != follows) {
        let fleet = Fleet::new();
        fleet.told.fails.store(true, Ordering::SeqCst);
        // 1, 2, 4, 8, 16 s, less up to a quarter for who failed himself; and 32.
        for pause in [1, 2, 4, 8, 16, 0] {
            fleet.ask(fails, 1).await.unwrap_err();
            sleep(Duration::from_secs(pause)).await;
        }
        assert_eq!(fleet.told.calls(), 6);
        let began = Instant::now();
        while fleet.told.calls() == 6 {
            fleet.ask(follows, 1).await.unwrap_err();
            sleep(Duration::from_millis(100)).await;
        }
        let (lasted, pause) = (began.elapsed(), Duration::from_secs(32));
        assert!(lasted <= pause + Duration::from_secs(6), "{fails} fails, {follows} follows: {lasted:?}");
        // By a clock that is ahead it is over sooner, by what they differ.
        assert!(lasted + Duration::from_secs(11) >= pause, "{fails} fails, {follows} follows: {lasted:?}");
    }
}
