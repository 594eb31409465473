//! Which Redis is the primary, by what Sentinels say
//! (<https://redis.io/docs/latest/develop/reference/sentinel-clients/>).
//!
//! All of them are asked, over connections that are kept. The primary is whom most of those who answer name; that it is
//! another one now is believed when more than half of all say so, for one that was cut off from the others names the old
//! one for ever. What a Sentinel says is only where to look: whoever is there has to have a certificate and to take writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::RedisConfig;
use super::dial::{Connection, Login, dial};
use super::node::Node;
use super::trouble::Trouble;

/// How often they are asked whether the primary is still the primary. A quarter of the two seconds within which a fail-over
/// has to be followed.
const ASK_AGAIN: Duration = Duration::from_millis(500);

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
    /// What was logged of it last.
    trouble: Option<Trouble>,
}

impl Sentinels {
    pub(super) fn new(nodes: &[Node], primary: &str, config: Arc<RedisConfig>) -> Self {
        let lines = nodes.iter().map(|node| Line { node: node.clone(), talk: Mutex::default() }).collect();
        Self { config, primary: primary.to_owned(), lines }
    }

    /// The primary as most of those who answer name it.
    pub(super) async fn primary(&self) -> Result<Node, Trouble> {
        let said = self.ask().await;
        let knows_nothing = said.iter().any(|said| matches!(said, Ok(None)));
        match most_named(said.into_iter().flatten().flatten()) {
            Some((node, _)) => Ok(node),
            None if knows_nothing => Err(Trouble::PrimaryUnknown),
            None => Err(Trouble::SentinelsAway),
        }
    }

    /// Waits until more than half of all name one other than `node`.
    pub(super) async fn other_primary_than(&self, node: &Node) {
        loop {
            sleep(ASK_AGAIN).await;
            let said = self.ask().await.into_iter().flatten().flatten();
            if most_named(said).is_some_and(|(named, count)| named != *node && count * 2 > self.lines.len()) {
                return;
            }
        }
    }

    async fn ask(&self) -> Vec<Result<Option<Node>, Trouble>> {
        join_all(self.lines.iter().map(|line| self.ask_one(line))).await
    }

    async fn ask_one(&self, line: &Line) -> Result<Option<Node>, Trouble> {
        let mut talk = line.talk.lock().await;
        // Taken out, so that one that fails, or is waited for no longer, is not used again.
        let connection = match talk.connection.take() {
            Some(connection) => Ok(connection),
            None => connect(&self.config, &line.node).await,
        };
        let said = match connection {
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

pub(super) async fn connect(config: &RedisConfig, node: &Node) -> Result<Connection, Trouble> {
    let credentials = config.credentials.get();
    let dialled = timeout(config.connect_timeout, dial(config, node, &credentials, Login::Configured)).await;
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
    Ok(answer?.map(|(host, port)| Node::new(&host, Some(port))))
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
