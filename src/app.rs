//! The composition root: a configuration becomes a running service, and ends in order. The only file that knows everyone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, StoreState};
use crate::clock::Clock;
use crate::config::{Config, Fault};
use crate::credentials::Vault;
use crate::demo::Simulation;
use crate::http::{
    self, AdminState, BACKLOG, Exempt, Front, Guard, Limits, ServerConfig, Tls, WRITE_TIMEOUT, Watchers, WrongTokens,
};
use crate::limits;
use crate::reload::Reloading;
use crate::store::{Advice, Notebook, Store, StoreConfig};
use crate::telemetry::{CertificateReport, Metrics, Traces};
use crate::upstream::{Keys, OpenWeatherMap, Upstream, UpstreamConfig, UpstreamError};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The upstream's authorities are not usable.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The weather was to be made up for want of a key, and the vault cannot be asked for one: made-up weather is not given
    /// on a guess.
    #[error(
        "upstream.simulate_without_key: there is no upstream.api_key, and the vault cannot be asked for one while the store \
         is away; `stratus check` says why it is"
    )]
    KeysUnknown,
    /// There is no port for the simulated upstream.
    #[error("upstream.simulate_without_key: there is no port for the simulated upstream: {0}")]
    Simulation(#[source] io::Error),
    /// Traces cannot be sent.
    #[error("telemetry.otlp_endpoint: traces cannot be sent: {0}")]
    Traces(#[source] io::Error),
    /// The user may do too much in Redis, or may not ask what it may do.
    #[error("redis.require_least_privilege: {what}; {fix}")]
    Privileges {
        /// What is wrong.
        what: String,
        /// How to put it right.
        fix: String,
    },
}

/// Operators' connections at most: scrapers, probes and a few people.
const ADMIN_CONNECTIONS: usize = 256;
/// How long their requests may take when callers have been answered: what waits for the end of the process has to know how
/// long that can be, and what operators ask takes no time.
const ADMIN_DRAIN: Duration = Duration::from_secs(2);

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted service takes the address over from connections that are about to end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How the service comes to a listening socket.
#[derive(Debug)]
pub enum Opening {
    /// It binds the address.
    Bind(SocketAddr),
    /// Somebody has opened it before.
    Inherited(std::net::TcpListener),
}

impl From<SocketAddr> for Opening {
    fn from(address: SocketAddr) -> Self {
        Self::Bind(address)
    }
}

impl Opening {
    fn open(self) -> Result<TcpListener, String> {
        match self {
            Self::Bind(address) => listen(address).map_err(|error| {
                format!("cannot listen on {address}: {error}; stop what listens there or choose another")
            }),
            Self::Inherited(socket) => socket
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(socket))
                .map_err(|error| format!("the socket that the service manager has opened cannot be used: {error}")),
        }
    }
}

/// The two listening sockets.
#[derive(Debug)]
pub struct Listeners {
    /// For apps.
    pub public: TcpListener,
    /// For operators.
    pub admin: TcpListener,
}

impl Listeners {
    /// Opens both, or neither.
    ///
    /// # Errors
    /// A fault for each that cannot be listened on; what was bound is released again.
    pub async fn open(
        public: Option<impl Into<Opening>>,
        admin: Option<impl Into<Opening>>,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut bound = Vec::new();
        let openings: [(_, Option<Opening>); 2] =
            [("server.listen", public.map(Into::into)), ("admin.listen", admin.map(Into::into))];
        for (key, opening) in openings {
            // Without an address there is a fault already, and it is reported by the configuration.
            let Some(opening) = opening else { continue };
            match opening.open() {
                Ok(listener) => bound.push(listener),
                Err(what) => faults.push(Fault { key: key.to_owned(), what }),
            }
        }
        match <[TcpListener; 2]>::try_from(bound) {
            Ok([public, admin]) => Ok(Self { public, admin }),
            Err(_) => Err(faults),
        }
    }
}

/// Who is asked for weather: OpenWeatherMap, or what makes it up in this process.
struct Asked {
    client: OpenWeatherMap,
    keys: Keys,
    /// Where all that is about this weather is left.
    notes: Notebook,
    simulation: Option<Simulation>,
}

