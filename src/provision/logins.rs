//! The logins of Redis and of Sentinel: passwords, the user files that hold their digests, and the lines of configuration by
//! which servers log in to each other.

use std::path::Path;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::files::{self, Plan};
use super::{Error, random_secret};
use crate::rights::{self, Topology};

pub(super) const REDIS_USERS: &str = "redis-users.acl";
pub(super) const REDIS_PASSWORD: &str = "redis-password";
/// With it a replica follows its primary.
pub(super) const REPLICATION_PASSWORD: &str = "redis-replication-password";
pub(super) const REPLICATION_CONF: &str = "redis-replication.conf";
/// With it a Sentinel watches servers, and talks to other Sentinels.
pub(super) const SENTINEL_PASSWORD: &str = "redis-sentinel-password";
pub(super) const SENTINEL_USERS: &str = "sentinel-users.acl";
pub(super) const SENTINEL_AUTH: &str = "sentinel-auth.conf";
/// What Sentinel calls the primary, here as in `deploy/redis/sentinel.conf`.
const MASTER_NAME: &str = "stratus";
/// The one channel, on which Sentinels find each other.
const HELLO: &str = "&__sentinel__:hello";
/// What a replica runs on its primary
/// (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>, "ACL rules for Sentinel and Replicas").
const REPLICATION_RULES: &str = "+psync +replconf +ping";
/// What a Sentinel runs on the servers that it watches (same page).
const WATCHING_RULES: &str = "+multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info \
                              +client|setname +client|kill +script|kill";
/// What a Sentinel runs on another one: whether it lives, who it is, what it knows, whether it misses the primary, too.
const AMONG_SENTINELS_RULES: &str = "+ping +client|setname +publish +sentinel|is-master-down-by-addr";

/// A file that is made of passwords, and of which.
struct Login {
    name: &'static str,
    passwords: &'static [&'static str],
    /// From these passwords, in this order.
    content: fn(&[&str]) -> String,
}

/// What there is beside the password of `stratus`, in the order in which it is written.
fn logins(topology: Topology) -> &'static [Login] {
    const REPLICATION: Login =
        Login { name: REPLICATION_CONF, passwords: &[REPLICATION_PASSWORD], content: |it| replication_conf(it[0]) };
    match topology {
        Topology::Single => {
            &[Login { name: REDIS_USERS, passwords: &[REDIS_PASSWORD], content: |it| redis_acl(it[0]) }]
        }
        Topology::Sentinel => &[
            Login {
                name: REDIS_USERS,
                passwords: &[REDIS_PASSWORD, REPLICATION_PASSWORD, SENTINEL_PASSWORD],
                content: |it| {
                    let watching = user("sentinel", it[2], &format!("{WATCHING_RULES} {HELLO}"));
                    redis_acl(it[0]) + &user("replication", it[1], REPLICATION_RULES) + &watching
                },
            },
            REPLICATION,
            Login {
                name: SENTINEL_USERS,
                passwords: &[REDIS_PASSWORD, SENTINEL_PASSWORD],
                content: |it| {
                    let among = user("sentinel", it[1], &format!("{AMONG_SENTINELS_RULES} {HELLO}"));
                    NO_DEFAULT_USER.to_owned() + &user("stratus", it[0], &rights::rule(&rights::IN_SENTINEL)) + &among
                },
            },
            Login { name: SENTINEL_AUTH, passwords: &[SENTINEL_PASSWORD], content: |it| sentinel_auth(it[0]) },
        ],
        Topology::Cluster => &[
            Login {
                name: REDIS_USERS,
                passwords: &[REDIS_PASSWORD, REPLICATION_PASSWORD],
                content: |it| acl(it[0], Topology::Cluster) + &user("replication", it[1], REPLICATION_RULES),
            },
            REPLICATION,
        ],
    }
}

/// The files that a server reads, Redis or Sentinel, beside its certificates.
pub(super) fn for_servers(topology: Topology) -> impl Iterator<Item = &'static str> {
    logins(topology).iter().map(|login| login.name)
}

/// Whether operators may add to the copy that their server reads: their own users.
pub(super) fn may_differ(name: &str) -> bool {
    name == REDIS_USERS || name == SENTINEL_USERS
}

