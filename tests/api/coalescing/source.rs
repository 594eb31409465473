//! An upstream in this process that does what a test says, and a cache before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use stratus::cache::{Answer, Cache, CacheConfig, Content};
use stratus::config::{Config, Sources};
use stratus::store::{Notebook, Store};
use stratus::telemetry::Metrics;
use stratus::weather::{Fetched, Fetching, Purpose, Query, Source, SourceError};
use tokio::sync::watch;

use crate::harness::{ManualClock, body};

/// An upstream that does what a test says, by the number of the call, and counts.
pub(super) struct Scripted {
    respond: Respond,
    calls: AtomicUsize,
    under_way: AtomicUsize,
    pub(super) clock: ManualClock,
}

type Respond = Box<dyn Fn(usize) -> BoxFuture<'static, Result<Bytes, SourceError>> + Send + Sync>;

impl Scripted {
    pub(super) fn new<F>(respond: impl Fn(usize) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<Bytes, SourceError>> + Send + 'static,
    {
        let respond = Box::new(move |call| respond(call).boxed());
        let (calls, under_way) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { respond, calls, under_way, clock: ManualClock::new() })
    }

    /// Answers so many calls at once, and further ones only once it is told so.
    pub(super) fn gated(at_once: usize) -> (Arc<Self>, watch::Sender<bool>) {
        let (open, gate) = watch::channel(false);
        let respond = move |call| {
            let mut gate = gate.clone();
            async move {
                if call > at_once {
                    gate.wait_for(|open| *open).await.expect("the gate is held");
                }
                weather(call)
            }
        };
        (Self::new(respond), open)
    }

    /// How many calls have come.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many of them have not ended.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// A cache before it, on a store in this process.
    pub(super) fn cache(self: &Arc<Self>, adjust: impl FnOnce(&mut CacheConfig)) -> (Cache, Arc<Metrics>) {
        self.cache_on(&[("store.backend".to_owned(), "memory".to_owned())], adjust)
    }

    pub(super) fn cache_on(
        self: &Arc<Self>,
        settings: &[(String, String)],
        adjust: impl FnOnce(&mut CacheConfig),
    ) -> (Cache, Arc<Metrics>) {
        let mut config = config(settings);
        config.cache.policy.jitter_percent = 0;
        adjust(&mut config.cache);
        let (metrics, source, clock) = (Metrics::new(), Arc::clone(self), self.clock.clock());
        let store = Store::start(config.store, clock.clone(), Arc::clone(&metrics));
        let keyring = config.keyring;
        (Cache::start(config.cache, Notebook { store, keyring, clock }, source, Arc::clone(&metrics)), metrics)
    }
}

impl Source for Scripted {
    fn fetch<'a>(&'a self, _: &'a Query, _: Purpose) -> Fetching<'a> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move {
            self.under_way.fetch_add(1, Ordering::SeqCst);
            let _end = Ending(&self.under_way);
            let body = (self.respond)(call).await?;
            Ok(Fetched { body, fetched_at_ms: self.clock.clock().now_ms() })
        })
    }
}

/// Counts a call as ended, however it ends.
struct Ending<'a>(&'a AtomicUsize);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn config(settings: &[(String, String)]) -> Config {
    Config::load(&Sources { overrides: settings.to_vec(), ..Sources::default() })
        .expect("a configuration without faults")
}

pub(super) fn weather(call: usize) -> Result<Bytes, SourceError> {
    Ok(body(&format!("call {call}")).into())
}

/// Not `panic!`, which prints.
pub(super) fn lost() -> Result<Bytes, SourceError> {
    std::panic::resume_unwind(Box::new("a load is lost"))
}

pub(super) fn query(id: usize) -> Query {
    Query::parse(&format!("id:{id}"), "").expect("a question")
}

/// The number of a metric line, 0 when there is none.
pub(super) fn count(metrics: &Metrics, line: &str) -> u64 {
    let text = metrics.render();
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}

pub(super) fn body_of(answer: &Answer) -> String {
    match &answer.content {
        Content::Weather(body) => String::from_utf8_lossy(&body.bytes()).into_owned(),
        Content::UnknownPlace(_) => panic!("the place is known"),
    }
}
