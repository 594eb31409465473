//! The text of a key file: one `id:base64-of-32-bytes` a line; blank lines and lines that start with `#` are ignored.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use super::xaes::KEY_BYTES;

/// Longest key id in bytes: it is stored in every record.
pub(super) const MAX_KEY_ID_BYTES: usize = 32;
/// Of 32 random bytes 30 are distinct on average.
const LEAST_DISTINCT: usize = 16;
/// Keys that everybody knows: those of our own documentation and tests.
const SAMPLES: [&str; 2] =
    ["D8HOH1vF7K3dhf8BqViSMluR3z0aP3bYCE7K5BUfP1c=", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="];

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
    /// The key stands in a documentation, or its bytes have a pattern that random ones do not have.
    #[error("key `{0}`: not random, a sample or made up by hand; make a key with `stratus key new`")]
    NotRandom(String),
    /// Two ids for one key.
    #[error("key `{id}` is the same as `{other}`: make another with `stratus key new`")]
    SameKey {
        /// The second of the two.
        id: String,
        /// The first of the two.
        other: String,
    },
    /// An id that was another key's before.
    #[error("key `{0}` is not the one that had this id before: give every key an id of its own")]
    Changed(String),
    /// Two keys have the same id.
    #[error("key `{0}` stands there twice: give every key its own id")]
    Duplicate(String),
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

pub(super) fn key_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

pub(super) fn parse_line(number: usize, line: &str) -> Result<(String, Zeroizing<Vec<u8>>), KeyFault> {
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
    let master = Zeroizing::new(master);
    if master.iter().all(|byte| *byte == master[0]) {
        return Err(KeyFault::Placeholder(id.to_owned()));
    }
    if is_patterned(&master) || SAMPLES.iter().any(|sample| encoded.trim() == *sample) {
        return Err(KeyFault::NotRandom(id.to_owned()));
    }
    Ok((id.to_owned(), master))
}

/// Whether the bytes are such as people make up. Of random ones less than one in 10^13 is taken for one.
fn is_patterned(master: &[u8]) -> bool {
    let distinct = master.iter().collect::<BTreeSet<_>>().len();
    let steps: BTreeSet<_> = master.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    distinct < LEAST_DISTINCT || steps.len() == 1 || master.iter().all(|byte| (b' '..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::super::Keyring;
    use super::*;

    fn line(id: &str, seed: u8) -> String {
        let key: Vec<u8> = (0..32).map(|i| i ^ seed).collect();
        format!("{id}:{}", STANDARD.encode(key))
    }

    #[test]
    fn comments_and_blank_lines_are_ignored_and_the_first_key_seals() {
        let text = format!("# ours\n\n{}\n  {}  \n", line("new", 1), line("old", 2));
        let ring = Keyring::parse(&text).unwrap();
        assert_eq!(ring.ids(), ["new", "old"]);
        assert_eq!(ring.sealing().id, "new");
    }

    #[test]
    fn every_fault_of_a_file_is_reported_at_once_and_none_shows_key_material() {
        let short = STANDARD.encode([7, 8, 9].repeat(10));
        let text = format!(
            "{}\n{}\nno colon here\nbad id!:AAAA\nshort:{short}\nzero:{}\nodd:***\n{}\n",
            line("a", 1),
            line("a", 2),
            STANDARD.encode([0; 32]),
            line("b", 1),
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
                KeyFault::SameKey { id: "b".into(), other: "a".into() },
            ]
        );
        assert!(faults.iter().all(|fault| !fault.to_string().contains(&short)));
        assert_eq!(Keyring::parse("# nothing\n").unwrap_err(), [KeyFault::Empty]);
    }

    #[test]
    fn a_key_of_31_or_33_bytes_is_refused_with_its_length() {
        for bytes in [31, 33] {
            let faults = Keyring::parse(&format!("k:{}", STANDARD.encode(vec![5; bytes]))).unwrap_err();
            assert_eq!(faults, [KeyFault::WrongLength { id: "k".into(), bytes }]);
        }
    }

    #[test]
    fn sample_keys_passphrases_and_patterns_are_refused() {
        let counting: Vec<u8> = (0..32).map(|i| 9 + 5 * i).collect();
        let made_up = [
            b"correct horse battery staple 123".to_vec(),
            b"0123456789abcdef0123456789abcdef".to_vec(),
            counting,
            [1, 2, 3, 4].repeat(8),
        ];
        for key in made_up.iter().map(|key| STANDARD.encode(key)).chain(SAMPLES.map(str::to_owned)) {
            let faults = Keyring::parse(&format!("k:{key}")).unwrap_err();
            assert_eq!(faults, [KeyFault::NotRandom("k".into())], "{key}");
        }
        for _ in 0..1_000 {
            assert!(Keyring::parse(&generate_key_line().unwrap()).is_ok());
        }
    }

    #[test]
    fn a_generated_line_holds_32_bytes_under_its_id() {
        let generated = generate_key_line().unwrap();
        let (id, key) = generated.split_once(':').unwrap();
        assert_eq!(STANDARD.decode(key).unwrap().len(), 32);
        assert_eq!(key_ids(&generated), [(1, id)]);
        assert_eq!(Keyring::parse(&generated).unwrap().ids(), [id]);
    }
}
