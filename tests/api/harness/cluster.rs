//! A Redis Cluster of three primaries and three replicas, from the shipped files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures_util::future::join_all;
use redis::{FromRedisValue, RedisResult, Value};
use stratus::provision::Topology;
use tempfile::TempDir;

use super::install_tls;
use super::node::{INSPECTOR, Node, QUICK, free_ports, until};

const REDIS_CONF: &str = include_str!("../../../redis.conf");
const CLUSTER_CONF: &str = include_str!("../../../deploy/redis/cluster.conf");
const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;
/// So many keys are moved at once.
const KEYS: &str = "100";

/// Ends with this value.
pub(crate) struct Cluster {
    /// Three primaries and then a replica of each, at first.
    pub(crate) nodes: Vec<Node>,
    ids: Vec<String>,
    /// Goes after those who live in it.
    dir: TempDir,
}

/// What a node says about one of them.
struct Member {
    id: String,
    flags: String,
    primary: String,
    slots: Vec<std::ops::RangeInclusive<u16>>,
}

impl Cluster {
    /// Starts the nodes, joins them, and waits until every key is served and has a copy.
    pub(crate) async fn start() -> Self {
        install_tls();
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (ports, buses): ([u16; 2 * PRIMARIES], [u16; 2 * PRIMARIES]) = (free_ports(), free_ports());
        let mut nodes: Vec<Node> = Vec::new();
        for (port, bus) in ports.into_iter().zip(buses) {
            assert_eq!(CLUSTER_CONF.matches("cluster-node-timeout 5000\n").count(), 1);
            let text = CLUSTER_CONF.replace("cluster-node-timeout 5000\n", "cluster-node-timeout 2000\n");
            let text = format!("{text}tls-port {port}\ncluster-port {bus}\n{QUICK}");
            let files = [("cluster.conf", text.as_str()), ("redis.conf", REDIS_CONF)];
            nodes.push(Node::new(dir.path(), &format!("redis-{port}"), Topology::Cluster, &files, port));
        }
        nodes.iter_mut().for_each(Node::start);
        join_all(nodes.iter_mut().map(Node::ready)).await;
        let mut ids = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            ids.push(node.run(&["CLUSTER", "MYID"]).await.expect("an id"));
            // So that they need not find out who is right where they differ.
            node.run::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await.expect("an epoch");
        }
        for (number, node) in nodes.iter().enumerate() {
            for (other, bus) in nodes.iter().zip(buses).skip(number + 1) {
                let (port, bus) = (other.port.to_string(), bus.to_string());
                node.run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await.expect("a meeting");
            }
        }
        let cluster = Self { dir, nodes, ids };
        for number in 0..PRIMARIES {
            let (first, end) = (number * SLOTS / PRIMARIES, (number + 1) * SLOTS / PRIMARIES);
            let range = ["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()];
            cluster.nodes[number].run::<()>(&range).await.expect("slots");
            // It has to have heard of its primary first.
            let follow = ["CLUSTER", "REPLICATE", &cluster.ids[number]];
            until("a replica", async || cluster.nodes[number + PRIMARIES].run::<()>(&follow).await.ok()).await;
        }
        cluster.wait_ok().await;
        cluster
    }

    /// Waits until every node that runs says that every slot is served, and, if all run, until each primary has a copy and
    /// clients are told of all.
    pub(crate) async fn wait_ok(&self) {
        for node in self.nodes.iter().filter(|node| node.runs()) {
            until("a cluster that is whole", async || {
                let info: String = node.run(&["CLUSTER", "INFO"]).await.ok()?;
                let says = |line: &str| info.lines().any(|it| it == line);
                let whole = says("cluster_state:ok") && says("cluster_slots_ok:16384") && says("cluster_known_nodes:6");
                let replication: String = node.run(&["INFO", "replication"]).await.ok()?;
                let follows = replication.contains("role:master") || replication.contains("master_link_status:up");
                (whole && follows).then_some(())
            })
            .await;
        }
        if self.nodes.iter().all(Node::runs) {
            for member in members(self.any()).await.expect("members").iter().filter(|it| !it.slots.is_empty()) {
                self.node(&member.id).copied_to(1).await;
            }
            for node in &self.nodes {
                // A replica is not told to clients before it is known to have something.
                until("every node is told", async || (told(node).await.ok()? == self.nodes.len()).then_some(())).await;
            }
        }
    }

