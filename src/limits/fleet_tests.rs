//! A simulated fleet on one store, and what its callers were granted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Limits, Meter, Verdict};
use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::store::{MemoryStore, Notebook, Store, StoreConfig};
use crate::telemetry::Metrics;

/// 2026-11-22, noon.
pub(super) const NOON: u64 = 1_795_348_800_000;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const BUCKET: Duration = Duration::from_secs(3);

pub(super) struct Replica {
    pub(super) limits: Arc<Limits>,
    pub(super) meter: Arc<Meter>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) struct Fleet {
    began: Instant,
    pub(super) per_minute: u32,
    pub(super) store: MemoryStore,
    pub(super) replicas: Vec<Replica>,
    /// When requests were granted, in milliseconds since the beginning by the one true clock.
    granted: Mutex<Vec<u64>>,
}

pub(super) fn fresh_ring() -> Arc<Keyring> {
    Arc::new(Keyring::ephemeral().unwrap())
}

impl Fleet {
    /// One caller of these replicas, whose clocks are wrong by so many milliseconds.
    pub(super) fn new(per_minute: u32, max_replicas: u32, wrong_by_ms: &[u64]) -> Self {
        Self::with_rings(per_minute, max_replicas, wrong_by_ms, &vec![fresh_ring(); wrong_by_ms.len()])
    }

    pub(super) fn with_rings(per_minute: u32, max: u32, wrong_by_ms: &[u64], rings: &[Arc<Keyring>]) -> Self {
        let began = Instant::now();
        let clock = |wrong_by| Clock::from_fn(move || NOON + wrong_by + began.elapsed().as_millis() as u64);
        let store = MemoryStore::new(clock(0));
        let replica = |(wrong_by, ring): (&u64, &Arc<Keyring>)| {
            let metrics = Metrics::new();
            let config = StoreConfig::Shared(store.clone());
            let notes = Notebook {
                store: Store::start(config, clock(0), Arc::clone(&metrics)),
                keyring: Arc::clone(ring),
                clock: clock(*wrong_by),
            };
            let limits = Limits::new(notes, max, Arc::clone(&metrics));
            Replica { limits, meter: Meter::new("caller".to_owned(), per_minute), metrics }
        };
        let replicas = wrong_by_ms.iter().zip(rings).map(replica).collect();
        Self { began, per_minute, store, replicas, granted: Mutex::default() }
    }

    pub(super) async fn ask(&self, replica: usize) -> Verdict {
        let verdict = self.replicas[replica].limits.take(&self.replicas[replica].meter).await;
        if matches!(verdict, Verdict::Granted(_)) {
            self.granted.lock().unwrap().push(self.began.elapsed().as_millis() as u64);
        }
        verdict
    }

    /// So many at once; how many were granted.
    pub(super) async fn burst(&self, replica: usize, requests: u32) -> u32 {
        let verdicts = join_all((0..requests).map(|_| self.ask(replica))).await;
        verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Granted(_))).count() as u32
    }

    /// Evenly for so long, one replica after the other.
    pub(super) async fn steady(&self, per_minute: u32, length: Duration) {
        let end = Instant::now() + length;
        let every = MINUTE / per_minute;
        let mut next = Instant::now();
        for replica in (0..self.replicas.len()).cycle() {
            if next >= end {
                return;
            }
            tokio::time::sleep_until(next).await;
            self.ask(replica).await;
            next += every;
        }
    }

    /// Bursts of random sizes after random pauses for so long; what else happens before each.
    pub(super) async fn random(
        &self,
        rng: &mut fastrand::Rng,
        length: Duration,
        mut meanwhile: impl FnMut(&mut fastrand::Rng),
    ) {
        let end = Instant::now() + length;
        // Calm callers and wild ones.
        let longest = [200, 2_000, 9_000][rng.usize(..3)];
        let largest = [1, 1 + self.per_minute / 10, 2 * self.per_minute][rng.usize(..3)];
        while Instant::now() < end {
            sleep(Duration::from_millis(rng.u64(..longest))).await;
            meanwhile(rng);
            let bursts =
                (0..self.replicas.len()).map(|replica| (replica, if rng.bool() { rng.u32(..=largest) } else { 0 }));
            let bursts: Vec<_> = bursts.collect();
            join_all(bursts.into_iter().map(|(replica, requests)| self.burst(replica, requests))).await;
        }
    }

    /// The most that were granted in any minute.
    pub(super) fn most_in_a_minute(&self) -> u32 {
        let granted = self.granted.lock().unwrap();
        let mut oldest = 0;
        let within = granted.iter().enumerate().map(|(newest, at)| {
            while at - granted[oldest] >= 60_000 {
                oldest += 1;
            }
            newest - oldest + 1
        });
        within.max().unwrap_or(0) as u32
    }

    /// How many were granted from then to then, as a part of what may be.
    pub(super) fn used(&self, from: Duration, to: Duration) -> f64 {
        let millis = from.as_millis() as u64..to.as_millis() as u64;
        let granted = self.granted.lock().unwrap().iter().filter(|at| millis.contains(at)).count();
        granted as f64 / (f64::from(self.per_minute) * (to - from).as_secs_f64() / 60.0)
    }
}

