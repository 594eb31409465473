//! Examines a Redis as an operator would: can it be used, and can it be used for nothing else?

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, ServerErrorKind};

use super::RedisConfig;
use super::link::{Login, client, connect};
use super::trouble::Trouble;

/// Commands that the user must be refused, in forms that would do no harm if they were not.
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
    pub subject: &'static str,
    /// What was found: good, or bad with what to do about it.
    pub verdict: Result<String, Advice>,
}

/// What is wrong and how to put it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What is wrong.
    pub what: String,
    /// How to put it right.
    pub fix: String,
}

/// Connects as the service does and looks at the login, its rights and the default user. Changes nothing in Redis.
pub async fn examine(config: &RedisConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let connection = connect(config).await;
    findings.push(Finding {
        subject: "redis",
        verdict: match &connection {
            Ok(_) => Ok("TLS, certificate, login and the commands the service needs".to_owned()),
            Err(trouble) => Err(advice(*trouble)),
        },
    });
    if let Ok((mut connection, _pushes)) = connection {
        findings.push(Finding { subject: "redis rights", verdict: least_privilege(&mut connection).await });
        findings.push(Finding { subject: "redis default user", verdict: default_user(config).await });
    }
    findings
}

fn advice(trouble: Trouble) -> Advice {
    Advice { what: trouble.to_string(), fix: trouble.fix().to_owned() }
}

async fn least_privilege(connection: &mut MultiplexedConnection) -> Result<String, Advice> {
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
    Err(Advice {
        what: format!("the user may also run {}", allowed.join(", ")),
        fix: "take its line from the redis-users.acl that `stratus init` writes".to_owned(),
    })
}

/// Refused to this user, or (DEBUG, where it is off in redis.conf) to everybody: Redis looks at that first.
fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || error.detail().is_some_and(|detail| detail.starts_with("DEBUG command not allowed"))
}

async fn default_user(config: &RedisConfig) -> Result<String, Advice> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.connect_timeout));
    let Ok(client) = client(config, Login::None) else { return Err(advice(Trouble::BadFiles)) };
    let without_login = async {
        let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
        redis::cmd("PING").exec_async(&mut connection).await
    };
    match without_login.await.map_err(|error| Trouble::of(&error)) {
        Err(Trouble::LoginRefused) => Ok("is off".to_owned()),
        // To be refused a command one has to be in.
        Ok(()) | Err(Trouble::NotAllowed(_)) => Err(Advice {
            what: "Redis lets anybody in without a login".to_owned(),
            fix: "put `user default reset off` into its ACL file".to_owned(),
        }),
        Err(trouble) => Err(advice(trouble)),
    }
}
