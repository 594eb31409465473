//! Redis with Sentinels, and Redis Cluster: for real, and under load while the primary goes or keys move.

mod cluster;
mod sentinel;

use std::path::Path;
use std::time::Instant;

use futures_util::future::join_all;
use stratus::config::{Config, Sources};
use stratus::store::{Finding, StoreConfig, examine_redis};
use tokio::sync::MutexGuard;

use crate::harness::load::{ALONE, Load, Ticking};
use crate::harness::{ManualClock, Reply, ScriptedUpstream, Service, Setup, body};

/// Weather for every place, by its name.
async fn weather() -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| {
        let place = request.query.iter().find(|(name, _)| name == "q").map(|(_, value)| value.as_str());
        Reply::json(200, body(place.expect("a place")))
    });
    upstream
}

fn paths(places: usize) -> Vec<String> {
    (0..places).map(|place| format!("/weather/place{place}")).collect()
}

/// Settings of a service on servers that no single URL leads to.
fn setup(upstream: &ScriptedUpstream, secrets: &Path, topology: &str, nodes: &[String]) -> Setup {
    Setup::with_secrets(upstream, secrets, 1)
        .set("redis.topology", topology)
        .set("redis.nodes", nodes.join(","))
        .set("redis.require_least_privilege", true)
}

/// Looks at everything, as `stratus check` does.
pub(crate) async fn examined(setup: Setup) -> Vec<Finding> {
    let config = Config::load(&Sources { overrides: setup.into_settings(), ..Sources::default() });
    match config.expect("a configuration without faults").store {
        StoreConfig::Redis(redis) => examine_redis(&redis).await,
        store => panic!("{store:?}"),
    }
}

/// Calls a minute of a fleet that would make more: [`PLACES`] are renewed every two seconds.
const BUDGET: usize = 240;
const PLACES: usize = 40;

/// Three replicas that know the weather of all places, and keep it for two seconds. Their clock goes on.
struct Fleet {
    upstream: ScriptedUpstream,
    replicas: Vec<Service>,
    _ticking: Ticking,
    _alone: MutexGuard<'static, ()>,
}

impl Fleet {
    async fn start(setup: impl Fn(&ScriptedUpstream) -> Setup) -> Self {
        let _alone = ALONE.lock().await;
        let (upstream, clock) = (weather().await, ManualClock::new());
        let mut replicas = Vec::new();
        for _ in 0..3 {
            let setup = setup(&upstream)
                .set("cache.memory_max_bytes", 67_108_864)
                .set("cache.fresh_secs", 2)
                .set("upstream.budget_per_minute", BUDGET)
                .set("upstream.max_replicas", 3);
            let mut replica = setup.clock(&clock).start().await;
            replica.store_up().await;
            replicas.push(replica);
        }
        for path in paths(PLACES) {
            for replica in &replicas {
                assert_eq!(replica.get(&path).await.status, 200, "{path}");
            }
        }
        assert_eq!(upstream.calls(), PLACES, "each place is asked for once by the whole fleet");
        Self { upstream, replicas, _ticking: Ticking::start(&clock), _alone }
    }

    fn load(&self) -> Load {
        Load::start(&self.replicas.iter().collect::<Vec<_>>(), &paths(PLACES), 500)
    }

    async fn store_up(&mut self) {
        for replica in &mut self.replicas {
            replica.store_up().await;
        }
    }

    /// All are watched at once: each may be up again before the next one is down.
    async fn store_down(&mut self) {
        join_all(self.replicas.iter_mut().map(Service::store_down)).await;
    }

    /// Nobody saw anything of it, and the budget holds.
    async fn ends_well(self, load: Load) {
        load.more(500).await;
        let got = load.stop().await;
        assert_eq!(got.others, Vec::<String>::new(), "of {} requests", got.answers);
        assert!(self.upstream.calls() <= BUDGET, "{} calls", self.upstream.calls());
        assert!(self.upstream.calls() > PLACES, "what was known was renewed");
    }
}

/// How long something took, for whoever runs the test with `--nocapture`: it is told, not asserted.
#[expect(clippy::print_stderr, reason = "these are the figures in the documentation")]
fn told(what: &str, since: Instant) {
    eprintln!("{what}: {:?}", since.elapsed());
}
