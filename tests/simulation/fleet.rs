//! The replicas: each with a budget, a breaker and a cache of its own, and a clock that is wrong.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stratus::cache::{Cache, CacheConfig, Policy};
use stratus::clock::Clock;
use stratus::crypto::Keyring;
use stratus::reload::Live;
use stratus::store::{MemoryStore, Notebook, Store, StoreConfig};
use stratus::telemetry::Metrics;
use stratus::upstream::{BudgetConfig, Keys, Upstream};
use tokio::time::Instant;

use super::plan::Plan;
use super::upstream::{Line, Sky};

/// By how much the clock of each is ahead, or behind.
const SKEWS_MS: [i64; 8] = [-5_000, 5_000, 0, -2_500, 3_500, -400, 1_200, 4_900];
/// The midnight, UTC, at which the day begins, Unix milliseconds.
const MIDNIGHT_MS: u64 = 1_789_948_800_000;
/// Always the same, so that every run is the same.
const KEY: &str = "simulated:PwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// One of them.
pub(crate) struct Replica {
    pub(crate) cache: Cache,
    pub(crate) upstream: Arc<Upstream>,
}

/// All of them, and what they share.
pub(crate) struct Fleet {
    budget: BudgetConfig,
    keyring: Arc<Keyring>,
    sky: Arc<Sky>,
    pub(crate) store: MemoryStore,
    clocks: Vec<Clock>,
    pub(crate) replicas: Vec<Replica>,
}

impl Fleet {
    /// Needs a Tokio runtime.
    pub(crate) fn start(plan: &Plan, sky: Arc<Sky>) -> Self {
        let began_ms = MIDNIGHT_MS - millis(plan.warm_up);
        let keyring = Arc::new(Keyring::parse(KEY).expect("a key"));
        let budget = BudgetConfig {
            per_minute: plan.per_minute,
            per_day: plan.per_day,
            per_month: 0,
            max_replicas: plan.replicas as u32,
            call_lag: Duration::from_secs(2),
        };
        let store = MemoryStore::new(clock(began_ms, 0));
        let clocks: Vec<_> = SKEWS_MS[..plan.replicas].iter().map(|skew| clock(began_ms, *skew)).collect();
        let mut fleet = Self { budget, keyring, sky, store, clocks, replicas: Vec::new() };
        fleet.replicas = (0..plan.replicas).map(|number| fleet.replica(number)).collect();
        fleet
    }

    /// Drops a replica with all that it has in memory, and starts another one in its place.
    pub(crate) fn restart(&mut self, number: usize) {
        self.replicas[number] = self.replica(number);
    }

    fn replica(&self, number: usize) -> Replica {
        let (clock, metrics) = (self.clocks[number].clone(), Metrics::new());
        let store = Store::start(StoreConfig::Shared(self.store.clone()), clock.clone(), Arc::clone(&metrics));
        let line = Arc::new(Line { sky: Arc::clone(&self.sky), clock: clock.clone() });
        let keys = Keys::new(None, Some(Live::new(SecretString::from("a key"))), clock.clone());
        let notes = Notebook { store, keyring: Arc::clone(&self.keyring), clock };
        let upstream = Arc::new(Upstream::new(line, keys, self.budget, notes.clone(), Arc::clone(&metrics)));
        let source = Arc::clone(&upstream);
        let cache = Cache::start(settings(), notes, source, metrics);
        Replica { cache, upstream }
    }
}

/// Those of the service, but for the time that a copy may be given when the upstream fails.
fn settings() -> CacheConfig {
    CacheConfig {
        policy: Policy {
            fresh: Duration::from_mins(5),
            stale_while_revalidate: Duration::from_mins(1),
            stale_if_error: Duration::from_hours(6),
            not_found: Duration::from_mins(5),
            jitter_percent: 10,
        },
        memory_max_bytes: 64 << 20,
        max_waiters: 16_384,
        wait_timeout: Duration::from_secs(9),
        load_timeout: Duration::from_millis(5_025),
    }
}

/// A wall clock that is wrong by `skew_ms`.
fn clock(began_ms: u64, skew_ms: i64) -> Clock {
    let (began, began_ms) = (Instant::now(), began_ms.saturating_add_signed(skew_ms));
    Clock::from_fn(move || began_ms + millis(began.elapsed()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a short time")
}
