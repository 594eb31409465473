//! The real server on port 0, a real redis-server with TLS and an ACL user, a scripted upstream, a proxy that can hurt.

mod answer;
pub(crate) mod callers;
pub(crate) mod canaries;
pub(crate) mod cluster;
pub(crate) mod inspector;
pub(crate) mod load;
mod minute;
pub(crate) mod node;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod sentinel;
pub(crate) mod sockets;
pub(crate) mod standstill;
pub(crate) mod tls;
pub(crate) mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use stratus::app::{App, Listeners};
use stratus::cache::{Cache, StoreState};
use stratus::clock::Clock;
use stratus::config::{Config, Sources};
use stratus::demo::redis_server::RedisServer;
use stratus::provision;
use stratus::reload::Reloading;
use stratus::store::{Notebook, Store};
use stratus::telemetry::Metrics;
use stratus::upstream::{Keys, OpenWeatherMap, Upstream};
use stratus::weather::Caller;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use answer::{Answer, answer};
pub(crate) use canaries::Canaries;
pub(crate) use inspector::Inspector;
pub(crate) use program::Program;
pub(crate) use proxy::TcpProxy;
pub(crate) use upstream::{Gate, Reply, ScriptedUpstream};

/// The key that the service asks the upstream with: it must show up nowhere but in upstream requests.
pub(crate) const API_KEY: &str = "canary0key0of0the0upstream0a1b2c3";
/// Who asks, where no connection tells.
pub(crate) const CALLER: Caller = Caller(0x7f00_0001);
/// When the tests' clock begins, Unix milliseconds.
pub(crate) const START_MS: u64 = 1_790_000_000_000;
/// Nothing that is waited for takes this long, unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A body such as OpenWeatherMap sends, about `name`.
pub(crate) fn body(name: &str) -> String {
    format!(
        r#"{{"coord":{{"lon":-0.1257,"lat":51.5085}},"weather":[{{"id":800,"main":"Clear","description":"clear sky","icon":"01d"}}],"base":"stations","main":{{"temp":12,"feels_like":10.5,"pressure":1012,"humidity":62}},"visibility":10000,"wind":{{"speed":3.6,"deg":131}},"clouds":{{"all":0}},"dt":1790000000,"sys":{{"country":"GB"}},"timezone":0,"id":2643743,"name":"{name}","cod":200}}"#
    )
}

/// A clock that stands still until it is turned.
#[derive(Clone)]
pub(crate) struct ManualClock {
    now_ms: Arc<AtomicU64>,
    wrong_by_ms: i64,
}

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self { now_ms: Arc::new(AtomicU64::new(START_MS)), wrong_by_ms: 0 }
    }

    /// The same, wrong by so much, however it is turned.
    pub(crate) fn wrong_by(&self, wrong_by_ms: i64) -> Self {
        Self { wrong_by_ms, ..self.clone() }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(u64::try_from(by.as_millis()).expect("a short time"), Ordering::SeqCst);
    }

    pub(crate) fn set_back(&self, by: Duration) {
        self.now_ms.fetch_sub(u64::try_from(by.as_millis()).expect("a short time"), Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let Self { now_ms, wrong_by_ms } = self.clone();
        Clock::from_fn(move || now_ms.load(Ordering::SeqCst).saturating_add_signed(wrong_by_ms))
    }
}

/// A redis-server of its own, on the shipped redis.conf and freshly made secrets.
pub(crate) struct Redis {
    pub(crate) dir: TempDir,
    pub(crate) server: RedisServer,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        install_tls();
        let dir = tempfile::tempdir().expect("a temporary folder");
        provision::init(&dir.path().join("secrets"), None, &[]).expect("secrets");
        let server = RedisServer::start(dir.path(), 0).await.expect("a redis-server");
        Self { dir, server }
    }

    /// Stops the server and starts another on the same port and files.
    pub(crate) async fn restart(&mut self) {
        let port = self.server.port();
        self.server.stop().await;
        self.server = RedisServer::start(self.dir.path(), port).await.expect("a redis-server");
    }

    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.dir.path().join("secrets").join(name)
    }

    /// Runs redis-cli as the user `stratus` and gives what it prints, errors included.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> String {
        let password = std::fs::read_to_string(self.secret("redis-password")).expect("the password");
        self.cli_as("stratus", password.trim(), arguments).await
    }

    /// Runs redis-cli with another login.
    pub(crate) async fn cli_as(&self, user: &str, password: &str, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new("redis-cli")
            .args(["-p", &self.server.port().to_string(), "--tls", "--no-auth-warning", "--user", user])
            .args(["--cacert", "ca.crt", "--cert", "stratus.crt", "--key", "stratus.key"])
            .args(arguments)
            .env("REDISCLI_AUTH", password)
            .current_dir(self.dir.path().join("secrets"))
            .output()
            .await
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Adds a user who may do everything, for looking inside; true of no deployment.
    pub(crate) async fn restart_with_inspector(&mut self) {
        let file = self.secret("redis-users.acl");
        let users = std::fs::read_to_string(&file).expect("the users");
        std::fs::write(&file, format!("{users}user inspector reset on >inspector ~* &* +@all\n")).expect("the users");
        self.restart().await;
    }

    /// What the all-seeing user sees.
    pub(crate) async fn inspect(&self, arguments: &[&str]) -> String {
        self.cli_as("inspector", "inspector", arguments).await
    }

    /// The settings of a service that uses this server, reached through `port`.
    pub(crate) fn settings(&self, port: u16) -> Vec<(String, String)> {
        settings(&self.secret(""), port)
    }
}

