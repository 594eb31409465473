//! A Redis Cluster: one link to each primary, and a map of which one has which keys.
//!
//! Commands go to where the map says. Who is told by a node that a key is elsewhere goes there, and the map is made anew;
//! so it is when a link breaks, until every slot has a node that can be reached, and every few seconds. The store counts as
//! down while a single slot has none, for what is shared by all replicas rests on all of it; what other nodes have is read
//! and written all the same.

mod map;
mod slots;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::link::{Link, Replies, prove};
use super::node::Node;
use super::privileges::{PROBE, Privileges};
use super::supervisor::{Observer, Target};
use super::trouble::Trouble;
use super::{RedisConfig, StoreError, StoreState, Task};
use crate::telemetry::Metrics;
use map::Map;
pub(super) use slots::{Range, SLOTS};
use slots::{ranges, redirected, slot_of};

/// How often the map is made anew while all is well. Redirections tell of most changes at once.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The same while slots have no node that can be reached: a quarter of what a fail-over may take to be followed, twice over.
const LOOK_SOON: Duration = Duration::from_millis(250);
/// Between two looks at least. While there is always something to look for (each command is redirected, links break one after
/// the other) it doubles up to [`LOOK_SOON`]: who redirects everybody all the time makes no more work than that.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Nodes that are asked for the map. One that is cut off from the others has an old one.
const ASKED: usize = 5;
/// Redirections of one command. Two are usual where a slot has just moved; more are a circle.
const MAX_REDIRECTIONS: usize = 4;
/// Links at most, so that answers that name ever new nodes cost no more than this. Redirections make new ones up to half of it:
/// one node alone, which can send its callers anywhere, leaves room for those that the map names.
const MAX_NODES: usize = 256;
/// The start waits for links as long as it takes to connect so many times, one after the other: to a seed, then to those that it
/// names, and to those that they name in place of some. After that it does not wait for who is named then.
const FIRST_ATTEMPTS: u32 = 3;
/// How long a link is kept to a node that the map does not name (any more): one that gets its first slots is not in it yet.
const KEPT_UNNAMED: Duration = Duration::from_secs(60);

/// A node that we have a link to.
#[derive(Clone)]
struct Known {
    link: Arc<Link>,
    /// When the map, or a redirection, named it last.
    named: Instant,
}

/// What there is to look at.
#[derive(Default)]
pub(super) struct Changes {
    noticed: Notify,
    has_broken: AtomicBool,
}

impl Changes {
    /// A link came up, or could not be made again, or the map seems to be out of date.
    pub(super) fn look(&self) {
        self.noticed.notify_one();
    }

    /// A link broke that was in use. It may be up again before anybody looks, and the node may have lost what it had.
    pub(super) fn broke(&self) {
        self.has_broken.store(true, Ordering::Release);
        self.look();
    }

    async fn noticed(&self) {
        self.noticed.notified().await;
    }

    fn take_break(&self) -> bool {
        self.has_broken.swap(false, Ordering::AcqRel)
    }
}

/// The cluster.
pub(super) struct Cluster {
    seeds: Vec<Node>,
    config: Arc<RedisConfig>,
    privileges: Arc<Privileges>,
    metrics: Arc<Metrics>,
    known: Mutex<HashMap<Node, Known>>,
    map: ArcSwap<Map>,
    changes: Arc<Changes>,
    started: Instant,
    /// A node said that the cluster as a whole does not work.
    refuses: AtomicBool,
    state: watch::Sender<StoreState>,
}

/// What a node said instead of an answer.
enum Instead {
    /// It is another's for good.
    Moved(Node),
    /// This key may be there already.
    Ask(Node),
    /// Nobody can tell now.
    Nobody,
}

