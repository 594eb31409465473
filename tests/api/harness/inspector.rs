//! Somebody who holds Redis: sees and changes everything in it, byte for byte (which redis-cli cannot).

use std::collections::HashSet;
use std::path::PathBuf;

use redis::aio::MultiplexedConnection;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, FromRedisValue, IntoConnectionInfo, TlsCertificates, ToRedisArgs,
};

use stratus::crypto::Keyring;

use super::Redis;

/// More slots than these the budget of a minute is never cut into.
const BUDGET_SLOTS: usize = 120;

/// A connection of a user who may do everything; true of no deployment.
pub(crate) struct Inspector {
    connection: MultiplexedConnection,
    keys: PathBuf,
    /// Every key file that there has been.
    rings: HashSet<String>,
}

impl Inspector {
    /// Restarts the server with such a user, so everything in it is gone.
    pub(crate) async fn enter(redis: &mut Redis) -> Self {
        redis.restart_with_inspector().await;
        let read = |name| std::fs::read(redis.secret(name)).expect("a file");
        let client_tls = ClientTlsConfig { client_cert: read("stratus.crt"), client_key: read("stratus.key") };
        let certificates = TlsCertificates { client_tls: Some(client_tls), root_cert: Some(read("ca.crt")) };
        let (host, port) = ("127.0.0.1".to_owned(), redis.server.port());
        let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
        let login = redis::RedisConnectionInfo::default().set_username("inspector").set_password("inspector");
        let info = address.into_connection_info().expect("an address").set_redis_settings(login);
        let client = Client::build_with_tls(info, certificates).expect("a client");
        let connection = client.get_multiplexed_async_connection().await.expect("a connection");
        Self { connection, keys: redis.secret("encryption-keys"), rings: HashSet::new() }
    }

    /// Runs a command.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, name: &str, arguments: impl ToRedisArgs) -> T {
        redis::cmd(name)
            .arg(arguments)
            .query_async(&mut self.connection)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The name of every key there is.
    pub(crate) async fn names(&mut self) -> Vec<String> {
        let (mut cursor, mut names) = ("0".to_owned(), Vec::new());
        loop {
            let (next, some): (String, Vec<String>) = self.run("SCAN", &[&cursor]).await;
            names.extend(some);
            if next == "0" {
                names.sort();
                names.dedup();
                return names;
            }
            cursor = next;
        }
    }

    /// The name of every record and mark: not of what replicas count and tell each other about the upstream.
    pub(crate) async fn records(&mut self) -> Vec<String> {
        self.rings.insert(std::fs::read_to_string(&self.keys).expect("the keys"));
        let rings: Vec<_> = self.rings.iter().map(|ring| Keyring::parse(ring).expect("good keys")).collect();
        let notes = ["budget epoch", "budget quiet", "upstream hold"].map(str::to_owned);
        let slots = (0..BUDGET_SLOTS).map(|slot| format!("budget slot {slot}"));
        let names = |subject: String| rings.iter().flat_map(|ring| ring.names(&subject)).collect::<Vec<_>>();
        let others: HashSet<_> = notes.into_iter().chain(slots).flat_map(names).collect();
        let mut names = self.names().await;
        names.retain(|name| !others.iter().any(|other| other.as_str() == name));
        names
    }

    /// The one name of a record that is not among these.
    pub(crate) async fn new_name(&mut self, known: &[String]) -> String {
        let mut names = self.records().await;
        names.retain(|name| !known.contains(name));
        assert_eq!(names.len(), 1, "{names:?}");
        names.remove(0)
    }

    /// The value under a name.
    pub(crate) async fn value(&mut self, name: &str) -> Vec<u8> {
        self.run::<Option<Vec<u8>>>("GET", name).await.unwrap_or_else(|| panic!("there is nothing under {name}"))
    }

    /// Puts a value under a name, in place of what is there.
    pub(crate) async fn put(&mut self, name: &str, value: &[u8]) {
        self.run::<()>("SET", (name, value)).await;
    }
}
