//! Reads a merged configuration key by key and collects every fault on the way, so that an operator sees all at once.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{ConfigError, Environment, File, FileFormat, Map, Source, Value, ValueKind};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::Sources;
use crate::reload::{Live, Reading, Reloader, fingerprint};
use crate::secret::{CREDENTIALS_DIRECTORY, Readers, Secret, is_credential, is_group_readable};

const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Each may be given as `<key>_file` instead.
const SECRETS: [&str; 4] = ["admin.token", "upstream.api_key", "redis.password", "encryption.keys"];
/// Lets a secret file's group read it.
const ALLOW_GROUP: &str = "insecure.allow_group_readable_secrets";

const UNKNOWN_KEY: &str = "there is no such key; config/default.toml lists them all";

/// One thing that is wrong with the configuration, with its fix. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, for example `redis.url`, or a file's path.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// What a file or the environment says.
#[derive(Debug, Clone)]
struct Given(Map<String, Value>);

impl Given {
    /// Leaves out names with an index such as `nodes[7]`, and reports them: no setting is called so, and to merge one a list
    /// is made that is as long as it says, which may be more than there is memory for.
    fn plain(mut given: Map<String, Value>, faults: &mut Vec<Fault>) -> Self {
        given.retain(|key, _| {
            let indexed = key.contains('[');
            if indexed {
                faults.push(Fault { key: key.clone(), what: UNKNOWN_KEY.to_owned() });
            }
            !indexed
        });
        Self(given)
    }
}

impl Source for Given {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

pub(super) struct Reader {
    tree: config::Config,
    faults: Vec<Fault>,
    reloader: Reloader,
    /// Who may read secret files.
    readers: Readers,
    /// The folder of systemd's credentials, if there is one.
    credentials: Option<PathBuf>,
    /// The keys of those that a group can read.
    group_readable: BTreeSet<String>,
}

impl Reader {
    /// Merges the compiled-in defaults and the sources, and reports keys that nobody knows.
    pub(super) fn new(sources: &Sources) -> Self {
        let mut faults = Vec::new();
        let mut builder = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        for path in &sources.files {
            match File::from(path.as_path()).format(FileFormat::Toml).collect() {
                Ok(given) => builder = builder.add_source(Given::plain(given, &mut faults)),
                Err(error) => faults.push(unreadable(path, &error)),
            }
        }
        let environment = Environment::with_prefix("STRATUS").prefix_separator("__").separator("__");
        match environment.source(Some(sources.environment.clone())).collect() {
            Ok(given) => builder = builder.add_source(Given::plain(given, &mut faults)),
            Err(error) => faults.push(Fault { key: "configuration".to_owned(), what: first_line(&error) }),
        }
        for (key, value) in &sources.overrides {
            builder = match builder.clone().set_override(key, value.as_str()) {
                Ok(builder) => builder,
                Err(_) => builder,
            };
        }
        let tree = builder.build().unwrap_or_else(|error| {
            faults.push(Fault { key: "configuration".to_owned(), what: first_line(&error) });
            config::Config::default()
        });
        let mut reader = Self {
            tree,
            faults,
            reloader: Reloader::default(),
            readers: Readers::Owner,
            credentials: sources.environment.get(CREDENTIALS_DIRECTORY).map(PathBuf::from),
            group_readable: BTreeSet::new(),
        };
        reader.report_unknown_keys();
        if reader.get(ALLOW_GROUP) {
            reader.readers = Readers::OwnerAndGroup;
        }
        reader
    }

