//! The sealed record, version 2.
//!
//! ```text
//! offset    bytes  field
//! 0         1      version, 2
//! 1         1      n, length of the key id, 1..=32
//! 2         n      key id, ASCII
//! 2+n       24     nonce, random
//! 26+n      rest   ciphertext and 16-byte tag, XAES-256-GCM
//! ```
//!
//! What is encrypted:
//!
//! ```text
//! offset    bytes  field
//! 0         8      fetched at: when the upstream answered, Unix milliseconds, big endian
//! 8         8      expires at: from then on the record is dead, Unix milliseconds, big endian
//! 16        4      m, length of the content, big endian
//! 20        m      content
//! 20+m      rest   zeros, up to the end of the size class
//! ```
//!
//! Authenticated with it (the associated data): every byte before the nonce, then the record's name in Redis. So a flipped
//! bit, a record moved to another name, changed times and a record put back after its expiry do not open, and whoever holds
//! the Redis sees of a record its key id, its size class and what Redis itself shows: when it was written and ends.
//!
//! Version 1 was never released. It sealed with AES-256-GCM, whose random nonces last for 2^32 records a key, did not pad,
//! and showed its times.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::key_file::MAX_KEY_ID_BYTES;
use super::keyring::{Key, Keyring, RecordName};
use super::xaes::{NONCE_BYTES, TAG_BYTES};

/// The only version that is written and read.
pub const VERSION: u8 = 2;
/// Times and length before the content.
const PREFIX_BYTES: usize = 20;
/// The longest record that is sealed; OpenWeatherMap's largest answers have some 100 KB.
const MAX_PADDED_BYTES: usize = 1 << 30;

/// How long what is encrypted is made, so that its length says little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// What replicas leave each other: 64 bytes, or the class of a record that is long enough.
    Note,
    /// What is known about a place: 960 bytes, 1920, 3840 and so on. Nearly every weather answer, and that a place is
    /// unknown, is in the first class.
    Record,
    /// A secret of somebody else's service: 960 bytes, so that it looks like a record. It is sealed with a key of its own,
    /// and only [`Keyring::open_credential`] opens it.
    Credential,
}

impl Padding {
    const NOTE_BYTES: usize = 64;
    /// A sealed record of this class just stays below 1 KiB, one of the sizes that Redis' allocator has.
    const RECORD_BYTES: usize = 960;

    /// The size class of `bytes`.
    fn padded(self, bytes: usize) -> Option<usize> {
        if self == Self::Note && bytes <= Self::NOTE_BYTES {
            return Some(Self::NOTE_BYTES);
        }
        let classes = std::iter::successors(Some(Self::RECORD_BYTES), |class| class.checked_mul(2));
        classes.take_while(|class| *class <= MAX_PADDED_BYTES).find(|class| bytes <= *class)
    }
}

/// How long the sealed record of a content of so many bytes is at most; for limits on what is read.
pub fn longest_sealed(content: usize) -> usize {
    let padded = Padding::Record.padded(content.saturating_add(PREFIX_BYTES)).unwrap_or(MAX_PADDED_BYTES);
    2 + MAX_KEY_ID_BYTES + NONCE_BYTES + padded + TAG_BYTES
}

/// When a record was fetched and when it dies, both Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the upstream answered.
    pub fetched_at_ms: u64,
    /// From then on the record does not open.
    pub expires_at_ms: u64,
}

/// A record that opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its authenticated times.
    pub times: Times,
    /// What was sealed.
    pub content: Vec<u8>,
}

/// A credential that opened.
pub struct OpenedCredential {
    /// Its authenticated times.
    pub times: Times,
    /// What was sealed. Wiped on drop.
    pub content: Zeroizing<Vec<u8>>,
    /// It was sealed with the key that seals now.
    pub current: bool,
}

/// Why a record did not open. Each is a cache miss to the caller; the name is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// Shorter than its own header says.
    #[error("truncated")]
    Truncated,
    /// Sealed in a layout which this version of the program does not know.
    #[error("other_version")]
    OtherVersion,
    /// Sealed with a key that the ring does not have.
    #[error("unknown_key")]
    UnknownKey,
    /// Some byte of it, or its name, is not what was sealed.
    #[error("not_authentic")]
    NotAuthentic,
    /// Authentic, but past its end.
    #[error("expired")]
    Expired,
}

/// Why nothing could be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// Longer than any record may be (1 GiB).
    #[error("the record is too large to seal")]
    TooLarge,
}