impl Cluster {
    /// Starts links to `seeds`, and learns from them where all the others are.
    pub(super) fn start(
        seeds: &[Node],
        config: Arc<RedisConfig>,
        privileges: Arc<Privileges>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let cluster = Arc::new(Self {
            seeds: seeds.to_vec(),
            config,
            privileges,
            metrics,
            known: Mutex::default(),
            map: ArcSwap::from_pointee(Map::empty()),
            changes: Arc::default(),
            started: Instant::now(),
            refuses: AtomicBool::new(false),
            state: watch::Sender::new(StoreState::Connecting),
        });
        tokio::spawn(look_again_and_again(Arc::downgrade(&cluster), Arc::clone(&cluster.changes)));
        cluster
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    /// Runs each task where its key is, all at once: one round trip to each node.
    pub(super) async fn run(&self, name: &'static str, tasks: Vec<Task<'_>>) -> Result<Vec<Replies>, StoreError> {
        let map = self.map.load_full();
        let mut by_node: HashMap<usize, Vec<usize>> = HashMap::new();
        for (place, task) in tasks.iter().enumerate() {
            let (owner, _) = map.owner(slot_of(task.key)).ok_or(StoreError::Away)?;
            by_node.entry(owner).or_default().push(place);
        }
        let rounds = by_node.into_iter().map(|(owner, places)| {
            let (tasks, (node, link)) = (&tasks, &map.nodes[owner]);
            async move { self.run_at(name, node, link, tasks, places).await }
        });
        let mut all: Vec<Option<Replies>> = tasks.iter().map(|_| None).collect();
        for round in join_all(rounds).await {
            for (place, replies) in round? {
                all[place] = Some(replies);
            }
        }
        all.into_iter().map(|replies| replies.ok_or(StoreError::Refused)).collect()
    }

    /// Runs the tasks at `places` on one node, and elsewhere those that it says are elsewhere.
    async fn run_at(
        &self,
        name: &'static str,
        node: &Node,
        link: &Link,
        tasks: &[Task<'_>],
        places: Vec<usize>,
    ) -> Result<Vec<(usize, Replies)>, StoreError> {
        let commands: Vec<Cmd> = places.iter().flat_map(|place| tasks[*place].commands.iter().cloned()).collect();
        let mut replies = link.run(name, &commands, false).await?.into_iter();
        let mut done = Vec::with_capacity(places.len());
        let mut elsewhere = Vec::new();
        for place in places {
            let task = &tasks[place];
            let own: Replies = replies.by_ref().take(task.commands.len()).collect();
            match self.instead(&own, node) {
                None => done.push((place, own)),
                Some(instead) => elsewhere.push(async move { (place, self.follow(name, task, instead).await) }),
            }
        }
        // All at once, so that however many there are, they take the time of one command.
        for (place, followed) in join_all(elsewhere).await {
            done.push((place, followed?));
        }
        Ok(done)
    }

    /// Runs a task where a node said that its key is, within the time of one command.
    async fn follow(&self, name: &'static str, task: &Task<'_>, first: Instead) -> Result<Replies, StoreError> {
        let following = async {
            let mut instead = first;
            for _ in 0..MAX_REDIRECTIONS {
                let (node, asking) = match instead {
                    Instead::Moved(node) => (node, false),
                    Instead::Ask(node) => (node, true),
                    Instead::Nobody => break,
                };
                let link = self.link_to(&node, MAX_NODES / 2).ok_or(StoreError::Away)?;
                // One that is new is being connected to.
                let _ = link.state().wait_for(|state| *state == StoreState::Up).await;
                let replies = link.run(name, &task.commands, asking).await?;
                match self.instead(&replies, &node) {
                    None => return Ok(replies),
                    Some(next) => instead = next,
                }
            }
            Err(StoreError::Away)
        };
        timeout(self.config.command_timeout, following).await.unwrap_or(Err(StoreError::Timeout))
    }

    /// What a node said instead of doing all of a task. If it did a part of it and not the rest, the key moved between two
    /// commands; what we send together may be sent again as a whole.
    fn instead(&self, replies: &Replies, asked: &Node) -> Option<Instead> {
        let error = replies.iter().find_map(|reply| reply.as_ref().err().filter(|error| is_about_cluster(error)))?;
        let to = error.redirect_node().and_then(|(to, _)| redirected(to, asked));
        Some(match (error.kind(), to) {
            (ErrorKind::Server(ServerErrorKind::Ask), Some(node)) => Instead::Ask(node),
            (ErrorKind::Server(ServerErrorKind::Moved), Some(node)) => {
                self.changes.look();
                Instead::Moved(node)
            }
            _ => {
                self.refuses.store(true, Ordering::Relaxed);
                self.changes.look();
                Instead::Nobody
            }
        })
    }

    /// The link to a node, a new one if there are less than `most`.
    fn link_to(&self, node: &Node, most: usize) -> Option<Arc<Link>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let room = known.len() < most;
        let known = match known.entry(node.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if !room => return None,
            Entry::Vacant(place) => place.insert(Known {
                link: Link::start(
                    Target::Node(node.clone()),
                    Arc::clone(&self.config),
                    Arc::clone(&self.privileges),
                    Observer::Member(Arc::clone(&self.changes)),
                ),
                named: Instant::now(),
            }),
        };
        known.named = Instant::now();
        Some(Arc::clone(&known.link))
    }

    /// Asks some nodes where the slots are, and takes what most of them say.
    async fn learn(&self) {
        let mut links = self.links_up();
        fastrand::shuffle(&mut links);
        let told = join_all(links.iter().take(ASKED).map(|(node, link)| async move {
            let replies = link.run("CLUSTER SLOTS", &[question()], false).await.ok()?;
            let mut found = ranges(replies.first()?.as_ref().ok()?, node)?;
            found.sort_by_key(|range| *range.slots.start());
            // Who knows of nobody has been reset, or is not joined to the others yet.
            (!found.is_empty()).then_some(found)
        }));
        let told: Vec<_> = told.await.into_iter().flatten().collect();
        let as_often = |one: &Vec<Range>| told.iter().filter(|other| *other == one).count();
        if let Some(most) = told.iter().max_by_key(|one| as_often(one)) {
            self.take_in(most);
        }
    }

    /// Those that can be asked; if there is none, there may be by the seeds.
    fn links_up(&self) -> Vec<(Node, Arc<Link>)> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let up = |known: &HashMap<Node, Known>| -> Vec<_> {
            let links = known.iter().map(|(node, known)| (node.clone(), Arc::clone(&known.link)));
            links.filter(|(_, link)| link.is_up()).collect()
        };
        let found = up(&known());
        if found.is_empty() {
            for seed in &self.seeds {
                self.link_to(seed, MAX_NODES);
            }
        }
        found
    }