impl Asked {
    /// OpenWeatherMap, unless there is certainly no key and the weather may be made up then.
    async fn find(config: &UpstreamConfig, vault: &Vault, mut notes: Notebook) -> Result<Self, StartError> {
        let (mut client, clock) = (config.client.clone(), notes.clock.clone());
        // So that the first request already finds the keys that are there; a store that is away is told elsewhere.
        let listed = vault.list().await;
        let mut keys = Keys::new(Some(vault.clone()), config.api_key.clone(), clock.clone());
        let mut simulation = None;
        if !keys.any() && config.simulate_without_key {
            listed.map_err(|_| StartError::KeysUnknown)?;
            let simulated = Simulation::start().await.map_err(StartError::Simulation)?;
            (client.base_url, client.authorities) = (simulated.url(), None);
            keys = Keys::simulated(vault.clone(), clock.clone());
            notes.keyring = Arc::new(notes.keyring.simulated());
            simulation = Some(simulated);
            tracing::warn!(
                "SIMULATED weather: there is no key of OpenWeatherMap, so this process makes it up \
                 (upstream.simulate_without_key). For the real one start `stratus serve` with upstream.api_key \
                 (OPENWEATHERMAP_API_KEY with docker compose)"
            );
        } else if !keys.any() {
            tracing::warn!(
                "there is no upstream.api_key, and no key in the vault: only what is in the store is answered until \
                 `stratus credential put openweathermap`"
            );
        }
        Ok(Self { client: OpenWeatherMap::new(client, clock)?, keys, notes, simulation })
    }
}

/// When the certificates end that the service shows, and those that it is shown by Redis.
fn certificates(tls: Option<Tls>, store: &StoreConfig) -> Arc<dyn Fn() -> Vec<CertificateReport> + Send + Sync> {
    let redis = match store {
        StoreConfig::Redis(redis) => Some(redis.credentials.clone()),
        StoreConfig::Memory | StoreConfig::Shared(_) => None,
    };
    Arc::new(move || {
        let https = tls.as_ref().and_then(|tls| tls.handshakes.load().ends_at_secs);
        let https = https.map(|ends_at_secs| CertificateReport { name: "https", ends_at_secs });
        https.into_iter().chain(redis.iter().flat_map(|redis| redis.load().certificates())).collect()
    })
}

/// A service that is ready to run.
pub struct App {
    listeners: Listeners,
    server: ServerConfig,
    guard: Guard,
    cache: Cache,
    metrics: Arc<Metrics>,
    traces: Traces,
    admin: AdminState,
    reloading: Reloading,
    stopping: CancellationToken,
    hurrying: CancellationToken,
    /// Ends with the service.
    _simulation: Option<Simulation>,
}

