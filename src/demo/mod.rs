//! `stratus demo`: a simulated OpenWeatherMap, and with `--redis` a private redis-server, so that the whole service runs
//! with nothing to set up. Everything else is the real program.

pub mod redis_server;
pub mod simulated;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::config::Sources;
use crate::http::{self, Limits};
use crate::provision;
use redis_server::RedisServer;

/// As of a paid plan, so that a visitor can ask for what they like.
const BUDGET_PER_MINUTE: u32 = 3_000;
/// Connections to the simulated upstream, which is asked by one client.
const CONNECTIONS: usize = 64;

/// Why the demo cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No socket or no temporary folder.
    #[error("the demo cannot start: {0}")]
    Io(#[from] io::Error),
    /// No certificates.
    #[error("the demo's certificates cannot be made: {0}")]
    Provision(#[from] provision::Error),
    /// No redis-server.
    #[error(transparent)]
    Redis(#[from] redis_server::Error),
}

/// A simulated OpenWeatherMap on a port of loopback, until this is dropped.
#[derive(Debug)]
pub struct Simulation {
    address: SocketAddr,
    _running: DropGuard,
}

impl Simulation {
    /// Starts it; needs a Tokio runtime.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stopping = CancellationToken::new();
        let limits = Limits { max_connections: CONNECTIONS, ..Limits::default() };
        tokio::spawn(http::serve(listener, simulated::router(), limits, stopping.clone()));
        Ok(Self { address, _running: stopping.drop_guard() })
    }

    /// What `upstream.base_url` is to be.
    pub fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).expect("an address is a host and a port")
    }
}

/// What the demo adds to the service.
#[derive(Debug)]
pub struct Demo {
    redis: Option<(RedisServer, TempDir)>,
}

impl Demo {
    /// Starts a private redis-server, if asked to.
    ///
    /// # Errors
    /// There is no redis-server to start, or no room for its files.
    pub async fn start(with_redis: bool) -> Result<Self, DemoError> {
        let redis = if with_redis { Some(private_redis().await?) } else { None };
        Ok(Self { redis })
    }

    /// The configuration of a service on top of it. The environment does not count: a demo is the same everywhere.
    pub fn sources(&self) -> Sources {
        let mut settings = vec![
            // The service simulates OpenWeatherMap itself then, and says so wherever it is looked at.
            ("upstream.simulate_without_key", "true".to_owned()),
            // Nobody is blocked by a simulation, and nobody else has this account.
            ("upstream.budget_per_minute", BUDGET_PER_MINUTE.to_string()),
            ("upstream.max_replicas", "1".to_owned()),
            // So that clients whose address is fixed can be tried, too.
            ("server.forward_proxy", "true".to_owned()),
            ("log.format", "pretty".to_owned()),
        ];
        match &self.redis {
            None => settings.push(("store.backend", "memory".to_owned())),
            Some((server, dir)) => {
                let file = |name: &str| dir.path().join("secrets").join(name).display().to_string();
                settings.extend([
                    // So that Redis is seen at work.
                    ("cache.memory_max_bytes", "0".to_owned()),
                    ("redis.url", server.url()),
                    ("redis.password_file", file("redis-password")),
                    ("redis.ca_file", file("ca.crt")),
                    ("redis.cert_file", file("stratus.crt")),
                    ("redis.key_file", file("stratus.key")),
                    // Without the token, which nobody would find: the dashboard is open, and what changes state is off.
                    ("encryption.keys_file", file("encryption-keys")),
                ]);
            }
        }
        let overrides = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Sources { files: Vec::new(), environment: HashMap::new(), overrides }
    }

    /// Where the records are, for people.
    pub fn store(&self) -> String {
        match &self.redis {
            None => "this process's memory".to_owned(),
            Some((server, _)) => {
                format!(
                    "a private redis-server on port {}: TLS, client certificate, ACL user; every hit is read from there",
                    server.port()
                )
            }
        }
    }

    /// Stops what was started and removes its files.
    pub async fn stop(self) {
        if let Some((mut server, _dir)) = self.redis {
            server.stop().await;
        }
    }
}

async fn private_redis() -> Result<(RedisServer, TempDir), DemoError> {
    let dir = tempfile::Builder::new().prefix("stratus-demo-").tempdir()?;
    provision::init(&dir.path().join("secrets"), None, &[])?;
    let server = RedisServer::start(dir.path(), 0).await?;
    Ok((server, dir))
}
