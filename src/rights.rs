//! What the user `stratus` may do in Redis. `provision` writes it into the user file, `store` uses it, and looks whether
//! Redis allows just this: one list for all three.

/// How the servers stand together, which decides what has to be asked of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// One server.
    #[default]
    Single,
    /// A primary with replicas, of which Redis Sentinel appoints another when it is gone.
    Sentinel,
    /// A Redis Cluster: several primaries, each with a part of the keys, and their replicas.
    Cluster,
}

impl Topology {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Single, Self::Sentinel, Self::Cluster];

    /// What it is called in settings and arguments: `single`, `sentinel`, `cluster`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topology| topology.name() == name)
    }
}

/// The keys that the user may touch, as a pattern of Redis.
pub const KEYS: &str = "stratus:*";

/// Commands that Redis lets every connection run, whatever the user file says: to log in, to begin anew, to leave
/// (command flag `no_auth`).
pub const NEVER_REFUSED: [&str; 4] = ["AUTH", "HELLO", "QUIT", "RESET"];

/// A command that the user may run.
#[derive(Debug)]
pub struct Right {
    /// Its name in upper case, with its subcommand.
    pub command: &'static str,
    /// What it is needed for.
    pub reason: &'static str,
    /// What stands behind a key in a form that has the right number of arguments and still changes nothing: Redis looks
    /// at the user's rights before it looks at these.
    pub harmless: &'static [&'static str],
}

/// The commands that the service works with, each on one of [`KEYS`].
pub const ON_KEYS: [Right; 4] = [
    Right { command: "GET", reason: "read a record", harmless: &[] },
    // Both options together are a syntax error.
    Right { command: "SET", reason: "write a record together with its time to live", harmless: &["", "NX", "XX"] },
    // It is harmless because nothing has the name that is tried.
    Right { command: "UNLINK", reason: "purge a record", harmless: &[] },
    // This is no number.
    Right { command: "INCRBY", reason: "count calls to the upstream", harmless: &["none"] },
];

/// The commands by which the user asks what it may do. They run nothing, change nothing and leave nothing in `ACL LOG`.
///
/// Who steals the login learns by them, besides which commands the server knows: whether another user exists whose name
/// they guess, and which commands, keys and channels that one may use. Never a password or its hash, no key and no value.
/// `ACL GETUSER` would tell the rights at once, and the hashes of everybody's passwords with them.
pub const ABOUT_ITSELF: [Right; 2] = [
    Right { command: "COMMAND INFO", reason: "ask which commands there are", harmless: &[] },
    Right { command: "ACL DRYRUN", reason: "ask whether a user may run one", harmless: &[] },
];

/// The commands by which the user finds its way in a Redis Cluster. They touch no key.
///
/// Who steals the login learns by them the addresses of the nodes and how the keys are shared out among them.
pub const ABOUT_THE_CLUSTER: [Right; 2] = [
    Right { command: "CLUSTER SLOTS", reason: "learn which node has which keys", harmless: &[] },
    Right { command: "ASKING", reason: "follow a key that is being moved to another node", harmless: &[] },
];

/// The one command that the user may run in a Sentinel, which has a user file of its own and no keys.
pub const IN_SENTINEL: Right =
    Right { command: "SENTINEL GET-MASTER-ADDR-BY-NAME", reason: "learn which server is the primary", harmless: &[] };

/// Every command that the user may run in such a Redis; what it may in a Sentinel is [`IN_SENTINEL`].
pub fn all(topology: Topology) -> impl Iterator<Item = &'static Right> {
    ON_KEYS.iter().chain(without_keys(topology))
}

/// Those that touch no key.
fn without_keys(topology: Topology) -> impl Iterator<Item = &'static Right> {
    let about_the_cluster: &[Right] = match topology {
        Topology::Single | Topology::Sentinel => &[],
        Topology::Cluster => &ABOUT_THE_CLUSTER,
    };
    ABOUT_ITSELF.iter().chain(about_the_cluster)
}

/// The rules that grant all of it and nothing else, for a user who has nothing: `+get … ~stratus:*`.
pub fn rules(topology: Topology) -> String {
    all(topology).map(rule).chain([format!("~{KEYS}")]).collect::<Vec<_>>().join(" ")
}

/// The rule that grants one: `+command|info`.
pub fn rule(right: &Right) -> String {
    format!("+{}", right.command.to_lowercase().replace(' ', "|"))
}

/// Whether the user is meant to run this command, given in upper case with its subcommand.
pub fn is_used(command: &str, topology: Topology) -> bool {
    all(topology).any(|right| right.command == command) || NEVER_REFUSED.contains(&command)
}

/// The names of [`ON_KEYS`], for people.
pub fn on_keys() -> String {
    names(ON_KEYS.iter())
}

/// The names of [`ABOUT_ITSELF`], for people.
pub fn about_itself() -> String {
    names(ABOUT_ITSELF.iter())
}

/// The names of all that touch no key, [`ABOUT_ITSELF`] among them, for people.
pub fn beside_keys(topology: Topology) -> String {
    names(without_keys(topology))
}

fn names(rights: impl Iterator<Item = &'static Right>) -> String {
    rights.map(|right| right.command).collect::<Vec<_>>().join(", ")
}
