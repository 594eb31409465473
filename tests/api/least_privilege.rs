//! The user `stratus` may do in Redis what the service does and nothing else: tried for every command that the server
//! lists, and watched by the service itself at every connection.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, ServerErrorKind, Value};
use reqwest::Method;
use stratus::config::{Config, Sources};
use stratus::rights::{self, Right, Topology};
use stratus::store::{StoreConfig, examine_redis};

use crate::harness::cluster::Cluster;
use crate::harness::inspector::{connect, log_in};
use crate::harness::program::parsed;
use crate::harness::sentinel::Sentinels;
use crate::harness::{Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

/// The setting that these tests are about.
const REQUIRED: &str = "redis.require_least_privilege";
/// How many commands may be run that should not be.
const EXCESS: &str = "stratus_redis_excess_privileges";
/// A command that is not refused may wait for something; long before this it would have been refused.
const WAITS: Duration = Duration::from_secs(5);

async fn parts() -> (ScriptedUpstream, Redis) {
    let mut redis = Redis::start().await;
    redis.restart_with_inspector().await;
    (ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await, redis)
}

/// With limits that a busy machine does not reach.
fn setup(upstream: &ScriptedUpstream, redis: &Redis) -> Setup {
    Setup::redis(upstream, redis).set("redis.command_timeout_ms", 10_000).set("redis.connect_timeout_ms", 20_000)
}

/// Changes what the user may do from the next connection on, and ends those that there are.
async fn change_rights(redis: &Redis, rule: &str) {
    assert_eq!(redis.inspect(&["ACL", "SETUSER", "stratus", rule]).await, "OK\n", "{rule}");
    redis.inspect(&["CLIENT", "KILL", "USER", "stratus"]).await;
}

async fn ask(service: &Service, x_cache: &str) {
    let answer = service.get("/weather/Oslo").await;
    assert_eq!((answer.status.as_u16(), answer.x_cache(), answer.text()), (200, x_cache, body("Oslo").as_str()));
}

/// A command that the server knows.
struct Command {
    name: String,
    /// Its words, filled up to the number that it wants at least.
    words: Vec<String>,
    /// Whether there is something to run: not for CONFIG, only for CONFIG GET.
    complete: bool,
}

impl Command {
    /// From an entry of the server's table.
    fn of(entry: &[Value], subcommands: usize) -> Self {
        let name: String = redis::from_redis_value_ref(&entry[0]).expect("a name");
        let arity: i64 = redis::from_redis_value_ref(&entry[1]).expect("a number of words");
        let arity = usize::try_from(arity.unsigned_abs()).expect("a small number");
        let mut words: Vec<_> = name.split('|').map(str::to_owned).collect();
        words.resize(words.len().max(arity), "stratus:tried".to_owned());
        Self { name: name.to_uppercase().replace('|', " "), words, complete: subcommands == 0 || arity == 1 }
    }

    /// Every command and every subcommand.
    async fn all(inspector: &mut MultiplexedConnection) -> Vec<Self> {
        let table: Vec<Vec<Value>> = redis::cmd("COMMAND").arg("INFO").query_async(inspector).await.expect("the table");
        let mut commands = Vec::new();
        for entry in &table {
            let subcommands: Vec<Vec<Value>> = redis::from_redis_value_ref(&entry[9]).expect("subcommands");
            commands.push(Self::of(entry, subcommands.len()));
            commands.extend(subcommands.iter().map(|entry| Self::of(entry, 0)));
        }
        // By another way: the table leaves nothing out.
        let listed: BTreeSet<String> =
            redis::cmd("COMMAND").arg("LIST").query_async(inspector).await.expect("the list");
        let listed: BTreeSet<_> = listed.iter().map(|name| name.to_uppercase().replace('|', " ")).collect();
        assert_eq!(commands.iter().map(|command| command.name.clone()).collect::<BTreeSet<_>>(), listed);
        commands
    }

    /// Runs it. That it is refused is the only way out that counts as that.
    async fn is_allowed(&self, connection: &mut MultiplexedConnection) -> bool {
        let mut command = redis::cmd(&self.words[0]);
        command.arg(&self.words[1..]);
        let Ok(answer) = tokio::time::timeout(WAITS, command.query_async::<Value>(connection)).await else {
            return true;
        };
        let Err(error) = answer else { return true };
        let text = error.to_string();
        if !self.complete {
            assert!(text.contains("unknown subcommand"), "{}: {text}", self.name);
            return false;
        }
        let refusal = match self.words[0].as_str() {
            // Off for everybody in redis.conf, which Redis finds out before it looks at the user.
            "debug" => "DEBUG command not allowed",
            "module" if self.name != "MODULE LIST" && self.name != "MODULE HELP" => "MODULE command not allowed",
            // It ends the transaction, too, and says so first.
            "exec" => "no permissions to run the 'exec' command",
            _ => return error.kind() != ErrorKind::Server(ServerErrorKind::NoPerm),
        };
        !text.contains(refusal)
    }
}

/// Tries every command that the server on this port lists: how many there are, and those that the service's user may run.
async fn tried(secrets: &Path, port: u16) -> (usize, BTreeSet<String>) {
    let password = std::fs::read_to_string(secrets.join("redis-password")).expect("the password");
    let log_in = async |user, password| connect(secrets, port, user, password).await.expect("a login");
    let mut connection = log_in("stratus", password.trim()).await;
    let commands = Command::all(&mut log_in("inspector", "inspector").await).await;
    let (number, mut allowed) = (commands.len(), BTreeSet::new());
    for command in commands {
        if command.is_allowed(&mut connection).await {
            allowed.insert(command.name);
            // What was run may have changed or ended the connection.
            connection = log_in("stratus", password.trim()).await;
        }
    }
    (number, allowed)
}

fn with_those_never_refused<'a>(used: impl Iterator<Item = &'a Right>) -> BTreeSet<String> {
    used.map(|right| right.command).chain(rights::NEVER_REFUSED).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_every_command_that_redis_lists_the_services_user_may_run_only_those_that_are_used() {
    let mut redis = Redis::start().await;
    redis.restart_with_inspector().await;
    let (commands, allowed) = tried(&redis.secret(""), redis.server.port()).await;
    assert!(commands > 300, "{commands}");
    assert_eq!(allowed, with_those_never_refused(rights::all(Topology::Single)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_every_command_that_a_node_of_a_cluster_lists_the_services_user_may_run_only_those_that_are_used() {
    let redis = Cluster::start().await;
    let (commands, allowed) = tried(&redis.secrets(), redis.nodes[0].port).await;
    assert!(commands > 300, "{commands}");
    assert_eq!(allowed, with_those_never_refused(rights::all(Topology::Cluster)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_every_command_that_a_sentinel_lists_the_services_user_may_only_ask_for_the_primary() {
    let redis = Sentinels::start().await;
    let (commands, mut allowed) = tried(&redis.secrets(), redis.sentinels[0].port).await;
    assert!(commands > 50, "{commands}");
    // A Sentinel does not know all of these.
    allowed.retain(|command| !rights::NEVER_REFUSED.contains(&command.as_str()));
    assert_eq!(allowed, BTreeSet::from([rights::IN_SENTINEL.command.to_owned()]));
    let (_, allowed) = tried(&redis.secrets(), redis.servers[0].port).await;
    assert_eq!(allowed, with_those_never_refused(rights::all(Topology::Sentinel)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_every_command_that_redis_lists_and_finds_no_right_too_many() {
    let mut redis = Redis::start().await;
    redis.restart_with_inspector().await;
    let mut inspector = log_in(&redis, redis.server.port(), "inspector", "inspector").await;
    let commands = Command::all(&mut inspector).await.iter().filter(|command| command.complete).count();
    let overrides = redis.settings(redis.server.port());
    let config = Config::load(&Sources { overrides, ..Sources::default() }).expect("a configuration without faults");
    let StoreConfig::Redis(config) = config.store else { panic!("{:?}", config.store) };
    let findings = examine_redis(&config).await;
    let rights = findings.iter().find(|finding| finding.subject == "redis rights").expect("the rights");
    let may = "the user may run GET, SET, UNLINK, INCRBY on stratus:*, COMMAND INFO, ACL DRYRUN, and nothing else";
    assert_eq!(rights.verdict, Ok(format!("{may} ({commands} commands looked at)")));
    assert_eq!(rights.note, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_beyond_what_is_used_are_counted_and_redis_is_used_all_the_same_by_default() {
    let (upstream, redis) = parts().await;
    change_rights(&redis, "+del").await;
    let mut service = setup(&upstream, &redis).start().await;
    service.store_up().await;
    ask(&service, "MISS").await;
    ask(&service, "HIT").await;
    becomes(&service, 1).await;
    change_rights(&redis, "+config|get").await;
    becomes(&service, 2).await;
    change_rights(&redis, "-del").await;
    becomes(&service, 1).await;
    change_rights(&redis, "-config|get").await;
    becomes(&service, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_is_not_told_again_until_it_changes() {
    const WARNING: &str = "Redis allows the user more than is used";
    let (upstream, redis) = parts().await;
    change_rights(&redis, "+del").await;
    let program = setup(&upstream, &redis).program().await;
    assert_eq!(program.logs(WARNING).await["too_many"], "DEL");
    let questions = questions_asked(&redis).await;
    assert!(questions > 300, "{questions}");
    // The same rights on another connection, and on a third one more.
    redis.inspect(&["CLIENT", "KILL", "USER", "stratus"]).await;
    let again = async { while questions_asked(&redis).await < 2 * questions {} };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("it looks again");
    change_rights(&redis, "+exists").await;
    let changed = async {
        let counted = format!("{EXCESS} 2");
        while !answer(program.admin_request(Method::GET, "/metrics")).await.text().lines().any(|line| line == counted) {
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed).await.expect("it looks a third time");
    let lines = parsed(&program.stop().await);
    let told: Vec<_> = lines.iter().filter(|line| line["message"] == WARNING).map(|line| &line["too_many"]).collect();
    assert_eq!(told, ["DEL", "DEL, EXISTS"]);
}

/// How often Redis was asked what a user may run.
async fn questions_asked(redis: &Redis) -> u64 {
    let statistics = redis.inspect(&["INFO", "commandstats"]).await;
    let calls = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_acl|dryrun:calls="));
    calls.and_then(|calls| calls.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
}

/// Waits until so many commands are counted.
async fn becomes(service: &Service, excess: u64) {
    let counted = async { while service.metric(EXCESS).await != excess {} };
    tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap_or_else(|_| panic!("never {excess}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_requires_least_privilege_uses_no_redis_that_allows_more_from_its_next_connection_on() {
    let (upstream, mut redis) = parts().await;
    let mut service = setup(&upstream, &redis).set(REQUIRED, true).start().await;
    ask(&service, "MISS").await;
    ask(&service, "HIT").await;

    let file = redis.secret("redis-users.acl");
    let shipped = std::fs::read_to_string(&file).expect("the users");
    for (rule, reason) in [
        ("~stratus:* +del", "allows the user more than is used"),
        ("~*", "allows the user more than is used"),
        ("~stratus:* -acl|dryrun", "does not let the user ask for its rights"),
    ] {
        std::fs::write(&file, shipped.replace("~stratus:*", rule)).expect("the users");
        redis.restart().await;
        service.store_down_because(reason).await;
        ask(&service, "MISS").await;
        ask(&service, "MISS").await;
        assert_eq!(redis.inspect(&["DBSIZE"]).await.trim(), "0", "{rule}: nothing is written there");
        let store = &service.admin_get("/status").await.json()["store"];
        assert!(store["reason"].as_str().expect("a reason").contains(REQUIRED), "{store}");
        assert!(store["fix"].as_str().expect("a fix").contains("redis-users.acl"), "{store}");
    }

    std::fs::write(&file, &shipped).expect("the users");
    redis.restart().await;
    service.store_up().await;
    ask(&service, "MISS").await;
    ask(&service, "HIT").await;
    assert_eq!(service.metric(EXCESS).await, 0);
}
