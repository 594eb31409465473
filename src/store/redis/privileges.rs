//! Asks Redis what its own user may do, and says what of it the service does not use.
//!
//! `COMMAND INFO` gives every command that the server knows, those of modules included, and `ACL DRYRUN` (Redis 7.0)
//! tells of each whether the user may run it. Nothing is run, and nothing is written into `ACL LOG`.
//!
//! What is not seen this way: a command that is allowed with one certain first argument only (`+select|1`), a pattern of
//! keys that fits none of [`OUTSIDE`] (`~sessions:*`), and that any password will do (`nopass`; to try one leaves a line in
//! `ACL LOG`). A pattern of channels is worth nothing without a command that uses channels, and that is seen.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::timeout;

use super::trouble::Trouble;
use super::{Advice, RedisConfig};
use crate::rights::{self, Topology};
use crate::telemetry::Metrics;

/// A key that the user may touch and that is never written.
pub(super) const PROBE: &str = "stratus:probe";
/// Keys that it may not touch: any at all, and both neighbours of a pattern that was drawn too wide.
const OUTSIDE: [&str; 3] = ["elsewhere:probe", "stratus", "not-stratus:probe"];
/// Questions in one pipeline. Requests share the connection and wait for one pipeline at most.
const QUESTIONS: usize = 16;
/// No command wants more arguments than these at least; of one that says so nothing is asked.
const MAX_ARITY: usize = 64;
/// Names that are told at most; with all commands allowed there are hundreds.
const NAMES: usize = 20;
/// What to do about all of it.
pub(super) const FIX: &str = "move redis-users.acl and its copy for Redis away, let `stratus init` write both anew \
                              (the password stays), and restart Redis";

/// What the user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rights {
    /// What is used, and nothing else: so many commands were looked at.
    Exact(usize),
    /// These, too, in alphabetical order.
    More(Vec<String>),
    /// That cannot be told, for this reason.
    Unknown(String),
}

impl Rights {
    /// How many commands were looked at, or what is wrong.
    pub(super) fn verdict(&self) -> Result<usize, Advice> {
        let what = match self {
            Self::Exact(commands) => return Ok(*commands),
            Self::More(names) => format!("the user may also run {}", listed(names)),
            Self::Unknown(reason) => format!("whether the user may do more than is used cannot be told: {reason}"),
        };
        Err(Advice { what, fix: FIX.to_owned() })
    }
}

/// The first of these names, and how many there are besides.
fn listed(names: &[String]) -> String {
    let first = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => first,
        left => format!("{first} and {left} more"),
    }
}

/// What is known of the user's rights, and whether Redis is used in spite of them.
pub(super) struct Privileges {
    username: String,
    topology: Topology,
    required: bool,
    /// For the whole look before a connection is used.
    patience: Duration,
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
}

/// A link whose Redis is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Looker(u64);

/// What is known of each link: nodes of a cluster have their own user files.
#[derive(Default)]
struct Known {
    links: u64,
    rights: HashMap<Looker, Rights>,
    /// What was told last, of all of them.
    told: Option<Rights>,
}

impl Known {
    /// What is wrong with any of them.
    fn overall(&self) -> Option<Rights> {
        let more =
            self.rights.values().filter_map(|rights| if let Rights::More(names) = rights { Some(names) } else { None });
        let more: BTreeSet<_> = more.flatten().cloned().collect();
        if !more.is_empty() {
            return Some(Rights::More(more.into_iter().collect()));
        }
        // Of several the one that does not depend on who was looked at last.
        let unknown = self
            .rights
            .values()
            .filter_map(|rights| if let Rights::Unknown(reason) = rights { Some(reason) } else { None });
        let exact = self
            .rights
            .values()
            .filter_map(|rights| if let Rights::Exact(commands) = rights { Some(*commands) } else { None });
        unknown.min().map(|reason| Rights::Unknown(reason.clone())).or_else(|| exact.max().map(Rights::Exact))
    }

    /// What was told before and what is to be told now, if that is news.
    fn news(&mut self) -> Option<(Option<Rights>, Rights)> {
        let now = self.overall()?;
        let before = self.told.replace(now.clone());
        let same = match (&before, &now) {
            // Nodes of several versions know more and fewer commands.
            (Some(Rights::Exact(_)), Rights::Exact(_)) => true,
            (before, now) => before.as_ref() == Some(now),
        };
        (!same).then_some((before, now))
    }
}

