//! A capture of a port on loopback by tcpdump, which sees what the kernel sees.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::PATIENCE;

/// The command that captures, with the words before it that give it the right to; nothing is captured without it.
pub(super) const TCPDUMP: &str = "STRATUS_SECRECY_TCPDUMP";

/// A capture under way.
pub(super) struct Capture {
    port: u16,
    bytes: watch::Receiver<Arc<Vec<u8>>>,
    reading: JoinHandle<()>,
    tcpdump: Child,
}

impl Capture {
    /// Captures all TCP of this port from now on, if there is a command to do it.
    pub(super) async fn start(port: u16) -> Option<Self> {
        let command = std::env::var(TCPDUMP).ok().filter(|command| !command.is_empty())?;
        let mut words = command.split_whitespace();
        let mut tcpdump = Command::new(words.next().expect("a word"))
            .args(words)
            .args(["-i", "lo", "-U", "--immediate-mode", "-s", "0", "-w", "-", "tcp", "port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump");
        let mut said = BufReader::new(tcpdump.stderr.take().expect("a pipe")).lines();
        let listens = async {
            while !said.next_line().await.expect("a line").expect("tcpdump listens").contains("listening on") {}
        };
        timeout(PATIENCE, listens).await.expect("tcpdump listens in time");
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });

        let mut from = tcpdump.stdout.take().expect("a pipe");
        let (sender, bytes) = watch::channel(Arc::new(Vec::new()));
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer).await {
                sender.send_modify(|all| Arc::make_mut(all).extend_from_slice(&buffer[..read]));
            }
        });
        Some(Self { port, bytes, reading, tcpdump })
    }

    /// Says this to the port in plain text, and gives all that was captured once that was.
    pub(super) async fn until(&mut self, words: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.expect("a connection");
        stream.write_all(words.as_bytes()).await.expect("it is taken");
        let there = |all: &Arc<Vec<u8>>| {
            // It came last, before at most an answer to it.
            let recent = &all[all.len().saturating_sub(words.len() + 4_096)..];
            recent.windows(words.len()).any(|window| window == words.as_bytes())
        };
        let all = timeout(PATIENCE, self.bytes.wait_for(there)).await.expect("it is captured").expect("a capture");
        all.to_vec()
    }

    /// Ends it: nobody reads what it writes of the next packet. As another user's process it takes no signal of ours.
    pub(super) async fn end(mut self) {
        self.reading.abort();
        let _ = self.reading.await;
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.expect("a connection");
        timeout(PATIENCE, self.tcpdump.wait()).await.expect("tcpdump ends in time").expect("a child of ours");
    }
}
