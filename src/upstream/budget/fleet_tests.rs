//! The caps, over an hour of a fleet that wants more than it may have, whatever happens to its store, its processes and
//! its clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Budget, BudgetConfig, Refused};
use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::store::{MemoryStore, Notebook, Store, StoreConfig};
use crate::telemetry::Metrics;
use crate::weather::{Caller, Purpose};

/// 2026-11-22, noon.
pub(super) const NOON: u64 = 1_795_348_800_000;
pub(super) const LAG: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn config(per_minute: u32, max_replicas: u32) -> BudgetConfig {
    BudgetConfig { per_minute, per_day: 0, per_month: 0, max_replicas, call_lag: LAG }
}

pub(super) fn following_tokio(start_ms: u64) -> Clock {
    let began = Instant::now();
    Clock::from_fn(move || start_ms + began.elapsed().as_millis() as u64)
}

/// One replica: its wall clock can be set, and its process be started anew.
struct Replica {
    budget: Arc<Budget>,
    store: MemoryStore,
    keyring: Arc<Keyring>,
    set_by_ms: Arc<AtomicI64>,
}

/// A fleet on one store, and when its calls reached the upstream.
pub(super) struct Fleet {
    config: BudgetConfig,
    clock: Clock,
    pub(super) store: MemoryStore,
    keyring: Arc<Keyring>,
    replicas: Vec<Replica>,
    /// When permits were given, and when their calls arrived.
    pub(super) calls: Vec<(Instant, Instant)>,
    pub(super) refused: Vec<Refused>,
}

impl Fleet {
    pub(super) fn new(config: BudgetConfig, start_ms: u64, replicas: u32) -> Self {
        let clock = following_tokio(start_ms);
        let (store, keyring) = (MemoryStore::new(clock.clone()), Arc::new(Keyring::ephemeral().unwrap()));
        let (calls, refused) = (Vec::new(), Vec::new());
        let mut fleet = Self { config, clock, store, keyring, replicas: Vec::new(), calls, refused };
        (0..replicas).for_each(|_| fleet.join(fleet.store.clone(), Arc::clone(&fleet.keyring)));
        fleet
    }

    fn join(&mut self, store: MemoryStore, keyring: Arc<Keyring>) {
        let set_by_ms = Arc::new(AtomicI64::new(0));
        let budget = self.start(&store, &keyring, &set_by_ms);
        self.replicas.push(Replica { budget, store, keyring, set_by_ms });
    }

    fn start(&self, store: &MemoryStore, keyring: &Arc<Keyring>, set_by_ms: &Arc<AtomicI64>) -> Arc<Budget> {
        let (right, set_by_ms) = (self.clock.clone(), Arc::clone(set_by_ms));
        let clock = Clock::from_fn(move || right.now_ms().saturating_add_signed(set_by_ms.load(Ordering::SeqCst)));
        let store = Store::start(StoreConfig::Shared(store.clone()), self.clock.clone(), Metrics::new());
        Budget::start(self.config, Notebook { store, keyring: Arc::clone(keyring), clock })
    }

    /// Replicas whose clocks are wrong by so many milliseconds.
    pub(super) fn skewed(config: BudgetConfig, start_ms: u64, wrong_by_ms: &[i64]) -> Self {
        let mut fleet = Self::new(config, start_ms, 0);
        for (index, wrong_by_ms) in wrong_by_ms.iter().enumerate() {
            fleet.join(fleet.store.clone(), Arc::clone(&fleet.keyring));
            fleet.replicas[index].set_by_ms.store(*wrong_by_ms, Ordering::SeqCst);
            fleet.restart(index);
        }
        fleet
    }

    pub(super) fn restart(&mut self, index: usize) {
        let replica = &self.replicas[index];
        let budget = self.start(&replica.store, &replica.keyring, &replica.set_by_ms);
        self.replicas[index].budget = budget;
    }

    pub(super) fn set_clock(&mut self, index: usize, by_hours: i64) {
        self.replicas[index].set_by_ms.store(by_hours * 3_600_000, Ordering::SeqCst);
    }