    fn report_unknown_keys(&mut self) {
        let defaults = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml)).build();
        let known: BTreeSet<String> = defaults
            .iter()
            .flat_map(|defaults| leaves(&defaults.cache))
            .chain(SECRETS.map(|key| format!("{key}_file")))
            .collect();
        for key in leaves(&self.tree.cache) {
            let is_section =
                known.iter().any(|other| other.strip_prefix(&key).is_some_and(|rest| rest.starts_with('.')));
            if is_section {
                self.fault(&key, "is a section, not a value");
            } else if !known.contains(&key) {
                self.fault(&key, UNKNOWN_KEY);
            }
        }
    }

    pub(super) fn fault(&mut self, key: &str, what: impl Into<String>) {
        self.faults.push(Fault { key: key.to_owned(), what: what.into() });
    }

    /// Whether a fault of a secret was reported, be it given as `key` or as `key_file`.
    pub(super) fn is_faulty_secret(&self, key: &str) -> bool {
        self.faults.iter().any(|fault| fault.key.strip_prefix(key).is_some_and(|rest| matches!(rest, "" | "_file")))
    }

    /// The settings that are made of files, if there is no fault.
    ///
    /// # Errors
    /// All faults.
    pub(super) fn finish(self) -> Result<Reloader, Vec<Fault>> {
        if self.faults.is_empty() { Ok(self.reloader) } else { Err(self.faults) }
    }

    /// Something made of files, under the setting that names them, or `None` and a fault. It is read again when they change.
    pub(super) fn live<T: Send + Sync + 'static>(
        &mut self,
        key: &str,
        mut read: impl FnMut() -> Result<Reading<T>, String> + Send + 'static,
    ) -> Option<Live<T>> {
        let Reading { value, fingerprint } = read().map_err(|what| self.fault(key, what)).ok()?;
        let live = Live::new(value);
        let in_use = live.clone();
        self.watch(key, fingerprint, read, move |value| {
            in_use.replace(value);
            Ok(())
        });
        Some(live)
    }

    /// The same for what knows itself how to take a new value; see [`Reloader::watch`].
    pub(super) fn watch<T: 'static>(
        &mut self,
        key: &str,
        first: [u8; 32],
        read: impl FnMut() -> Result<Reading<T>, String> + Send + 'static,
        take: impl FnMut(T) -> Result<(), String> + Send + 'static,
    ) {
        self.reloader.watch(key, first, read, take);
    }

    /// A secret, given as `key` or as `key_file`, which is read again when it changes; `None` when neither is there or when it
    /// is faulty.
    pub(super) fn live_secret(&mut self, key: &str) -> Option<Live<SecretString>> {
        match self.secret(key)? {
            Secret::Inline(secret) => Some(Live::new(secret)),
            secret @ Secret::File { .. } => self.live(&format!("{key}_file"), move || {
                let value = secret.read().map_err(|error| error.to_string())?;
                Ok(Reading { fingerprint: fingerprint([value.expose_secret().as_bytes()]), value })
            }),
        }
    }

    /// The value of `key`, or the type's default and a fault.
    pub(super) fn get<T: DeserializeOwned + Default>(&mut self, key: &str) -> T {
        self.try_get(key, "").unwrap_or_default()
    }

    fn try_get<T: DeserializeOwned>(&mut self, key: &str, unit: &str) -> Option<T> {
        match self.tree.get(key) {
            Ok(value) => Some(value),
            // Already reported: a scalar stands where its section should be.
            Err(ConfigError::NotFound(_)) => None,
            Err(error) => {
                self.fault(key, type_fault(&error, unit));
                None
            }
        }
    }

    /// A whole number within `range`, or the lower end and a fault.
    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.try_get::<u64>(key, "a whole number") else { return *range.start() };
        if range.contains(&value) {
            return value;
        }
        self.fault(key, format!("is {value}, but has to be from {} to {}", range.start(), range.end()));
        *range.start()
    }

    /// A duration of 1 ms to 10 minutes.
    pub(super) fn millis(&mut self, key: &str) -> Duration {
        Duration::from_millis(self.number(key, 1..=600_000))
    }

    /// A duration of `least` seconds to 30 days.
    pub(super) fn secs(&mut self, key: &str, least: u64) -> Duration {
        Duration::from_secs(self.number(key, least..=30 * 86_400))
    }

    /// Something that is parsed from a string; `expected` says what.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        let text = self.try_get::<String>(key, expected)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.fault(key, format!("is not {expected}"));
        }
        value
    }

    /// One of the words, or `None` and a fault.
    pub(super) fn word(&mut self, key: &str, words: &[&'static str]) -> Option<&'static str> {
        let text = self.try_get::<String>(key, "a word")?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            self.fault(key, format!("has to be one of: {}", words.join(", ")));
        }
        found
    }

    /// A list: an array in a file, comma-separated in the environment.
    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        match self.tree.get::<Value>(key).map(|value| value.kind) {
            Ok(ValueKind::String(text)) => {
                text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
            }
            _ => self.try_get(key, "a list of strings").unwrap_or_default(),
        }
    }

    /// A path, `None` when empty.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        Some(self.get::<String>(key)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Who may read the secret file `path` of the setting `key`. If that is its group, too, and the group can, it is
    /// remembered, to be told.
    pub(super) fn readers_of(&mut self, key: &str, path: &Path) -> Readers {
        if self.credentials.as_ref().is_some_and(|credentials| is_credential(path, credentials)) {
            return Readers::Credential;
        }
        if is_group_readable(path) {
            self.group_readable.insert(key.to_owned());
        }
        self.readers
    }

    /// What is weakened on purpose, as sentences for the log. After all secrets were read.
    pub(super) fn insecure(&self) -> Vec<String> {
        let files = self.group_readable.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.readers {
            Readers::Owner | Readers::Credential => Vec::new(),
            Readers::OwnerAndGroup if files.is_empty() => {
                vec![format!("{ALLOW_GROUP} is on, and no secret file needs it: leave it out")]
            }
            Readers::OwnerAndGroup => {
                vec![format!("{ALLOW_GROUP} is on: whoever is in the group of the file can read {files}")]
            }
        }
    }

    /// A secret, given as `key` or as `key_file`; `None` when neither is there or when it is faulty.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let inline = self.try_get::<String>(key, "a string").filter(|secret| !secret.is_empty());
        let file = self.try_get::<String>(&file_key, "a path").filter(|path| !path.is_empty()).map(PathBuf::from);
        let secret = match (inline, file) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.fault(key, format!("is given together with {file_key}: leave one of the two out"));
                return None;
            }
            (Some(inline), None) => Secret::Inline(SecretString::from(inline)),
            (None, Some(path)) => {
                let readers = self.readers_of(&file_key, &path);
                Secret::File { path, readers }
            }
        };
        match secret.read() {
            Ok(_) => Some(secret),
            Err(error) => {
                self.fault(&file_key, error.to_string());
                None
            }
        }
    }
}

