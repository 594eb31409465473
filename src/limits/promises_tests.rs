//! The promises, kept by simulated fleets whose callers, clocks and store do as they please.

use std::time::Duration;

use tokio::time::sleep;

use super::fleet_tests::{Fleet, MINUTE};

/// Fleets of each test.
const SEEDS: u64 = 100;
const LONG: Duration = Duration::from_secs(200);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Many short lives of fleets of one to three replicas whose clocks differ by up to so much, each from a seed.
fn lives(surplus_percent: u32, clocks_differ_ms: u64, live: impl AsyncFn(&Fleet, &mut fastrand::Rng)) {
    for seed in 0..SEEDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let per_minute = if rng.bool() { rng.u32(1..=40) } else { rng.u32(1..=1000) };
        let wrong_by: Vec<_> = (0..rng.usize(1..=3)).map(|_| rng.u64(0..=clocks_differ_ms)).collect();
        let max_replicas = rng.u32(wrong_by.len() as u32..=4);
        runtime().block_on(async {
            let fleet = Fleet::new(per_minute, max_replicas, &wrong_by);
            // Some with an own part from the beginning.
            if rng.bool() {
                sleep(MINUTE).await;
            }
            live(&fleet, &mut rng).await;
            let most = fleet.most_in_a_minute();
            let at_most = per_minute + (per_minute * surplus_percent).div_ceil(100);
            assert!(most <= at_most, "{most} of {per_minute}, seed {seed}, {wrong_by:?}, {max_replicas}");
        });
    }
}

#[test]
fn no_minute_has_more_than_the_limit_whoever_asks_when_and_where() {
    // Each five seconds wrong, either way.
    lives(0, 10_000, async |fleet, rng| fleet.random(rng, LONG, |_| ()).await);
}

#[test]
fn no_minute_has_more_than_the_limit_while_the_store_comes_and_goes() {
    lives(0, 0, async |fleet, rng| {
        let mut away = false;
        let store = fleet.store.clone();
        fleet
            .random(rng, LONG, |rng| {
                away ^= rng.u8(..25) == 0;
                store.set_away(away);
            })
            .await;
    });
}

/// What a replica reserved that was not asked since is told to nobody then.
#[test]
fn no_minute_has_a_tenth_more_than_the_limit_when_the_store_loses_everything_while_it_is_away() {
    lives(10, 0, async |fleet, rng| {
        let mut away = false;
        let store = fleet.store.clone();
        fleet
            .random(rng, LONG, |rng| {
                if rng.u8(..25) == 0 {
                    away ^= true;
                    store.set_away(away);
                    if !away {
                        store.lose_everything();
                    }
                }
            })
            .await;
    });
}
