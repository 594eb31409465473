//! A private `redis-server` for the demo and for tests: TLS only, on loopback, gone when this process is.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// The settings that are shipped, so that the demo runs what a deployment runs.
const CONFIGURATION: &str = include_str!("../../redis.conf");
/// The oldest major version that knows every directive of [`CONFIGURATION`].
const OLDEST_VERSION: u32 = 7;
/// How long a start may take. It takes about 25 ms on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Somebody else may take a free port between the search and the start.
const PORT_ATTEMPTS: u32 = 5;
/// What Redis logs once it serves clients (7.0; since 7.2 followed by the kind of connection).
const READY: &str = "Ready to accept connections";
/// What Redis logs when its port is taken.
const PORT_TAKEN: &str = "Address already in use";

/// Why there is no Redis server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `redis-server` in PATH.
    #[error(
        "redis-server is not installed: `apt-get install redis-server` (Debian, Ubuntu) or `brew install redis` (macOS)"
    )]
    NotInstalled,
    /// The installed server does not know the settings.
    #[error("redis-server {OLDEST_VERSION} or newer is needed, but `redis-server --version` says: {found}")]
    TooOld {
        /// What the program says of itself.
        found: String,
    },
    /// Something else listens on the port.
    #[error("port {port} is taken: stop what listens there or choose another port")]
    PortTaken {
        /// The TCP port.
        port: u16,
    },
    /// The server ended before it served anyone, or did not become ready within ten seconds.
    #[error("redis-server did not start: {last_line} (its log is {})", log.display())]
    NotStarted {
        /// The last line of its log, or nothing.
        last_line: String,
        /// Its whole log.
        log: PathBuf,
    },
    /// A file, a port or a process could not be had.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// The refusal of the operating system.
        source: io::Error,
    },
}

/// A running `redis-server`, which ends when this value is dropped.
///
/// On Linux it also ends when this process is killed, provided that util-linux's `setpriv` is installed.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    /// Keeps the thread that started the child; see [`spawn`].
    _parent: mpsc::Sender<()>,
}