    pub(super) fn budget(&self, index: usize) -> Arc<Budget> {
        Arc::clone(&self.replicas[index].budget)
    }

    pub(super) async fn ask(&mut self, index: usize, purpose: Purpose) -> Result<(), Refused> {
        match self.replicas[index].budget.permit(purpose).await {
            Ok(_permit) => {
                // The claim has the rest of the lag.
                let late = fastrand::u64(..=(LAG.as_millis() as u64 - 500));
                let now = Instant::now();
                self.calls.push((now, now + Duration::from_millis(late)));
                Ok(())
            }
            Err(refused) => {
                self.refused.push(refused);
                Err(refused)
            }
        }
    }

    /// Random demand on random replicas for that long, about once in `every`; what else happens, once a second.
    pub(super) async fn live(&mut self, length: Duration, every: Duration, mut meanwhile: impl FnMut(&mut Self)) {
        let end = Instant::now() + length;
        let mut next = Instant::now();
        while Instant::now() < end {
            sleep(Duration::from_millis(fastrand::u64(..=2 * every.as_millis() as u64))).await;
            if Instant::now() >= next {
                meanwhile(self);
                next = Instant::now() + Duration::from_secs(1);
            }
            let purpose = match fastrand::u8(..10) {
                0 => Purpose::Ahead,
                1..6 => Purpose::Renewal,
                _ => Purpose::Miss(Caller(fastrand::u64(..6))),
            };
            let _ = self.ask(fastrand::usize(..self.replicas.len()), purpose).await;
        }
    }

