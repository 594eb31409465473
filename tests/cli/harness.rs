//! Runs the built program with nothing of this environment but PATH, and reads what it says. Whatever is waited for ends
//! by an event (a line, the end of a process, of a connection); the patience below only bounds a failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use axum::Router;
use stratus::demo::simulated;
use stratus::http::{Limits, serve};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Nothing that is waited for takes this long, unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Secrets in settings are spelled with this, so that it must not be found in any output.
pub(crate) const CANARY: &str = "canary";

/// The program with these arguments and an environment that holds PATH only.
pub(crate) fn stratus(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stratus"));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// What a finished program said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) dumped_core: bool,
}

impl Ran {
    /// The lines of standard error without the program's name.
    pub(crate) fn faults(&self) -> Vec<&str> {
        let lines = self.stderr.lines();
        lines.map(|line| line.strip_prefix("stratus: ").unwrap_or_else(|| panic!("{self:?}"))).collect()
    }

    /// The program refused (exit code 2) for one reason, a line that begins with the key and names the fix.
    pub(crate) fn refused(&self, key: &str, fix: &str) {
        assert_eq!(self.code, Some(2), "{self:?}");
        let faults = self.faults();
        assert_eq!(faults.len(), 1, "one line: {self:?}");
        assert!(faults[0].starts_with(&format!("{key}: ")), "{key}: {self:?}");
        assert!(faults[0].contains(fix), "{fix}: {self:?}");
        self.shows_no_secret();
    }

    pub(crate) fn shows_no_secret(&self) {
        for output in [&self.stdout, &self.stderr] {
            assert!(!output.to_lowercase().contains(CANARY), "a secret was printed: {self:?}");
        }
    }
}

/// Runs the program to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    Running::start(command).end()
}

/// A shell with these commands on a terminal of its own, as util-linux's script(1) makes one: 24 lines of 60 columns. `STRATUS`
/// is the program.
#[cfg(target_os = "linux")]
pub(crate) fn on_terminal(settings: &Settings, commands: &str) -> Command {
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &format!("stty rows 24 cols 60; {commands}"), "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TERM", "xterm")
        .env("STRATUS", env!("CARGO_BIN_EXE_stratus"))
        .envs(settings.environment());
    command
}

/// Runs the program to its end with this on its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Ran {
    let mut running = Running::start_on(command, Stdio::piped());
    let mut stdin = running.child.stdin.take().expect("a pipe");
    // A program that refuses does not read it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    running.end()
}

/// A started program, killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    stdout: String,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_on(command, Stdio::null())
    }

    /// Starts it where somebody sits who can type.
    pub(crate) fn with_keys(command: &mut Command) -> Self {
        Self::start_on(command, Stdio::piped())
    }

    /// Types these keys.
    pub(crate) fn press(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().expect("somebody types");
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).expect("it reads");
    }

    fn start_on(command: &mut Command, stdin: Stdio) -> Self {
        let mut child =
            command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut errors = child.stderr.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || send_lines(stdout, &sender));
        let (sender, stderr) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            // What is no UTF-8 is no message of ours: the assertion on the text will fail.
            let _ = errors.read_to_string(&mut text);
            let _ = sender.send(text);
        });
        Self { child, lines, stdout: String::new(), stderr }
    }

    /// Reads standard output up to the first line that holds `wanted`, and gives that line.
    pub(crate) fn line(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let _ = self.child.kill();
                let stderr = self.stderr.recv_timeout(PATIENCE).unwrap_or_default();
                panic!("no line with {wanted:?} in\n{}\n{stderr}", self.stdout);
            };
            self.stdout += &line;
            self.stdout.push('\n');
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Everything read so far.
    pub(crate) fn read(&self) -> &str {
        &self.stdout
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.expect("a shell").success(), "SIG{name} is sent");
    }

    /// Reads to the end of both outputs and waits for the program.
    pub(crate) fn end(mut self) -> Ran {
        let deadline = Instant::now() + PATIENCE;
        let left = || deadline.saturating_duration_since(Instant::now());
        loop {
            match self.lines.recv_timeout(left()) {
                Ok(line) => self.stdout += &(line + "\n"),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(_) => panic!("it does not end: {}", self.stdout),
            }
        }
        let stderr = self.stderr.recv_timeout(left()).expect("it ends");
        let status = self.child.wait().expect("a child of ours");
        let (code, dumped_core) = (status.code(), status.core_dumped());
        Ran { code, stdout: std::mem::take(&mut self.stdout), stderr, dumped_core }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send_lines(stdout: impl BufRead, sender: &Sender<String>) {
    for line in stdout.lines() {
        let Ok(line) = line else { return };
        if sender.send(line).is_err() {
            return;
        }
    }
}

/// A running `stratus serve`.
pub(crate) struct Service {
    pub(crate) running: Running,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Service {
    /// Starts the service and reads its addresses from the log.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut running = Running::start(command);
        let line = running.line("\"listening\"");
        let event: serde_json::Value = serde_json::from_str(&line).expect("a JSON log");
        let address = |name: &str| event[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
        Self { public: address("public"), admin: address("admin"), running }
    }
}

/// A folder for the files of one test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        self.write_with_mode(name, text, 0o600)
    }

    pub(crate) fn write_with_mode(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&path).expect("a file");
        file.write_all(text.as_bytes()).expect("a file");
        // Whatever the umask was, and whether or not the file was there.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        path
    }

    /// The names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.path())
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Settings, given to the program in its environment.
#[derive(Clone)]
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// What is enough to run: records in memory, and ports that are free.
    pub(crate) fn memory() -> Self {
        let settings = Self(Vec::new());
        settings.set("store.backend", "memory").set("server.listen", "127.0.0.1:0").set("admin.listen", "127.0.0.1:0")
    }

    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.0.push((key.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = stratus(arguments);
        command.envs(self.environment());
        command
    }

    /// The settings under the names they have in the environment.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (String, &str)> {
        let name = |key: &str| format!("STRATUS__{}", key.to_uppercase().replace('.', "__"));
        self.0.iter().map(move |(key, value)| (name(key), value.as_str()))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }
}

/// A weather API in this process.
pub(crate) struct Upstream {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Upstream {
    /// One that answers like the real one, on made-up weather.
    pub(crate) fn simulated() -> Self {
        Self::start(simulated::router())
    }

    pub(crate) fn start(routes: Router) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let limits = Limits { drain: Duration::ZERO, ..Limits::default() };
        runtime.spawn(serve(listener, routes, limits, CancellationToken::new()));
        Self { address, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
}

/// An address on loopback that was free a moment ago. Where all of 127.0.0.0/8 is loopback it is one whose ports nothing
/// else here takes.
pub(crate) fn free_address() -> SocketAddr {
    let any_port = if cfg!(target_os = "linux") { "127.0.0.3:0" } else { "127.0.0.1:0" };
    TcpListener::bind(any_port).and_then(|listener| listener.local_addr()).expect("a free port")
}

/// An answer of the service.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// HIT, MISS or STALE.
    pub(crate) fn x_cache(&self) -> &str {
        self.header("x-cache")
    }
}

/// Asks once, over a connection of its own.
pub(crate) fn get(address: impl ToSocketAddrs, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: stratus\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
