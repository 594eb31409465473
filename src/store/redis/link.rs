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
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    PushInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
};
use secrecy::ExposeSecret;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

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
/// Unacknowledged data older than this means a dead peer (Linux `TCP_USER_TIMEOUT`), which timeouts alone do not find.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(3);
/// Commands in the client library's queue; larger writes are batched better.
const PIPELINE_COMMANDS: usize = 1024;

struct Live {
    connection: MultiplexedConnection,
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
        let supervisor = Supervisor { link: Arc::downgrade(&link), config, metrics, privileges, trouble: None };
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
        let trouble = match timeout(self.command_timeout, command(live.connection.clone())).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if error.is_timeout() => Trouble::CommandTimeout,
            Ok(Err(error)) => Trouble::of(&error).with(name),
            Err(_) => Trouble::CommandTimeout,
        };
        let report = || {
            // At once, so that not even this request waits for it twice.
            self.live.compare_and_swap(&live, None);
            // A full queue already holds a report, and the supervisor needs only one.
            let _ = self.broken.try_send((live.generation, trouble));
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
    /// The trouble that was logged last.
    trouble: Option<Trouble>,
}

impl Supervisor {
    async fn run(mut self, mut reports: mpsc::Receiver<(u64, Trouble)>) {
        let mut pause = MIN_PAUSE;
        for generation in 0.. {
            let began = Instant::now();
            let trouble = match self.connect().await {
                Ok((connection, pushes)) => {
                    if !self.set_up(Live { connection: connection.clone(), generation }) {
                        return;
                    }
                    let broken = until_broken(generation, &mut reports, pushes);
                    let Some(trouble) = self.privileges.look_beside(connection, broken).await else { return };
                    trouble
                }
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

    /// A connection that may be used.
    async fn connect(&self) -> Result<(MultiplexedConnection, mpsc::UnboundedReceiver<PushInfo>), Trouble> {
        let (mut connection, pushes) = connect(&self.config).await?;
        self.privileges.admit(&mut connection).await?;
        Ok((connection, pushes))
    }

    /// Whether anybody is left to serve.
    fn set_up(&mut self, live: Live) -> bool {
        let Some(link) = self.link.upgrade() else { return false };
        link.live.store(Some(Arc::new(live)));
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
async fn until_broken(
    generation: u64,
    reports: &mut mpsc::Receiver<(u64, Trouble)>,
    mut pushes: mpsc::UnboundedReceiver<PushInfo>,
) -> Option<Trouble> {
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some((reported, trouble)) if reported == generation => return Some(trouble),
                Some(_) => {}
                None => return None,
            },
            push = pushes.recv() => match push {
                Some(push) if push.kind != redis::PushKind::Disconnection => {}
                _ => return Some(Trouble::Disconnected),
            },
        }
    }
}

/// Up to a quarter less, so that a fleet does not come back in step.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0) % 256;
    pause - pause * random / 1024
}

/// TCP, TLS, login, and the proof that the user may run our commands.
pub(super) async fn connect(
    config: &RedisConfig,
) -> Result<(MultiplexedConnection, mpsc::UnboundedReceiver<PushInfo>), Trouble> {
    let attempt = async {
        // No network up to here: only the files can be at fault.
        let client = client(config, Login::Configured).map_err(|_| Trouble::BadFiles)?;
        let (sender, pushes) = mpsc::unbounded_channel();
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            // Commands are timed by the link.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_COMMANDS)
            .set_push_sender(sender);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(|error| if error.is_timeout() { Trouble::ConnectTimeout } else { Trouble::of(&error) })?;
        prove_allowed(&mut connection).await?;
        Ok((connection, pushes))
    };
    timeout(config.connect_timeout, attempt).await.unwrap_or(Err(Trouble::ConnectTimeout))
}

fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    settings
}

/// Who to be in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// The configured user.
    Configured,
    /// Nobody: to see whether that is refused.
    None,
}

/// A client with the password and certificates as they are now.
pub(super) fn client(config: &RedisConfig, login: Login) -> RedisResult<Client> {
    let unusable = |what: &'static str| RedisError::from((ErrorKind::InvalidClientConfig, what));
    let read = |path: &std::path::Path| std::fs::read(path).map_err(|_| unusable("a certificate file cannot be read"));
    let client_tls = match &config.client {
        None => None,
        Some((certificate, key)) => Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? }),
    };
    let certificates = TlsCertificates { client_tls, root_cert: Some(read(&config.ca_file)?) };
    // Otherwise the library names itself to Redis by a command that the user is not allowed to run.
    let mut settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    if login == Login::Configured {
        let password = config.password.read().map_err(|_| unusable("the password file cannot be read"))?;
        settings = settings.set_username(&config.username).set_password(password.expose_secret());
    }
    let address = ConnectionAddr::TcpTls {
        host: config.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
        port: config.url.port().unwrap_or(6379),
        insecure: false,
        tls_params: None,
    };
    let info = address.into_connection_info()?.set_redis_settings(settings).set_tcp_settings(tcp_settings());
    Client::build_with_tls(info, certificates)
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