impl Keyring {
    /// Seals `content` under `name` with the first key.
    ///
    /// # Errors
    /// The operating system gave no random bytes, or the record is beyond 1 GiB.
    pub fn seal(
        &self,
        name: &RecordName,
        times: Times,
        content: &[u8],
        padding: Padding,
    ) -> Result<Vec<u8>, SealError> {
        let key = self.sealing();
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;

        let mut header = Vec::with_capacity(2 + MAX_KEY_ID_BYTES);
        header.push(VERSION);
        header.push(u8::try_from(key.id.len()).map_err(|_| SealError::TooLarge)?);
        header.extend_from_slice(key.id.as_bytes());

        let padded = padding.padded(PREFIX_BYTES.saturating_add(content.len())).ok_or(SealError::TooLarge)?;
        // Encrypted in place, without growing: no copy of it is left behind.
        let mut text = Vec::with_capacity(padded + TAG_BYTES);
        text.extend_from_slice(&times.fetched_at_ms.to_be_bytes());
        text.extend_from_slice(&times.expires_at_ms.to_be_bytes());
        text.extend_from_slice(&u32::try_from(content.len()).map_err(|_| SealError::TooLarge)?.to_be_bytes());
        text.extend_from_slice(content);
        text.resize(padded, 0);
        let cipher = key.cipher(padding);
        cipher.encrypt(&nonce, &associated_data(&header, name), &mut text).map_err(|_| SealError::TooLarge)?;
        key.sealed(times, padding);
        Ok([&header, &nonce[..], &text].concat())
    }

    /// Opens what [`Keyring::seal`] made, if it is whole, ours, under its own name and not expired at `now_ms`
    /// (Unix milliseconds).
    ///
    /// # Errors
    /// The reason it did not open.
    pub fn open(&self, name: &RecordName, sealed: &[u8], now_ms: u64) -> Result<Opened, OpenError> {
        let layout = Layout::read(sealed)?;
        let padding = layout.padding();
        let (key, text) = self.decrypt(&layout, name, padding)?;
        let (times, content) = unpad(&text, now_ms)?;
        key.opened(times, padding);
        Ok(Opened { times, content: content.to_vec() })
    }

    /// Opens what [`Keyring::seal`] made as [`Padding::Credential`], as [`Keyring::open`] does the others.
    ///
    /// # Errors
    /// The reason it did not open.
    pub fn open_credential(
        &self,
        name: &RecordName,
        sealed: &[u8],
        now_ms: u64,
    ) -> Result<OpenedCredential, OpenError> {
        let layout = Layout::read(sealed)?;
        let (key, text) = self.decrypt(&layout, name, Padding::Credential)?;
        let text = Zeroizing::new(text);
        let (times, content) = unpad(&text, now_ms)?;
        let current = key.id == self.sealing().id;
        Ok(OpenedCredential { times, content: Zeroizing::new(content.to_vec()), current })
    }

    fn decrypt(
        &self,
        layout: &Layout<'_>,
        name: &RecordName,
        padding: Padding,
    ) -> Result<(Arc<Key>, Vec<u8>), OpenError> {
        let key = self.by_id(layout.key_id).ok_or(OpenError::UnknownKey)?;
        let mut text = layout.ciphertext.to_vec();
        key.cipher(padding)
            .decrypt(layout.nonce, &associated_data(layout.header, name), &mut text)
            .map_err(|_| OpenError::NotAuthentic)?;
        Ok((key, text))
    }
}

/// Takes apart what was encrypted, if it has not ended.
fn unpad(text: &[u8], now_ms: u64) -> Result<(Times, &[u8]), OpenError> {
    let (fetched, rest) = text.split_first_chunk::<8>().ok_or(OpenError::Truncated)?;
    let (expires, rest) = rest.split_first_chunk::<8>().ok_or(OpenError::Truncated)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(OpenError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| OpenError::Truncated)?;
    let content = rest.get(..length).ok_or(OpenError::Truncated)?;
    let times = Times { fetched_at_ms: u64::from_be_bytes(*fetched), expires_at_ms: u64::from_be_bytes(*expires) };
    if now_ms >= times.expires_at_ms { Err(OpenError::Expired) } else { Ok((times, content)) }
}

fn associated_data(header: &[u8], name: &RecordName) -> Vec<u8> {
    [header, name.as_str().as_bytes()].concat()
}

