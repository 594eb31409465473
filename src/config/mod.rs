//! Configuration: defaults, files, environment, merged; each module's own settings, checked; all faults in one report.

mod access;
mod https;
mod reader;
mod redis;
mod telemetry;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};

use crate::cache::{CacheConfig, Policy};
use crate::crypto::Keyring;
use crate::http::{AccessConfig, AdminConfig, ForwardProxy, ServerConfig};
use crate::reload::{Reading, Reloader, fingerprint};
use crate::secret::{CREDENTIALS_DIRECTORY, Secret};
use crate::store::StoreConfig;
use crate::telemetry::{LogConfig, TraceConfig};
use crate::upstream::{Authorities, BudgetConfig, ClientConfig, UpstreamConfig};
use secrecy::{ExposeSecret, SecretString};

use access::{access, allow_origins};
use https::https;
pub use reader::Fault;
use reader::Reader;
use redis::{redis, topology};
use telemetry::{log, traces};

/// How much longer than the upstream's client a load may take: for the permit, and for a client that hangs.
const LOAD_GRACE: Duration = Duration::from_secs(1);

/// From a permit to the request being on its way, beside connecting.
const SEND_LAG: Duration = Duration::from_secs(1);

/// No balancer takes longer to notice that a replica is not ready, and more seconds are a mistake in the unit.
const LONGEST_SHUTDOWN_DELAY_SECS: u64 = 600;

/// Where the configuration comes from, besides the compiled-in defaults: later ones win. `Debug` shows names, no values:
/// they may be secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// TOML files, in order.
    pub files: Vec<PathBuf>,
    /// Environment variables; those that begin with `STRATUS__` count, and where systemd has put credentials.
    pub environment: HashMap<String, String>,
    /// Dotted keys and values that win over everything.
    pub overrides: Vec<(String, String)>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let overrides: Vec<_> = self.overrides.iter().map(|(key, _)| key).collect();
        let environment: BTreeSet<_> = self.environment.keys().collect();
        f.debug_struct("Sources")
            .field("files", &self.files)
            .field("environment", &environment)
            .field("overrides", &overrides)
            .finish()
    }
}

impl Sources {
    /// Files and this process's environment. Variables that are not Unicode are left out.
    pub fn from_process(files: Vec<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("STRATUS__") || name == CREDENTIALS_DIRECTORY)
            .collect();
        Self { files, environment, overrides: Vec::new() }
    }
}

/// The whole configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// The public listener.
    pub server: ServerConfig,
    /// The operators' listener.
    pub admin: AdminConfig,
    /// Who may ask.
    pub access: AccessConfig,
    /// OpenWeatherMap.
    pub upstream: UpstreamConfig,
    /// How long answers are kept.
    pub cache: CacheConfig,
    /// Where they are kept.
    pub store: StoreConfig,
    /// The encryption keys.
    pub keyring: Arc<Keyring>,
    /// The log.
    pub log: LogConfig,
    /// Where traces go; nowhere when `None`.
    pub traces: Option<TraceConfig>,
    /// The settings that are made of files, to be read again when these change.
    pub reloader: Reloader,
    /// What an operator should know of the settings (what they weaken, what has no effect in this version), as sentences
    /// for the log.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every fault, not only the first.
    pub fn load(sources: &Sources) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::new(sources);
        let mut server = server(&mut reader);
        let admin = admin(&mut reader);
        refuse_open_door(&mut reader, &admin);
        if server.listen == admin.listen && server.listen.port() != 0 {
            reader.fault("admin.listen", "is the same address as server.listen: give it another port");
        }
        let access = access(&mut reader);
        let upstream = upstream(&mut reader);
        server.forward_proxy = forward_proxy(&mut reader, upstream.as_ref());
        let upstream_timeout = upstream.as_ref().map_or(Duration::ZERO, |upstream| upstream.client.timeout);
        let cache = cache(&mut reader, upstream_timeout, server.request_timeout);
        let in_redis = reader.word("store.backend", &["redis", "memory"]) != Some("memory");
        let store = if in_redis {
            redis(&mut reader, upstream.as_ref()).map(|redis| StoreConfig::Redis(Box::new(redis)))
        } else {
            topology(&mut reader);
            Some(StoreConfig::Memory)
        };
        let keyring = keyring(&mut reader, in_redis);
        let log = log(&mut reader);
        let traces = traces(&mut reader);
        let mut warnings = reader.insecure();
        if let Some(upstream) = &upstream
            && cache.wait_timeout <= upstream.client.timeout
        {
            let what = "nine tenths of server.request_timeout_ms are not longer than upstream.timeout_ms: \
                        a slow upstream gives 504 unless there is a stale copy in memory";
            warnings.push(what.to_owned());
        }

        let reloader = reader.finish()?;
        match (upstream, store, keyring) {
            (Some(upstream), Some(store), Some(keyring)) => {
                Ok(Self { server, admin, access, upstream, cache, store, keyring, log, traces, reloader, warnings })
            }
            // What is not there is a fault.
            _ => Err(Vec::new()),
        }
    }

    /// Only the operators' listener: for clients of a running service, which need nothing else.
    ///
    /// # Errors
    /// Every fault that concerns it.
    pub fn admin(sources: &Sources) -> Result<AdminConfig, Vec<Fault>> {
        let mut reader = Reader::new(sources);
        let admin = admin(&mut reader);
        reader.finish().map(|_| admin)
    }

    /// The two listening addresses, if they can be read at all: so that an address in use is reported together with
    /// every other fault.
    pub fn listen_addresses(sources: &Sources) -> [Option<SocketAddr>; 2] {
        let mut reader = Reader::new(sources);
        ["server.listen", "admin.listen"].map(|key| reader.parsed(key, "an address"))
    }
}

