//! The built program as an operator runs it: settings from the environment, everything it prints kept, ended by signals.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Answer, PATIENCE, answer};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stratus");
const READ_AGAIN: &str = "the files of the configuration were read again";

/// A running `stratus serve`; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    printed: watch::Receiver<Vec<String>>,
    client: Client,
}

impl Program {
    /// Starts the program with these settings and nothing else in its environment.
    pub(crate) fn start(settings: &[(String, String)]) -> Self {
        let mut child = spawn(settings);
        let (lines, printed) = watch::channel(Vec::new());
        tokio::spawn(collect(child.stdout.take().expect("a pipe"), lines.clone()));
        tokio::spawn(collect(child.stderr.take().expect("a pipe"), lines));
        Self { child, printed, client: Client::builder().no_proxy().build().expect("a client") }
    }

    /// Waits for the first log line with exactly this message.
    pub(crate) async fn logs(&self, message: &str) -> Value {
        let mut printed = self.printed.clone();
        let there = |lines: &Vec<String>| find(lines, message).is_some();
        let there = timeout(PATIENCE, printed.wait_for(there)).await.is_ok_and(|waited| waited.is_ok());
        let lines = self.printed.borrow();
        assert!(there, "{message:?} is not in the log: {lines:#?}");
        find(&lines, message).expect("it was there")
    }

    /// Has it read its files again, for the `times`th time, and waits until that is done.
    pub(crate) async fn reads_files_again(&self, times: usize) {
        self.signal("HUP").await;
        let mut printed = self.printed.clone();
        let done = |lines: &Vec<String>| lines.iter().filter(|line| line.contains(READ_AGAIN)).count() >= times;
        let done = timeout(PATIENCE, printed.wait_for(done)).await.is_ok_and(|waited| waited.is_ok());
        assert!(done, "{READ_AGAIN:?} is not in the log {times} times");
    }

    /// A request to the public listener; the program listens already.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url("public", path))
    }

    pub(crate) fn admin_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url("admin", path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    fn url(&self, listener: &str, path: &str) -> String {
        format!("http://{}{path}", self.address(listener))
    }

    /// Where apps reach it.
    pub(crate) fn public(&self) -> SocketAddr {
        self.address("public")
    }

    /// Where operators reach it.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let line = find(&self.printed.borrow(), "listening").expect("a program that listens");
        line[listener].as_str().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal: `TERM`, `INT`.
    pub(crate) async fn signal(&self, name: &str) {
        signal(self.pid(), name).await;
    }

    /// Waits for its end: how it ended, and every line that it ever printed, on standard output and error.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").expect("an exit code");
        // Both pipes end with the program, and with them the senders.
        let all_read = async { while self.printed.changed().await.is_ok() {} };
        timeout(PATIENCE, all_read).await.expect("the pipes end");
        let lines = self.printed.borrow().clone();
        (status, lines)
    }

    /// Stops it as a supervisor does and gives every line that it ever printed.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.signal("TERM").await;
        let (status, lines) = self.ended().await;
        assert!(status.success(), "{status}: {lines:#?}");
        lines
    }
}

/// Starts the program with these settings and nothing else in its environment, and pipes for what it prints.
pub(crate) fn spawn(settings: &[(String, String)]) -> Child {
    Command::new(PROGRAM)
        .arg("serve")
        .env_clear()
        .envs(settings.iter().map(|(key, value)| (variable(key), value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program")
}

/// The name of a setting in the environment.
pub(crate) fn variable(key: &str) -> String {
    format!("STRATUS__{}", key.to_uppercase().replace('.', "__"))
}

/// Runs a command of the program to its end and gives its standard output.
pub(crate) async fn run(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).env_clear().output().await.expect("the program");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The most memory that a process has ever had, in KiB.
pub(crate) fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().strip_suffix(" kB").expect("in KiB").parse().expect("a number")
}

/// Sends a signal to a process that a test has started.
pub(crate) async fn signal(pid: u32, name: &str) {
    // The shell's own, since a small system has no program of that name.
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await.expect("a shell");
    assert!(sent.success(), "{name} to {pid}");
}

/// The lines of a log, each a JSON object.
pub(crate) fn parsed(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

async fn collect(from: impl AsyncRead + Unpin, lines: watch::Sender<Vec<String>>) {
    let mut from = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = from.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        lines.send_modify(|lines| lines.push(line));
    }
}

fn find(lines: &[String], message: &str) -> Option<Value> {
    lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| line["message"] == message)
}