impl Privileges {
    pub(super) fn new(config: &RedisConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            username: config.username.clone(),
            topology: config.servers.topology(),
            required: config.require_least_privilege,
            patience: config.connect_timeout,
            metrics,
            known: Mutex::default(),
        }
    }

    /// One more link.
    pub(super) fn newcomer(&self) -> Looker {
        let mut known = self.known();
        known.links += 1;
        Looker(known.links)
    }

    /// That link is no more.
    pub(super) fn forget(&self, looker: Looker) {
        self.say_news(|known| drop(known.rights.remove(&looker)));
    }

    /// Lets a connection be used: at once, or once it is proved that the user may do no more than is used.
    pub(super) async fn admit(&self, looker: Looker, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        if !self.required {
            return Ok(());
        }
        let looked = timeout(self.patience, look(connection, &self.username, self.topology)).await;
        let rights = looked.map_err(|_| Trouble::ConnectTimeout)?.map_err(|error| Trouble::of(&error))?;
        let admitted = match &rights {
            Rights::Exact(_) => Ok(()),
            Rights::More(_) => Err(Trouble::TooManyRights),
            Rights::Unknown(_) => Err(Trouble::RightsNotProved),
        };
        self.tell(looker, rights);
        admitted
    }

    /// Waits for the end of a connection that is in use, and looks meanwhile, unless that was done before.
    pub(super) async fn look_beside<T>(
        &self,
        looker: Looker,
        connection: MultiplexedConnection,
        end: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(end);
        tokio::select! {
            ended = &mut end => ended,
            () = self.look_once(looker, connection) => end.await,
        }
    }

    async fn look_once(&self, looker: Looker, mut connection: MultiplexedConnection) {
        // An error is the end of the connection, which is told elsewhere.
        if !self.required
            && let Ok(rights) = look(&mut connection, &self.username, self.topology).await
        {
            self.tell(looker, rights);
        }
    }

    /// Why Redis is not used, if it is for this.
    pub(super) fn refusal(&self) -> Option<Advice> {
        if self.required { self.known().overall()?.verdict().err() } else { None }
    }

    fn tell(&self, looker: Looker, rights: Rights) {
        self.say_news(|known| drop(known.rights.insert(looker, rights)));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, and says what is new by that.
    fn say_news(&self, change: impl FnOnce(&mut Known)) {
        let news = {
            let mut known = self.known();
            change(&mut known);
            known.news()
        };
        let Some((before, rights)) = news else { return };
        let excess = if let Rights::More(names) = &rights { names.len() } else { 0 };
        self.metrics.set_excess_privileges(excess);
        match &rights {
            Rights::Exact(commands) if before.is_none() => {
                tracing::debug!(commands, "Redis allows the user what is used and nothing else");
            }
            Rights::Exact(commands) => {
                tracing::info!(commands, "Redis allows the user what is used and nothing else");
            }
            Rights::More(names) => {
                let too_many = listed(names);
                tracing::warn!(too_many, count = excess, fix = FIX, "Redis allows the user more than is used");
            }
            Rights::Unknown(reason) => {
                tracing::info!(reason, fix = FIX, "whether Redis allows the user more than is used cannot be told");
            }
        }
    }
}

/// Something to ask about: its name, and the words in which it would be run.
struct Question {
    name: String,
    words: Vec<String>,
    /// Whether the question is about keys, not about the command.
    outside: bool,
}

/// What Redis says about one.
enum Answer {
    Allowed,
    /// On other keys or channels than this one.
    AllowedElsewhere,
    Refused,
    /// Neither, as far as is understood.
    Strange,
    /// The user may not ask.
    MayNotAsk,
}

/// Looks at every command that the server knows. An error means that the connection is of no use.
pub(super) async fn look(
    connection: &mut MultiplexedConnection,
    username: &str,
    topology: Topology,
) -> RedisResult<Rights> {
    let may_not_ask = || Rights::Unknown(format!("the user may not run {}", rights::about_itself()));
    let table = match redis::cmd("COMMAND").arg("INFO").query_async::<Value>(connection).await {
        Ok(table) => table,
        // Redis itself refuses: to this user, or to everybody, where the command was renamed.
        Err(error) if error.code().is_some() => return Ok(may_not_ask()),
        Err(error) => return Err(error),
    };
    let Some(mut questions) = questions(&table) else {
        return Ok(Rights::Unknown("its list of commands is not understood".to_owned()));
    };
    let commands = questions.len();
    questions.extend(outside());
    let (mut allowed, mut strange) = (BTreeSet::new(), None);
    for some in questions.chunks(QUESTIONS) {
        for (question, answer) in some.iter().zip(ask(connection, username, some).await?) {
            match answer {
                Answer::AllowedElsewhere if question.outside => {}
                Answer::Allowed | Answer::AllowedElsewhere => {
                    allowed.insert(question.name.as_str());
                }
                Answer::Refused => {}
                Answer::Strange => strange = strange.or(Some(question.name.as_str())),
                Answer::MayNotAsk => return Ok(may_not_ask()),
            }
        }
    }
    // It proved that it may run these: whoever says otherwise is not understood.
    let denied = rights::all(topology).map(|right| right.command).find(|command| !allowed.contains(command));
    let more: Vec<_> = allowed.into_iter().filter(|name| !rights::is_used(name, topology)).map(str::to_owned).collect();
    Ok(match denied.or(strange) {
        _ if !more.is_empty() => Rights::More(more),
        Some(command) => Rights::Unknown(format!("its answer about {command} is not understood (was it renamed?)")),
        None => Rights::Exact(commands),
    })
}

