//! What a credential is: its id, its secret, and what people see of it.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::crypto::Times;

const VERSION: u8 = 1;
const REFERENCE_BYTES: usize = 6;
/// Longest part of an id in bytes.
const MAX_PART_BYTES: usize = 64;
/// Longest secret in bytes; keys of services have some 30 to 200.
const MAX_SECRET_BYTES: usize = 512;

/// What a credential is called: `service` or `service/which`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Id(String);

impl Id {
    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the slash: whose key it is.
    pub fn service(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(service, _)| service)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is no id. The message does not repeat it: it may be a secret in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an id is one or two parts with a slash between them, such as openweathermap or openweathermap/second; a part is 1 to \
     {MAX_PART_BYTES} of a-z, 0-9, `.`, `_` and `-`, not dots alone and not 32 or more hexadecimal digits, as a secret"
)]
pub struct BadId;

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        // Dots alone are what clients take for a way through folders.
        let dots = |part: &str| part.bytes().all(|byte| byte == b'.');
        // Ids are shown: OpenWeatherMap's keys are 32 such digits.
        let secret = |part: &str| part.len() >= 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_part = |part: &str| {
            (1..=MAX_PART_BYTES).contains(&part.len()) && part.bytes().all(valid) && !dots(part) && !secret(part)
        };
        let parts = text.split('/');
        if parts.clone().count() <= 2 && parts.into_iter().all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadId)
        }
    }
}

/// What people and logs see in place of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference(pub(super) [u8; REFERENCE_BYTES]);

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ref_")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A secret of somebody else's service. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// What it is called.
    pub id: Id,
    /// What people see of it.
    pub reference: Reference,
    /// Empty where a credential was removed a moment ago.
    secret: SecretString,
    pub(super) times: Times,
}

impl Credential {
    pub(super) fn new(id: Id, reference: Reference, secret: SecretString, times: Times) -> Self {
        Self { id, reference, secret, times }
    }

    /// What says that there is none under this id any more.
    pub(super) fn removed(id: Id, times: Times) -> Self {
        Self { id, reference: Reference([0; REFERENCE_BYTES]), secret: SecretString::default(), times }
    }

    pub(super) fn is_removed(&self) -> bool {
        self.secret.expose_secret().is_empty()
    }

    /// The secret itself.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// When it was put there, Unix milliseconds: tells it from any other that had or will have its id.
    pub fn put_at_ms(&self) -> u64 {
        self.times.fetched_at_ms
    }

    /// Seconds until its end, begun ones counted.
    pub fn expires_in_secs(&self, now_ms: u64) -> u64 {
        self.times.expires_at_ms.saturating_sub(now_ms).div_ceil(1_000)
    }

    /// Which of two of one id counts: the later one. All replicas decide alike.
    pub(super) fn age(&self) -> (u64, Reference) {
        (self.times.fetched_at_ms, self.reference)
    }

    /// What is sealed of it, version 1: that, the reference, the length of the id, the id and the secret.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let (id, secret) = (self.id.as_str().as_bytes(), self.secret.expose_secret().as_bytes());
        // Room for all: a growing vector would leave parts of the secret behind in memory.
        let mut content = Zeroizing::new(Vec::with_capacity(2 + REFERENCE_BYTES + id.len() + secret.len()));
        content.push(VERSION);
        content.extend_from_slice(&self.reference.0);
        content.push(u8::try_from(id.len()).expect("an id has 129 bytes at most"));
        content.extend_from_slice(id);
        content.extend_from_slice(secret);
        content
    }

    /// `None` if it is none of ours.
    pub(super) fn decode(content: &[u8], times: Times) -> Option<Self> {
        let (version, rest) = content.split_first()?;
        let (reference, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first()?;
        let (id, secret) = rest.split_at_checked(usize::from(*length))?;
        let id = std::str::from_utf8(id).ok()?.parse().ok()?;
        let secret = SecretString::from(std::str::from_utf8(secret).ok()?);
        (*version == VERSION).then_some(Self { id, reference: Reference(*reference), secret, times })
    }
}

/// Whether a text can be a secret: it has to fit into a header or a URL.
pub(super) fn is_secret(text: &str) -> bool {
    (1..=MAX_SECRET_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMES: Times = Times { fetched_at_ms: 1_000, expires_at_ms: 2_500 };

    #[test]
    fn an_id_is_one_or_two_parts_of_few_characters_and_its_error_does_not_repeat_it() {
        let long = "x".repeat(64);
        for good in ["openweathermap", "openweathermap/second", "a.b_c-1/0", &long, &format!("{long}/{long}")] {
            assert_eq!(good.parse::<Id>().unwrap().as_str(), good);
        }
        let (too_long, hexadecimal) = ("x".repeat(65), "0123456789abcdef".repeat(2));
        assert!(hexadecimal[1..].parse::<Id>().is_ok());
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "a/b/c",
            "A",
            "a b",
            "ä",
            "..",
            "a/.",
            "a%2fb",
            "a\n",
            &too_long,
            &hexadecimal,
        ] {
            assert_eq!(bad.parse::<Id>(), Err(BadId), "{bad}");
        }
        assert_eq!("a/b".parse::<Id>().unwrap().service(), "a");
        assert_eq!("ab".parse::<Id>().unwrap().service(), "ab");
    }

    #[test]
    fn a_secret_is_1_to_512_visible_characters() {
        for good in ["x", "!~", &"k".repeat(512)] {
            assert!(is_secret(good), "{good}");
        }
        for bad in ["", " x", "x\n", "a b", "é", "\u{7f}", &"k".repeat(513)] {
            assert!(!is_secret(bad), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_secret_and_a_reference_is_12_hexadecimal_digits() {
        let reference = Reference([0, 1, 0xab, 0xff, 4, 5]);
        let credential = Credential::new("a".parse().unwrap(), reference, SecretString::from("hidden"), TIMES);
        assert!(!format!("{credential:?} {credential:#?}").contains("hidden"));
        assert_eq!(credential.reference.to_string(), "ref_0001abff0405");
        assert_eq!(serde_json::to_string(&reference).unwrap(), r#""ref_0001abff0405""#);
        assert_eq!((credential.expires_in_secs(1_499), credential.expires_in_secs(3_000)), (2, 0));
    }

    proptest! {
        #[test]
        fn every_credential_comes_back_and_no_bytes_panic(
            id in "[a-z0-9_-]{0,63}[g-z_-](/[a-z0-9_-]{0,63}[g-z_-])?",
            secret in "[!-~]{1,512}",
            reference in any::<[u8; REFERENCE_BYTES]>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let secret = SecretString::from(secret);
            let put = Credential::new(id.parse().unwrap(), Reference(reference), secret, TIMES);
            let back = Credential::decode(&put.encode(), TIMES).unwrap();
            prop_assert_eq!((&back.id, back.reference, back.times), (&put.id, put.reference, put.times));
            prop_assert_eq!(back.secret.expose_secret(), put.secret.expose_secret());
            let _ = Credential::decode(&bytes, TIMES);
        }
    }
}
