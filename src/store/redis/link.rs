//! One multiplexed connection to Redis, kept by its `supervisor`.
//!
//! The client library's own manager gives up for ever after a refused login, and lets commands wait while it connects
//! anew. Here commands never wait for a connection: without one they fail at once, and the supervisor keeps trying.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::credentials::Credentials;
use super::dial::{Connection, Login, dial};
use super::node::Node;
use super::privileges::{PROBE, Privileges};
use super::supervisor::{Observer, Supervisor, Target};
use super::trouble::Trouble;
use super::{RedisConfig, StoreError, StoreState, cluster};
use crate::rights::{self, Topology};

/// Names that are looked for where there should be no cluster. Of a cluster of two a node has all of them once in 256 times.
const PROBES: usize = 8;

pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) generation: u64,
}

/// The connection, while there is one.
pub(super) struct Link {
    pub(super) live: ArcSwapOption<Live>,
    broken: mpsc::Sender<(u64, Trouble)>,
    pub(super) state: watch::Sender<StoreState>,
    command_timeout: Duration,
}

/// Replies of Redis in the order of the commands; an error is that of one command.
pub(super) type Replies = Vec<RedisResult<Value>>;

impl Link {
    /// Starts the supervisor; it ends when the link is dropped.
    pub(super) fn start(
        target: Target,
        config: Arc<RedisConfig>,
        privileges: Arc<Privileges>,
        observer: Observer,
    ) -> Arc<Self> {
        let (broken, reports) = mpsc::channel(16);
        let link = Arc::new(Self {
            live: ArcSwapOption::empty(),
            broken,
            state: watch::Sender::new(StoreState::Connecting),
            command_timeout: config.command_timeout,
        });
        let supervisor = Supervisor::new(Arc::downgrade(&link), target, config, privileges, observer);
        tokio::spawn(supervisor.run(reports));
        link
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    pub(super) fn is_up(&self) -> bool {
        *self.state.borrow() == StoreState::Up
    }

    /// Runs commands in one round trip, within the command timeout; each of them after ASKING if they are about keys that
    /// are being moved here.
    pub(super) async fn run(&self, name: &'static str, commands: &[Cmd], asking: bool) -> Result<Replies, StoreError> {
        let live = self.live.load_full().ok_or(StoreError::Away)?;
        let running = send(live.connection.commands.clone(), commands, asking);
        let trouble = match timeout(self.command_timeout, running).await {
            Ok(Ok(replies)) => {
                let mut troubles = replies.iter().filter_map(|reply| reply.as_ref().err()).map(Trouble::of);
                match troubles.find(|trouble| *trouble != Trouble::Other) {
                    // Where Redis refused one command (it is full, or the value has another type), the connection is good.
                    None => return Ok(replies),
                    Some(trouble) => trouble.with(name),
                }
            }
            Ok(Err(error)) => live.connection.trouble().unwrap_or_else(|| Trouble::of(&error).with(name)),
            Err(_) => Trouble::CommandTimeout,
        };
        if trouble == Trouble::Other {
            return Err(StoreError::Refused);
        }
        // At once, so that not even this request waits for it twice.
        let before = self.live.compare_and_swap(&live, None);
        // The supervisor needs one report of a connection, and the queue is to have room for that.
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &live)) {
            let _ = self.broken.try_send((live.generation, trouble));
        }
        Err(if trouble == Trouble::CommandTimeout { StoreError::Timeout } else { StoreError::Away })
    }
}

/// An error is the end of the connection, or of one command that was alone.
async fn send(mut connection: MultiplexedConnection, commands: &[Cmd], asking: bool) -> RedisResult<Replies> {
    if let ([command], false) = (commands, asking) {
        let reply = command.query_async(&mut connection).await;
        return match reply {
            // Redis itself refuses.
            Err(error) if error.code().is_some() => Ok(vec![Err(error)]),
            reply => Ok(vec![Ok(reply?)]),
        };
    }
    let mut pipeline = Pipeline::with_capacity(commands.len() * if asking { 2 } else { 1 });
    for command in commands {
        if asking {
            pipeline.cmd("ASKING").ignore();
        }
        pipeline.add_command(command.clone());
    }
    // One that is refused must not take the others with it.
    pipeline.ignore_errors();
    pipeline.query_async(&mut connection).await
}

/// TCP, TLS, login, and the proof that the user may run our commands.
pub(super) async fn connect(
    config: &RedisConfig,
    node: &Node,
    credentials: &Credentials,
) -> Result<Connection, Trouble> {
    let attempt = async {
        let mut connection = dial(config, node, credentials, Login::Configured).await?;
        let proven = prove_usable(&mut connection.commands, config.servers.topology()).await;
        proven.map_err(|trouble| connection.trouble().unwrap_or(trouble))?;
        Ok(connection)
    };
    timeout(config.connect_timeout, attempt).await.unwrap_or(Err(Trouble::ConnectTimeout))
}

/// That the user may run our commands, and that this is the kind of Redis that it is taken for.
async fn prove_usable(connection: &mut MultiplexedConnection, topology: Topology) -> Result<(), Trouble> {
    prove_allowed(connection).await?;
    if topology == Topology::Cluster {
        return cluster::prove_member(connection).await;
    }
    // Each of its nodes has a part of all keys, so one of these is elsewhere.
    let mut gets = Pipeline::with_capacity(PROBES);
    for number in 0..PROBES {
        gets.add_command(Cmd::get(format!("{PROBE}:{number}")));
    }
    gets.ignore_errors();
    let replies: Replies = gets.query_async(connection).await.map_err(|error| Trouble::of(&error))?;
    let is_moved = |error: &RedisError| error.redirect_node().is_some();
    if replies.iter().any(|reply| reply.as_ref().is_err_and(is_moved)) { Err(Trouble::InCluster) } else { Ok(()) }
}

/// Runs our commands in forms that change nothing: a user without rights is refused before Redis looks at the arguments,
/// and in a cluster at where the key is.
async fn prove_allowed(connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
    for right in &rights::ON_KEYS {
        let mut command = redis::cmd(right.command);
        command.arg(PROBE).arg(right.harmless);
        prove(connection, &command, right.command).await?;
    }
    Ok(())
}

/// Whether a command is not refused for want of a right, nor for what is wrong with the connection.
pub(super) async fn prove(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    name: &'static str,
) -> Result<(), Trouble> {
    match command.exec_async(connection).await.map_err(|error| Trouble::of(&error).with(name)) {
        // A form that is wrong: that comes after the permission.
        Ok(()) | Err(Trouble::Other) => Ok(()),
        Err(trouble) => Err(trouble),
    }
}
