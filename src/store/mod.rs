//! Where sealed things are kept and calls are counted, for all replicas: Redis, or this process. A store sees opaque names,
//! sealed bytes and numbers, nothing else.

mod memory;
mod notes;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::telemetry::Metrics;
pub use memory::MemoryStore;
pub use notes::{Claimed, Note, NoteClaim, Notebook, Reader};
use redis::RedisStore;
pub use redis::{
    Advice, CredentialFiles, Credentials, Finding, Node, NotANode, RedisConfig, Servers, Topology,
    examine as examine_redis,
};

/// Which store, and how to reach it.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// Redis, shared by all replicas.
    Redis(Box<RedisConfig>),
    /// This process.
    Memory,
    /// This process, too, and several caches share it: a simulated fleet.
    Shared(MemoryStore),
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
pub struct Store {
    backend: Backend,
    shared: bool,
    metrics: Arc<Metrics>,
}

impl Store {
    /// Starts connecting in the background; needs a Tokio runtime.
    pub fn start(config: StoreConfig, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let shared = !matches!(config, StoreConfig::Memory);
        let backend = match config {
            StoreConfig::Redis(config) => Backend::Redis(RedisStore::start(*config, Arc::clone(&metrics))),
            StoreConfig::Memory => {
                metrics.set_store_up(true);
                Backend::Memory(MemoryStore::new(clock))
            }
            StoreConfig::Shared(store) => {
                metrics.set_store_up(true);
                Backend::Memory(store)
            }
        };
        Self { backend, shared, metrics }
    }

    /// The word for it in `Cache-Status` and `/status`.
    pub fn kind(&self) -> &'static str {
        match self.backend {
            Backend::Redis(_) => "redis",
            Backend::Memory(_) => "memory",
        }
    }

    /// Whether other replicas use the same one.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whether it can be used, as it changes.
    pub fn state(&self) -> watch::Receiver<StoreState> {
        match &self.backend {
            Backend::Redis(store) => store.state(),
            Backend::Memory(store) => store.state(),
        }
    }

    /// Why `redis.require_least_privilege` keeps Redis from being used, if it does.
    pub fn refusal(&self) -> Option<Advice> {
        match &self.backend {
            Backend::Redis(store) => store.refusal(),
            Backend::Memory(_) => None,
        }
    }

    /// The values under `names`, in their order, in one round trip; of a number its decimal digits.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn read(&self, names: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let found = match &self.backend {
            Backend::Redis(store) => store.read(names).await,
            Backend::Memory(store) => {
                // As between any two commands, others have their turn.
                #[cfg(test)]
                tokio::task::yield_now().await;
                store.read(names)
            }
        };
        self.counted("read", found)
    }

    /// The same in the background, so that failures of what callers wait for are counted apart.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn watch(&self, names: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let found = match &self.backend {
            Backend::Redis(store) => store.read(names).await,
            Backend::Memory(store) => store.read(names),
        };
        self.counted("watch", found)
    }

    /// Keeps `record` under `name` for `ttl`, in place of whatever was there.
    ///
    /// # Errors
    /// The store cannot be used, or refused.
    pub async fn write(&self, name: &str, record: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        let written = match &self.backend {
            Backend::Redis(store) => store.write(name, record, ttl).await,
            Backend::Memory(store) => store.write(name, record, ttl),
        };
        self.counted("write", written)
    }

    /// Removes what is under `names`; how many there were.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn remove(&self, names: &[&str]) -> Result<u64, StoreError> {
        let removed = match &self.backend {
            Backend::Redis(store) => store.remove(names).await,
            Backend::Memory(store) => store.remove(names),
        };
        self.counted("remove", removed)
    }

    /// Puts `value` under `name` for `ttl` unless something is there, which is then given and stays. One atomic step: of
    /// all who try, one gets `None`.
    ///
    /// # Errors
    /// The store cannot be used, or did not answer in time: then it may have been done all the same.
    pub async fn claim(&self, name: &str, value: Vec<u8>, ttl: Duration) -> Result<Option<Bytes>, StoreError> {
        let claimed = match &self.backend {
            Backend::Redis(store) => store.claim(name, value, ttl).await,
            Backend::Memory(store) => store.claim(name, value, ttl),
        };
        self.counted("claim", claimed)
    }

    /// Adds `by` to the number under `name`, which begins at `start` and is forgotten `ttl` after it began; what it is then.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn count(&self, name: &str, start: u64, by: u64, ttl: Duration) -> Result<u64, StoreError> {
        let counted = match &self.backend {
            Backend::Redis(store) => store.count(name, start, by, ttl).await,
            Backend::Memory(store) => {
                // As between any two commands, others have their turn.
                #[cfg(test)]
                tokio::task::yield_now().await;
                store.count(name, start, by, ttl)
            }
        };
        self.counted("count", counted)
    }

    /// Takes `by` back from the number under `name`, which is to have been counted there before; what it is then, never
    /// less than nothing. A number that the store lost meanwhile is nothing.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn take_back(&self, name: &str, by: u64, ttl: Duration) -> Result<u64, StoreError> {
        let taken = match &self.backend {
            Backend::Redis(store) => store.take_back(name, by, ttl).await,
            Backend::Memory(store) => store.take_back(name, by, ttl),
        };
        self.counted("take_back", taken)
    }

    fn counted<T>(&self, operation: &'static str, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|error| self.metrics.store_failed(operation, error.as_str()))
    }
}
