//! The built program as an operator runs it: settings from the environment, everything it prints kept, stopped by SIGTERM.

use std::net::SocketAddr;
use std::process::Stdio;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::PATIENCE;

const PROGRAM: &str = env!("CARGO_BIN_EXE_stratus");

/// A running `stratus serve`; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    printed: watch::Receiver<Vec<String>>,
    client: Client,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Program {
    /// Starts the program with these settings and nothing else in its environment; waits until it listens.
    pub(crate) async fn serve(settings: &[(String, String)]) -> Self {
        let variable = |key: &str| format!("STRATUS__{}", key.to_uppercase().replace('.', "__"));
        let mut child = Command::new(PROGRAM)
            .arg("serve")
            .env_clear()
            .envs(settings.iter().map(|(key, value)| (variable(key), value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program");
        let (lines, mut printed) = watch::channel(Vec::new());
        tokio::spawn(collect(child.stdout.take().expect("a pipe"), lines.clone()));
        tokio::spawn(collect(child.stderr.take().expect("a pipe"), lines));

        let listens = |lines: &Vec<String>| lines.iter().any(|line| listening(line).is_some());
        let listens = timeout(PATIENCE, printed.wait_for(listens)).await.is_ok_and(|waited| waited.is_ok());
        let lines = printed.borrow().clone();
        assert!(listens, "the program does not listen: {lines:#?}");
        let (public, admin) = lines.iter().find_map(|line| listening(line)).expect("it was there");
        Self { child, printed, client: Client::builder().no_proxy().build().expect("a client"), public, admin }
    }

    /// A request to the public listener.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.public))
    }

    pub(crate) fn admin_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.admin))
    }

    /// Stops it as a supervisor does and gives every line that it ever printed, on standard output and error.
    pub(crate) async fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill");
        assert!(sent.success());
        let ended = timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").expect("an exit code");
        // Both pipes end with the program, and with them the senders.
        let all_read = async { while self.printed.changed().await.is_ok() {} };
        timeout(PATIENCE, all_read).await.expect("the pipes end");
        let lines = self.printed.borrow().clone();
        assert!(ended.success(), "{ended}: {lines:#?}");
        lines
    }
}

/// Runs a command of the program to its end and gives its standard output.
pub(crate) async fn run(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).env_clear().output().await.expect("the program");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn collect(from: impl AsyncRead + Unpin, lines: watch::Sender<Vec<String>>) {
    let mut from = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = from.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        lines.send_modify(|lines| lines.push(line));
    }
}

/// The public and the admin address, if this is the log line that tells them.
fn listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    if line["message"] == "listening" { Some((address("public")?, address("admin")?)) } else { None }
}
