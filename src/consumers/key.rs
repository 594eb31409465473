//! What a consumer key looks like: `stratus_`, 30 random characters and 6 that check them, all of the 62 letters and digits.
//!
//! The prefix and the check make a key that leaked recognisable, so that scanners find it and do not take other words for
//! one. 30 characters of 62 have 178 bits, which nobody guesses: so a plain SHA-256 of the key is enough to keep, where a
//! password would need a slow hash.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Every consumer key begins with this.
const PREFIX: &str = "stratus_";
/// Of which a key's characters are.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM: usize = 30;
/// CRC-32 (IEEE 802.3) of the random characters, in base 62: six digits hold 35 bits.
const CHECK: usize = 6;
/// A random byte below this is as likely to mean each of the 62 characters.
const FAIR: u8 = 248;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// What is kept of a key.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The SHA-256 (FIPS 180-4) of the whole key, as it is presented.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        // Which takes a sign, too.
        text.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(Self(digest))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

/// Hexadecimal, as it stands in a consumers file.
impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest")
    }
}

/// A new key.
///
/// # Errors
/// [`NoRandomness`].
pub fn generate_key() -> Result<Zeroizing<String>, NoRandomness> {
    // Of all its length at once: a String that grows leaves parts behind.
    let mut key = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM + CHECK));
    key.push_str(PREFIX);
    while key.len() < PREFIX.len() + RANDOM {
        let mut bytes = Zeroizing::new([0; RANDOM]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
        let room = PREFIX.len() + RANDOM - key.len();
        let fair = bytes.iter().filter(|byte| **byte < FAIR).take(room);
        fair.for_each(|byte| key.push(char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])));
    }
    let check = check(&key.as_bytes()[PREFIX.len()..]);
    check.iter().for_each(|digit| key.push(char::from(*digit)));
    Ok(key)
}

/// Whether it could be a key, by its form alone.
pub fn is_well_formed(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX.as_bytes()) else { return false };
    let Some((random, given)) = rest.split_at_checked(RANDOM) else { return false };
    random.iter().all(u8::is_ascii_alphanumeric) && given == check(random)
}

/// Whether a key stands somewhere in a text.
pub(super) fn contains_key(text: &str) -> bool {
    text.match_indices(PREFIX)
        .any(|(at, _)| text.as_bytes().get(at..at + PREFIX.len() + RANDOM + CHECK).is_some_and(is_well_formed))
}

fn check(random: &[u8]) -> [u8; CHECK] {
    let mut rest = crc32fast::hash(random);
    let mut digits = [0; CHECK];
    for digit in digits.iter_mut().rev() {
        // Below 62.
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_key_is_long_different_each_time_and_of_letters_and_digits_that_are_all_used() {
        let keys: BTreeSet<_> = (0..500).map(|_| generate_key().unwrap().to_string()).collect();
        assert_eq!(keys.len(), 500);
        let mut seen = BTreeSet::new();
        for key in &keys {
            assert!(key.len() == 44 && is_well_formed(key.as_bytes()), "{key}");
            seen.extend(key[PREFIX.len()..].chars());
        }
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn a_mistyped_key_is_told_by_its_form() {
        let key = "stratus_000000000000000000000000000000";
        // By another implementation: Python's zlib.crc32(b"0" * 30) is 2011552642.
        let good = format!("{key}2C8GjS");
        assert!(is_well_formed(good.as_bytes()));
        for at in PREFIX.len()..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(&bad), "{at}");
        }
        for bad in ["", "stratus_", key, &good[1..], &good[..43], &format!("{good}0"), &good.replace('_', "-")] {
            assert!(!is_well_formed(bad.as_bytes()), "{bad}");
        }
        assert!(contains_key(&format!("# {good}\n")) && contains_key(&format!("stratus_{good}")));
        assert!(!contains_key("stratus_é stratus_"));
    }

    #[test]
    fn a_digest_is_sha_256_in_hexadecimal_and_shows_in_no_debug_output() {
        // FIPS 180-4, the example with one block.
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = KeyDigest::of(b"abc");
        assert_eq!((digest.to_string().as_str(), format!("{digest:?}").as_str()), (text, "KeyDigest"));
        assert_eq!(KeyDigest::parse(text), Some(digest));
        assert_eq!(KeyDigest::parse(&text.to_uppercase()), Some(digest));
        for bad in ["", &text[1..], &format!("+{}", &text[1..]), &text.replace('a', "g"), &"é".repeat(32)] {
            assert_eq!(KeyDigest::parse(bad), None, "{bad}");
        }
    }
}