impl App {
    /// Puts the service together and gives the store its first chance to connect (at most its connect timeout), so that
    /// the first request can already be a hit.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, listeners: Listeners, clock: Clock) -> Result<Self, StartError> {
        let started = Instant::now();
        let metrics = Metrics::new();
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let certificates = certificates(config.server.tls.clone(), &config.store);
        let store = Store::start(config.store, clock.clone(), Arc::clone(&metrics));
        let keyring = config.keyring;
        let notes = Notebook { store, keyring, clock: clock.clone() };
        let limits = limits::Limits::new(notes.clone(), config.upstream.budget.max_replicas, Arc::clone(&metrics));
        let consumers = config.access.consumers.clone();
        let guard = Guard::new(config.access, limits, clock.clone());
        let vault = Vault::start(notes.clone());
        // An error would mean that the store is gone, and it is held here.
        let _ = notes.store.state().wait_for(|state| *state != StoreState::Connecting).await;
        if let Some(Advice { what, fix }) = notes.store.refusal() {
            return Err(StartError::Privileges { what, fix });
        }
        let Asked { client, keys, notes, simulation } = Asked::find(&config.upstream, &vault, notes).await?;
        let budget = config.upstream.budget;
        let traces = match &config.traces {
            Some(traces) => Traces::start(traces, metrics.traces()).await.map_err(StartError::Traces)?,
            None => Traces::default(),
        };
        let upstream = Arc::new(Upstream::new(Arc::new(client), keys, budget, notes.clone(), Arc::clone(&metrics)));
        let source = Arc::clone(&upstream);
        let cache = Cache::start(config.cache, notes, source, Arc::clone(&metrics));
        let (stopping, hurrying) = (CancellationToken::new(), CancellationToken::new());
        let reloading = config.reloader.start();
        let admin = AdminState {
            cache: cache.clone(),
            vault: vault.clone(),
            metrics: Arc::clone(&metrics),
            token: config.admin.token,
            stopping: stopping.clone(),
            files: reloading.clone(),
            upstream: Arc::new(move || upstream.report()),
            consumers,
            certificates,
            clock,
            watchers: Watchers::default(),
            started,
            wrong_tokens: WrongTokens::default(),
        };
        Ok(Self {
            listeners,
            server: config.server,
            guard,
            cache,
            metrics,
            traces,
            admin,
            reloading,
            stopping,
            hurrying,
            _simulation: simulation,
        })
    }

    /// Where apps reach it.
    pub fn public_address(&self) -> Option<SocketAddr> {
        self.listeners.public.local_addr().ok()
    }

    /// Where operators reach it.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listeners.admin.local_addr().ok()
    }

    /// Whether the store can be used, as it changes.
    pub fn store_state(&self) -> watch::Receiver<StoreState> {
        self.cache.store_state()
    }

    /// `redis` or `memory`: where records are kept.
    pub fn store_kind(&self) -> &'static str {
        self.cache.store_kind()
    }

    /// For having the files of the configuration read again now.
    pub fn reloading(&self) -> Reloading {
        self.reloading.clone()
    }

    /// Cancel it and [`App::run`] ends.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Cancel it and whoever is stopped waits no longer for callers to go elsewhere: `server.shutdown_delay_secs` are over.
    pub fn hurrying(&self) -> CancellationToken {
        self.hurrying.clone()
    }

    /// Serves until it is stopped. Then it is not ready any more, and:
    ///
    /// 1. for `server.shutdown_delay_secs` callers are still let in and answered, each told to go elsewhere after that;
    /// 2. there are no new connections, idle ones are closed, requests in flight finish within `server.drain_secs`, and so does
    ///    the first request of who had connected before and asks soon;
    /// 3. last the operators' listener closes, which has answered all the time, within two seconds.
    ///
    /// Gives whether all requests finished.
    pub async fn run(self) -> bool {
        let (public, admin) = (self.public_address(), self.admin_address());
        tracing::info!(
            public = public.map(tracing::field::display),
            admin = admin.map(tracing::field::display),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        let proxies = self.guard.proxies().clone();
        let routes = http::public(&self.server, self.guard, self.cache, Arc::clone(&self.metrics), self.traces.clone());
        let limits = Limits {
            max_connections: self.server.max_connections,
            max_connections_per_address: self.server.max_connections_per_address,
            max_requests_in_flight: self.server.max_requests_in_flight,
            // Time for the answer, and then as long as a client may take nothing of it.
            stream_timeout: self.server.request_timeout + WRITE_TIMEOUT,
            drain: self.server.drain,
            ..Limits::default()
        };
        // Connections of a proxy are those of many callers.
        let exempt: Exempt = Arc::new(move |address| proxies.contains(address));
        let front = Front {
            tls: self.server.tls,
            exempt: Some(exempt),
            metrics: Some(self.metrics),
            last_answers: Some(self.stopping.clone()),
        };
        let admin_routes = http::admin(self.admin, self.server.request_timeout);
        let drain = self.server.drain.min(ADMIN_DRAIN);
        let admin_limits = Limits { max_connections: ADMIN_CONNECTIONS, drain, ..Limits::default() };

        let admin_stopping = CancellationToken::new();
        let admin = tokio::spawn(http::serve(self.listeners.admin, admin_routes, admin_limits, admin_stopping.clone()));
        let closing = CancellationToken::new();
        let public = http::serve_front(self.listeners.public, routes, limits, front, closing.clone());
        let delay = async {
            self.stopping.cancelled().await;
            if !self.server.shutdown_delay.is_zero() && !self.hurrying.is_cancelled() {
                let secs = self.server.shutdown_delay.as_secs();
                tracing::info!(secs, "not ready any more: callers are answered until they have gone elsewhere");
                let _ = self.hurrying.run_until_cancelled(tokio::time::sleep(self.server.shutdown_delay)).await;
            }
            tracing::info!("no new connections: requests in flight may finish");
            closing.cancel();
        };
        let (finished, ()) = tokio::join!(public, delay);
        admin_stopping.cancel();
        // A panic in there was logged where it happened, and there is nothing left to stop.
        let _ = admin.await;
        self.traces.shut_down().await;
        if finished {
            tracing::info!("stopped: every request in flight was answered");
        } else {
            tracing::warn!("stopped: some requests were still in flight after server.drain_secs");
        }
        finished
    }
}
