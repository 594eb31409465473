//! Where sealed records are kept. A store sees opaque names and sealed bytes, nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::memory_store::MemoryStore;
use super::redis::{RedisConfig, RedisStore};
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// Which store, and how to reach it.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// Redis, shared by all replicas.
    Redis(Box<RedisConfig>),
    /// This process.
    Memory,
}

/// Whether the store can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreState {
    /// The first attempt to connect is under way.
    Connecting,
    /// It can be used.
    Up,
    /// It cannot.
    Down {
        /// Why, for an operator.
        reason: String,
        /// What to do.
        fix: &'static str,
    },
}

/// Why an operation on the store gave nothing. Each counts as a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no usable connection.
    #[error("away")]
    Away,
    /// No answer within the command timeout.
    #[error("timeout")]
    Timeout,
    /// The store refused this one command.
    #[error("refused")]
    Refused,
}

impl StoreError {
    fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone)]
enum Backend {
    Redis(RedisStore),
    Memory(MemoryStore),
}

/// The store with its failures counted. Clones share it.
#[derive(Clone)]
pub(super) struct Store {
    backend: Backend,
    metrics: Arc<Metrics>,
}

impl Store {
    pub(super) fn start(config: StoreConfig, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let backend = match config {
            StoreConfig::Redis(config) => Backend::Redis(RedisStore::start(*config, Arc::clone(&metrics))),
            StoreConfig::Memory => {
                metrics.set_store_up(true);
                Backend::Memory(MemoryStore::new(clock))
            }
        };
        Self { backend, metrics }
    }

    /// The word for it in `Cache-Status` and `/status`.
    pub(super) fn kind(&self) -> &'static str {
        match self.backend {
            Backend::Redis(_) => "redis",
            Backend::Memory(_) => "memory",
        }
    }

    /// Whether other replicas use the same one.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        match &self.backend {
            Backend::Redis(store) => store.state(),
            Backend::Memory(_) => watch::channel(StoreState::Up).1,
        }
    }

    /// The values under `names`, in their order, in one round trip.
    pub(super) async fn read(&self, names: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let found = match &self.backend {
            Backend::Redis(store) => store.read(names).await,
            Backend::Memory(store) => Ok(store.read(names)),
        };
        self.counted("read", found)
    }

    /// The same in the background, so that failures of what callers wait for are counted apart.
    pub(super) async fn watch(&self, names: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let found = match &self.backend {
            Backend::Redis(store) => store.read(names).await,
            Backend::Memory(store) => Ok(store.read(names)),
        };
        self.counted("watch", found)
    }

    /// Keeps `record` under `name` for `ttl`, in place of whatever was there.
    pub(super) async fn write(&self, name: &str, record: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        let written = match &self.backend {
            Backend::Redis(store) => store.write(name, record, ttl).await,
            Backend::Memory(store) => {
                store.write(name, record, ttl);
                Ok(())
            }
        };
        self.counted("write", written)
    }

    /// Removes what is under `names`; how many there were.
    pub(super) async fn remove(&self, names: &[&str]) -> Result<u64, StoreError> {
        let removed = match &self.backend {
            Backend::Redis(store) => store.remove(names).await,
            Backend::Memory(store) => Ok(store.remove(names)),
        };
        self.counted("remove", removed)
    }

    fn counted<T>(&self, operation: &'static str, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|error| self.metrics.store_failed(operation, error.as_str()))
    }
}
