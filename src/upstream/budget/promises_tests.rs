//! What one replica promises to those who ask it, and what all keep for the day and the month.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, advance, sleep};

use super::fleet_tests::{Fleet, LAG, NOON, config, following_tokio};
use super::{Budget, BudgetConfig, Refused, RefusedBecause};
use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::store::{MemoryStore, Notebook, Reader, Store, StoreConfig};
use crate::telemetry::Metrics;
use crate::weather::{Caller, Purpose};

/// 2026-11-30, half past 11 in the evening.
const LAST_HALF_HOUR: u64 = 1_796_081_400_000;
const MILLI: Duration = Duration::from_millis(1);
/// A slot's.
const TTL: Duration = Duration::from_secs(62);

/// A process of its own, with the store in it.
fn alone(config: BudgetConfig) -> Arc<Budget> {
    alone_by(following_tokio(NOON), config)
}

fn alone_by(clock: Clock, config: BudgetConfig) -> Arc<Budget> {
    let store = Store::start(StoreConfig::Memory, clock.clone(), Metrics::new());
    Budget::start(config, Notebook { store, keyring: Arc::new(Keyring::ephemeral().unwrap()), clock })
}

async fn ask(budget: &Budget, purpose: Purpose) -> Result<(), Refused> {
    budget.permit(purpose).await.map(drop)
}

/// What comes of it when it has waited for nobody but those who have their turn between two commands.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    (0..100).find_map(|_| work.as_mut().now_or_never()).expect("a store in memory answers at once")
}

fn miss(caller: u64) -> Purpose {
    Purpose::Miss(Caller(caller))
}

#[tokio::test(start_paused = true)]
async fn a_single_new_replica_gets_its_first_permit_at_once() {
    let mut fleet = Fleet::new(config(60, 8), NOON, 1);
    let began = Instant::now();
    assert_eq!(fleet.ask(0, miss(1)).await, Ok(()));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(fleet.budget(0).left().quiet);
}

#[tokio::test(start_paused = true)]
async fn who_stands_still_for_a_moment_after_a_claim_loses_no_call() {
    let (right, stands_still) = (following_tokio(NOON), Arc::new(AtomicU32::new(0)));
    // What looks at the clock, a claim among others, gets no time of the machine for a while.
    let clock = {
        let left = Arc::clone(&stands_still);
        Clock::from_fn(move || {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                let _ = advance(Duration::from_millis(600)).now_or_never();
            }
            right.now_ms()
        })
    };
    let budget = alone_by(clock, config(60, 1));
    stands_still.store(1, Ordering::SeqCst);
    assert_eq!(ask(&budget, Purpose::Renewal).await, Ok(()));
    assert_eq!((stands_still.load(Ordering::SeqCst), budget.left().minute), (0, 59));
    // It does not take all that there is for a single one.
    stands_still.store(u32::MAX, Ordering::SeqCst);
    assert!(ask(&budget, Purpose::Renewal).await.is_err());
    stands_still.store(0, Ordering::SeqCst);
    assert_eq!(budget.left().minute, 58);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_begun_anew_again_and_again_is_not_used_if_the_store_lost_its_data_meanwhile() {
    let right = following_tokio(NOON);
    let (store, keyring) = (MemoryStore::new(right.clone()), Arc::new(Keyring::ephemeral().unwrap()));
    let start = {
        let (store, right) = (store.clone(), right.clone());
        move |clock: Clock| {
            let store = Store::start(StoreConfig::Shared(store.clone()), right.clone(), Metrics::new());
            // The minute is one slot.
            Budget::start(config(1, 1), Notebook { store, keyring: Arc::clone(&keyring), clock })
        }
    };
    let asks = Arc::new(OnceLock::<(Instant, Arc<Budget>)>::new());
    let other = Arc::new(OnceLock::new());
    let clock = {
        let (right, start) = (right.clone(), start.clone());
        let (asks, other) = (Arc::clone(&asks), Arc::clone(&other));
        Clock::from_fn(move || {
            if let Some((began, budget)) = asks.get()
                && other.get().is_none()
            {
                let _ = advance(Duration::from_secs(10)).now_or_never();
                if began.elapsed() > TTL && other.set(start(right.clone())).is_ok() {
                    store.lose_everything();
                    // A new process, to which all of this looks like the first start, and our own look every second.
                    let other = other.get().expect("it was started just now");
                    assert_eq!(at_once(ask(other, miss(2))), Ok(()));
                    assert_eq!(at_once(budget.look_at_store(Reader::Background)), Ok(()));
                }
            }
            right.now_ms()
        })
    };
    // What looks at the store every second has no time of the machine, either.
    let idle = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let budget = {
        let _on = idle.enter();
        start(clock)
    };
    // Its clock did not stand still.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&budget, miss(1)).await, Ok(()));
    sleep(2 * TTL).await;
    let _ = asks.set((Instant::now(), Arc::clone(&budget)));
    assert!(ask(&budget, miss(1)).await.is_err(), "two calls at once where there is one a minute");
    assert!(other.get().is_some(), "the data were lost while it asked");
    idle.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_own_part_counts_from_when_it_is_made_however_long_it_takes_to_count_it() {
    let (right, stands_still) = (following_tokio(NOON), Arc::new(AtomicU32::new(0)));
    // The store is slow.
    let clock = {
        let (left, right) = (Arc::clone(&stands_still), right.clone());
        Clock::from_fn(move || {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                let _ = advance(Duration::from_secs(3)).now_or_never();
            }
            right.now_ms()
        })
    };
    let store = Store::start(StoreConfig::Shared(MemoryStore::new(clock)), right.clone(), Metrics::new());
    let notes = Notebook { store, keyring: Arc::new(Keyring::ephemeral().unwrap()), clock: right };
    let budget = Budget::start(BudgetConfig { per_day: 1_000, ..config(20, 1) }, notes);
    sleep(2 * TTL).await;
    let left = || budget.lock().own.left(Instant::now());
    let all = left();
    stands_still.store(1, Ordering::SeqCst);
    assert_eq!(ask(&budget, Purpose::Renewal).await, Ok(()));
    assert!(stands_still.load(Ordering::SeqCst) == 0 && left() < all, "it is a call of the own part");
    advance(Duration::from_secs(60)).await;
    assert!(left() < all, "a minute later it may have arrived just now");
    advance(LAG).await;
    assert_eq!(left(), all);
}

