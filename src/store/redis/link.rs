//! One multiplexed connection to Redis and a supervisor that keeps it.
//!
//! The client library's own manager gives up for ever after a refused login, and lets commands wait while it connects
//! anew. Here commands never wait for a connection: without one they fail at once, and the supervisor keeps trying with
//! growing, jittered steps. Every connection reads the password and the certificates anew, and is used only after it
//! proved that it may run our commands and, where that is required, no others. Trouble is logged when it begins, changes
//! or ends, not per request.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::credentials::Credentials;
use super::dial::{Connection, Login, dial};
use super::privileges::{PROBE, Privileges};
use super::trouble::Trouble;
use super::{Advice, RedisConfig, StoreError, StoreState};
use crate::rights;
use crate::telemetry::Metrics;

/// First pause between two attempts to connect; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// So that Redis is used again at most this long after it is back.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lasted this long was a good one: the pauses begin small again.
const LASTED: Duration = Duration::from_secs(5);
struct Live {
    connection: Connection,
    generation: u64,
}

/// The connection, while there is one.
pub(super) struct Link {
    live: ArcSwapOption<Live>,
    broken: mpsc::Sender<(u64, Trouble)>,
    state: watch::Sender<StoreState>,
    command_timeout: Duration,
    privileges: Arc<Privileges>,
}

impl Link {
    /// Starts the supervisor; it ends when the link is dropped.
    pub(super) fn start(config: RedisConfig, metrics: Arc<Metrics>) -> Arc<Self> {
        let (broken, reports) = mpsc::channel(16);
        let privileges = Arc::new(Privileges::new(&config, Arc::clone(&metrics)));
        let link = Arc::new(Self {
            live: ArcSwapOption::empty(),
            broken,
            state: watch::Sender::new(StoreState::Connecting),
            command_timeout: config.command_timeout,
            privileges: Arc::clone(&privileges),
        });
        let supervisor = Supervisor {
            link: Arc::downgrade(&link),
            replaced: config.credentials.replaced(),
            config,
            metrics,
            privileges,
            worked: None,
            trouble: None,
            new_trouble: None,
        };
        tokio::spawn(supervisor.run(reports));
        link
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    /// Why what the user may do keeps this Redis from being used.
    pub(super) fn refusal(&self) -> Option<Advice> {
        self.privileges.refusal()
    }

    /// Runs one command, or several of one name, within the command timeout.
    pub(super) async fn run<T, F>(
        &self,
        name: &'static str,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let live = self.live.load_full().ok_or(StoreError::Away)?;
        let trouble = match timeout(self.command_timeout, command(live.connection.commands.clone())).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => match live.connection.trouble() {
                Some(trouble) => trouble,
                None => Trouble::of(&error).with(name),
            },
            Err(_) => Trouble::CommandTimeout,
        };
        let report = || {
            // At once, so that not even this request waits for it twice.
            let before = self.live.compare_and_swap(&live, None);
            // The supervisor needs one report of a connection, and the queue is to have room for that.
            if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &live)) {
                let _ = self.broken.try_send((live.generation, trouble));
            }
        };
        match trouble {
            // Redis refused this one command (it is full, or the value has another type): the connection is good.
            Trouble::Other => Err(StoreError::Refused),
            Trouble::CommandTimeout => {
                report();
                Err(StoreError::Timeout)
            }
            _ => {
                report();
                Err(StoreError::Away)
            }
        }
    }
}

struct Supervisor {
    link: std::sync::Weak<Link>,
    config: RedisConfig,
    metrics: Arc<Metrics>,
    privileges: Arc<Privileges>,
    /// Tells of new credentials.
    replaced: watch::Receiver<()>,
    /// The credentials of the last connection that could be used.
    worked: Option<Arc<Credentials>>,
    /// The trouble that was logged last.
    trouble: Option<Trouble>,
    /// The trouble with new credentials that was logged last.
    new_trouble: Option<Trouble>,
}

