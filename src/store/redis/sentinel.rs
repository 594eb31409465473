//! Which Redis is the primary, by what Sentinels say
//! (<https://redis.io/docs/latest/develop/reference/sentinel-clients/>).
//!
//! All of them are asked, over connections that are kept. The primary is whom most of those who answer name; that it is
//! another one now is believed when more than half of all say so, for one that was cut off from the others names the old
//! one for ever. What a Sentinel says is only where to look: whoever is there has to have a certificate and to take writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::RedisConfig;
use super::credentials::Credentials;
use super::dial::{Connection, Login, dial};
use super::node::Node;
use super::trouble::Trouble;

/// How often they are asked whether the primary is still the primary. A quarter of the two seconds within which a fail-over
/// has to be followed.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long the others have to answer, once one has, while not more than half of all agree. Much longer than it takes to log in,
/// and short beside those two seconds.
const OTHERS_HAVE: Duration = Duration::from_millis(250);

/// The Sentinels of one primary.
pub(super) struct Sentinels {
    config: Arc<RedisConfig>,
    /// What they call it.
    primary: String,
    lines: Vec<Line>,
}

struct Line {
    node: Node,
    talk: Mutex<Talk>,
}

#[derive(Default)]
struct Talk {
    connection: Option<Connection>,
    /// The newest credentials that were tried.
    tried: Option<Arc<Credentials>>,
    /// Those of the last connection that was made.
    worked: Option<Arc<Credentials>>,
    /// What was logged of it last.
    trouble: Option<Trouble>,
}

impl Sentinels {
    pub(super) fn new(nodes: &[Node], primary: &str, config: Arc<RedisConfig>) -> Self {
        let lines = nodes.iter().map(|node| Line { node: node.clone(), talk: Mutex::default() }).collect();
        Self { config, primary: primary.to_owned(), lines }
    }

    /// The primary as most of those who answer name it. One that hangs is not waited for: when more than half of all agree, or
    /// a while after the first has answered, that is it.
    pub(super) async fn primary(&self) -> Result<Node, Trouble> {
        let mut asked: FuturesUnordered<_> = (0..self.lines.len()).map(|place| self.ask_now(place)).collect();
        let mut named = vec![None; self.lines.len()];
        let (mut knows_nothing, mut end) = (false, None);
        while !self.is_most(&named) {
            let next = match end {
                None => asked.next().await,
                Some(end) => timeout_at(end, asked.next()).await.unwrap_or(None),
            };
            let Some((place, said)) = next else { break };
            if let Ok(said) = said {
                knows_nothing |= said.is_none();
                named[place] = said;
                end.get_or_insert_with(|| Instant::now() + OTHERS_HAVE);
            }
        }
        match most_named(named.into_iter().flatten()) {
            Some((node, _)) => Ok(node),
            None if knows_nothing => Err(Trouble::PrimaryUnknown),
            None => Err(Trouble::SentinelsAway),
        }
    }

    /// Waits until more than half of all name one other than `node`. Each is asked at its own pace, so that one that hangs
    /// holds up none of the others.
    pub(super) async fn other_primary_than(&self, node: &Node) {
        let mut asked: FuturesUnordered<_> = (0..self.lines.len()).map(|place| self.ask_later(place)).collect();
        let mut named = vec![None; self.lines.len()];
        while let Some((place, said)) = asked.next().await {
            named[place] = said.ok().flatten();
            if self.is_most(&named)
                && most_named(named.iter().flatten().cloned()).is_some_and(|(most, _)| most != *node)
            {
                return;
            }
            asked.push(self.ask_later(place));
        }
    }

    /// Whether more than half of all name the same.
    fn is_most(&self, named: &[Option<Node>]) -> bool {
        most_named(named.iter().flatten().cloned()).is_some_and(|(_, count)| count * 2 > self.lines.len())
    }

    async fn ask_later(&self, place: usize) -> (usize, Result<Option<Node>, Trouble>) {
        sleep(ASK_AGAIN).await;
        self.ask_now(place).await
    }

    async fn ask_now(&self, place: usize) -> (usize, Result<Option<Node>, Trouble>) {
        (place, self.ask_one(&self.lines[place]).await)
    }

