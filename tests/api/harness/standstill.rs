//! Time that stands still: a runtime whose timers run only when a test turns them, also while it waits for a Redis, which
//! lives in a runtime of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::{Redis, TcpProxy};

/// Nothing that is waited for takes this long, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test in a runtime whose timers stand still.
pub(crate) fn standing_still<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        // While a blocking task runs, the timers stand still even if everybody waits for Redis.
        let (_release, held) = oneshot::channel::<()>();
        tokio::task::spawn_blocking(move || held.blocking_recv());
        test.await
    })
}

/// Turns the timers a little when nothing has happened for a while: who finds a lease that a lost load has left behind looks
/// again after some milliseconds.
struct Nudge(Instant);

impl Nudge {
    const AFTER: Duration = Duration::from_millis(20);
    const BY: Duration = Duration::from_millis(5);

    async fn a_while_later(&mut self) {
        yield_now().await;
        if self.0.elapsed() > Self::AFTER {
            tokio::time::advance(Self::BY).await;
            self.0 = Instant::now();
        }
    }
}

/// Waits for what happens in real time, while the timers stand still.
pub(crate) async fn until(what: &str, mut happened: impl FnMut() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    let mut nudge = Nudge(begun);
    while !happened() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("it does not happen that {what}"));
        }
        nudge.a_while_later().await;
    }
    Ok(())
}

/// The same, while the timers run.
pub(crate) async fn wind_until(what: &str, mut happened: impl FnMut() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !happened() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("it does not happen that {what}, whatever time it is"));
        }
        tokio::time::advance(Duration::from_millis(50)).await;
        yield_now().await;
    }
    Ok(())
}

/// Waits for an answer, but not for ever.
pub(crate) async fn patiently<T>(waiting: impl Future<Output = T>) -> Result<T, String> {
    let mut waiting = std::pin::pin!(waiting);
    let begun = Instant::now();
    let mut nudge = Nudge(begun);
    while begun.elapsed() < PATIENCE {
        tokio::select! {
            biased;
            done = &mut waiting => return Ok(done),
            () = nudge.a_while_later() => {}
        }
    }
    Err("somebody waits for ever".into())
}

/// How many tasks there are in this runtime.
pub(crate) fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// A Redis in a runtime of its own, in which time passes.
pub(crate) struct Outside {
    runtime: Runtime,
    redis: Redis,
}

impl Outside {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let redis = runtime.block_on(Redis::start());
        Self { runtime, redis }
    }

    /// A way to it, with keys of its own, so that what comes by it finds nothing of others.
    pub(crate) fn line(&self) -> Line {
        let proxy = self.runtime.block_on(TcpProxy::start(self.redis.server.port()));
        let mut settings = self.redis.settings(proxy.port());
        settings.retain(|(name, _)| name != "encryption.keys_file" && !name.ends_with("timeout_ms"));
        let key = stratus::crypto::generate_key_line().expect("a key");
        // When time jumps, that is not Redis' fault.
        for name in ["redis.command_timeout_ms", "redis.connect_timeout_ms"] {
            settings.push((name.to_owned(), "600000".to_owned()));
        }
        settings.push(("encryption.keys".to_owned(), key.as_str().to_owned()));
        Line { proxy: Arc::new(proxy), outside: self.runtime.handle().clone(), settings }
    }
}

/// A way to a Redis outside that can be cut.
pub(crate) struct Line {
    pub(crate) proxy: Arc<TcpProxy>,
    outside: Handle,
    pub(crate) settings: Vec<(String, String)>,
}

impl Line {
    /// Mends it after a cut.
    pub(crate) async fn mend(&self) -> Result<(), String> {
        let proxy = Arc::clone(&self.proxy);
        patiently(self.outside.spawn(async move { proxy.mend().await })).await?.map_err(|error| error.to_string())
    }
}
