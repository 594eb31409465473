//! Configuration as an operator, or an operator's template, may write it: a configuration or faults, and no fault shows a
//! secret.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stratus::config::{Config, Fault, Sources};
use stratus::crypto::generate_key_line;
use tempfile::TempDir;

use super::input::Input;

/// Stands in the input wherever that has a `~`: an operator's secret, in any place where it may be put.
const CANARY: &str = "zqCanary7x";
/// The same for what lies in secret files and stands in settings where only secrets stand.
const SECRET: &str = "zqSecret7x";

/// What the checks read: a temporary folder, which `@` means and relative paths begin at in the fuzz target. No other file is.
pub struct Ground {
    folder: TempDir,
    secrets: PathBuf,
    fuzzed: PathBuf,
    /// The base64 of a key.
    key: String,
}

impl Ground {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("stratus-fuzz").tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file in a new folder");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            path
        };
        let line = generate_key_line().expect("random bytes");
        let key = line.split_once(':').expect("a line").1.to_owned();
        write("secret", SECRET, 0o600);
        write("open", SECRET, 0o644);
        write("empty", "", 0o600);
        write("keys", &line, 0o600);
        write("bad-keys", &format!("{key}\nno colon {key}\na:{SECRET}\nb:{key}\nb:{key}\n{SECRET} !:x"), 0o600);
        write("x.pem", &format!("{SECRET}\n-----BEGIN CERTIFICATE-----\n"), 0o600);
        fs::create_dir(folder.path().join("folder")).expect("a folder in a new folder");
        let secrets = format!(
            "[admin]\ntoken = \"{SECRET}\"\n[upstream]\napi_key = \"{SECRET}\"\n\
             [redis]\npassword = \"{SECRET}\"\n[encryption]\nkeys = \"k:{key}\"\n"
        );
        let secrets = write("secrets.toml", &secrets, 0o600);
        Self { fuzzed: folder.path().join("fuzzed.toml"), secrets, key, folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// TOML, and after a line `---` environment variables, one `SECTION__KEY=value` a line.
    pub fn check(&self, data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        if leads_elsewhere(&text) {
            return;
        }
        let text = text.replace('~', CANARY).replace('@', &format!("{}/", self.path().display()));
        let mut input = Input::new(text.as_bytes());
        fs::write(&self.fuzzed, input.until(b"---\n")).expect("a file in a folder of ours");
        let environment: HashMap<_, _> = String::from_utf8_lossy(input.rest())
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (format!("STRATUS__{name}"), value.to_owned()))
            .collect();
        let files = vec![self.secrets.clone(), self.fuzzed.clone()];
        match Config::load(&Sources { files, environment, overrides: Vec::new() }) {
            Ok(config) => {
                let shown = format!("{config:?}");
                assert!(!shown.contains(SECRET) && !shown.contains(&self.key), "{shown}");
            }
            Err(faults) => {
                assert!(!faults.is_empty(), "neither a configuration nor a fault");
                faults.iter().for_each(|fault| shows_no_secret(fault, &self.key));
            }
        }
    }
}

/// Whether a path in it might begin elsewhere than in our folder. A slash can only follow a colon, as in an address, and there
/// is no other way to write one.
fn leads_elsewhere(text: &str) -> bool {
    let after_colon = |at: usize| text[..at].ends_with(':') || text[..at].ends_with(":/");
    let escaped = ["\\u", "\\U", "\\x", ".."].iter().any(|escape| text.contains(escape));
    escaped || text.match_indices('/').any(|(at, _)| !after_colon(at))
}

fn shows_no_secret(fault: &Fault, key: &str) {
    let shown = fault.to_string();
    assert!(!shown.contains(SECRET) && !shown.contains(key), "{shown}");
    // The names of unknown settings, of files and of keys are shown, and an input may have a `~` in them.
    let named = fault.key.ends_with("_file") || fault.key == "encryption.keys";
    assert!(named || !fault.what.contains(CANARY), "{shown}");
}