impl Supervisor {
    async fn run(mut self, mut reports: mpsc::Receiver<(u64, Trouble)>) {
        let mut pause = MIN_PAUSE;
        let mut generation = 0;
        loop {
            let began = Instant::now();
            let trouble = match self.connect().await {
                Ok(connection) => match self.use_until_broken(connection, &mut generation, &mut reports).await {
                    Some(trouble) => trouble,
                    None => return,
                },
                Err(trouble) => trouble,
            };
            if !self.set_down(trouble) {
                return;
            }
            if began.elapsed() > LASTED {
                pause = MIN_PAUSE;
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Has a connection used, and others after it that are made with new credentials; why the last one broke. `None` when
    /// nobody is left to serve.
    async fn use_until_broken(
        &mut self,
        mut connection: Connection,
        generation: &mut u64,
        reports: &mut mpsc::Receiver<(u64, Trouble)>,
    ) -> Option<Trouble> {
        loop {
            *generation += 1;
            let live = Arc::new(Live { connection, generation: *generation });
            if !self.set_up(Arc::clone(&live)) {
                return None;
            }
            connection = loop {
                let privileges = Arc::clone(&self.privileges);
                let broken = privileges.look_beside(live.connection.commands.clone(), until_broken(&live, reports));
                tokio::select! {
                    broken = broken => return broken,
                    // The credentials live as long as this.
                    Ok(()) = self.replaced.changed() => {}
                }
                // Beside the old one, which stays if this does not work. Who uses the old one now keeps it to the end. That it
                // breaks meanwhile is not left until this has failed.
                let newest = self.config.credentials.get();
                let made = tokio::select! {
                    broken = until_broken(&live, reports) => return broken,
                    made = self.connect_with(newest) => made,
                };
                match made {
                    Ok(connection) => break connection,
                    Err(trouble) => self.new_credentials_fail(trouble),
                }
            };
        }
    }

    /// A connection that may be used, with the newest credentials, or else with those that worked last: Redis may not know
    /// the new ones yet. Not with those if they trust an authority that is not to be trusted any more.
    async fn connect(&mut self) -> Result<Connection, Trouble> {
        self.replaced.mark_unchanged();
        let newest = self.config.credentials.get();
        let worked = self.worked.clone();
        let worked = worked.filter(|worked| !Arc::ptr_eq(worked, &newest) && newest.trust_as_much_as(worked));
        let trouble = match self.connect_with(newest).await {
            Ok(connection) => return Ok(connection),
            Err(trouble) => trouble,
        };
        let Some(worked) = worked else { return Err(trouble) };
        let connection = self.connect_with(worked).await.map_err(|_| trouble)?;
        self.new_credentials_fail(trouble);
        Ok(connection)
    }

    async fn connect_with(&mut self, credentials: Arc<Credentials>) -> Result<Connection, Trouble> {
        let mut connection = connect(&self.config, &credentials).await?;
        self.privileges.admit(&mut connection.commands).await?;
        if Arc::ptr_eq(&credentials, &self.config.credentials.get()) {
            self.new_trouble = None;
        }
        self.worked = Some(credentials);
        Ok(connection)
    }

    fn new_credentials_fail(&mut self, trouble: Trouble) {
        if self.new_trouble.replace(trouble) != Some(trouble) {
            tracing::warn!(fix = trouble.fix(), "{trouble} with the new credentials: the old ones stay in use");
        }
    }

    /// Whether anybody is left to serve.
    fn set_up(&mut self, live: Arc<Live>) -> bool {
        let Some(link) = self.link.upgrade() else { return false };
        link.live.store(Some(live));
        self.metrics.set_store_up(true);
        link.state.send_replace(StoreState::Up);
        self.trouble = None;
        tracing::info!("Redis is connected");
        true
    }

    fn set_down(&mut self, trouble: Trouble) -> bool {
        let Some(link) = self.link.upgrade() else { return false };
        link.live.store(None);
        self.metrics.set_store_up(false);
        link.state.send_replace(StoreState::Down { reason: trouble.to_string(), fix: trouble.fix() });
        if self.trouble.replace(trouble) != Some(trouble) {
            tracing::warn!(fix = trouble.fix(), "{trouble}: answers come from upstream until it is back");
        }
        true
    }
}

/// Waits until somebody reports this connection broken or Redis closes it; `None` when the link is gone.
async fn until_broken(live: &Live, reports: &mut mpsc::Receiver<(u64, Trouble)>) -> Option<Trouble> {
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some((reported, trouble)) if reported == live.generation => return Some(trouble),
                Some(_) => {}
                None => return None,
            },
            trouble = live.connection.closed() => return Some(trouble),
        }
    }
}

/// Up to a quarter less, so that a fleet does not come back in step.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0) % 256;
    pause - pause * random / 1024
}

/// TCP, TLS, login, and the proof that the user may run our commands.
pub(super) async fn connect(config: &RedisConfig, credentials: &Credentials) -> Result<Connection, Trouble> {
    let attempt = async {
        let mut connection = dial(config, credentials, Login::Configured).await?;
        let proven = prove_allowed(&mut connection.commands).await;
        proven.map_err(|trouble| connection.trouble().unwrap_or(trouble))?;
        Ok(connection)
    };
    timeout(config.connect_timeout, attempt).await.unwrap_or(Err(Trouble::ConnectTimeout))
}

/// Runs our commands in forms that change nothing: a user without rights is refused before Redis looks at the arguments.
async fn prove_allowed(connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
    for right in &rights::ON_KEYS {
        let mut command = redis::cmd(right.command);
        command.arg(PROBE).arg(right.harmless);
        match command.exec_async(connection).await.map_err(|error| Trouble::of(&error).with(right.command)) {
            // A form that is wrong: that comes after the permission.
            Ok(()) | Err(Trouble::Other) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(())
}