fn address(reader: &mut Reader, key: &str) -> SocketAddr {
    reader
        .parsed(key, "an address with a port such as 127.0.0.1:3000")
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn admin(reader: &mut Reader) -> AdminConfig {
    AdminConfig { listen: address(reader, "admin.listen"), token: reader.live_secret("admin.token") }
}

/// Beyond loopback only with a token.
fn refuse_open_door(reader: &mut Reader, admin: &AdminConfig) {
    let is_open = admin.token.is_none() && !admin.listen.ip().to_canonical().is_loopback();
    // A token that is there and faulty is told already.
    if is_open && !reader.is_faulty_secret("admin.token") {
        let what = "is reached from other machines, and there is no token: give admin.token_file (`stratus init` makes one), \
                    or listen on loopback";
        reader.fault("admin.listen", what);
    }
}

fn server(reader: &mut Reader) -> ServerConfig {
    ServerConfig {
        listen: address(reader, "server.listen"),
        request_timeout: reader.millis("server.request_timeout_ms"),
        tls: https(reader),
        max_connections: count(reader.number("server.max_connections", 1..=1_000_000)),
        max_connections_per_address: match reader.number("server.max_connections_per_address", 0..=1_000_000) {
            0 => usize::MAX,
            most => count(most),
        },
        max_requests_in_flight: count(reader.number("server.max_requests_in_flight", 1..=10_000_000)),
        shutdown_delay: Duration::from_secs(
            reader.number("server.shutdown_delay_secs", 0..=LONGEST_SHUTDOWN_DELAY_SECS),
        ),
        drain: reader.secs("server.drain_secs", 0),
        allow_origins: allow_origins(reader),
        images: reader.get("server.images"),
        // For whom it answers depends on the upstream, which is read after this.
        forward_proxy: ForwardProxy::Off,
    }
}

fn forward_proxy(reader: &mut Reader, upstream: Option<&UpstreamConfig>) -> ForwardProxy {
    let base_url = upstream.map(|upstream| &upstream.client.base_url);
    match (reader.get("server.forward_proxy"), base_url.and_then(|url| Some((url.host_str()?, url.port())))) {
        (true, Some((host, port))) => ForwardProxy::On { host: host.to_owned(), port },
        // Without a host to ask there is a fault already.
        _ => ForwardProxy::Off,
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn upstream(reader: &mut Reader) -> Option<UpstreamConfig> {
    let key = "upstream.base_url";
    let base_url = reader.parsed::<Url>(key, "a URL such as https://api.openweathermap.org");
    if let Some(url) = &base_url {
        let plain_on_loopback = url.scheme() == "http" && is_loopback(url);
        if url.scheme() != "https" && !plain_on_loopback {
            reader.fault(key, "has to begin with https:// (plain http:// is only for a host on loopback)");
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            reader.fault(key, "has to be scheme, host, port and path only; the key belongs in upstream.api_key");
        }
    }
    let authorities = reader.path("upstream.ca_file");
    let authorities = authorities.and_then(|path| reader.live("upstream.ca_file", move || Authorities::read(&path)));
    let max_body_bytes = reader.number("upstream.max_body_bytes", 1_024..=64 * 1024 * 1024);
    let api_key = reader.live_secret("upstream.api_key");
    let simulate_without_key = reader.get("upstream.simulate_without_key");
    let client = ClientConfig {
        authorities,
        connect_timeout: reader.millis("upstream.connect_timeout_ms"),
        timeout: reader.millis("upstream.timeout_ms"),
        max_body_bytes: count(max_body_bytes),
        base_url: base_url?,
    };
    let budget = budget(reader, client.connect_timeout);
    Some(UpstreamConfig { client, api_key, simulate_without_key, budget })
}

fn budget(reader: &mut Reader, connect_timeout: Duration) -> BudgetConfig {
    let number = |value| u32::try_from(value).unwrap_or(u32::MAX);
    BudgetConfig {
        per_minute: number(reader.number("upstream.budget_per_minute", 1..=10_000_000)),
        per_day: reader.number("upstream.budget_per_day", 0..=u64::MAX / 2),
        per_month: reader.number("upstream.budget_per_month", 0..=u64::MAX / 2),
        max_replicas: number(reader.number("upstream.max_replicas", 1..=1_000)),
        // A call leaves when its connection stands.
        call_lag: connect_timeout + SEND_LAG,
    }
}

fn cache(reader: &mut Reader, upstream_timeout: Duration, request_timeout: Duration) -> CacheConfig {
    let policy = Policy {
        fresh: reader.secs("cache.fresh_secs", 1),
        stale_while_revalidate: reader.secs("cache.stale_while_revalidate_secs", 0),
        stale_if_error: reader.secs("cache.stale_if_error_secs", 0),
        not_found: reader.secs("cache.not_found_secs", 0),
        jitter_percent: u32::try_from(reader.number("cache.jitter_percent", 0..=90)).unwrap_or_default(),
    };
    CacheConfig {
        policy,
        memory_max_bytes: reader.number("cache.memory_max_bytes", 0..=1 << 40),
        max_waiters: count(reader.number("cache.max_waiters", 1..=1_000_000)),
        // Before the request's own limit, so that there is time to fall back on a stale copy.
        wait_timeout: request_timeout * 9 / 10,
        // The client's own limit comes first, and is told apart from a client that hangs.
        load_timeout: upstream_timeout + LOAD_GRACE,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn keyring(reader: &mut Reader, required: bool) -> Option<Arc<Keyring>> {
    let Some(secret) = reader.secret("encryption.keys") else {
        if reader.is_faulty_secret("encryption.keys") {
            return None;
        }
        if required {
            let what = "no key to seal records with: give encryption.keys_file (`stratus init` makes one)";
            reader.fault("encryption.keys", what);
            return None;
        }
        // Records in this process's memory end with it, and so may their key.
        let ring = Keyring::ephemeral().map_err(|error| reader.fault("encryption.keys", error.to_string()));
        return ring.ok().map(Arc::new);
    };
    let key = if matches!(secret, Secret::File { .. }) { "encryption.keys_file" } else { "encryption.keys" };
    let text = secret.read().map_err(|error| reader.fault(key, error.to_string())).ok()?;
    match Keyring::parse(text.expose_secret()) {
        Ok(ring) => {
            let ring = Arc::new(ring);
            if let Secret::File { .. } = secret {
                watch_keys(reader, key, secret, &text, &ring);
            }
            Some(ring)
        }
        Err(faults) => {
            for fault in faults {
                reader.fault(key, fault.to_string());
            }
            None
        }
    }
}

/// Reads the key file again when it changes. The ring is shared by all who use it, and takes the new keys in itself.
fn watch_keys(reader: &mut Reader, key: &str, file: Secret, text: &SecretString, ring: &Arc<Keyring>) {
    let of = |text: &SecretString| fingerprint([text.expose_secret().as_bytes()]);
    let read = move || {
        let text = file.read().map_err(|error| error.to_string())?;
        match Keyring::parse(text.expose_secret()) {
            Ok(value) => Ok(Reading { value, fingerprint: of(&text) }),
            Err(faults) => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    };
    let ring = Arc::clone(ring);
    reader.watch(key, of(text), read, move |new: Keyring| ring.replace(&new).map_err(|fault| fault.to_string()));
}