fn wait(verdict: Verdict) -> Duration {
    match verdict {
        Verdict::Refused { retry_after, .. } => retry_after,
        Verdict::Granted(standing) => panic!("granted: {standing:?}"),
    }
}

impl Fleet {
    fn reservations(&self) -> u64 {
        let of = |replica: &Replica| {
            let text = replica.metrics.render();
            let lines = text.lines().filter(|line| line.starts_with("stratus_limit_reservations_total{"));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
        };
        self.replicas.iter().map(of).sum()
    }
}

#[tokio::test(start_paused = true)]
async fn who_made_no_request_gets_all_at_once_and_the_next_one_at_the_time_that_he_is_told() {
    for (per_minute, wrong_by) in [(1, &[0][..]), (20, &[0]), (60, &[0]), (60, &[0, 1_200, 2_400])] {
        let fleet = Fleet::new(per_minute, 4, wrong_by);
        for _ in 0..3 {
            let each = (0..wrong_by.len()).map(|replica| fleet.burst(replica, per_minute));
            assert_eq!(join_all(each).await.into_iter().sum::<u32>(), per_minute);
            let waits: Vec<_> = join_all((0..wrong_by.len()).map(|replica| fleet.ask(replica))).await;
            let (replica, soonest) = waits.into_iter().map(wait).enumerate().min_by_key(|(_, wait)| *wait).unwrap();
            assert!(soonest > MINUTE - BUCKET && soonest <= MINUTE + BUCKET, "{soonest:?}");
            sleep(soonest - Duration::from_millis(1)).await;
            assert!(wait(fleet.ask(replica).await) >= Duration::from_secs(1));
            sleep(Duration::from_millis(1)).await;
            assert!(matches!(fleet.ask(replica).await, Verdict::Granted(_)), "{per_minute}");
            sleep(2 * MINUTE).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_at_once_lacks_only_the_own_parts_of_the_other_replicas() {
    for per_minute in [200, 600, 1_000, 6_000] {
        let fleet = Fleet::new(per_minute, 4, &[0]);
        sleep(MINUTE).await;
        let granted = fleet.burst(0, per_minute).await;
        assert!(
            granted <= per_minute && f64::from(granted) >= 0.98 * f64::from(per_minute),
            "{granted} of {per_minute}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_steady_caller_gets_nine_tenths_through_one_replica_or_several() {
    for per_minute in [20, 60, 100, 600, 1_000] {
        for wrong_by in [&[0][..], &[0, 0], &[0, 40, 80], &[0, 0, 0, 0]] {
            let fleet = Fleet::new(per_minute, 4, wrong_by);
            fleet.steady(per_minute, 10 * MINUTE).await;
            let used = fleet.used(MINUTE, 10 * MINUTE);
            // Of few requests on many replicas each sees little of the others, and counts what it sees for longer.
            let least = if per_minute < 60 && wrong_by.len() > 2 { 0.80 } else { 0.90 };
            assert!(used >= least, "{used} of {per_minute} through {wrong_by:?}");
            assert!(fleet.most_in_a_minute() <= per_minute);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_three_times_his_limit_gets_between_nine_tenths_and_all_of_it() {
    for (per_minute, minutes) in [(20, 20), (60, 20), (600, 20)] {
        let fleet = Fleet::new(per_minute, 4, &[0, 30, 60]);
        fleet.steady(3 * per_minute, minutes * MINUTE).await;
        assert!(fleet.most_in_a_minute() <= per_minute);
        // He takes it in a third of 63 seconds, so later a minute of the clock cuts through that.
        for minute in 0..6 {
            let used = fleet.used(minute * MINUTE, (minute + 1) * MINUTE);
            assert!((0.90..=1.0).contains(&used), "{used} of {per_minute} in minute {minute}");
        }
        let used = fleet.used(MINUTE, minutes * MINUTE);
        assert!(used >= 0.90, "{used} of {per_minute}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_is_not_asked_for_every_request() {
    // All at once: 1 000 requests, one after the other.
    let fleet = Fleet::new(1_000, 4, &[0]);
    for _ in 0..1_000 {
        fleet.ask(0).await;
    }
    assert!(fleet.reservations() <= 60, "{}", fleet.reservations());
    // Evenly, and three times too many: 30 000 requests in ten minutes on three replicas.
    let fleet = Fleet::new(1_000, 4, &[0, 0, 0]);
    fleet.steady(3_000, 10 * MINUTE).await;
    assert!(fleet.reservations() <= 30 * 40, "{}", fleet.reservations());
    // Seldom: never.
    let fleet = Fleet::new(600, 4, &[0]);
    sleep(MINUTE).await;
    fleet.steady(2, 10 * MINUTE).await;
    assert_eq!((fleet.reservations(), fleet.used(MINUTE, 11 * MINUTE)), (0, 2.0 / 600.0));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_replica_grants_its_share_of_what_is_left() {
    let fleet = Fleet::new(60, 3, &[0, 0, 0]);
    fleet.store.set_away(true);
    sleep(BUCKET).await;
    // Never seen before.
    assert_eq!((fleet.burst(0, 60).await, fleet.burst(1, 60).await, fleet.burst(2, 60).await), (20, 20, 20));
    assert!(wait(fleet.ask(0).await) > MINUTE - BUCKET);
    sleep(MINUTE + BUCKET).await;
    assert_eq!(fleet.burst(0, 60).await, 20);
    // Too few for all.
    let fleet = Fleet::new(3, 4, &[0]);
    fleet.store.set_away(true);
    sleep(BUCKET).await;
    assert_eq!(fleet.burst(0, 9).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_but_can_be_read_leaves_each_replica_its_share_for_as_long_as_that_lasts() {
    for begins_full in [true, false] {
        let fleet = Fleet::new(60, 3, &[0, 0]);
        if !begins_full {
            assert_eq!((fleet.burst(0, 10).await, fleet.burst(1, 10).await), (10, 10));
            sleep(2 * MINUTE).await;
        }
        fleet.store.set_full(true);
        for _ in 0..5 {
            assert_eq!((fleet.burst(0, 60).await, fleet.burst(1, 60).await), (20, 20), "{begins_full}");
            sleep(MINUTE + BUCKET).await;
        }
        fleet.store.set_full(false);
        sleep(MINUTE + 3 * BUCKET).await;
        assert_eq!((fleet.burst(0, 60).await, fleet.burst(1, 60).await), (60, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_store_goes_away_what_others_may_have_used_counts_and_the_rest_is_shared() {
    let fleet = Fleet::new(600, 2, &[0, 0]);
    assert_eq!(fleet.burst(0, 90).await, 90);
    sleep(2 * BUCKET).await;
    // The replica that goes on knows of these, but not of those that come in the same bucket.
    assert_eq!(fleet.burst(0, 10).await, 10);
    assert_eq!(fleet.burst(1, 80).await, 80);
    fleet.store.set_away(true);
    sleep(Duration::from_millis(10)).await;
    let more = [fleet.burst(0, 600).await, fleet.burst(1, 600).await];
    // 600 less 12 of own parts, 90, and 150 that a bucket may take; of what is left the half.
    assert!((150..=174).contains(&more[0]) && (150..=210).contains(&more[1]), "{more:?}");
    assert!(fleet.most_in_a_minute() <= 600);
}

#[tokio::test(start_paused = true)]
async fn who_has_just_begun_when_the_store_goes_away_still_has_a_share_and_soon_all_of_it_again() {
    let fleet = Fleet::new(600, 2, &[0, 0]);
    assert_eq!(fleet.burst(0, 40).await, 40);
    fleet.store.set_away(true);
    sleep(Duration::from_millis(10)).await;
    // What is left, 560 or a little less, may all be used by the other one just now; still not all of it counts as used.
    let granted = fleet.burst(0, 600).await;
    assert!((130..=150).contains(&granted), "{granted}");
    fleet.store.set_away(false);
    sleep(4 * BUCKET).await;
    let mut after = 0;
    for _ in 0..5 {
        after += fleet.burst(0, 600).await;
        sleep(BUCKET).await;
    }
    assert!(after >= 580 - 40 - granted, "{after}");
    assert!(fleet.most_in_a_minute() <= 600);
}

#[tokio::test(start_paused = true)]
async fn all_is_shared_again_soon_after_the_store_is_back_and_what_was_granted_without_it_counts() {
    for lost in [false, true] {
        let fleet = Fleet::new(60, 2, &[0, 0]);
        fleet.store.set_away(true);
        sleep(BUCKET).await;
        assert_eq!(fleet.burst(0, 60).await, 30);
        if lost {
            fleet.store.lose_everything();
        }
        fleet.store.set_away(false);
        sleep(3 * BUCKET).await;
        // The other one grants the rest, and no more; 20 in a bucket.
        let mut rest = Vec::new();
        for _ in 0..3 {
            rest.push(fleet.burst(1, 60).await);
            sleep(BUCKET).await;
        }
        assert_eq!(rest, [20, 10, 0]);
        sleep(2 * MINUTE).await;
        assert_eq!(fleet.burst(1, 60).await, 60);
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_one_step_of_a_rotation_apart_share_a_limit() {
    let (old, new) = (crate::crypto::generate_key_line().unwrap(), crate::crypto::generate_key_line().unwrap());
    let ring = |text: &str| Arc::new(Keyring::parse(text).unwrap());
    let both = ring(&format!("{}\n{}", new.as_str(), old.as_str()));
    for other in [ring(&old), ring(&new)] {
        let fleet = Fleet::with_rings(60, 2, &[0, 0], &[Arc::clone(&both), other]);
        for (first, second) in [(0, 1), (1, 0)] {
            assert_eq!((fleet.burst(first, 40).await, fleet.burst(second, 60).await), (40, 20));
            sleep(2 * MINUTE).await;
        }
        fleet.steady(120, 3 * MINUTE).await;
        assert!(fleet.most_in_a_minute() <= 60);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_told_to_be_left_is_what_is_left_also_after_a_pause() {
    let fleet = Fleet::new(600, 4, &[0]);
    sleep(MINUTE).await;
    fleet.burst(0, 700).await;
    sleep(2 * MINUTE).await;
    // Seldom, so that nothing but the own part is used.
    for _ in 0..3 {
        let Verdict::Granted(standing) = fleet.ask(0).await else { panic!("refused") };
        assert!(standing.left > 580, "{standing:?}");
        sleep(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn more_is_there_when_it_was_told_to_be_also_with_the_first_request() {
    for into_the_bucket in [0, 1, 1_500, 2_999] {
        let fleet = Fleet::new(1, 4, &[0]);
        sleep(Duration::from_millis(into_the_bucket)).await;
        let Verdict::Granted(standing) = fleet.ask(0).await else { panic!("refused") };
        assert_eq!(standing.left, 0);
        sleep(standing.resets_in - Duration::from_millis(1)).await;
        assert!(matches!(fleet.ask(0).await, Verdict::Refused { .. }), "{into_the_bucket}");
        sleep(Duration::from_millis(1)).await;
        assert!(matches!(fleet.ask(0).await, Verdict::Granted(_)), "{into_the_bucket}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_the_store_is_asked_costs_no_more_than_a_request() {
    for moments in 1..6 {
        let fleet = Fleet::new(600, 4, &[0]);
        for _ in 0..20 {
            let mut asking = Box::pin(fleet.ask(0));
            for _ in 0..moments {
                if futures_util::poll!(asking.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        sleep(2 * BUCKET).await;
        let Verdict::Granted(standing) = fleet.ask(0).await else { panic!("refused: {moments}") };
        assert!(standing.left >= 588 - 21, "{standing:?} {moments}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_limit_counts_from_now_on_and_keeps_what_was_counted() {
    let mut fleet = Fleet::new(60, 4, &[0]);
    assert_eq!(fleet.burst(0, 50).await, 50);
    fleet.replicas[0].meter.set_per_minute(40);
    fleet.per_minute = 40;
    assert_eq!(fleet.burst(0, 10).await, 0);
    fleet.replicas[0].meter.set_per_minute(70);
    assert_eq!(fleet.burst(0, 100).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_a_time_are_granted_all_of_a_limit_and_not_one_more() {
    let clock = Clock::from_fn(|| NOON);
    let shared = || StoreConfig::Shared(MemoryStore::new(clock.clone()));
    for (config, replicas) in [(StoreConfig::Memory, 1), (shared(), 1), (shared(), 2)] {
        let store = Store::start(config, clock.clone(), Metrics::new());
        let notes = Notebook { store, keyring: fresh_ring(), clock: clock.clone() };
        let limits: Vec<_> = (0..2).map(|_| Limits::new(notes.clone(), 2, Metrics::new())).collect();
        let meters: Vec<_> = (0..2).map(|_| Meter::new("caller".to_owned(), 39)).collect();
        let asking = (0..1_000).map(|number| {
            let (limits, meter) = (Arc::clone(&limits[number % replicas]), Arc::clone(&meters[number % replicas]));
            tokio::spawn(async move { limits.take(&meter).await })
        });
        let verdicts = join_all(asking).await;
        let granted = verdicts.into_iter().filter(|verdict| matches!(verdict, Ok(Verdict::Granted(_)))).count();
        // What two replicas ask for at the same time is granted to neither; nobody knows which of them was first.
        assert!(if replicas == 1 { granted == 39 } else { (20..=39).contains(&granted) }, "{granted}");
    }
}