    /// Where the service's secrets are.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.dir.path().join("secrets")
    }

    /// The nodes, as `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Node::address).collect()
    }

    /// The slot of a key.
    pub(crate) async fn slot_of(&self, key: &str) -> u16 {
        self.any().run(&["CLUSTER", "KEYSLOT", key]).await.expect("a slot")
    }

    /// Which of the nodes has a key, as one that runs says.
    pub(crate) async fn primary_of(&self, key: &str) -> usize {
        self.owner_of(self.slot_of(key).await, self.any()).await.expect("an owner")
    }

    /// Which of the nodes has a slot, as this node says.
    pub(crate) async fn owner_of(&self, slot: u16, says: &Node) -> Option<usize> {
        let members = members(says).await.ok()?;
        let owner = members.iter().find(|member| member.slots.iter().any(|range| range.contains(&slot)))?;
        self.ids.iter().position(|id| *id == owner.id)
    }

    /// Which of the nodes follows this one.
    pub(crate) async fn replica_of(&self, primary: usize) -> usize {
        let members = members(self.any()).await.expect("members");
        let replica = members.iter().find(|member| member.primary == self.ids[primary]).expect("a replica");
        self.ids.iter().position(|id| *id == replica.id).expect("one of them")
    }

    /// Ends a node at once.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts it again; it comes back with what it knew of the others, and without keys.
    pub(crate) async fn restart(&mut self, node: usize) {
        self.nodes[node].start();
        self.nodes[node].ready().await;
    }

    /// Waits until every node that runs says that another one than this has the slot, and gives which.
    pub(crate) async fn wait_promoted(&self, slot: u16, old: usize) -> usize {
        until("another owner", async || {
            let mut owners = Vec::new();
            for node in self.nodes.iter().filter(|node| node.runs()) {
                owners.push(self.owner_of(slot, node).await?);
                (node.field(&["CLUSTER", "INFO"], "cluster_state").await? == "ok").then_some(())?;
            }
            (owners[0] != old && owners.iter().all(|owner| *owner == owners[0])).then_some(owners[0])
        })
        .await
    }

    /// Begins to move a slot. Until [`Cluster::finish_move`] its owner says ASK for a key that it does not have (any more).
    pub(crate) async fn begin_move(&self, slot: u16, to: usize) {
        let from = self.owner_of(slot, self.any()).await.expect("an owner");
        self.set_slot(to, slot, "IMPORTING", from).await;
        self.set_slot(from, slot, "MIGRATING", to).await;
    }

    /// Moves the keys of the slot that its owner has.
    pub(crate) async fn move_keys(&self, slot: u16, to: usize) {
        let from = &self.nodes[self.owner_of(slot, self.any()).await.expect("an owner")];
        let port = self.nodes[to].port.to_string();
        loop {
            let slot = slot.to_string();
            let keys: Vec<String> = from.run(&["CLUSTER", "GETKEYSINSLOT", &slot, KEYS]).await.expect("keys");
            if keys.is_empty() {
                return;
            }
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "AUTH2", INSPECTOR, INSPECTOR, "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            from.run::<()>(&words).await.expect("a move");
        }
    }

    /// Gives the slot to its new owner, and waits until every node that runs says so.
    pub(crate) async fn finish_move(&self, slot: u16, to: usize) {
        let from = self.owner_of(slot, self.any()).await.expect("an owner");
        // First who takes it, then who gives it away, so that there is no time without an owner.
        self.set_slot(to, slot, "NODE", to).await;
        self.set_slot(from, slot, "NODE", to).await;
        for node in self.nodes.iter().filter(|node| node.runs()) {
            until("the new owner", async || (self.owner_of(slot, node).await? == to).then_some(())).await;
        }
    }

    /// Moves slots with their keys while the cluster is used; those that are there already stay.
    pub(crate) async fn reshard(&self, slots: impl IntoIterator<Item = u16>, to: usize) {
        for slot in slots {
            if self.owner_of(slot, self.any()).await == Some(to) {
                continue;
            }
            self.begin_move(slot, to).await;
            self.move_keys(slot, to).await;
            self.finish_move(slot, to).await;
        }
    }

    async fn set_slot(&self, on: usize, slot: u16, what: &str, about: usize) {
        let words = ["CLUSTER", "SETSLOT", &slot.to_string(), what, &self.ids[about]];
        self.nodes[on].run::<()>(&words).await.expect("a slot");
    }

    fn node(&self, id: &str) -> &Node {
        &self.nodes[self.ids.iter().position(|it| it == id).expect("one of them")]
    }

    fn any(&self) -> &Node {
        self.nodes.iter().find(|node| node.runs()).expect("one that runs")
    }
}

/// How many nodes this one tells clients of.
async fn told(node: &Node) -> RedisResult<usize> {
    let ranges: Vec<Vec<Value>> = node.run(&["CLUSTER", "SLOTS"]).await?;
    let nodes = ranges.iter().flat_map(|range| range.iter().skip(2));
    let ports = nodes.filter_map(|it| u16::from_redis_value_ref(it.as_sequence()?.get(1)?).ok());
    Ok(ports.collect::<BTreeSet<_>>().len())
}

/// The members of a cluster as one of them sees it
/// (<https://redis.io/docs/latest/commands/cluster-nodes/>); slots that are on their way stand in brackets.
async fn members(node: &Node) -> RedisResult<Vec<Member>> {
    let text: String = node.run(&["CLUSTER", "NODES"]).await?;
    let slots = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let member = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        Member {
            id: words[0].to_owned(),
            flags: words[2].to_owned(),
            primary: words[3].to_owned(),
            slots: words[8..].iter().filter_map(|word| slots(word)).collect(),
        }
    };
    Ok(text.lines().map(member).filter(|member| !member.flags.contains("fail")).collect())
}
