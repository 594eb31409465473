//! Examines a Redis as an operator would: can it be used, and can it be used for nothing else?

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::time::timeout;

use super::dial::{Login, dial};
use super::link::connect;
use super::node::Node;
use super::privileges::{self, FIX, Rights};
use super::sentinel::{self, Sentinels};
use super::trouble::Trouble;
use super::{RedisConfig, Servers, cluster};
use crate::rights;

/// Commands that the user must be refused, in forms that would do no harm if they were not: for a user who may not ask.
const FORBIDDEN: [(&str, &[&str]); 14] = [
    ("KEYS", &["stratus:probe"]),
    ("SCAN", &["0", "COUNT", "1"]),
    ("FLUSHALL", &["no-such-mode"]),
    ("CONFIG", &["GET", "maxmemory"]),
    ("DEBUG", &["no-such-subcommand"]),
    ("EVAL", &["return 1", "0"]),
    ("ACL", &["WHOAMI"]),
    ("FLUSHDB", &["no-such-mode"]),
    ("SCRIPT", &["EXISTS", "none"]),
    ("CLIENT", &["LIST"]),
    ("DUMP", &["stratus:probe"]),
    ("RENAME", &["stratus:probe", "stratus:probe"]),
    ("GET", &["elsewhere:probe"]),
    ("SET", &["elsewhere:probe", "", "NX", "XX"]),
];

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub subject: String,
    /// What was found: good, or bad with what to do about it.
    pub verdict: Result<String, Advice>,
    /// Why it could not be looked at completely, and what to do about that.
    pub note: Option<Advice>,
}

impl Finding {
    fn new(subject: impl Into<String>, verdict: Result<String, Advice>) -> Self {
        Self { subject: subject.into(), verdict, note: None }
    }
}

/// What is wrong and how to put it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What is wrong.
    pub what: String,
    /// How to put it right.
    pub fix: String,
}

/// Connects as the service does and looks at each server that it would use: the login, its rights and the default user;
/// and at those that tell which servers these are. Changes nothing in Redis.
pub async fn examine(config: &RedisConfig) -> Vec<Finding> {
    match &config.servers {
        Servers::Single(node) => examine_server(config, node, "redis").await,
        Servers::Sentinel { sentinels, primary } => examine_sentinels(config, sentinels, primary).await,
        Servers::Cluster(seeds) => examine_cluster(config, seeds).await,
    }
}

async fn examine_server(config: &RedisConfig, node: &Node, subject: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let connection = connect(config, node, &config.credentials.get()).await;
    let good = "TLS, certificate, login and the commands the service needs";
    findings.push(Finding::new(
        subject,
        match &connection {
            Ok(_) => Ok(good.to_owned()),
            Err(trouble) => Err(advice(*trouble)),
        },
    ));
    if let Ok(mut connection) = connection {
        findings.push(least_privilege(&mut connection.commands, config, format!("{subject} rights")).await);
        findings.push(Finding::new(format!("{subject} default user"), default_user(config, node).await));
    }
    findings
}

/// Each of them, and then the primary as the service would find it.
async fn examine_sentinels(config: &RedisConfig, sentinels: &[Node], primary: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for node in sentinels {
        let named = match sentinel::connect(config, node, &config.credentials.get()).await {
            Ok(mut connection) => sentinel::ask_for(&mut connection, primary, config).await,
            Err(trouble) => Err(trouble),
        };
        let verdict = match named {
            Ok(Some(node)) => Ok(format!("names {node} as the primary")),
            Ok(None) => Err(advice(Trouble::PrimaryUnknown)),
            Err(trouble) => Err(advice(trouble)),
        };
        findings.push(Finding::new(format!("sentinel {node}"), verdict));
    }
    match Sentinels::new(sentinels, primary, Arc::new(config.clone())).primary().await {
        Ok(node) => findings.extend(examine_server(config, &node, "redis").await),
        Err(trouble) => findings.push(Finding::new("redis", Err(advice(trouble)))),
    }
    findings
}

