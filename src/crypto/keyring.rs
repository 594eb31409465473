//! The keys, by id, and what is derived from each.
//!
//! A key file has one `id:base64-of-32-bytes` a line; blank lines and lines that start with `#` are ignored. From each
//! master key HKDF-SHA-256 (RFC 5869) derives one key per job, so that no key is used for two algorithms:
//!
//! | label | job |
//! |---|---|
//! | `stratus/v1/seal` | AES-256-GCM of records |
//! | `stratus/v1/name` | HMAC-SHA-256 (RFC 2104) names of records |

use std::fmt;

use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::SealError;

/// Length of a master key in bytes (AES-256).
pub(super) const KEY_BYTES: usize = 32;
/// Longest key id in bytes: it is stored in every record.
pub(super) const MAX_KEY_ID_BYTES: usize = 32;
/// Every key in Redis begins with this.
const NAME_PREFIX: &str = "stratus:";

/// What is wrong with a key file. The messages name lines and ids, never key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// There is no key at all.
    #[error("there is no key: make one with `stratus key new`")]
    Empty,
    /// A line has no colon.
    #[error("line {0}: expected `id:base64-of-32-bytes`; make such a line with `stratus key new`")]
    NoColon(usize),
    /// An id is empty, too long, or has a character other than letters, digits, `-`, `_` and `.`.
    #[error("line {0}: a key id is 1 to {MAX_KEY_ID_BYTES} letters, digits, `-`, `_` or `.`")]
    BadId(usize),
    /// The part after the colon is not base64.
    #[error("key `{0}`: what follows the colon is not base64; make a key with `stratus key new`")]
    NotBase64(String),
    /// The key has another length than 32 bytes.
    #[error("key `{id}`: {bytes} bytes, but AES-256 needs {KEY_BYTES}; make a key with `stratus key new`")]
    WrongLength {
        /// The key's id.
        id: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// All bytes of the key are equal: a placeholder, not a key.
    #[error("key `{0}`: all bytes are equal, that is a placeholder; make a key with `stratus key new`")]
    Placeholder(String),
    /// Two keys have the same id.
    #[error("key `{0}` stands there twice: give every key its own id")]
    Duplicate(String),
}

/// What a record is called in Redis: `stratus:` and the HMAC-SHA-256 of what it is about, base64url.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordName(String);

impl RecordName {
    /// The name as it stands in Redis.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One key and what is derived from it. The master key itself is not kept.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) cipher: Aes256Gcm,
    naming: Zeroizing<[u8; KEY_BYTES]>,
}

impl Key {
    fn derive(id: String, master: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, master);
        let mut sealing = Zeroizing::new([0; KEY_BYTES]);
        let mut naming = Zeroizing::new([0; KEY_BYTES]);
        for (label, okm) in [("stratus/v1/seal", &mut sealing), ("stratus/v1/name", &mut naming)] {
            hkdf.expand(label.as_bytes(), okm.as_mut_slice())
                .expect("32 bytes are far below the 8160 that HKDF-SHA-256 can give");
        }
        let cipher = Aes256Gcm::new((&*sealing).into());
        Self { id, cipher, naming }
    }

    fn name(&self, subject: &str) -> RecordName {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(self.naming.as_slice()).expect("HMAC takes a key of any length");
        mac.update(subject.as_bytes());
        RecordName(format!("{NAME_PREFIX}{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
    }
}

/// The keys, the sealing one first. `Debug` shows ids only.
pub struct Keyring {
    keys: Vec<Key>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Keyring {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// Every fault of the file, not only the first.
    pub fn parse(text: &str) -> Result<Self, Vec<KeyFault>> {
        let mut keys: Vec<Key> = Vec::new();
        let mut faults = Vec::new();
        for (number, line) in key_lines(text) {
            match parse_line(number, line) {
                Ok((id, _)) if keys.iter().any(|key| key.id == id) => faults.push(KeyFault::Duplicate(id)),
                Ok((id, master)) => keys.push(Key::derive(id, &master)),
                Err(fault) => faults.push(fault),
            }
        }
        if keys.is_empty() && faults.is_empty() {
            faults.push(KeyFault::Empty);
        }
        if faults.is_empty() { Ok(Self { keys }) } else { Err(faults) }
    }

    /// A ring with one fresh random key.
    ///
    /// # Errors
    /// The operating system gave no random bytes.
    pub fn ephemeral() -> Result<Self, SealError> {
        let mut master = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(master.as_mut_slice()).map_err(|_| SealError::NoRandomness)?;
        Ok(Self { keys: vec![Key::derive("ephemeral".to_owned(), master.as_slice())] })
    }

    /// The ids, the sealing key's first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// What a record about `subject` is called, under each key: new records take the first name, the others are where
    /// records sealed before the last rotation still lie.
    pub fn names(&self, subject: &str) -> Vec<RecordName> {
        self.keys.iter().map(|key| key.name(subject)).collect()
    }

    pub(super) fn sealing(&self) -> &Key {
        &self.keys[0]
    }

    pub(super) fn by_id(&self, id: &[u8]) -> Option<&Key> {
        self.keys.iter().find(|key| key.id.as_bytes() == id)
    }
}

/// A new line for a key file, `id:base64`, without its line end. The id is random, so that keys of two files do not
/// collide.
///
/// # Errors
/// The operating system gave no random bytes.
pub fn generate_key_line() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut id = [0; 4];
    let mut master = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut id)?;
    getrandom::fill(master.as_mut_slice())?;
    // Room for all of it and a line end: a growing String would leave parts of the key behind in memory.
    let mut line = Zeroizing::new(String::with_capacity(64));
    line.push_str(&format!("k{:08x}:", u32::from_be_bytes(id)));
    STANDARD.encode_string(master.as_slice(), &mut line);
    Ok(line)
}

