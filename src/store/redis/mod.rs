//! The store in Redis: four commands, each bounded in time, over a link that repairs itself.

mod bounded;
mod credentials;
mod dial;
mod doctor;
mod frames;
mod link;
mod privileges;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Pipeline, RedisResult};
use url::Url;

use super::{StoreError, StoreState};
use crate::reload::Live;
use crate::telemetry::Metrics;
pub use credentials::{CredentialFiles, Credentials};
pub use doctor::{Advice, Finding, examine};
use link::Link;

/// How to reach Redis: by TLS, always.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `rediss://host:port`; the certificate has to be for this host.
    pub url: Url,
    /// The ACL user.
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

/// A store in Redis. Clones share the link.
#[derive(Clone)]
pub(super) struct RedisStore {
    link: Arc<Link>,
    /// Whether the last write was refused for a reason that is not the link's (Redis is full, say): logged on change.
    writes_refused: Arc<AtomicBool>,
}

impl RedisStore {
    /// Starts connecting in the background.
    pub(super) fn start(config: RedisConfig, metrics: Arc<Metrics>) -> Self {
        Self { link: Link::start(config, metrics), writes_refused: Arc::default() }
    }

    pub(super) fn state(&self) -> tokio::sync::watch::Receiver<StoreState> {
        self.link.state()
    }

    /// Why what the user may do in Redis keeps it from being used, if it does: for an operator, with the fix.
    pub(super) fn refusal(&self) -> Option<Advice> {
        self.link.refusal()
    }

    pub(super) async fn read(&self, names: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if let [name] = names {
            let get = Cmd::get(*name);
            let value = self
                .link
                .run("GET", |mut connection| async move { or_unreadable(get.query_async(&mut connection).await) });
            return Ok(vec![value.await?.map(Bytes::from)]);
        }
        let mut gets = Pipeline::with_capacity(names.len());
        for name in names {
            gets.add_command(Cmd::get(name));
        }
        // One value that cannot be read must not take the others with it.
        gets.ignore_errors();
        let values = self.link.run("GET", |mut connection| async move {
            let values: Vec<RedisResult<Option<Vec<u8>>>> = gets.query_async(&mut connection).await?;
            values.into_iter().map(or_unreadable).collect::<RedisResult<Vec<_>>>()
        });
        Ok(values.await?.into_iter().map(|value| value.map(Bytes::from)).collect())
    }

    pub(super) async fn write(&self, name: &str, record: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(name).arg(record).arg("PX").arg(millis(ttl));
        let written =
            self.link.run("SET", |mut connection| async move { set.query_async(&mut connection).await }).await;
        self.log_change_of(matches!(written, Err(StoreError::Refused)));
        written
    }

    /// `SET … NX GET` (Redis 7.0 and later): what is there, or nothing and it is ours.
    pub(super) async fn claim(&self, name: &str, value: Vec<u8>, ttl: Duration) -> Result<Option<Bytes>, StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(name).arg(value).arg("NX").arg("GET").arg("PX").arg(millis(ttl));
        let claimed: Result<Option<Vec<u8>>, _> = self
            .link
            .run("SET", |mut connection| async move { or_unreadable(set.query_async(&mut connection).await) })
            .await;
        Ok(claimed?.map(Bytes::from))
    }

    /// `SET … NX` and `INCRBY` in one round trip. Each is atomic, and the counter cannot end between them: it has just
    /// begun, or is watched far below its time to live.
    pub(super) async fn count(&self, name: &str, start: u64, by: u64, ttl: Duration) -> Result<u64, StoreError> {
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("SET").arg(name).arg(start).arg("NX").arg("PX").arg(millis(ttl)).ignore();
        commands.cmd("INCRBY").arg(name).arg(by);
        let counted = self
            .link
            .run("INCRBY", |mut connection| async move { commands.query_async::<(i64,)>(&mut connection).await })
            .await;
        // Whoever makes a number of ours negative has not counted.
        u64::try_from(counted?.0).map_err(|_| StoreError::Refused)
    }

    /// The same with a negative number, and in place of one that was lost there is nothing left. Below nothing it would let
    /// others count on from there: what is too little is added again.
    pub(super) async fn take_back(&self, name: &str, by: u64, ttl: Duration) -> Result<u64, StoreError> {
        let by = i64::try_from(by).map_err(|_| StoreError::Refused)?;
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("SET").arg(name).arg(by).arg("NX").arg("PX").arg(millis(ttl)).ignore();
        commands.cmd("INCRBY").arg(name).arg(-by);
        let left = self
            .link
            .run("INCRBY", |mut connection| async move { commands.query_async::<(i64,)>(&mut connection).await })
            .await?
            .0;
        if left >= 0 {
            return Ok(left.unsigned_abs());
        }
        self.count(name, 0, left.unsigned_abs(), ttl).await
    }

    pub(super) async fn remove(&self, names: &[&str]) -> Result<u64, StoreError> {
        let unlink = Cmd::unlink(names);
        self.link.run("UNLINK", |mut connection| async move { unlink.query_async(&mut connection).await }).await
    }

    fn log_change_of(&self, refused: bool) {
        if self.writes_refused.swap(refused, Ordering::Relaxed) == refused {
            return;
        }
        if refused {
            tracing::warn!("Redis refuses to store records (is it full?): answers come from upstream more often");
        } else {
            tracing::info!("Redis stores records again");
        }
    }
}

/// Redis takes no time to live of zero.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A value of another type than ours (somebody put a list there) counts as an empty record, which does not open: only a
/// miss, and only there.
fn or_unreadable(value: RedisResult<Option<Vec<u8>>>) -> RedisResult<Option<Vec<u8>>> {
    match value {
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Some(Vec::new())),
        value => value,
    }
}
