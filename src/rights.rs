//! What the user `stratus` may do in Redis. `provision` writes it into the user file, `store` uses it, and looks whether
//! Redis allows just this: one list for all three.

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

/// Every command that the user may run.
pub fn all() -> impl Iterator<Item = &'static Right> {
    ON_KEYS.iter().chain(&ABOUT_ITSELF)
}

/// The rules that grant all of it and nothing else, for a user who has nothing: `+get … ~stratus:*`.
pub fn rules() -> String {
    let commands = all().map(|right| format!("+{} ", right.command.to_lowercase().replace(' ', "|")));
    commands.collect::<String>() + "~" + KEYS
}

/// Whether the user is meant to run this command, given in upper case with its subcommand.
pub fn is_used(command: &str) -> bool {
    all().any(|right| right.command == command) || NEVER_REFUSED.contains(&command)
}

/// The names of [`ON_KEYS`], for people.
pub fn on_keys() -> String {
    ON_KEYS.each_ref().map(|right| right.command).join(", ")
}

/// The names of [`ABOUT_ITSELF`], for people.
pub fn about_itself() -> String {
    ABOUT_ITSELF.each_ref().map(|right| right.command).join(", ")
}
