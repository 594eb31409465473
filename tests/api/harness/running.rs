//! The built program, run as an operator runs it: settings from the environment, its log from standard output, signals.

use std::process::{ExitStatus, Stdio};

use reqwest::Client;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{Answer, PATIENCE, Setup, answer};

/// A running program; it is killed when this value is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The log as far as it was read.
    log: Vec<Value>,
    client: Client,
}

impl Setup {
    /// Starts `stratus serve` with these settings and nothing else in its environment; its clock is the system's.
    pub(crate) fn run(self) -> Running {
        let variable = |key: &str| format!("STRATUS__{}", key.replace('.', "__").to_uppercase());
        let mut child = Command::new(env!("CARGO_BIN_EXE_stratus"))
            .arg("serve")
            .env_clear()
            .envs(self.settings.iter().map(|(key, value)| (variable(key), value)))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Running { child, lines, log: Vec::new(), client: Client::builder().no_proxy().build().expect("a client") }
    }
}

impl Running {
    /// Waits for the first log line with exactly this message.
    pub(crate) async fn logs(&mut self, message: &str) -> Value {
        let wanted = |line: &&Value| line["message"] == message;
        loop {
            if let Some(line) = self.log.iter().find(wanted) {
                return line.clone();
            }
            assert!(self.read_line().await, "{message:?} is not in the log: {:#?}", self.log);
        }
    }

    /// Asks the public listener, once it listens.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let listening = self.logs("listening").await;
        let address = listening["public"].as_str().expect("an address");
        answer(self.client.get(format!("http://{address}{path}"))).await
    }

    /// Sends a signal: `TERM`, `INT`.
    pub(crate) async fn signal(&self, name: &str) {
        signal(self.child.id().expect("it runs"), name).await;
    }

    /// Waits for its end; how it ended and its whole log.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Vec<Value>) {
        while self.read_line().await {}
        let status = timeout(PATIENCE, self.child.wait()).await.expect("an end in time").expect("a status");
        (status, self.log)
    }

    /// Reads one more line of the log; whether there was one.
    async fn read_line(&mut self) -> bool {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line or the end in time");
        let Some(line) = line.expect("a readable log") else { return false };
        self.log.push(serde_json::from_str(&line).expect("a log of JSON lines"));
        true
    }
}

/// Sends a signal to a process that a test has started.
pub(crate) async fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().await.expect("kill");
    assert!(sent.success(), "{name} to {pid}");
}
