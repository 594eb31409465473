//! Somebody who holds Redis: sees and changes everything in it, byte for byte (which redis-cli cannot).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisConnectionInfo, RedisResult, ToRedisArgs};
use stratus::crypto::{Keyring, RecordName};
use tokio::net::TcpStream;

use super::{PATIENCE, Redis, tls};

/// More slots than these the budget of a minute is never cut into.
const BUDGET_SLOTS: usize = 600;

/// A new connection of a user.
pub(crate) async fn log_in(redis: &Redis, port: u16, user: &str, password: &str) -> MultiplexedConnection {
    connect(&redis.secret(""), port, user, password).await.expect("a login")
}

/// The same, to a server that may be away.
pub(crate) async fn connect(
    secrets: &Path,
    port: u16,
    user: &str,
    password: &str,
) -> RedisResult<MultiplexedConnection> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let stream = tls::client(secrets).connect(tls::loopback(), stream).await?;
    // Not every user may run the command by which the library tells its name.
    let login = RedisConnectionInfo::default().set_username(user).set_password(password).set_skip_set_lib_name();
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let (connection, driver) = MultiplexedConnection::new_with_config(&login, stream, patient).await?;
    // It ends with the connection.
    tokio::spawn(driver);
    Ok(connection)
}

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
        Self::through(redis, redis.server.port()).await
    }

    /// Another connection of that user, by way of a proxy's port.
    pub(crate) async fn through(redis: &Redis, port: u16) -> Self {
        let connection = log_in(redis, port, "inspector", "inspector").await;
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
        let mut others = self.calls();
        others.extend(self.names_of(["budget epoch", "upstream hold"].map(str::to_owned)));
        let ids: HashSet<_> =
            self.rings.iter().flat_map(|ring| Keyring::parse(ring).expect("good keys").ids()).collect();
        others.extend(self.names_of(ids.iter().map(|id| format!("key {id}"))));
        let mut names = self.names().await;
        names.retain(|name| !others.contains(name));
        names
    }

    /// Removes what there is in the first minute of a Redis, and all calls that were counted.
    pub(crate) async fn end_first_minute(&mut self) {
        for name in self.calls() {
            self.run::<()>("DEL", &name).await;
        }
    }

    /// The names of calls, and of the note that only some may be made.
    fn calls(&mut self) -> HashSet<String> {
        let slots = (0..BUDGET_SLOTS).map(|slot| format!("budget slot {slot}"));
        self.names_of(slots.chain(["budget quiet".to_owned()]))
    }

    /// The names of what is about these, under every key that there has been.
    fn names_of(&mut self, subjects: impl IntoIterator<Item = String>) -> HashSet<String> {
        self.rings.insert(std::fs::read_to_string(&self.keys).expect("the keys"));
        let rings: Vec<_> = self.rings.iter().map(|ring| Keyring::parse(ring).expect("good keys")).collect();
        let names = |subject: String| rings.iter().flat_map(|ring| names_of(ring, &subject)).collect::<Vec<_>>();
        subjects.into_iter().flat_map(names).map(|name| name.as_str().to_owned()).collect()
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

/// The names of what is about this: what the budget keeps is together.
pub(crate) fn names_of(ring: &Keyring, subject: &str) -> Vec<RecordName> {
    if subject.starts_with("budget ") { ring.names_together("budget", subject) } else { ring.names(subject) }
}