/// The ids in the text of a key file with their line numbers (from 1), in order.
pub fn key_ids(text: &str) -> Vec<(usize, &str)> {
    key_lines(text).filter_map(|(number, line)| Some((number, line.split_once(':')?.0))).collect()
}

fn key_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn parse_line(number: usize, line: &str) -> Result<(String, Zeroizing<Vec<u8>>), KeyFault> {
    let (id, encoded) = line.split_once(':').ok_or(KeyFault::NoColon(number))?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > MAX_KEY_ID_BYTES || !id.bytes().all(valid) {
        return Err(KeyFault::BadId(number));
    }
    let mut master = STANDARD.decode(encoded.trim()).map_err(|_| KeyFault::NotBase64(id.to_owned()))?;
    if master.len() != KEY_BYTES {
        let bytes = master.len();
        master.zeroize();
        return Err(KeyFault::WrongLength { id: id.to_owned(), bytes });
    }
    if master.iter().all(|byte| *byte == master[0]) {
        return Err(KeyFault::Placeholder(id.to_owned()));
    }
    Ok((id.to_owned(), Zeroizing::new(master)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, seed: u8) -> String {
        let key: Vec<u8> = (0..32).map(|i| i ^ seed).collect();
        format!("{id}:{}", STANDARD.encode(key))
    }

    #[test]
    fn comments_and_blank_lines_are_ignored_and_the_first_key_seals() {
        let text = format!("# ours\n\n{}\n  {}  \n", line("new", 1), line("old", 2));
        let ring = Keyring::parse(&text).unwrap();
        assert_eq!(ring.ids().collect::<Vec<_>>(), ["new", "old"]);
        assert_eq!(ring.sealing().id, "new");
    }

    #[test]
    fn every_fault_of_a_file_is_reported_at_once_and_none_shows_key_material() {
        let short = STANDARD.encode([7, 8, 9].repeat(10));
        let text = format!(
            "{}\n{}\nno colon here\nbad id!:AAAA\nshort:{short}\nzero:{}\nodd:***\n",
            line("a", 1),
            line("a", 2),
            STANDARD.encode([0; 32]),
        );
        let faults = Keyring::parse(&text).unwrap_err();
        assert_eq!(
            faults,
            [
                KeyFault::Duplicate("a".into()),
                KeyFault::NoColon(3),
                KeyFault::BadId(4),
                KeyFault::WrongLength { id: "short".into(), bytes: 30 },
                KeyFault::Placeholder("zero".into()),
                KeyFault::NotBase64("odd".into()),
            ]
        );
        assert!(faults.iter().all(|fault| !fault.to_string().contains(&short)));
        assert_eq!(Keyring::parse("# nothing\n").unwrap_err(), [KeyFault::Empty]);
    }

    #[test]
    fn a_key_of_31_bytes_is_refused_with_its_length() {
        let faults = Keyring::parse(&format!("k:{}", STANDARD.encode([5; 31]))).unwrap_err();
        assert_eq!(faults, [KeyFault::WrongLength { id: "k".into(), bytes: 31 }]);
    }

    #[test]
    fn names_depend_on_the_key_and_on_the_subject_and_show_neither() {
        let ring = Keyring::parse(&format!("{}\n{}", line("a", 1), line("b", 2))).unwrap();
        let (london, paris) = (ring.names("london"), ring.names("paris"));
        assert_eq!(london, ring.names("london"));
        let mut all: Vec<_> = london.iter().chain(&paris).map(RecordName::as_str).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
        for name in all {
            assert_eq!(name.len(), "stratus:".len() + 43);
            assert!(name.starts_with("stratus:") && !name.contains("london"));
        }
    }

    #[test]
    fn debug_shows_ids_only_and_a_generated_line_parses() {
        let generated = generate_key_line().unwrap();
        let ring = Keyring::parse(&generated).unwrap();
        let (id, key) = generated.split_once(':').unwrap();
        assert_eq!(format!("{ring:?}"), format!("[\"{id}\"]"));
        assert_eq!(STANDARD.decode(key).unwrap().len(), 32);
        assert_eq!(key_ids(&generated), [(1, id)]);
    }
}