/// Plans the passwords, and what is made of them.
pub(super) fn plan(plan: &mut Plan, dir: &Path, topology: Topology) -> Result<(), Error> {
    refuse_another_topology(&dir.join(REDIS_USERS), topology)?;
    let logins = logins(topology);
    for login in logins {
        let path = dir.join(login.name);
        for password in login.passwords.iter().map(|name| dir.join(name)) {
            if files::exists(&path)? && !files::exists(&password)? {
                return Err(Error::UsersWithoutPassword { acl: path, password });
            }
        }
    }
    for login in logins {
        for password in login.passwords.iter().map(|name| dir.join(name)) {
            if !plan.has(&password) {
                plan.add_unless_kept(password, random_secret)?;
            }
        }
        let path = dir.join(login.name);
        if files::exists(&path)? {
            plan.keep(path);
            continue;
        }
        let mut passwords = Vec::with_capacity(login.passwords.len());
        for name in login.passwords {
            passwords.push(password(plan, &dir.join(name))?);
        }
        let passwords: Vec<&str> = passwords.iter().map(|password| password.as_str()).collect();
        plan.add(path, Zeroizing::new((login.content)(&passwords)));
    }
    Ok(())
}

/// What a user file of another kind would lack, or allow too much, shows only once servers run.
pub(super) fn refuse_another_topology(users: &Path, wanted: Topology) -> Result<(), Error> {
    if !files::exists(users)? {
        return Ok(());
    }
    let found = written_for(&files::read(users)?);
    if found == wanted { Ok(()) } else { Err(Error::OtherTopology { users: users.to_owned(), found, wanted }) }
}

fn written_for(users: &str) -> Topology {
    let rules = |name: &str| {
        let words = users.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.into_iter().find(|words| words.starts_with(&["user", name]))
    };
    let of_a_cluster = |words: Vec<&str>| words.iter().any(|word| word.starts_with("+cluster"));
    if rules("sentinel").is_some() {
        Topology::Sentinel
    } else if rules("stratus").is_some_and(of_a_cluster) {
        Topology::Cluster
    } else {
        Topology::Single
    }
}

/// The content of the user file of a single Redis: the default user is off, and `stratus` may do what is in [`rights`] and
/// nothing else: no other key, no channel, no script, no administration
/// (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>).
///
/// The file holds the SHA-256 of the password, as Redis wants it. A plain hash suffices for a random password of
/// 256 bits, because there is nothing to guess.
pub fn redis_acl(password: &str) -> String {
    acl(password, Topology::Single)
}

const NO_DEFAULT_USER: &str = "user default reset off\n";

fn acl(password: &str, topology: Topology) -> String {
    NO_DEFAULT_USER.to_owned() + &user("stratus", password, &rights::rules(topology))
}

fn user(name: &str, password: &str, rules: &str) -> String {
    let hash: String = Sha256::digest(password.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("user {name} reset on #{hash} resetchannels -@all {rules}\n")
}

fn replication_conf(password: &str) -> String {
    format!(
        "# The login by which a replica follows its primary.\nmasteruser replication\nmasterauth {}\n",
        quoted(password)
    )
}

fn sentinel_auth(password: &str) -> String {
    let password = quoted(password);
    format!(
        "# The login of Sentinel at the servers that it watches, and at the other Sentinels.\n\
         sentinel auth-user {MASTER_NAME} sentinel\nsentinel auth-pass {MASTER_NAME} {password}\n\
         sentinel sentinel-user sentinel\nsentinel sentinel-pass {password}\n"
    )
}

/// As Redis reads a word of its configuration that may hold quotes of its own.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A password that is planned or kept.
fn password(plan: &Plan, path: &Path) -> Result<Zeroizing<String>, Error> {
    let content = plan.content(path)?;
    let line = content.strip_suffix('\n').unwrap_or(&content);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(char::is_whitespace) {
        let reason = "must hold the password and nothing else: correct it, or move it away to have one made";
        return Err(Error::Unusable { path: path.to_owned(), reason });
    }
    Ok(Zeroizing::new(line.to_owned()))
}