    /// The most calls that arrived in any 60 s.
    pub(super) fn most_in_a_minute(&self) -> usize {
        let mut arrivals: Vec<_> = self.calls.iter().map(|(_, arrived)| *arrived).collect();
        arrivals.sort_unstable();
        let mut oldest = 0;
        let within = arrivals.iter().enumerate().map(|(newest, at)| {
            while *at - arrivals[oldest] >= MINUTE {
                oldest += 1;
            }
            newest - oldest + 1
        });
        within.max().unwrap_or(0)
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const BUSY: Duration = Duration::from_millis(250);

fn eight(seed: u64) -> Fleet {
    fastrand::seed(seed);
    Fleet::new(config(60, 8), NOON, 8)
}

fn sometimes(once_in: u32) -> bool {
    fastrand::u32(..once_in) == 0
}

#[tokio::test(start_paused = true)]
async fn eight_replicas_stay_below_the_cap_in_every_minute_of_an_hour_and_use_nine_tenths_of_it() {
    let mut fleet = eight(1);
    fleet.live(HOUR, BUSY, |_| ()).await;
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
    assert!(fleet.calls.len() >= 60 * 60 * 9 / 10, "{}", fleet.calls.len());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_while_the_store_comes_and_goes_for_all() {
    let mut fleet = eight(2);
    let mut away = false;
    fleet
        .live(HOUR, BUSY, |fleet| {
            away ^= sometimes(40);
            fleet.store.set_away(away);
        })
        .await;
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
    // Own parts alone would be 8 a minute.
    assert!(fleet.calls.len() > 60 * 16, "{}", fleet.calls.len());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_while_some_replicas_cannot_reach_the_store() {
    fastrand::seed(3);
    let mut fleet = Fleet::new(config(60, 8), NOON, 5);
    let nowhere = MemoryStore::new(fleet.clock.clone());
    nowhere.set_away(true);
    (0..3).for_each(|_| fleet.join(nowhere.clone(), Arc::clone(&fleet.keyring)));
    fleet.live(HOUR, BUSY, |_| ()).await;
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
    assert!(fleet.budget(7).left().store_away && !fleet.budget(0).left().store_away);
    let before = fleet.calls.len();
    sleep(MINUTE + LAG).await;
    assert!(fleet.ask(7, Purpose::Renewal).await.is_ok() && fleet.ask(7, Purpose::Renewal).await.is_err());
    assert_eq!(fleet.calls.len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_when_the_store_loses_everything_again_and_again() {
    let mut fleet = eight(4);
    fleet
        .live(HOUR, BUSY, |fleet| {
            if sometimes(150) {
                fleet.store.lose_everything();
            }
        })
        .await;
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
    assert!(fleet.calls.len() > 60 * 20, "{}", fleet.calls.len());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_when_a_store_loses_everything_while_it_is_away_and_replicas_are_idle() {
    let mut fleet = eight(5);
    for _ in 0..20 {
        fleet.live(Duration::from_secs(100), BUSY, |_| ()).await;
        fleet.store.set_away(true);
        fleet.store.lose_everything();
        sleep(Duration::from_secs(fastrand::u64(..20))).await;
        fleet.store.set_away(false);
    }
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_when_replicas_are_restarted() {
    let mut fleet = eight(6);
    fleet
        .live(HOUR, BUSY, |fleet| {
            if sometimes(10) {
                fleet.restart(fastrand::usize(..8));
            }
        })
        .await;
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
    assert!(fleet.calls.len() >= 60 * 60 * 8 / 10, "{}", fleet.calls.len());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_when_a_replica_is_restarted_while_the_store_is_away() {
    fastrand::seed(7);
    let mut fleet = Fleet::new(config(60, 1), NOON, 1);
    for _ in 0..10 {
        fleet.live(Duration::from_secs(80), BUSY, |_| ()).await;
        fleet.store.set_away(true);
        fleet.live(Duration::from_secs(5), BUSY, |_| ()).await;
        fleet.restart(0);
        fleet.live(Duration::from_secs(40), BUSY, |_| ()).await;
        fleet.store.set_away(false);
    }
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_when_wall_clocks_are_set_by_hours() {
    let mut fleet = eight(8);
    fleet
        .live(HOUR, BUSY, |fleet| {
            if sometimes(60) {
                fleet.set_clock(fastrand::usize(..8), fastrand::i64(-5..=5));
            }
        })
        .await;
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
    assert!(fleet.calls.len() >= 60 * 60 / 2, "{}", fleet.calls.len());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_and_is_used_while_clocks_are_five_seconds_wrong_either_way() {
    fastrand::seed(11);
    let mut fleet = Fleet::skewed(config(60, 3), NOON, &[-5_000, 0, 5_000]);
    fleet.live(HOUR, BUSY, |_| ()).await;
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
    assert!(fleet.calls.len() >= 60 * 60 * 85 / 100, "{}", fleet.calls.len());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_while_replicas_have_different_keys_of_a_rotation() {
    fastrand::seed(9);
    let line = || crate::crypto::generate_key_line().unwrap().to_string();
    let (old, new) = (line(), line());
    let ring = |text: String| Arc::new(Keyring::parse(&text).unwrap());
    let mut fleet = Fleet::new(config(60, 4), NOON, 0);
    for text in [old.clone(), format!("{old}\n{new}"), format!("{new}\n{old}"), format!("{new}\n{old}")] {
        fleet.join(fleet.store.clone(), ring(text));
    }
    fleet
        .live(HOUR / 6, BUSY, |fleet| {
            if sometimes(200) {
                fleet.store.lose_everything();
            }
        })
        .await;
    assert!(fleet.most_in_a_minute() <= 60, "{}", fleet.most_in_a_minute());
    assert!(fleet.calls.len() > 60, "{}", fleet.calls.len());
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_and_is_used_where_a_slot_stands_for_several_calls() {
    fastrand::seed(10);
    let mut fleet = Fleet::new(config(600, 2), NOON, 2);
    fleet.live(HOUR / 10, Duration::from_millis(40), |_| ()).await;
    assert!(fleet.most_in_a_minute() <= 600, "{}", fleet.most_in_a_minute());
    // The first of the six minutes is a quiet one.
    assert!(fleet.calls.len() >= 600 * 5 * 8 / 10, "{}", fleet.calls.len());
}
