//! A primary, two replicas and three Sentinels, from the shipped files.

use std::collections::HashMap;
use std::path::PathBuf;

use futures_util::future::join_all;
use stratus::provision::Topology;
use tempfile::TempDir;

use super::install_tls;
use super::node::{Node, QUICK, free_ports, until};

/// What Sentinel calls the primary.
pub(crate) const MASTER: &str = "stratus";
const REDIS_CONF: &str = include_str!("../../../redis.conf");
const REPLICATED_CONF: &str = include_str!("../../../deploy/redis/replicated.conf");
const SENTINEL_CONF: &str = include_str!("../../../deploy/redis/sentinel.conf");

/// Ends with this value.
pub(crate) struct Sentinels {
    /// The servers; the first one is primary at first.
    pub(crate) servers: Vec<Node>,
    pub(crate) sentinels: Vec<Node>,
    /// Goes after those who live in it.
    dir: TempDir,
}

impl Sentinels {
    /// Starts all of them, and waits until the replicas follow and the Sentinels know all of it.
    pub(crate) async fn start() -> Self {
        install_tls();
        let dir = tempfile::tempdir().expect("a temporary folder");
        let [first, second, third, a, b, c] = free_ports();
        let servers = [first, second, third].map(|port| {
            let follow = if port == first { String::new() } else { format!("replicaof 127.0.0.1 {first}\n") };
            let lines = format!("{REPLICATED_CONF}tls-port {port}\n{QUICK}{follow}");
            let files = [("replicated.conf", lines.as_str()), ("redis.conf", REDIS_CONF)];
            Node::new(dir.path(), &format!("redis-{port}"), Topology::Sentinel, &files, port)
        });
        let sentinels = [a, b, c].map(|port| {
            let lines = [
                ("tls-port 26379".to_owned(), format!("tls-port {port}")),
                ("127.0.0.1 6380".to_owned(), format!("127.0.0.1 {first}")),
                ("down-after-milliseconds stratus 5000".to_owned(), "down-after-milliseconds stratus 1000".to_owned()),
                ("failover-timeout stratus 30000".to_owned(), "failover-timeout stratus 3000".to_owned()),
            ];
            let text = lines.iter().fold(SENTINEL_CONF.to_owned(), |text, (shipped, here)| {
                assert_eq!(text.matches(shipped).count(), 1, "{shipped}");
                text.replace(shipped, here)
            });
            let files = [("sentinel.conf", text.as_str())];
            Node::new(dir.path(), &format!("sentinel-{port}"), Topology::Sentinel, &files, port)
        });
        let mut all = Self { dir, servers: servers.into(), sentinels: sentinels.into() };
        all.servers.iter_mut().for_each(Node::start);
        join_all(all.servers.iter_mut().map(Node::ready)).await;
        all.sentinels.iter_mut().for_each(Node::start);
        join_all(all.sentinels.iter_mut().map(Node::ready)).await;
        // They find each other by what they say every two seconds.
        all.say_every("100").await;
        all.wait_complete().await;
        // They take who calls itself primary, and has not been told to them four times, for one that has strayed.
        all.say_every("2000").await;
        all
    }

    async fn say_every(&self, milliseconds: &str) {
        for sentinel in &self.sentinels {
            let words = ["SENTINEL", "DEBUG", "publish-period", milliseconds, "info-period", "200"];
            sentinel.run::<()>(&words).await.expect("a Sentinel of Redis 7");
        }
    }

    /// Waits until two replicas have what the primary has, and every Sentinel knows them and the other Sentinels.
    pub(crate) async fn wait_complete(&self) {
        let primary = self.primary().await;
        self.server(primary).copied_to(2).await;
        for sentinel in &self.sentinels {
            until("the Sentinels know each other", async || {
                let quorum: String = sentinel.run(&["SENTINEL", "CKQUORUM", MASTER]).await.ok()?;
                let replicas: Vec<HashMap<String, String>> =
                    sentinel.run(&["SENTINEL", "REPLICAS", MASTER]).await.ok()?;
                let linked = replicas.iter().filter(|it| it["master-link-status"] == "ok" && it["flags"] == "slave");
                (quorum.starts_with("OK 3 ") && linked.count() == 2).then_some(())
            })
            .await;
        }
    }

    /// Where the service's secrets are.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.dir.path().join("secrets")
    }

    /// The Sentinels, as `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(Node::address).collect()
    }

    /// The server on that port.
    pub(crate) fn server(&self, port: u16) -> &Node {
        self.servers.iter().find(|server| server.port == port).expect("one of them")
    }

    pub(crate) fn server_mut(&mut self, port: u16) -> &mut Node {
        self.servers.iter_mut().find(|server| server.port == port).expect("one of them")
    }

    /// The port of the server that a Sentinel names as primary.
    pub(crate) async fn primary(&self) -> u16 {
        until("a Sentinel names a primary", async || {
            for sentinel in &self.sentinels {
                if let Ok((_, port)) = named(sentinel).await {
                    return Some(port);
                }
            }
            None
        })
        .await
    }

    /// Has the Sentinels appoint another primary, as an operator does, and gives its port.
    pub(crate) async fn fail_over(&self) -> u16 {
        let old = self.primary().await;
        let told = &self.sentinels[0];
        until("a fail-over", async || {
            let state: HashMap<String, String> = told.run(&["SENTINEL", "MASTER", MASTER]).await.ok()?;
            let done = state["port"] != old.to_string();
            // One that takes too long, on a busy machine, ends with the old primary.
            if !done && !state["flags"].contains("failover_in_progress") {
                told.run::<()>(&["SENTINEL", "FAILOVER", MASTER]).await.ok()?;
            }
            done.then_some(())
        })
        .await;
        self.wait_promoted(old).await
    }

    /// Ends the primary at once and gives its port.
    pub(crate) async fn kill_primary(&mut self) -> u16 {
        let port = self.primary().await;
        self.server_mut(port).kill();
        port
    }

    /// Has the primary hang and gives its port. [`Node::resume`] ends that.
    pub(crate) async fn pause_primary(&self) -> u16 {
        let port = self.primary().await;
        self.server(port).pause();
        port
    }

    /// Waits until another primary than this one is followed by a replica. On a busy machine the Sentinels may appoint a second
    /// one before that.
    pub(crate) async fn wait_followed(&self, old: u16) {
        until("another primary that is followed", async || {
            let new = self.wait_promoted(old).await;
            let text: String = self.server(new).run(&["INFO", "replication"]).await.ok()?;
            text.contains("state=online").then_some(())
        })
        .await;
    }

    /// Waits until every Sentinel names another primary than this one, which knows of it, and gives its port.
    pub(crate) async fn wait_promoted(&self, old: u16) -> u16 {
        until("another primary", async || {
            let mut ports = Vec::new();
            for sentinel in &self.sentinels {
                ports.push(named(sentinel).await.ok()?.1);
            }
            let new = ports[0];
            let agreed = new != old && ports.iter().all(|port| *port == new);
            let role = if agreed { self.server(new).field(&["INFO", "replication"], "role").await } else { None };
            (role? == "master").then_some(new)
        })
        .await
    }
}

/// Whom a Sentinel names as primary.
pub(crate) async fn named(sentinel: &Node) -> redis::RedisResult<(String, u16)> {
    sentinel.run(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await
}