impl RedisServer {
    /// Starts a server in `dir`, whose subfolder `secrets` was made by [`init`](crate::provision::init), and returns
    /// once it serves clients.
    ///
    /// Writes `redis.conf` and `redis.log` into `dir`, over what is there. `port` is a TCP port on loopback; 0 takes a
    /// free one. The server gets an empty environment, so that no secret of this process is in it.
    ///
    /// # Errors
    ///
    /// See [`Error`]. No process is left behind then.
    pub async fn start(dir: &Path, port: u16) -> Result<Self, Error> {
        let launcher = Launcher::find().await?;
        let configuration = dir.join("redis.conf");
        std::fs::write(&configuration, CONFIGURATION).map_err(failed(format!("write {}", configuration.display())))?;
        let mut attempts = if port == 0 { PORT_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            let candidate = if port == 0 { free_port()? } else { port };
            match Self::start_on(&launcher, dir, candidate).await {
                Err(Error::PortTaken { .. }) if attempts > 0 => {}
                outcome => return outcome,
            }
        }
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address for a client, without user and password: `rediss://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }

    /// Ends the server and returns when it has ended. It keeps nothing on disk, so there is nothing to wait for and
    /// it is killed. Stopping twice does no harm.
    pub async fn stop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        while matches!(self.child.try_wait(), Ok(None)) {
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn start_on(launcher: &Launcher, dir: &Path, port: u16) -> Result<Self, Error> {
        let log = dir.join("redis.log");
        let command = launcher.server(dir, port, &log).map_err(failed(format!("write {}", log.display())))?;
        let (child, parent) = spawn(command).map_err(failed("start redis-server".to_owned()))?;
        // From here on every way out ends the child, because this value is dropped.
        let mut server = Self { child, port, _parent: parent };
        server.wait_until_ready(log).await?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self, log: PathBuf) -> Result<(), Error> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let ended = !matches!(self.child.try_wait(), Ok(None));
            let text = std::fs::read(&log).map_err(failed(format!("read {}", log.display())))?;
            let text = String::from_utf8_lossy(&text);
            if ended && text.contains(PORT_TAKEN) {
                return Err(Error::PortTaken { port: self.port });
            }
            // The log has to say so too, because the one who answers on the port could be somebody else.
            if text.contains(READY) && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
                return Ok(());
            }
            if ended || Instant::now() >= deadline {
                return Err(Error::NotStarted { last_line: last_line(&text), log });
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // A killed process ends at once; waiting takes it off the process table.
        let _ = self.child.wait();
    }
}

/// How `redis-server` is started on this machine.
struct Launcher {
    redis_server: PathBuf,
    setpriv: Option<PathBuf>,
}

impl Launcher {
    async fn find() -> Result<Self, Error> {
        let redis_server = find_in_path("redis-server").ok_or(Error::NotInstalled)?;
        let mut launcher = Self { redis_server, setpriv: find_in_path("setpriv") };
        let mut version = launcher.version().await?;
        if version.is_none() && launcher.setpriv.take().is_some() {
            // Not every setpriv knows --pdeathsig: BusyBox's does not.
            version = launcher.version().await?;
        }
        let version = version.unwrap_or_default();
        match major_version(&version) {
            Some(major) if major >= OLDEST_VERSION => Ok(launcher),
            _ => Err(Error::TooOld { found: version.trim().to_owned() }),
        }
    }

    /// What `redis-server --version` prints, or nothing if it could not be run this way.
    async fn version(&self) -> Result<Option<String>, Error> {
        let mut command = self.command();
        command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null());
        let output = tokio::process::Command::from(command)
            .output()
            .await
            .map_err(failed(format!("run {}", self.redis_server.display())))?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    fn command(&self) -> Command {
        let mut command = match &self.setpriv {
            // This asks the kernel to kill the server when its parent ends (prctl(2), PR_SET_PDEATHSIG), even by SIGKILL.
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.redis_server);
                command
            }
            None => Command::new(&self.redis_server),
        };
        command.env_clear();
        command
    }

    fn server(&self, dir: &Path, port: u16, log: &Path) -> io::Result<Command> {
        let log = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(log)?;
        let mut command = self.command();
        command
            .args(["redis.conf", "--tls-port", &port.to_string()])
            .current_dir(dir)
            // A process group of its own: Ctrl-C is for Stratus, which needs Redis until the last request is answered.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }
}

/// Starts a child from a thread of its own, which lives as long as the sender that is returned.
///
/// For the kernel the parent of a child is the thread that started it, not the process (prctl(2), PR_SET_PDEATHSIG).
/// Started from a thread of the caller, the server would be killed when that one ends, and idle threads of a
/// runtime's pool do.
fn spawn(mut command: Command) -> io::Result<(Child, mpsc::Sender<()>)> {
    let (started, outcome) = mpsc::channel();
    let (alive, until_dropped) = mpsc::channel();
    std::thread::Builder::new().name("redis-parent".to_owned()).spawn(move || {
        let _ = started.send(command.spawn());
        let _ = until_dropped.recv();
    })?;
    let child = outcome.recv().map_err(io::Error::other)??;
    Ok((child, alive))
}

/// The first executable file of that name in PATH. The path is absolute because the child starts in another folder,
/// and not resolved further because Redis goes by the name it is called by.
fn find_in_path(name: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(executable)?;
    std::path::absolute(found).ok()
}

/// The number before the first dot of `v=7.0.15` in what `redis-server --version` prints.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    version.split('.').next()?.parse().ok()
}

fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(failed("find a free port on 127.0.0.1".to_owned()))
}

/// The last line of a log. Of a fault in the configuration also the directive, which stands on the line before.
fn last_line(log: &str) -> String {
    let mut lines = log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.next().unwrap_or_default();
    match lines.next().and_then(|line| line.strip_prefix(">>> ")) {
        Some(directive) => format!("{directive}: {last}"),
        None => last.to_owned(),
    }
}

fn failed(action: String) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision;

    async fn server() -> (tempfile::TempDir, RedisServer) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        provision::init(&dir.path().join("secrets"), None, &[]).unwrap();
        let server = RedisServer::start(dir.path(), 0).await.unwrap();
        (dir, server)
    }

    #[tokio::test]
    async fn it_ends_when_stopped_and_when_dropped() {
        let (_dir, mut server) = server().await;
        let alive = |port| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        assert!(alive(server.port()));
        server.stop().await;
        assert!(!alive(server.port()));
        server.stop().await;

        let (_dir, server) = self::server().await;
        let port = server.port();
        drop(server);
        assert!(!alive(port));
    }

    #[test]
    fn it_outlives_the_thread_that_started_it() {
        let start = || tokio::runtime::Runtime::new().unwrap().block_on(server());
        let (_dir, mut server) = std::thread::spawn(start).join().unwrap();
        // A signal for the end of the thread would have come long before another server is up.
        let (_other_dir, _other) = std::thread::spawn(start).join().unwrap();
        assert!(matches!(server.child.try_wait(), Ok(None)));
    }

    #[tokio::test]
    async fn faults_are_told() {
        let (dir, running) = server().await;
        let error = RedisServer::start(dir.path(), running.port()).await.unwrap_err();
        assert!(matches!(error, Error::PortTaken { port } if port == running.port()), "{error}");

        let empty = tempfile::tempdir().unwrap();
        let message = RedisServer::start(empty.path(), 0).await.unwrap_err().to_string();
        assert!(message.contains("secrets") && message.contains("redis.log"), "{message}");
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(major_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"), Some(7));
        assert_eq!(major_version("Redis server v=10.2.0 sha=0"), Some(10));
        assert_eq!(major_version("something else"), None);
    }
}
