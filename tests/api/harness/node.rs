//! One of several Redis servers or Sentinels: a process with a folder of its own, as an operator would set it up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult};

use super::inspector;
use stratus::provision::{self, Topology};

/// A user who may do everything, and its password; true of no deployment.
pub(crate) const INSPECTOR: &str = "inspector";
/// Lines for a test that has no other traffic: a new replica need not wait for another one, nor long for something to copy.
/// And one for a busy machine, where a replica that is silent for some seconds is not gone.
pub(crate) const QUICK: &str = "repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\nmin-replicas-max-lag 8\n";
/// Nothing that is waited for takes this long, unless it is broken: a primary of the past takes ten seconds to follow.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long until something is looked at again that changes by itself.
const AGAIN: Duration = Duration::from_millis(10);
/// A thousand times more than a command takes on loopback; a server that hangs takes for ever.
const ANSWER: Duration = Duration::from_secs(5);
/// Below the ports that the system gives to others, so that nobody takes one while its server is away.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A process that ends with this value.
pub(crate) struct Node {
    folder: PathBuf,
    secrets: PathBuf,
    arguments: &'static [&'static str],
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Node {
    /// A folder such as an operator makes: what `init --redis-dir` copies, the all-seeing user, configuration files.
    pub(crate) fn new(site: &Path, name: &str, topology: Topology, files: &[(&str, &str)], port: u16) -> Self {
        let (secrets, folder) = (site.join("secrets"), site.join(name));
        provision::init_for(topology, &secrets, Some(&folder.join("secrets")), &[]).expect("secrets");
        for users in ["redis-users.acl", "sentinel-users.acl"].map(|name| folder.join("secrets").join(name)) {
            if let Ok(there) = fs::read_to_string(&users) {
                let all = format!("{there}user {INSPECTOR} reset on >{INSPECTOR} ~* &* +@all\n");
                fs::write(users, all).expect("the users");
            }
        }
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("a configuration file");
        }
        let arguments: &[_] = match files[0].0 {
            "sentinel.conf" => &["sentinel.conf", "--sentinel"],
            "cluster.conf" => &["cluster.conf"],
            _ => &["replicated.conf"],
        };
        Self { folder, secrets, arguments, port, child: None }
    }

    /// Starts the process, in place of one that has ended.
    pub(crate) fn start(&mut self) {
        self.kill();
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        let mut command = Command::new(if cfg!(target_os = "linux") { "setpriv" } else { "sh" });
        if cfg!(target_os = "linux") {
            // It ends also if this process is killed.
            command.args(["--pdeathsig", "KILL", "--", "sh"]);
        }
        command
            // What it writes later is for its owner only, as the shipped files ask.
            .args(["-c", "umask 077 && exec redis-server \"$@\"", "sh"])
            .args(self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.child = Some(spawn(command).expect("a redis-server"));
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&mut self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.run::<String>(&["PING"]).await.is_err() {
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            assert!(!ended && tokio::time::Instant::now() < deadline, "no redis-server: {}", self.log());
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// What it printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A file of its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whether it was started and not killed.
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Ends it at once, as a loss of power does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it without closing anything: others see a server that hangs.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
    }

    /// Runs a command as the all-seeing user, on a connection of its own.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let asked = async {
            let mut connection = self.log_in(INSPECTOR, INSPECTOR).await?;
            redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
        };
        let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut).into());
        tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(late)
    }

    /// The value of a line `name:value`, of INFO or CLUSTER INFO.
    pub(crate) async fn field(&self, words: &[&str], name: &str) -> Option<String> {
        let text: String = self.run(words).await.ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::to_owned)
    }

    /// Waits until so many replicas have what this primary has now. That they are online does not mean that yet.
    pub(crate) async fn copied_to(&self, replicas: usize) {
        let wanted = until("something to copy", async || {
            let offset = self.field(&["INFO", "replication"], "master_repl_offset").await?;
            offset.parse::<u64>().ok().filter(|offset| *offset > 0)
        })
        .await;
        until("copies", async || {
            let text: String = self.run(&["INFO", "replication"]).await.ok()?;
            let confirmed = |line: &str| -> Option<u64> {
                let (_, rest) =
                    line.strip_prefix("slave").filter(|_| line.contains("state=online"))?.split_once("offset=")?;
                rest.split(',').next()?.parse().ok()
            };
            let have = text.lines().filter_map(confirmed).filter(|offset| *offset >= wanted);
            (have.count() == replicas).then_some(())
        })
        .await;
    }

    /// A new connection of a user.
    pub(crate) async fn log_in(&self, user: &str, password: &str) -> RedisResult<MultiplexedConnection> {
        inspector::connect(&self.secrets, self.port, user, password).await
    }

    /// Runs redis-cli as the user `stratus`, as the service would log in, and gives what it prints, errors included.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> String {
        let password = fs::read_to_string(self.secrets.join("redis-password")).expect("the password");
        let with_certificate = ["--tls", "--cacert", "ca.crt", "--cert", "stratus.crt", "--key", "stratus.key"];
        self.cli_with(&with_certificate, password.trim(), arguments).await
    }

    /// The same, with other options for the connection.
    pub(crate) async fn cli_with(&self, options: &[&str], password: &str, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "--no-auth-warning", "--user", "stratus"])
            .args(options)
            .args(arguments)
            .env("REDISCLI_AUTH", password)
            .current_dir(&self.secrets)
            .output()
            .await
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again until there is an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let answered = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// So many ports on which nobody listens, each given once.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    std::array::from_fn(|_| {
        loop {
            let port = fastrand::u16(PORTS);
            let mut given = GIVEN.lock().expect("no panic");
            if !given.contains(&port) && std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                given.push(port);
                return port;
            }
        }
    })
}

/// A wish for a child, and where to say what became of it.
type Wish = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a child from one thread that never ends: for the kernel that thread is the parent (prctl(2), PR_SET_PDEATHSIG), and
/// those of a runtime end before their test does.
fn spawn(command: Command) -> io::Result<Child> {
    static PARENT: LazyLock<Mutex<mpsc::Sender<Wish>>> = LazyLock::new(|| {
        let (wishes, wished) = mpsc::channel::<Wish>();
        std::thread::spawn(move || {
            for (mut command, started) in wished {
                let _ = started.send(command.spawn());
            }
        });
        Mutex::new(wishes)
    });
    let (started, outcome) = mpsc::channel();
    PARENT.lock().expect("no panic").send((command, started)).expect("the thread lives");
    outcome.recv().expect("the thread lives")
}
