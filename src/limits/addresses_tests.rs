//! The table of callers without a name, while many more come than it has room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::addresses::Addresses;
use super::fleet_tests::{NOON, fresh_ring};
use super::{Limits, Verdict};
use crate::clock::Clock;
use crate::store::{MemoryStore, Notebook, Store, StoreConfig};
use crate::telemetry::Metrics;
use crate::weather::Caller;

struct Table {
    now_ms: Arc<AtomicU64>,
    limits: Arc<Limits>,
    addresses: Addresses,
}

fn table(per_minute: u32, config: impl FnOnce(Clock) -> StoreConfig) -> Table {
    let now_ms = Arc::new(AtomicU64::new(NOON));
    let clock = Clock::from_fn({
        let now_ms = Arc::clone(&now_ms);
        move || now_ms.load(Ordering::SeqCst)
    });
    let store = Store::start(config(clock.clone()), clock.clone(), Metrics::new());
    let limits = Limits::new(Notebook { store, keyring: fresh_ring(), clock }, 4, Metrics::new());
    let addresses = Addresses::new(Arc::clone(&limits), per_minute);
    Table { now_ms, limits, addresses }
}

impl Table {
    async fn ask(&self, caller: u64) -> bool {
        let meter = self.addresses.meter(Caller(caller));
        matches!(self.limits.take(&meter).await, Verdict::Granted(_))
    }

    fn pass(&self, millis: u64) {
        self.now_ms.fetch_add(millis, Ordering::SeqCst);
    }

    /// A flood: each address asks once, a thousand of them a second.
    async fn flood(&self, addresses: std::ops::Range<u64>) {
        for caller in addresses {
            self.ask(1_000_000 + caller).await;
            if caller % 10 == 0 {
                self.pass(10);
            }
        }
    }
}

#[tokio::test]
async fn a_flood_of_addresses_takes_no_more_room_than_is_stated() {
    let table = table(600, |_| StoreConfig::Memory);
    table.flood(0..200_000).await;
    let meters = table.addresses.meters();
    assert!(meters <= 32_768 && meters > 32_500, "{meters}");
    const { assert!(Addresses::MAX_BYTES < 36 << 20) };
}

/// Takes a minute; what the process grows by is printed.
#[tokio::test]
#[ignore = "it takes a minute"]
async fn ten_million_addresses_take_no_more_room_than_is_stated() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    let table = table(600, |_| StoreConfig::Memory);
    table.flood(0..10_000_000).await;
    let grown = resident() - before;
    println!("{} meters, {grown} bytes more than before, {} at most", table.addresses.meters(), Addresses::MAX_BYTES);
    assert!(grown <= Addresses::MAX_BYTES, "{grown}");
}

#[tokio::test]
async fn active_callers_keep_their_meters_in_a_flood() {
    let table = table(600, |_| StoreConfig::Memory);
    for caller in 0..50 {
        for _ in 0..5 {
            assert!(table.ask(caller).await);
        }
    }
    let meters: Vec<_> = (0..50).map(|caller| table.addresses.meter(Caller(caller))).collect();
    for round in 0..5 {
        table.flood(round * 40_000..(round + 1) * 40_000).await;
        for (caller, meter) in meters.iter().enumerate() {
            assert!(Arc::ptr_eq(meter, &table.addresses.meter(Caller(caller as u64))), "{caller}");
        }
    }
}

#[tokio::test]
async fn who_is_displaced_and_comes_again_has_no_second_limit() {
    for is_shared in [false, true] {
        let mut table = table(100, |clock| match is_shared {
            true => StoreConfig::Shared(MemoryStore::new(clock)),
            false => StoreConfig::Memory,
        });
        table.addresses = Addresses::with_sets(Arc::clone(&table.limits), 100, 1);
        // So old that there are own parts.
        table.pass(60_000);
        let mut granted = 0;
        for round in 0..20 {
            let before = table.addresses.meter(Caller(0));
            for _ in 0..10 {
                granted += u32::from(table.ask(0).await);
            }
            // Others who ask more take all places, his too.
            for other in 0..8 {
                for _ in 0..20 {
                    table.ask(1 + round * 8 + other).await;
                }
                table.pass(300);
            }
            assert!(!Arc::ptr_eq(&before, &table.addresses.meter(Caller(0))));
        }
        assert!(granted <= 100, "{granted}");
    }
}

#[tokio::test]
async fn a_clock_that_is_put_back_by_an_hour_keeps_nobody_out() {
    for is_shared in [false, true] {
        let table = table(100, |clock| match is_shared {
            true => StoreConfig::Shared(MemoryStore::new(clock)),
            false => StoreConfig::Memory,
        });
        while table.ask(0).await {}
        table.now_ms.fetch_sub(3_600_000, Ordering::SeqCst);
        assert!(table.ask(0).await, "{is_shared}");
    }
}