/// One question for each command of the table that can be run. `None`: it is none that we know how to read.
fn questions(table: &Value) -> Option<Vec<Question>> {
    let entries = table.as_sequence()?;
    let mut questions = Vec::with_capacity(entries.len());
    for entry in entries {
        let (name, arity, subcommands) = command(entry)?;
        for subcommand in subcommands {
            let (name, arity, _) = command(subcommand)?;
            questions.push(Question::about(&name, arity));
        }
        // A command with subcommands is run without one only if it does with one word.
        if subcommands.is_empty() || arity == 1 {
            questions.push(Question::about(&name, arity));
        }
    }
    Some(questions)
}

/// Name, least number of words and subcommands of an entry of the table
/// (<https://redis.io/docs/latest/commands/command/>).
fn command(entry: &Value) -> Option<(String, usize, &[Value])> {
    let fields = entry.as_sequence()?;
    let name = String::from_redis_value_ref(fields.first()?).ok()?;
    let arity = i64::from_redis_value_ref(fields.get(1)?).ok()?;
    let arity = usize::try_from(arity.unsigned_abs()).ok().filter(|arity| *arity <= MAX_ARITY)?;
    // For want of any an empty set, not an array.
    let subcommands = fields.get(9)?.as_sequence()?;
    // It is printed.
    let is_a_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_a_name.then_some((name.to_uppercase(), arity, subcommands))
}

impl Question {
    /// Of the table's `CONFIG|GET` with three words: `CONFIG GET stratus:probe`. Where it is a key that is asked for, it
    /// is one that the user may touch.
    fn about(name: &str, arity: usize) -> Self {
        let mut words: Vec<_> = name.split('|').map(str::to_owned).collect();
        let name = words.join(" ");
        words.resize(words.len().max(arity), PROBE.to_owned());
        Self { name, words, outside: false }
    }
}

/// The used commands, on keys that the user may not touch.
fn outside() -> impl Iterator<Item = Question> {
    let about = |right: &rights::Right, key| {
        let words = [right.command, key].into_iter().chain(right.harmless.iter().copied()).map(str::to_owned).collect();
        Question { name: format!("{} outside {}", right.command, rights::KEYS), words, outside: true }
    };
    OUTSIDE.into_iter().flat_map(move |key| rights::ON_KEYS.iter().map(move |right| about(right, key)))
}

async fn ask(
    connection: &mut MultiplexedConnection,
    username: &str,
    questions: &[Question],
) -> RedisResult<impl Iterator<Item = Answer>> {
    let mut pipeline = Pipeline::with_capacity(questions.len());
    for question in questions {
        pipeline.cmd("ACL").arg("DRYRUN").arg(username).arg(&question.words);
    }
    // Each answer counts, also beside one that is an error.
    pipeline.ignore_errors();
    let answers: Vec<RedisResult<Value>> = pipeline.query_async(connection).await?;
    Ok(answers.into_iter().map(Answer::of))
}

impl Answer {
    fn of(answer: RedisResult<Value>) -> Self {
        let text = match answer {
            Ok(Value::Okay) => return Self::Allowed,
            Ok(answer) => String::from_redis_value(answer).unwrap_or_default(),
            Err(error) if is_no_permission(&error) => return Self::MayNotAsk,
            Err(_) => return Self::Strange,
        };
        // "… has no permissions to run the 'del' command", or: "to access the 'a' key", "'a' channel". The command comes
        // first: who is refused the key may run the command.
        if text.ends_with("' command") {
            Self::Refused
        } else if text.ends_with("' key") || text.ends_with("' channel") {
            Self::AllowedElsewhere
        } else {
            Self::Strange
        }
    }
}