/// Whether some node tells of primaries for all keys, and each of those.
async fn examine_cluster(config: &RedisConfig, seeds: &[Node]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for seed in seeds {
        let ranges = match connect(config, seed, &config.credentials.get()).await {
            Ok(mut connection) => in_time(config, cluster::ask_for_ranges(&mut connection.commands, seed)).await,
            Err(trouble) => Err(trouble),
        };
        let ranges = match ranges {
            Ok(ranges) => ranges,
            Err(trouble) => {
                findings.push(Finding::new(format!("redis {seed}"), Err(advice(trouble))));
                continue;
            }
        };
        let served: usize = ranges.iter().map(|range| range.slots.clone().count()).sum();
        let primaries: BTreeSet<_> = ranges.into_iter().map(|range| range.primary).collect();
        let what = format!("{} primaries have {served} of {} slots", primaries.len(), cluster::SLOTS);
        let fix = "see `redis-cli --cluster check` and `--cluster fix`".to_owned();
        let verdict = if served == cluster::SLOTS { Ok(what) } else { Err(Advice { what, fix }) };
        findings.push(Finding::new("redis cluster", verdict));
        for primary in primaries {
            findings.extend(examine_server(config, &primary, &format!("redis {primary}")).await);
        }
        break;
    }
    findings
}

/// A server that hangs is not waited for; one look at it has as long as it may take to connect.
async fn in_time<T>(config: &RedisConfig, look: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(config.connect_timeout, look).await.unwrap_or(Err(Trouble::CommandTimeout))
}

fn advice(trouble: Trouble) -> Advice {
    Advice { what: trouble.to_string(), fix: trouble.fix().to_owned() }
}

async fn least_privilege(connection: &mut MultiplexedConnection, config: &RedisConfig, subject: String) -> Finding {
    let (mut note, topology) = (None, config.servers.topology());
    let look =
        async { privileges::look(connection, &config.username, topology).await.map_err(|error| Trouble::of(&error)) };
    let verdict = match in_time(config, look).await {
        Ok(found @ Rights::Unknown(_)) if !config.require_least_privilege => {
            note = found.verdict().err();
            in_time(config, async { Ok(probe(connection).await) }).await.unwrap_or_else(|trouble| Err(advice(trouble)))
        }
        Ok(found) => found.verdict().map(|commands| {
            let (on_keys, keys, beside) = (rights::on_keys(), rights::KEYS, rights::beside_keys(topology));
            format!("the user may run {on_keys} on {keys}, {beside}, and nothing else ({commands} commands looked at)")
        }),
        Err(trouble) => Err(advice(trouble)),
    };
    Finding { subject, verdict, note }
}

/// Tries a few commands, which leaves a line in `ACL LOG` for each that is refused.
async fn probe(connection: &mut MultiplexedConnection) -> Result<String, Advice> {
    let mut allowed = Vec::new();
    for (name, arguments) in FORBIDDEN {
        let answer = redis::cmd(name).arg(arguments).exec_async(connection).await;
        if !answer.is_err_and(|error| is_refusal(&error)) {
            allowed.push(match name {
                "GET" => "GET outside stratus:*",
                "SET" => "SET outside stratus:*",
                name => name,
            });
        }
    }
    if allowed.is_empty() {
        return Ok(format!("the user is refused the {} other commands that were tried", FORBIDDEN.len()));
    }
    Err(Advice { what: format!("the user may also run {}", allowed.join(", ")), fix: FIX.to_owned() })
}

/// Refused to this user, or to everybody (DEBUG is off in redis.conf, others may have been renamed): Redis looks at that
/// first.
fn is_refusal(error: &RedisError) -> bool {
    let to_everybody = ["DEBUG command not allowed", "unknown command"];
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || error.detail().is_some_and(|detail| to_everybody.iter().any(|refusal| detail.starts_with(refusal)))
}

async fn default_user(config: &RedisConfig, node: &Node) -> Result<String, Advice> {
    let without_login = async {
        let mut connection = dial(config, node, &config.credentials.get(), Login::None).await?;
        let ping = redis::cmd("PING").exec_async(&mut connection.commands).await;
        ping.map_err(|error| connection.trouble().unwrap_or_else(|| Trouble::of(&error)))
    };
    match timeout(config.connect_timeout, without_login).await.unwrap_or(Err(Trouble::ConnectTimeout)) {
        Err(Trouble::LoginRefused) => Ok("is off".to_owned()),
        // To be refused a command one has to be in.
        Ok(()) | Err(Trouble::NotAllowed(_)) => Err(Advice {
            what: "Redis lets anybody in without a login".to_owned(),
            fix: "put `user default reset off` into its ACL file".to_owned(),
        }),
        Err(trouble) => Err(advice(trouble)),
    }
}
