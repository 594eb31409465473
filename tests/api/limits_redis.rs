//! The limits of callers on a real Redis: three replicas share one, also when it is killed and comes back with nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use stratus::limits::{Limits, Meter, Verdict};
use stratus::store::{Notebook, Reader, StoreState};
use stratus::telemetry::Metrics;

use crate::harness::{ManualClock, PATIENCE, Redis, Reply, ScriptedUpstream, Setup};

const PER_MINUTE: u32 = 60;
/// Requests are counted in buckets of this length.
const BUCKET_MS: u64 = 3_000;
/// Longer than anything counts.
const LATER: Duration = Duration::from_secs(80);

struct Replica {
    notes: Notebook,
    limits: Arc<Limits>,
    meter: Arc<Meter>,
}

impl Replica {
    async fn start(upstream: &ScriptedUpstream, redis: &Redis, clock: &ManualClock) -> Self {
        let notes = Setup::redis(upstream, redis).clock(clock).notebook().await;
        let limits = Limits::new(notes.clone(), 3, Metrics::new());
        Self { notes, limits, meter: Meter::new("caller".to_owned(), PER_MINUTE) }
    }

    /// So many at once; how many were granted.
    async fn burst(&self, requests: u32) -> u32 {
        let verdicts = join_all((0..requests).map(|_| self.limits.take(&self.meter))).await;
        verdicts.iter().map(|verdict| u32::from(matches!(verdict, Verdict::Granted(_)))).sum()
    }

    async fn store_is(&self, wanted: impl Fn(&StoreState) -> bool) {
        let mut state = self.notes.store.state();
        tokio::time::timeout(PATIENCE, state.wait_for(wanted)).await.expect("in time").expect("the store runs");
    }
}

impl Replica {
    /// Waits until so much is counted in Redis for a bucket.
    async fn counter_is(&self, bucket: u64, wanted: u32) {
        let names = self.notes.names(&format!("limit {bucket} named caller"));
        let wanted = wanted.to_string();
        let counted = async {
            loop {
                let found = self.notes.read(&[&names[0]], Reader::Background).await;
                if found.is_ok_and(|found| found[0].as_deref() == Some(wanted.as_bytes())) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.expect("all have told Redis");
    }
}

async fn all(replicas: &[Replica]) -> Vec<u32> {
    join_all(replicas.iter().map(|replica| replica.burst(PER_MINUTE))).await
}

#[tokio::test]
async fn three_replicas_share_a_limit_also_when_redis_is_killed_and_comes_back_with_nothing() {
    let upstream = ScriptedUpstream::start(Reply::json(200, "")).await;
    let (mut redis, clock) = (Redis::start().await, ManualClock::new());
    let replicas = join_all((0..3).map(|_| Replica::start(&upstream, &redis, &clock))).await;

    // One alone has all of it, and the others know.
    assert_eq!(replicas[0].burst(PER_MINUTE + 5).await, PER_MINUTE);
    assert_eq!((replicas[1].burst(5).await, replicas[2].burst(5).await), (0, 0));
    clock.advance(LATER);
    // All at the same time.
    let granted: u32 = all(&replicas).await.iter().sum();
    assert!((PER_MINUTE / 2..=PER_MINUTE).contains(&granted), "{granted}");
    clock.advance(LATER);
    // The others know of these.
    assert_eq!(replicas[2].burst(38).await, 38);
    assert_eq!((replicas[0].burst(1).await, replicas[1].burst(1).await), (1, 1));

    redis.server.stop().await;
    for replica in &replicas {
        replica.store_is(|state| matches!(state, StoreState::Down { .. })).await;
    }
    let granted: u32 = all(&replicas).await.iter().sum();
    assert!(granted <= PER_MINUTE - 40, "{granted}");
    clock.advance(LATER);
    assert_eq!(all(&replicas).await, [20, 20, 20]);
    let bucket = clock.clock().now_ms() / BUCKET_MS;

    redis.restart().await;
    for replica in &replicas {
        replica.store_is(|state| *state == StoreState::Up).await;
    }
    // They have some seconds for telling it, which this clock would not give them.
    replicas[0].counter_is(bucket, PER_MINUTE).await;
    // What was granted meanwhile counts.
    for _ in 0..3 {
        clock.advance(Duration::from_secs(3));
        assert_eq!(all(&replicas).await, [0, 0, 0]);
    }
    // One alone has all of it again, as soon as it has noticed.
    let shared_again = async {
        loop {
            clock.advance(LATER);
            match replicas[0].burst(PER_MINUTE).await {
                20 => tokio::task::yield_now().await,
                granted => break granted,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, shared_again).await, Ok(PER_MINUTE));
    assert_eq!((replicas[1].burst(5).await, replicas[2].burst(5).await), (0, 0));
}