/// The settings of a service with these secrets, whose Redis is on `port`.
fn settings(secrets: &Path, port: u16) -> Vec<(String, String)> {
    let file = |name: &str| secrets.join(name).display().to_string();
    [
        ("store.backend", "redis".to_owned()),
        ("redis.url", format!("rediss://127.0.0.1:{port}")),
        ("redis.password_file", file("redis-password")),
        ("redis.ca_file", file("ca.crt")),
        ("redis.cert_file", file("stratus.crt")),
        ("redis.key_file", file("stratus.key")),
        ("encryption.keys_file", file("encryption-keys")),
        ("admin.token_file", file("admin-token")),
        // A busy machine is not an absent Redis; tests of timeouts set their own.
        ("redis.command_timeout_ms", "5000".to_owned()),
        ("redis.connect_timeout_ms", "5000".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// What a service is started with.
pub(crate) struct Setup {
    settings: Vec<(String, String)>,
    clock: ManualClock,
}

impl Setup {
    /// On the in-memory store.
    pub(crate) fn memory(upstream: &ScriptedUpstream) -> Self {
        install_tls();
        let settings = [
            ("server.listen", "127.0.0.1:0"),
            ("admin.listen", "127.0.0.1:0"),
            ("upstream.base_url", &upstream.url()),
            ("upstream.api_key", API_KEY),
            // A busy machine is not an absent upstream; tests of timeouts set their own.
            ("upstream.connect_timeout_ms", "10000"),
            ("upstream.timeout_ms", "10000"),
            ("server.request_timeout_ms", "20000"),
            ("store.backend", "memory"),
            // Tests of the budget set their own.
            ("upstream.budget_per_minute", "1000000"),
            ("upstream.budget_per_month", "0"),
            // So do tests of the limits of callers.
            ("access.anonymous_per_minute", "0"),
            // So that ages and seconds left can be told beforehand; tests of the jitter set their own.
            ("cache.jitter_percent", "0"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self { settings, clock: ManualClock::new() }
    }

    /// On a Redis.
    pub(crate) fn redis(upstream: &ScriptedUpstream, redis: &Redis) -> Self {
        Self::redis_through(upstream, redis, redis.server.port())
    }

    /// On a Redis, reached through a proxy's port.
    pub(crate) fn redis_through(upstream: &ScriptedUpstream, redis: &Redis, port: u16) -> Self {
        Self::with_secrets(upstream, &redis.secret(""), port)
    }

    /// On whatever has these secrets and is on this port.
    pub(crate) fn with_secrets(upstream: &ScriptedUpstream, secrets: &Path, port: u16) -> Self {
        let mut setup = Self::memory(upstream);
        setup.settings.extend(settings(secrets, port));
        // Tests of Redis look at Redis; those of both levels turn memory on.
        setup.set("cache.memory_max_bytes", 0)
    }

    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = clock.clone();
        self
    }

    /// Only what it says, for another use than a service.
    pub(crate) fn into_settings(self) -> Vec<(String, String)> {
        self.settings
    }

    /// Starts the built program, with the system's clock, in place of a service in this process.
    pub(crate) fn run(self) -> Program {
        Program::start(&self.settings)
    }

    /// The same, but nobody reads what it prints.
    pub(crate) fn unread(self) -> tokio::process::Child {
        program::spawn(&self.settings)
    }

    /// The same, and waits until it listens.
    pub(crate) async fn program(self) -> Program {
        let program = self.run();
        program.logs("listening").await;
        program
    }

    /// The cache alone, once its store is up.
    pub(crate) async fn cache(self) -> Cache {
        let sources = Sources { overrides: self.settings, ..Sources::default() };
        let config = Config::load(&sources).expect("a configuration without faults");
        let clock = self.clock.clock();
        let store = Store::start(config.store, clock.clone(), Metrics::new());
        let keyring = config.keyring;
        let client = Arc::new(OpenWeatherMap::new(config.upstream.client, clock.clone()).expect("a client"));
        let keys = Keys::new(None, config.upstream.api_key, clock.clone());
        let notes = Notebook { store, keyring, clock };
        let upstream = Upstream::new(client, keys, config.upstream.budget, notes.clone(), Metrics::new());
        let cache = Cache::start(config.cache, notes, Arc::new(upstream), Metrics::new());
        let up = cache.store_state().wait_for(|state| *state == StoreState::Up).await.is_ok();
        assert!(up, "the store comes up");
        cache
    }

    /// The store and the keys alone, once the store is up.
    pub(crate) async fn notebook(self) -> Notebook {
        let sources = Sources { overrides: self.settings, ..Sources::default() };
        let config = Config::load(&sources).expect("a configuration without faults");
        let clock = self.clock.clock();
        let store = Store::start(config.store, clock.clone(), Metrics::new());
        let up = store.state().wait_for(|state| *state == StoreState::Up).await.is_ok();
        assert!(up, "the store comes up");
        Notebook { store, keyring: config.keyring, clock }
    }

    pub(crate) async fn start(self) -> Service {
        let sources = Sources { overrides: self.settings, ..Sources::default() };
        let config = Config::load(&sources).expect("a configuration without faults");
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listeners = Listeners::open(any, any).await.expect("two free ports");
        let app = App::start(config, listeners, self.clock.clock()).await.expect("an app");
        Service {
            public: app.public_address().expect("an address"),
            admin: app.admin_address().expect("an address"),
            store: app.store_state(),
            stopping: app.stopping(),
            hurrying: app.hurrying(),
            reloading: app.reloading(),
            clock: self.clock,
            // Answers are looked at as they come, not decoded.
            client: Client::builder().no_proxy().no_gzip().build().expect("a client"),
            running: Some(tokio::spawn(app.run())),
        }
    }
}

/// A running service.
pub(crate) struct Service {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) clock: ManualClock,
    store: watch::Receiver<StoreState>,
    pub(crate) stopping: CancellationToken,
    pub(crate) hurrying: CancellationToken,
    pub(crate) reloading: Reloading,
    client: Client,
    running: Option<JoinHandle<bool>>,
}

impl Service {
    /// A request to the public listener; the path stays as it is written.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.public))
    }

    /// Asks until there is a copy: what is loaded in the moment after a purge may be dropped once more.
    pub(crate) async fn keeps(&self, path: &str) {
        let kept = async { while self.get(path).await.x_cache() != "HIT" {} };
        tokio::time::timeout(PATIENCE, kept).await.expect("a copy that is kept");
    }

    pub(crate) fn admin_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.admin))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn admin_get(&self, path: &str) -> Answer {
        answer(self.admin_request(Method::GET, path)).await
    }

    /// The value of one metric line, 0 when there is none.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let metrics = self.admin_get("/metrics").await;
        let value = metrics.text().lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    /// Waits until the store is up.
    pub(crate) async fn store_up(&mut self) {
        self.store_becomes(|state| *state == StoreState::Up).await;
    }

    /// Waits until the store is down and gives the reason.
    pub(crate) async fn store_down(&mut self) -> String {
        match self.store_becomes(|state| matches!(state, StoreState::Down { .. })).await {
            StoreState::Down { reason, .. } => reason,
            state => panic!("{state:?}"),
        }
    }

    /// Waits until the store is down for a reason that contains `words`.
    pub(crate) async fn store_down_because(&mut self, words: &str) {
        self.store_becomes(|state| matches!(state, StoreState::Down { reason, .. } if reason.contains(words))).await;
    }

    async fn store_becomes(&mut self, wanted: impl FnMut(&StoreState) -> bool) -> StoreState {
        let now = self.store.clone();
        match tokio::time::timeout(PATIENCE, self.store.wait_for(wanted)).await {
            Ok(state) => state.expect("the service runs").clone(),
            Err(_) => panic!("the store did not change its state in time: {:?}", *now.borrow()),
        }
    }

    /// Stops in order; whether every request in flight was answered.
    pub(crate) async fn stop(mut self) -> bool {
        self.stopping.cancel();
        self.running.take().expect("it runs").await.expect("no panic")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.hurrying.cancel();
        self.stopping.cancel();
    }
}

/// Sends bytes as they are to the public listener and reads until it closes: for requests that no client library sends.
pub(crate) async fn raw(service: &Service, request: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(service.public).await.expect("a connection");
    stream.write_all(request).await.expect("the request is taken");
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("an answer in time")
        .expect("an answer");
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn install_tls() {
    // Fails in all tests but the first, where it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