#[tokio::test(start_paused = true)]
async fn what_counts_as_several_calls_has_all_its_permits_or_none_and_none_that_is_too_old() {
    let (right, stands_still) = (following_tokio(NOON), Arc::new(AtomicU32::new(0)));
    let clock = {
        let (left, right) = (Arc::clone(&stands_still), right.clone());
        Clock::from_fn(move || {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                let _ = advance(Duration::from_millis(40)).now_or_never();
            }
            right.now_ms()
        })
    };
    let budget = alone_by(clock, config(60, 1));
    assert!(budget.permits(Purpose::Renewal, 20).await.is_ok());
    assert_eq!(budget.left().minute, 40);
    // Each of them is quick enough, all of them are not.
    stands_still.store(u32::MAX, Ordering::SeqCst);
    let refused = budget.permits(Purpose::Renewal, 20).await.map(drop).unwrap_err();
    stands_still.store(0, Ordering::SeqCst);
    assert_eq!((refused.reason, refused.retry_after), (RefusedBecause::Minute, Duration::from_secs(1)));
    assert!(budget.permits(Purpose::Renewal, 60).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_process_alone_uses_the_whole_minute_at_once_and_again_when_it_is_over() {
    let budget = alone(config(60, 1));
    for _ in 0..2 {
        for _ in 0..60 {
            assert_eq!(ask(&budget, Purpose::Renewal).await, Ok(()));
        }
        let refused = Refused { reason: RefusedBecause::Minute, retry_after: TTL };
        assert_eq!(ask(&budget, Purpose::Renewal).await, Err(refused));
        assert_eq!(budget.left().minute, 0);
        sleep(TTL).await;
    }
    assert_eq!(budget.left().minute, 60);
}

#[tokio::test(start_paused = true)]
async fn when_it_says_to_ask_again_it_has_a_permit_and_not_sooner() {
    for (purpose, reason) in [
        (Purpose::Renewal, RefusedBecause::Minute),
        (Purpose::Ahead, RefusedBecause::Reserved),
        (miss(1), RefusedBecause::Share),
    ] {
        let budget = alone(config(20, 1));
        assert_eq!(ask(&budget, miss(2)).await, Ok(()));
        for _ in 0..19 {
            sleep(Duration::from_millis(1_700)).await;
            let purpose = if purpose == miss(1) { purpose } else { Purpose::Renewal };
            let _ = ask(&budget, purpose).await;
        }
        let refused = ask(&budget, purpose).await.unwrap_err();
        assert_eq!(refused.reason, reason);
        sleep(refused.retry_after - MILLI).await;
        assert!(ask(&budget, purpose).await.is_err(), "{purpose:?}");
        sleep(MILLI).await;
        assert_eq!(ask(&budget, purpose).await, Ok(()), "{purpose:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_it_says_to_ask_again_is_right_also_in_a_fleet_and_without_its_store() {
    let mut fleet = Fleet::new(config(20, 2), NOON, 2);
    sleep(2 * TTL).await;
    for is_away in [false, true] {
        fleet.store.set_away(is_away);
        for _ in 0..60 {
            sleep(Duration::from_millis(100)).await;
            let _ = (fleet.ask(0, Purpose::Renewal).await, fleet.ask(1, Purpose::Renewal).await);
        }
        let refused = fleet.ask(0, Purpose::Renewal).await.unwrap_err();
        sleep(refused.retry_after - MILLI).await;
        assert!(fleet.ask(0, Purpose::Renewal).await.is_err());
        sleep(MILLI).await;
        assert_eq!(fleet.ask(0, Purpose::Renewal).await, Ok(()));
        sleep(2 * TTL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_all_is_known_to_be_taken_the_store_is_not_asked() {
    let mut fleet = Fleet::new(config(20, 1), NOON, 1);
    fleet.ask(0, Purpose::Renewal).await.unwrap();
    sleep(2 * TTL).await;
    while fleet.ask(0, Purpose::Renewal).await.is_ok() {}
    fleet.store.set_away(true);
    for _ in 0..100 {
        assert!(fleet.ask(0, Purpose::Renewal).await.is_err());
        assert!(fleet.ask(0, miss(1)).await.is_err());
    }
    assert!(!fleet.budget(0).left().store_away, "it would be known");
}

#[tokio::test(start_paused = true)]
async fn of_a_store_that_was_purged_no_slot_is_taken_again() {
    let mut fleet = Fleet::new(config(20, 2), NOON, 2);
    fleet.ask(0, Purpose::Renewal).await.unwrap();
    sleep(2 * TTL).await;
    let before = fleet.calls.len();
    for _ in 0..40 {
        sleep(Duration::from_secs(1)).await;
        let _ = fleet.ask(0, Purpose::Renewal).await;
        fleet.store.lose_everything();
        let _ = fleet.ask(1, Purpose::Renewal).await;
    }
    assert!(fleet.calls.len() - before <= 20, "{}", fleet.calls.len() - before);
    assert!(fleet.most_in_a_minute() <= 20);
}

#[tokio::test(start_paused = true)]
async fn a_scanner_among_three_others_has_its_share_and_the_others_go_on() {
    let budget = alone(config(60, 1));
    let mut scanner = Vec::new();
    for second in 0..1_800_u64 {
        sleep(Duration::from_millis(300)).await;
        scanner.push(ask(&budget, miss(0)).await.map_err(|refused| refused.reason));
        // Each of the others: three in a minute.
        if second % 66 == 0 {
            for caller in 1..=3 {
                assert_eq!(ask(&budget, miss(caller)).await, Ok(()), "caller {caller} at step {second}");
            }
        }
    }
    assert!(scanner.contains(&Err(RefusedBecause::Share)) && scanner.last().unwrap() != &Err(RefusedBecause::Minute));
    let granted = scanner.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((9 * 6..9 * 35).contains(&granted), "{granted}");
}

#[tokio::test(start_paused = true)]
async fn one_caller_alone_leaves_something_for_others_and_all_misses_for_renewals() {
    let budget = alone(config(60, 1));
    // A tenth is left for renewals that may come, and a quarter of the rest for callers that may come.
    for _ in 0..40 {
        assert_eq!(ask(&budget, miss(1)).await, Ok(()));
    }
    assert_eq!(ask(&budget, miss(1)).await.unwrap_err().reason, RefusedBecause::Reserved);
    for caller in 2..16 {
        assert_eq!(ask(&budget, miss(caller)).await, Ok(()), "{caller}");
    }
    assert_eq!(ask(&budget, miss(16)).await.unwrap_err().reason, RefusedBecause::Reserved);
    for _ in 0..6 {
        assert_eq!(ask(&budget, Purpose::Renewal).await, Ok(()));
    }
    assert_eq!(ask(&budget, miss(17)).await.unwrap_err().reason, RefusedBecause::Minute);
}

#[tokio::test(start_paused = true)]
async fn when_calls_are_short_nothing_is_fetched_ahead_and_a_caller_is_told_that_it_has_had_its_share() {
    let budget = alone(config(60, 1));
    for _ in 0..30 {
        assert_eq!(ask(&budget, Purpose::Ahead).await, Ok(()));
    }
    let reason = async |purpose| ask(&budget, purpose).await.map_err(|refused| refused.reason.as_str());
    assert_eq!(reason(Purpose::Ahead).await, Err("reserved"));
    for _ in 0..20 {
        assert_eq!(reason(miss(1)).await, Ok(()));
    }
    assert_eq!(reason(miss(2)).await, Ok(()));
    // There are two now: 20 for each.
    assert_eq!(reason(miss(1)).await, Err("share"));
    assert_eq!((reason(miss(2)).await, reason(Purpose::Renewal).await), (Ok(()), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn under_pressure_the_factor_grows_and_it_comes_back() {
    let budget = alone(config(60, 1));
    assert!((budget.thrift() - 1.0).abs() < 1e-9);
    while ask(&budget, Purpose::Renewal).await.is_ok() {}
    sleep(Duration::from_secs(60)).await;
    assert!(budget.thrift() > 2.0, "{}", budget.thrift());
    assert!((budget.left().pressure - 1.0).abs() < 1e-9);
    sleep(Duration::from_secs(600)).await;
    assert!((budget.thrift() - 1.0).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn the_caps_of_day_and_month_hold_over_midnight_and_lost_data_and_are_used() {
    for (seed, per_day, per_month) in [(1, 400, 0), (2, 0, 400), (3, 400, 600)] {
        fastrand::seed(seed);
        let config = BudgetConfig { per_day, per_month, ..config(60, 4) };
        let mut fleet = Fleet::new(config, LAST_HALF_HOUR, 4);
        let midnight = Instant::now() + Duration::from_secs(1_800);
        fleet
            .live(Duration::from_secs(3_600), Duration::from_millis(500), |fleet| {
                if fastrand::u32(..200) == 0 {
                    fleet.store.lose_everything();
                }
            })
            .await;
        let november = fleet.calls.iter().filter(|(permitted, _)| *permitted < midnight).count();
        let december = fleet.calls.len() - november;
        assert!(november <= 400 && december <= 400, "{november} {december}");
        assert!(november >= 300 && december >= 300, "{november} {december}");
        let expected = if per_day > 0 { RefusedBecause::Day } else { RefusedBecause::Month };
        assert!(fleet.refused.iter().any(|refused| refused.reason == expected));
    }
}

#[tokio::test(start_paused = true)]
async fn no_day_and_no_month_by_the_true_clock_has_more_than_its_cap_where_clocks_are_five_seconds_wrong() {
    for (seed, per_day, per_month) in [(1, 400, 0), (2, 0, 400)] {
        // With the store, and without it round midnight.
        for is_away in [false, true] {
            fastrand::seed(seed);
            let config = BudgetConfig { per_day, per_month, ..config(60, 3) };
            let mut fleet = Fleet::skewed(config, LAST_HALF_HOUR, &[-5_000, 0, 5_000]);
            let midnight = Instant::now() + Duration::from_secs(1_800);
            fleet
                .live(Duration::from_secs(3_600), Duration::from_millis(300), |fleet| {
                    let far = midnight.max(Instant::now()) - midnight.min(Instant::now());
                    fleet.store.set_away(is_away && far < Duration::from_secs(600));
                })
                .await;
            let november = fleet.calls.iter().filter(|(permitted, _)| *permitted < midnight).count() as u64;
            let december = fleet.calls.len() as u64 - november;
            let cap = per_day.max(per_month);
            assert!(november <= cap && december <= cap, "{november} {december} of {cap}, away: {is_away}");
            // Without the store there are only the parts that replicas own.
            let least = if is_away { cap / 4 } else { cap * 3 / 4 };
            assert!(november.min(december) >= least, "{november} {december} of {cap}, away: {is_away}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_that_is_used_up_is_known_until_it_ends_and_by_replicas_that_counted_less() {
    let mut fleet = Fleet::new(BudgetConfig { per_day: 50, ..config(60, 8) }, LAST_HALF_HOUR, 8);
    // By the clocks of all replicas.
    let midnight = Instant::now() + Duration::from_secs(1_800 + 60);
    // All 50 are shared; the second replica counts most of them, the first few, before, and it restores them first.
    sleep(TTL).await;
    assert_eq!(fleet.ask(0, Purpose::Renewal).await, Ok(()));
    while fleet.calls.len() < 38 {
        let _ = fleet.ask(1, Purpose::Renewal).await;
        sleep(Duration::from_secs(1)).await;
    }
    sleep(2 * TTL).await;
    fleet.store.lose_everything();
    sleep(4 * TTL).await;
    for _ in 0..30 {
        let _ = fleet.ask(0, Purpose::Renewal).await;
        sleep(Duration::from_secs(2)).await;
    }
    assert!(fleet.calls.len() <= 50, "{}", fleet.calls.len());
    let refused = fleet.ask(0, Purpose::Renewal).await.unwrap_err();
    assert_eq!(refused.reason, RefusedBecause::Day);
    assert_eq!(fleet.budget(0).left().day, Some(0));
    let retry_at = Instant::now() + refused.retry_after;
    assert!(retry_at <= midnight + MILLI && retry_at + MILLI >= midnight, "{:?}", refused.retry_after);
    sleep(refused.retry_after - MILLI).await;
    assert!(fleet.ask(0, Purpose::Renewal).await.is_err());
    sleep(LAG).await;
    assert_eq!(fleet.ask(0, Purpose::Renewal).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn setting_the_clock_begins_no_new_day() {
    let mut fleet = Fleet::new(BudgetConfig { per_day: 10, ..config(60, 1) }, NOON, 1);
    sleep(2 * TTL).await;
    while fleet.ask(0, Purpose::Renewal).await.is_ok() {}
    // Of so few all are shared, and calls of the own minute count among them.
    assert_eq!(fleet.calls.len(), 10);
    fleet.set_clock(0, 24);
    sleep(2 * TTL).await;
    assert_eq!(fleet.ask(0, Purpose::Renewal).await.unwrap_err().reason, RefusedBecause::Day);
}

#[tokio::test(start_paused = true)]
async fn a_day_is_used_up_to_the_last_shared_call_and_no_further_by_all_replicas() {
    let mut fleet = Fleet::new(BudgetConfig { per_day: 50, ..config(60, 8) }, NOON, 8);
    sleep(2 * TTL).await;
    for round in 0..80 {
        let _ = fleet.ask(round % 8, Purpose::Renewal).await;
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(fleet.calls.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_month_holds_although_every_replica_is_restarted_every_day() {
    fastrand::seed(1);
    let per_month = 3_000;
    let mut fleet = Fleet::new(BudgetConfig { per_month, ..config(60, 4) }, NOON - 20 * 86_400_000, 4);
    for _ in 0..27 {
        fleet.live(Duration::from_secs(1_200), Duration::from_millis(500), |_| ()).await;
        (0..4).for_each(|index| fleet.restart(index));
    }
    assert!(fleet.calls.len() as u64 <= per_month, "{}", fleet.calls.len());
}

#[tokio::test(start_paused = true)]
async fn few_calls_of_many_replicas_are_not_refused_on_a_large_plan() {
    fastrand::seed(1);
    let mut fleet = Fleet::new(config(3_000, 8), NOON, 8);
    sleep(Duration::from_secs(90)).await;
    for step in 0..100 {
        sleep(Duration::from_millis(2_200)).await;
        for index in 0..8 {
            let asked = fleet.ask(index, Purpose::Miss(Caller(step * 8 + index as u64))).await;
            assert_eq!(asked, Ok(()), "{step}");
        }
    }
}
