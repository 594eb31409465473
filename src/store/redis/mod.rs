//! The store in Redis: four commands, each bounded in time, over links that repair themselves.
//!
//! `link` is one connection, `supervisor` keeps it; in a `cluster` there is one to each primary, and with Sentinels
//! (`sentinel`) the one leads to whoever is the primary.

mod bounded;
mod cluster;
mod credentials;
mod dial;
mod doctor;
mod frames;
mod link;
mod node;
mod privileges;
mod sentinel;
mod supervisor;
mod trouble;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, FromRedisValue, RedisResult, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{StoreError, StoreState};
use crate::reload::Live;
pub use crate::rights::Topology;
use crate::telemetry::Metrics;
use cluster::Cluster;
pub use credentials::{CredentialFiles, Credentials};
pub use doctor::{Advice, Finding, examine};
use link::{Link, Replies};
pub use node::{Node, NotANode};
use privileges::Privileges;
use sentinel::Sentinels;
use supervisor::{Observer, Target};

/// After so long without a refused write Redis stores records again.
const REFUSAL_IS_OVER: Duration = Duration::from_mins(1);

/// How to reach Redis: by TLS, always.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Which servers there are.
    pub servers: Servers,
    /// The ACL user, also in Sentinels.
    pub username: String,
    /// Its password, and the certificates.
    pub credentials: Live<Credentials>,
    /// Where those are read.
    pub files: CredentialFiles,
    /// For TCP, TLS and login together.
    pub connect_timeout: Duration,
    /// For one command.
    pub command_timeout: Duration,
    /// Whether a Redis where the user may do more than is used, or may not ask, is not used at all.
    pub require_least_privilege: bool,
    /// Bytes of the longest value that is ever stored. A Redis that sends a longer one is not used.
    pub longest_value: usize,
}

/// Which servers there are. The certificate of each has to be for the host by which it is named, here or by the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// One Redis.
    Single(Node),
    /// A Redis with replicas, one of which takes its place if it fails.
    Sentinel {
        /// The Sentinels, who know which one is the primary.
        sentinels: Vec<Node>,
        /// What they call it.
        primary: String,
    },
    /// A Redis Cluster: some of its nodes, which know the others.
    Cluster(Vec<Node>),
}

impl Servers {
    /// What kind of setup it is.
    pub fn topology(&self) -> Topology {
        match self {
            Self::Single(_) => Topology::Single,
            Self::Sentinel { .. } => Topology::Sentinel,
            Self::Cluster(_) => Topology::Cluster,
        }
    }
}

/// A store in Redis. Clones share the links.
#[derive(Clone)]
pub(super) struct RedisStore {
    way: Way,
    privileges: Arc<Privileges>,
    refused: Arc<RefusedWrites>,
}

#[derive(Clone)]
enum Way {
    One(Arc<Link>),
    Cluster(Arc<Cluster>),
}

/// Commands on one key, to be run one right after the other.
struct Task<'a> {
    key: &'a str,
    commands: Vec<Cmd>,
}

impl RedisStore {
    /// Starts connecting in the background.
    pub(super) fn start(config: RedisConfig, metrics: Arc<Metrics>) -> Self {
        let privileges = Arc::new(Privileges::new(&config, Arc::clone(&metrics)));
        let config = Arc::new(config);
        let to_one = |target| {
            let observer = Observer::Whole(Arc::clone(&metrics));
            Way::One(Link::start(target, Arc::clone(&config), Arc::clone(&privileges), observer))
        };
        let way = match &config.servers {
            Servers::Single(node) => to_one(Target::Node(node.clone())),
            Servers::Sentinel { sentinels, primary } => {
                to_one(Target::Primary(Sentinels::new(sentinels, primary, Arc::clone(&config))))
            }
            Servers::Cluster(seeds) => {
                let (config, privileges) = (Arc::clone(&config), Arc::clone(&privileges));
                Way::Cluster(Cluster::start(seeds, config, privileges, Arc::clone(&metrics)))
            }
        };
        Self { way, privileges, refused: Arc::default() }
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        match &self.way {
            Way::One(link) => link.state(),
            Way::Cluster(cluster) => cluster.state(),
        }
    }

    /// Why what the user may do in Redis keeps it from being used, if it does: for an operator, with the fix.
    pub(super) fn refusal(&self) -> Option<Advice> {
        self.privileges.refusal()
    }