/// The dotted paths of all values that are not tables.
fn leaves(value: &Value) -> Vec<String> {
    fn walk(prefix: &str, value: &Value, found: &mut Vec<String>) {
        match &value.kind {
            // A section without keys counts as one, so that a misspelt name is told there too.
            ValueKind::Table(table) if !table.is_empty() || prefix.is_empty() => {
                for (key, value) in table {
                    let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    walk(&path, value, found);
                }
            }
            _ => found.push(prefix.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk("", value, &mut found);
    found.sort();
    found
}

fn unreadable(path: &Path, error: &ConfigError) -> Fault {
    let what = match error {
        ConfigError::FileParse { cause, .. } => first_line(cause),
        _ if !path.exists() => "there is no such file".to_owned(),
        _ => "cannot be read".to_owned(),
    };
    Fault { key: path.display().to_string(), what }
}

/// A parser's message quotes the faulty line below the first one, and that line may hold a secret.
fn first_line(error: &dyn fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Says what was expected, never what was found: that may be a secret in the wrong place.
fn type_fault(error: &ConfigError, unit: &str) -> String {
    let (expected, origin) = match error {
        ConfigError::Type { expected, origin, .. } => (*expected, origin.as_deref()),
        ConfigError::At { error, origin, .. } => match &**error {
            ConfigError::Type { expected, .. } => (*expected, origin.as_deref()),
            _ => (unit, origin.as_deref()),
        },
        _ => (unit, None),
    };
    let expected = if unit.is_empty() { expected } else { unit };
    let origin = origin.map(|origin| format!(" (given in {origin})")).unwrap_or_default();
    format!("has to be {expected}{origin}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use super::super::{Config, Sources};

    #[test]
    fn an_index_in_a_name_is_refused_and_costs_no_memory_however_large_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for index in ["0", "9223372036854775807", "-9223372036854775808"] {
            let (in_file, variable) = (format!("nodes[{index}]"), format!("STRATUS__REDIS__NODES[{index}]"));
            fs::write(file.path(), format!("'{in_file}' = 'a'\n")).unwrap();
            let sources = Sources {
                files: vec![file.path().to_owned()],
                environment: HashMap::from([(variable, "a".to_owned())]),
                overrides: Vec::new(),
            };
            let faults = Config::load(&sources).unwrap_err();
            for key in [in_file, format!("redis.nodes[{index}]")] {
                let fault = faults.iter().find(|fault| fault.key == key).unwrap();
                assert_eq!(fault.what, super::UNKNOWN_KEY);
            }
        }
    }

    #[test]
    fn a_certificate_that_is_a_device_or_a_folder_is_refused_before_it_is_read() {
        for (path, key) in
            [("/dev/zero", "upstream.ca_file"), ("/tmp", "upstream.ca_file"), ("/dev/zero", "redis.ca_file")]
        {
            let overrides = vec![(key.to_owned(), path.to_owned())];
            let faults = Config::load(&Sources { overrides, ..Sources::default() }).unwrap_err();
            let fault = faults.iter().find(|fault| fault.key == key).unwrap();
            assert_eq!(fault.what, format!("cannot read {path}: it is no regular file"));
        }
    }
}