/// A sealed record, taken apart but not yet believed.
struct Layout<'a> {
    header: &'a [u8],
    key_id: &'a [u8],
    nonce: &'a [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
}

impl<'a> Layout<'a> {
    fn read(sealed: &'a [u8]) -> Result<Self, OpenError> {
        let [version, id_length, rest @ ..] = sealed else { return Err(OpenError::Truncated) };
        if *version != VERSION {
            return Err(OpenError::OtherVersion);
        }
        let id_length = usize::from(*id_length);
        if id_length == 0 || id_length > MAX_KEY_ID_BYTES {
            return Err(OpenError::NotAuthentic);
        }
        let (key_id, rest) = rest.split_at_checked(id_length).ok_or(OpenError::Truncated)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Truncated)?;
        if ciphertext.len() < TAG_BYTES {
            return Err(OpenError::Truncated);
        }
        Ok(Self { header: &sealed[..2 + id_length], key_id, nonce, ciphertext })
    }

    /// What it was sealed as, by its length.
    fn padding(&self) -> Padding {
        if self.ciphertext.len() < Padding::RECORD_BYTES { Padding::Note } else { Padding::Record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMES: Times = Times { fetched_at_ms: 1_000, expires_at_ms: 2_000 };

    fn ring(ids: &[&str]) -> Keyring {
        use base64::Engine;
        let lines: Vec<_> = ids
            .iter()
            .map(|id| {
                let key: Vec<u8> = (0..32).map(|i| i ^ id.as_bytes()[0]).collect();
                format!("{id}:{}", base64::engine::general_purpose::STANDARD.encode(key))
            })
            .collect();
        Keyring::parse(&lines.join("\n")).unwrap()
    }

    /// Made once by another implementation (Python's `cryptography`) from docs/envelope.md; it has to open for ever.
    const GOLDEN_KEY: &str = "D8HOH1vF7K3dhf8BqViSMluR3z0aP3bYCE7K5BUfP1c=";

    fn golden(text: &str) -> (Keyring, RecordName, Vec<u8>) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let key: [u8; 32] = STANDARD.decode(GOLDEN_KEY).unwrap().try_into().unwrap();
        let ring = Keyring::of_sample("golden", &key);
        let name = ring.names("golden").remove(0);
        (ring, name, STANDARD.decode(text.trim()).unwrap())
    }

    #[test]
    fn the_golden_record_of_version_2_opens() {
        let (ring, name, sealed) = golden(include_str!("golden-v2.txt"));
        assert_eq!(name.as_str(), "stratus:D3vYGdQvrScRE3-C6Zn0Lw9XDiDmSjQgOWkaMfyf13c");
        let opened = ring.open(&name, &sealed, 1_999).unwrap();
        assert_eq!(opened.content, br#"{"name":"Golden","cod":200}"#);
        assert_eq!(opened.times, TIMES);
    }

    #[test]
    fn a_record_of_version_1_which_was_never_released_is_told_as_such() {
        let (ring, name, sealed) = golden(include_str!("golden-v1.txt"));
        assert_eq!(ring.open(&name, &sealed, 1_999).unwrap_err(), OpenError::OtherVersion);
    }

    #[test]
    fn what_was_sealed_opens_and_two_seals_of_the_same_differ() {
        let ring = ring(&["a"]);
        let name = ring.names("x").remove(0);
        let seal = || ring.seal(&name, TIMES, b"body", Padding::Record).unwrap();
        let (one, two) = (seal(), seal());
        assert_ne!(one, two);
        for sealed in [one, two] {
            let opened = ring.open(&name, &sealed, 1_999).unwrap();
            assert_eq!((opened.content.as_slice(), opened.times), (b"body".as_slice(), TIMES));
            assert!(!sealed.windows(4).any(|window| window == b"body"));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let ring = ring(&["a"]);
        let name = ring.names("x").remove(0);
        let sealed = ring.seal(&name, TIMES, b"some weather", Padding::Note).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.open(&name, &changed, 1_500).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(ring.open(&name, &sealed[..length], 1_500).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_key_of_records_opens_no_credential_and_a_key_of_credentials_no_record() {
        let ring = ring(&["a"]);
        let name = ring.names("x").remove(0);
        let seal = |padding| ring.seal(&name, TIMES, b"secret", padding).unwrap();
        let (credential, record) = (seal(Padding::Credential), seal(Padding::Record));
        assert_eq!(credential.len(), record.len(), "they look the same");
        assert_eq!(ring.open(&name, &credential, 1_500).unwrap_err(), OpenError::NotAuthentic);
        assert_eq!(ring.open_credential(&name, &record, 1_500).err(), Some(OpenError::NotAuthentic));
        assert_eq!(ring.open(&name, &record, 1_500).unwrap().content, b"secret");
        let opened = ring.open_credential(&name, &credential, 1_999).unwrap();
        assert_eq!((opened.content.as_slice(), opened.times), (b"secret".as_slice(), TIMES));
        assert_eq!(ring.open_credential(&name, &credential, 2_000).err(), Some(OpenError::Expired));
    }

    #[test]
    fn a_credential_tells_whether_the_key_that_seals_now_has_sealed_it() {
        let (old, both) = (ring(&["old"]), ring(&["new", "old"]));
        let name = old.names("x").remove(0);
        let current = |ring: &Keyring, sealed: &[u8]| ring.open_credential(&name, sealed, 1_500).unwrap().current;
        let sealed = old.seal(&name, TIMES, b"s", Padding::Credential).unwrap();
        assert!(current(&old, &sealed) && !current(&both, &sealed));
        assert!(current(&both, &both.seal(&name, TIMES, b"s", Padding::Credential).unwrap()));
    }

    #[test]
    fn each_reason_has_its_name() {
        let a = ring(&["a"]);
        let name = a.names("x").remove(0);
        let sealed = a.seal(&name, TIMES, b"w", Padding::Record).unwrap();
        let fail = |ring: &Keyring, name: &RecordName, sealed: &[u8], now| ring.open(name, sealed, now).unwrap_err();
        assert_eq!(fail(&a, &name, &sealed, 2_000), OpenError::Expired);
        assert_eq!(fail(&a, &name, &sealed[..20], 1_500), OpenError::Truncated);
        assert_eq!(fail(&a, &a.names("y").remove(0), &sealed, 1_500), OpenError::NotAuthentic);
        assert_eq!(fail(&ring(&["b"]), &name, &sealed, 1_500), OpenError::UnknownKey);
        let mut newer = sealed.clone();
        newer[0] = VERSION + 1;
        assert_eq!(fail(&a, &name, &newer, 1_500), OpenError::OtherVersion);
        let mut changed = sealed;
        changed[40] ^= 1;
        assert_eq!(fail(&a, &name, &changed, 1_500), OpenError::NotAuthentic);
    }

    #[test]
    fn an_older_key_of_the_ring_still_opens_and_the_first_one_seals() {
        let (old, both) = (ring(&["old"]), ring(&["new", "old"]));
        let name = old.names("x").remove(0);
        let sealed = old.seal(&name, TIMES, b"w", Padding::Record).unwrap();
        assert!(both.names("x").contains(&name), "records of the older key are still found");
        assert_eq!(both.open(&name, &sealed, 1_500).unwrap().content, b"w");
        assert_eq!(&both.seal(&name, TIMES, b"w", Padding::Record).unwrap()[2..5], b"new");
    }

    #[test]
    fn lengths_tell_neither_places_nor_whether_one_is_known_apart() {
        let ring = ring(&["a"]);
        let name = ring.names("x").remove(0);
        let length = |bytes: usize, padding| ring.seal(&name, TIMES, &vec![7; bytes], padding).unwrap().len();
        let overhead = 2 + 1 + NONCE_BYTES + TAG_BYTES;
        let classes = [(0, 960), (1, 960), (940, 960), (941, 1_920), (1_900, 1_920), (1_901, 3_840)];
        for (bytes, class) in classes {
            assert_eq!(length(bytes, Padding::Record), class + overhead, "{bytes} bytes");
        }
        for (bytes, class) in [(0, 64), (44, 64), (45, 960), (941, 1_920)] {
            assert_eq!(length(bytes, Padding::Note), class + overhead, "{bytes} bytes of a note");
        }
        assert_eq!(longest_sealed(940), length(940, Padding::Record) + MAX_KEY_ID_BYTES - 1);
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_and_garbage_never_opens(
            body in proptest::collection::vec(any::<u8>(), 0..600),
            garbage in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let ring = ring(&["a"]);
            let name = ring.names("x").remove(0);
            let sealed = ring.seal(&name, TIMES, &body, Padding::Record).unwrap();
            prop_assert_eq!(ring.open(&name, &sealed, 0).unwrap().content, body);
            prop_assert!(ring.open(&name, &garbage, 0).is_err());
        }
    }
}