    /// Gives the replies to each task.
    async fn run(&self, name: &'static str, tasks: Vec<Task<'_>>) -> Result<Vec<Replies>, StoreError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let link = match &self.way {
            Way::Cluster(cluster) => return cluster.run(name, tasks).await,
            Way::One(link) => link,
        };
        let lengths: Vec<_> = tasks.iter().map(|task| task.commands.len()).collect();
        let commands: Vec<_> = tasks.into_iter().flat_map(|task| task.commands).collect();
        let mut replies = link.run(name, &commands, false).await?.into_iter();
        Ok(lengths.into_iter().map(|length| replies.by_ref().take(length).collect()).collect())
    }

    /// The same for one task: the reply to its last command.
    async fn run_one(
        &self,
        name: &'static str,
        key: &str,
        commands: Vec<Cmd>,
    ) -> Result<RedisResult<Value>, StoreError> {
        let replies = self.run(name, vec![Task { key, commands }]).await?;
        replies.into_iter().flatten().last().ok_or(StoreError::Refused)
    }

    pub(super) async fn read(&self, names: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let tasks = names.iter().map(|name| Task { key: name, commands: vec![Cmd::get(*name)] }).collect();
        let values = self.run("GET", tasks).await?;
        values.into_iter().flatten().map(or_unreadable).collect()
    }

    pub(super) async fn write(&self, name: &str, record: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(name).arg(record).arg("PX").arg(millis(ttl));
        let written = self.run_one("SET", name, vec![set]).await;
        let written = written.and_then(|reply| reply.map_err(|_| StoreError::Refused));
        self.log_change_of(&written);
        written.map(drop)
    }

    /// `SET … NX GET` (Redis 7.0 and later): what is there, or nothing and it is ours.
    pub(super) async fn claim(&self, name: &str, value: Vec<u8>, ttl: Duration) -> Result<Option<Bytes>, StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(name).arg(value).arg("NX").arg("GET").arg("PX").arg(millis(ttl));
        or_unreadable(self.run_one("SET", name, vec![set]).await?)
    }

    /// `SET … NX` and `INCRBY` in one round trip. Each is atomic, and the counter cannot end between them: it has just
    /// begun, or is watched far below its time to live.
    pub(super) async fn count(&self, name: &str, start: u64, by: u64, ttl: Duration) -> Result<u64, StoreError> {
        let mut begin = redis::cmd("SET");
        begin.arg(name).arg(start).arg("NX").arg("PX").arg(millis(ttl));
        let mut count = redis::cmd("INCRBY");
        count.arg(name).arg(by);
        // Whoever makes a number of ours negative has not counted.
        u64::try_from(number(self.run_one("INCRBY", name, vec![begin, count]).await?)?).map_err(|_| StoreError::Refused)
    }

    /// The same with a negative number, and in place of one that was lost there is nothing left. Below nothing it would let
    /// others count on from there: what is too little is added again.
    pub(super) async fn take_back(&self, name: &str, by: u64, ttl: Duration) -> Result<u64, StoreError> {
        let by = i64::try_from(by).map_err(|_| StoreError::Refused)?;
        let mut begin = redis::cmd("SET");
        begin.arg(name).arg(by).arg("NX").arg("PX").arg(millis(ttl));
        let mut count = redis::cmd("INCRBY");
        count.arg(name).arg(-by);
        let left = number(self.run_one("INCRBY", name, vec![begin, count]).await?)?;
        if left >= 0 {
            return Ok(left.unsigned_abs());
        }
        self.count(name, 0, left.unsigned_abs(), ttl).await
    }

    pub(super) async fn remove(&self, names: &[&str]) -> Result<u64, StoreError> {
        // One command each: in a cluster the names may be on different nodes.
        let tasks = names.iter().map(|name| Task { key: name, commands: vec![Cmd::unlink(*name)] }).collect();
        let removed = self.run("UNLINK", tasks).await?;
        let removed = removed.into_iter().flatten().map(number).sum::<Result<i64, _>>()?;
        Ok(removed.unsigned_abs())
    }

    fn log_change_of(&self, written: &Result<Value, StoreError>) {
        let now = Instant::now();
        if *written == Err(StoreError::Refused) && self.refused.is_first(now) {
            tracing::warn!("Redis refuses to store records (is it full?): answers come from upstream more often");
        } else if written.is_ok() && self.refused.is_over(now) {
            tracing::info!("Redis stores records again");
        }
    }
}

/// When a write was refused last for a reason that is not the link's (Redis is full, say). Of several nodes one may refuse all
/// writes while the others take them, so it is over only when there was none for a while.
#[derive(Default)]
struct RefusedWrites(Mutex<Option<Instant>>);

impl RefusedWrites {
    /// One is refused; whether that is news.
    fn is_first(&self, now: Instant) -> bool {
        self.last().replace(now).is_none()
    }

    /// One is not refused; whether that is news.
    fn is_over(&self, now: Instant) -> bool {
        let mut last = self.last();
        let is_over = last.is_some_and(|last| now.duration_since(last) > REFUSAL_IS_OVER);
        if is_over {
            *last = None;
        }
        is_over
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Redis takes no time to live of zero.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A value of another type than ours (somebody put a list there) counts as an empty record, which does not open: only a
/// miss, and only there.
fn or_unreadable(reply: RedisResult<Value>) -> Result<Option<Bytes>, StoreError> {
    match reply {
        Ok(Value::BulkString(value)) => Ok(Some(value.into())),
        Ok(Value::Nil) => Ok(None),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Some(Bytes::new())),
        Ok(_) | Err(_) => Err(StoreError::Refused),
    }
}

fn number(reply: RedisResult<Value>) -> Result<i64, StoreError> {
    reply.and_then(|reply| Ok(i64::from_redis_value(reply)?)).map_err(|_| StoreError::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_writes_are_refused_is_told_once_and_its_end_when_there_was_none_for_a_while() {
        let (refused, now) = (RefusedWrites::default(), Instant::now());
        assert!(!refused.is_over(now) && refused.is_first(now));
        assert!(!refused.is_over(now + REFUSAL_IS_OVER) && !refused.is_first(now + REFUSAL_IS_OVER));
        let over = now + REFUSAL_IS_OVER * 2 + Duration::from_millis(1);
        assert!(refused.is_over(over) && !refused.is_over(over));
        assert!(refused.is_first(over));
    }
}