fn is_no_permission(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(name: &str, arity: i64, subcommands: Vec<Value>) -> Value {
        let mut fields = vec![text(name), Value::Int(arity)];
        fields.resize(9, Value::Nil);
        fields.push(Value::Array(subcommands));
        Value::Array(fields)
    }

    fn asked(table: Vec<Value>) -> Option<Vec<String>> {
        let questions = questions(&Value::Array(table))?;
        Some(questions.into_iter().map(|question| format!("{}: {}", question.name, question.words.join(" "))).collect())
    }

    #[test]
    fn what_can_be_run_is_asked_about_with_as_many_words_as_it_wants() {
        let config = entry("config", -2, vec![entry("config|get", -3, Vec::new())]);
        let command = entry("command", -1, vec![entry("command|count", 2, Vec::new())]);
        let table = vec![entry("get", 2, Vec::new()), config, command, entry("ft.search", -3, Vec::new())];
        let expected = [
            "GET: GET stratus:probe",
            "CONFIG GET: CONFIG GET stratus:probe",
            "COMMAND COUNT: COMMAND COUNT",
            "COMMAND: COMMAND",
            "FT.SEARCH: FT.SEARCH stratus:probe stratus:probe",
        ];
        assert_eq!(asked(table).unwrap(), expected);
    }

    #[test]
    fn a_table_that_cannot_be_read_whole_is_none() {
        for odd in [
            Value::Okay,
            Value::Array(vec![text("get"), Value::Int(2)]),
            entry("get", i64::MAX, Vec::new()),
            entry("get\u{1b}[2J", 2, Vec::new()),
            entry("", 2, Vec::new()),
            entry("config", -2, vec![text("get")]),
        ] {
            assert_eq!(asked(vec![entry("set", -3, Vec::new()), odd.clone()]), None, "{odd:?}");
        }
    }

    #[test]
    fn an_answer_counts_as_a_refusal_only_if_it_is_one() {
        let of = |answer| Answer::of(Ok(answer));
        assert!(matches!(of(Value::Okay), Answer::Allowed));
        let refused = "User stratus has no permissions to run the 'config|get' command";
        assert!(matches!(of(text(refused)), Answer::Refused));
        for elsewhere in ["to access the 'stratus:probe' key", "to access the 'stratus:probe' channel"] {
            let answer = text(&format!("This user has no permissions {elsewhere}"));
            assert!(matches!(of(answer), Answer::AllowedElsewhere), "{elsewhere}");
        }
        for strange in [text("no"), text(""), Value::Nil, Value::Int(1)] {
            assert!(matches!(of(strange.clone()), Answer::Strange), "{strange:?}");
        }
        let unknown = RedisError::from((ErrorKind::Io, "Command 'config' not found"));
        assert!(matches!(Answer::of(Err(unknown)), Answer::Strange));
    }

    #[test]
    fn of_several_nodes_what_is_wrong_with_any_counts_and_is_told_once_whoever_was_looked_at_last() {
        let more = |names: &[&str]| Rights::More(names.iter().map(|name| (*name).to_owned()).collect());
        let unknown = Rights::Unknown("no".to_owned());
        let mut known = Known::default();
        let mut news = |looker, rights| {
            known.rights.insert(Looker(looker), rights);
            known.news().map(|(_, now)| now)
        };
        assert_eq!(news(1, Rights::Exact(240)), Some(Rights::Exact(240)));
        assert_eq!(news(2, Rights::Exact(241)), None, "a newer version");
        assert_eq!(news(2, unknown.clone()), Some(unknown.clone()));
        assert_eq!(news(3, more(&["DEL"])), Some(more(&["DEL"])));
        for _ in 0..3 {
            assert_eq!(
                (news(1, Rights::Exact(240)), news(2, unknown.clone()), news(3, more(&["DEL"]))),
                (None, None, None)
            );
        }
        assert_eq!(news(1, more(&["APPEND"])), Some(more(&["APPEND", "DEL"])));
        assert_eq!((news(1, Rights::Exact(240)), news(3, Rights::Exact(240))), (Some(more(&["DEL"])), Some(unknown)));
        known.rights.remove(&Looker(2));
        assert!(matches!(known.news(), Some((_, Rights::Exact(_)))), "that node is gone");
    }

    #[test]
    fn twenty_names_are_told_and_how_many_there_are_besides() {
        let names: Vec<_> = (1..=22).map(|number| format!("C{number}")).collect();
        assert!(listed(&names[..20]).ends_with(", C19, C20"));
        assert!(listed(&names).ends_with(", C19, C20 and 2 more"));
    }
}