    fn take_in(&self, found: &[Range]) {
        let mut map = Map::empty();
        for Range { slots, primary } in found {
            let place = map.nodes.iter().position(|(node, _)| node == primary).or_else(|| {
                map.nodes.push((primary.clone(), self.link_to(primary, MAX_NODES)?));
                Some(map.nodes.len() - 1)
            });
            if let Some(place) = place.and_then(|place| u16::try_from(place).ok()) {
                map.owners[slots.clone()].fill(place);
            }
        }
        self.map.store(Arc::new(map));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.named.elapsed() < KEPT_UNNAMED);
    }

    /// Whether the cluster works again that refused before.
    async fn ask_again(&self) {
        if !self.refuses.load(Ordering::Relaxed) {
            return;
        }
        let map = self.map.load_full();
        let Some((_, (_, link))) = map.owner(slot_of(PROBE)) else { return };
        let Ok(replies) = link.run("GET", &[Cmd::get(PROBE)], false).await else { return };
        // That a key is elsewhere is no refusal.
        let is_refusal = |error: &RedisError| is_about_cluster(error) && error.redirect_node().is_none();
        let refuses = replies.iter().any(|reply| reply.as_ref().is_err_and(is_refusal));
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Tells how it stands with the whole; whether all is well.
    fn tell(&self) -> bool {
        let unserved = self.map.load().unserved();
        let state = if unserved > 0 {
            let reason = match self.trouble() {
                Some(trouble) if unserved == SLOTS => trouble,
                _ => format!("Redis Cluster: {unserved} of {SLOTS} slots have no node that can be reached"),
            };
            StoreState::Down { reason, fix: "see the lines about its nodes in the log, or run `stratus check`" }
        } else if self.refuses.load(Ordering::Relaxed) {
            let reason = "Redis Cluster: it says that it does not work".to_owned();
            StoreState::Down { reason, fix: "see `redis-cli --cluster check`" }
        } else {
            StoreState::Up
        };
        let is_up = state == StoreState::Up;
        let may_wait = self.started.elapsed() < self.config.connect_timeout * FIRST_ATTEMPTS && !self.has_tried_all();
        let is_starting = may_wait && *self.state.borrow() == StoreState::Connecting;
        if is_up || !is_starting {
            self.metrics.set_store_up(is_up);
            let has_broken = self.changes.take_break();
            let mut before = None;
            self.state.send_if_modified(|known| {
                // Whoever is told takes it that the store was away for a moment.
                let is_news = *known != state || has_broken;
                before = Some(std::mem::replace(known, state.clone()));
                is_news
            });
            match (before, &state) {
                (Some(StoreState::Up), StoreState::Up) => {}
                (_, StoreState::Up) => tracing::info!("Redis Cluster is connected"),
                (Some(StoreState::Down { reason: before, .. }), StoreState::Down { reason, .. })
                    if before == *reason => {}
                (_, StoreState::Down { reason, fix }) => {
                    tracing::warn!(fix, "{reason}: answers come from upstream until it is back");
                }
                _ => {}
            }
        }
        is_up
    }

    /// Whether each link has come up or failed once, so that there is no more to wait for at the start.
    fn has_tried_all(&self) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        !known.is_empty() && known.values().all(|known| *known.link.state().borrow() != StoreState::Connecting)
    }

    /// What is wrong with one of the links, if with any.
    fn trouble(&self) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().find_map(|known| match &*known.link.state().borrow() {
            StoreState::Down { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }
}

fn question() -> Cmd {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    question
}

/// That a server is a node of a cluster and lets the user find its way there.
pub(super) async fn prove_member(connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
    question().exec_async(connection).await.map_err(|error| trouble(&error))?;
    // Followed by nothing that is moved, it means nothing.
    prove(connection, &redis::cmd("ASKING"), "ASKING").await
}

/// The answer to [`question`] is an error.
fn trouble(error: &RedisError) -> Trouble {
    match Trouble::of(error).with("CLUSTER SLOTS") {
        Trouble::Other => Trouble::NoCluster,
        trouble => trouble,
    }
}

/// What a node says of who has which slots. It is no node of a cluster if that is not understood.
pub(super) async fn ask_for_ranges(connection: &mut MultiplexedConnection, node: &Node) -> Result<Vec<Range>, Trouble> {
    let answer = question().query_async(connection).await.map_err(|error| trouble(&error))?;
    ranges(&answer, node).ok_or(Trouble::NoCluster)
}

fn is_about_cluster(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, Moved, TryAgain};
    matches!(error.kind(), ErrorKind::Server(Ask | ClusterDown | Moved | TryAgain))
}

/// Keeps the map as long as the cluster is in use.
async fn look_again_and_again(cluster: Weak<Cluster>, changes: Arc<Changes>) {
    let mut rest = BETWEEN_LOOKS;
    loop {
        let Some(this) = cluster.upgrade() else { return };
        this.learn().await;
        this.ask_again().await;
        let pause = if this.tell() { LOOK_AGAIN } else { LOOK_SOON };
        drop(this);
        let looked = Instant::now();
        tokio::select! {
            () = sleep(pause) => {}
            () = changes.noticed() => {
                rest = if looked.elapsed() < LOOK_SOON { (rest * 2).min(LOOK_SOON) } else { BETWEEN_LOOKS };
                sleep(rest).await;
            }
        }
    }
}