    async fn ask_one(&self, line: &Line) -> Result<Option<Node>, Trouble> {
        let mut talk = line.talk.lock().await;
        let said = match self.connection(line, &mut talk).await {
            Err(trouble) => Err(trouble),
            Ok(mut connection) => {
                let said = ask_for(&mut connection, &self.primary, &self.config).await;
                talk.connection = said.is_ok().then_some(connection);
                said
            }
        };
        talk.tell(&line.node, said.as_ref().err().copied());
        said
    }

    /// The connection of a line, taken out, so that one that fails, or is waited for no longer, is not used again. With new
    /// credentials there is another one; while a Sentinel does not know these, the old ones stay in use, unless they trust an
    /// authority that is not to be trusted any more.
    async fn connection(&self, line: &Line, talk: &mut Talk) -> Result<Connection, Trouble> {
        let newest = self.config.credentials.get();
        let is_tried = talk.tried.as_ref().is_some_and(|tried| Arc::ptr_eq(tried, &newest));
        let old = talk.connection.take();
        if let (true, Some(old)) = (is_tried, old) {
            return Ok(old);
        }
        talk.tried = Some(Arc::clone(&newest));
        let trouble = match connect(&self.config, &line.node, &newest).await {
            Ok(connection) => {
                talk.worked = Some(newest);
                return Ok(connection);
            }
            Err(trouble) => trouble,
        };
        let worked = talk.worked.clone();
        let worked = worked.filter(|worked| !Arc::ptr_eq(worked, &newest) && newest.trust_as_much_as(worked));
        match worked {
            Some(worked) => connect(&self.config, &line.node, &worked).await.map_err(|_| trouble),
            None => Err(trouble),
        }
    }
}

impl Talk {
    /// Logs what is new.
    fn tell(&mut self, node: &Node, trouble: Option<Trouble>) {
        match (std::mem::replace(&mut self.trouble, trouble), trouble) {
            (before, Some(trouble)) if before != Some(trouble) => {
                tracing::warn!(%node, fix = trouble.fix(), "a Sentinel is of no use: {}", trouble.what());
            }
            (Some(_), None) => tracing::info!(%node, "the Sentinel answers again"),
            _ => {}
        }
    }
}

pub(super) async fn connect(
    config: &RedisConfig,
    node: &Node,
    credentials: &Credentials,
) -> Result<Connection, Trouble> {
    let dialled = timeout(config.connect_timeout, dial(config, node, credentials, Login::Configured)).await;
    dialled.unwrap_or(Err(Trouble::ConnectTimeout))
}

/// Where the primary is that it calls `primary`; `None` if it knows none.
pub(super) async fn ask_for(
    connection: &mut Connection,
    primary: &str,
    config: &RedisConfig,
) -> Result<Option<Node>, Trouble> {
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
    let asked = question.query_async::<Option<(String, u16)>>(&mut connection.commands);
    let answer = timeout(config.command_timeout, asked).await.map_err(|_| Trouble::CommandTimeout)?;
    let answer = answer.map_err(|error| {
        let trouble = Trouble::of(&error).with("SENTINEL");
        connection.trouble().unwrap_or(trouble)
    });
    let told = |(host, port): (String, u16)| Node::told(&host, port).ok_or(Trouble::NotRedis);
    answer?.map(told).transpose()
}

/// Who is named most often, and how often; of several the one that is named first.
fn most_named(named: impl Iterator<Item = Node>) -> Option<(Node, usize)> {
    let mut counts: HashMap<Node, (usize, usize)> = HashMap::new();
    for (place, node) in named.enumerate() {
        counts.entry(node).or_insert((0, place)).0 += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, (count, place))| (*count, std::cmp::Reverse(*place)));
    most.map(|(node, (count, _))| (node, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_is_whom_most_name_and_of_several_the_one_named_first() {
        let node = |name: &str| Node::new(name, Some(1));
        let most = |names: &[&str]| most_named(names.iter().map(|name| node(name)));
        assert_eq!(most(&[]), None);
        assert_eq!(most(&["a", "b", "b"]), Some((node("b"), 2)));
        assert_eq!(most(&["a", "b"]), Some((node("a"), 1)));
        assert_eq!(most(&["b", "a", "a", "b"]), Some((node("b"), 2)));
    }
}
