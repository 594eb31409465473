//! The sealed record, version 1.
//!
//! ```text
//! offset    bytes  field
//! 0         1      version, 1
//! 1         1      n, length of the key id, 1..=32
//! 2         n      key id, ASCII
//! 2+n       8      fetched at: when the upstream answered, Unix milliseconds, big endian
//! 10+n      8      expires at: from then on the record is dead, Unix milliseconds, big endian
//! 18+n      12     nonce, random
//! 30+n      rest   ciphertext and 16-byte tag, AES-256-GCM (NIST SP 800-38D)
//! ```
//!
//! Authenticated with it (the associated data): every byte before the nonce, then the record's name in Redis. So a
//! flipped bit, a record moved to another name, changed times and a record put back after its expiry do not open.
//!
//! A nonce is 96 random bits, which SP 800-38D (section 8.3) allows for 2^32 records a key. A record is sealed once per
//! upstream answer: at OpenWeatherMap's free plan of 1 000 000 calls a month that is more than 350 years.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, Nonce};
use zeroize::Zeroizing;

use super::keyring::{Keyring, MAX_KEY_ID_BYTES, RecordName};

/// The version that is written.
pub const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// When a record was fetched and when it dies, both Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the upstream answered.
    pub fetched_at_ms: u64,
    /// From then on the record does not open.
    pub expires_at_ms: u64,
}

/// A record that opened.
#[derive(Debug)]
pub struct Opened {
    /// Its authenticated times.
    pub times: Times,
    /// What was sealed.
    pub plaintext: Vec<u8>,
}

/// Why a record did not open. Each is a cache miss to the caller; the name is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// Shorter than its own header says.
    #[error("truncated")]
    Truncated,
    /// Sealed by a version of this program which this one does not know.
    #[error("newer_version")]
    NewerVersion,
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
    /// More than AES-GCM can seal at once (64 GiB).
    #[error("the record is too large to seal")]
    TooLarge,
}

impl Keyring {
    /// Seals `plaintext` under `name` with the first key.
    ///
    /// # Errors
    /// The operating system gave no random bytes, or the record is beyond AES-GCM's 64 GiB.
    pub fn seal(&self, name: &RecordName, times: Times, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.sealing();
        let mut nonce = Nonce::<Aes256Gcm>::default();
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;

        let mut sealed = Vec::with_capacity(18 + key.id.len() + NONCE_BYTES + plaintext.len() + TAG_BYTES);
        sealed.push(VERSION);
        sealed.push(u8::try_from(key.id.len()).map_err(|_| SealError::TooLarge)?);
        sealed.extend_from_slice(key.id.as_bytes());
        sealed.extend_from_slice(&times.fetched_at_ms.to_be_bytes());
        sealed.extend_from_slice(&times.expires_at_ms.to_be_bytes());
        let aad = associated_data(&sealed, name);
        sealed.extend_from_slice(&nonce);

        let mut text = Vec::with_capacity(plaintext.len() + TAG_BYTES);
        text.extend_from_slice(plaintext);
        key.cipher.encrypt_in_place(&nonce, &aad, &mut text).map_err(|_| SealError::TooLarge)?;
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what [`Keyring::seal`] made, if it is whole, ours, under its own name and not expired at `now_ms`
    /// (Unix milliseconds).
    ///
    /// # Errors
    /// The reason it did not open.
    pub fn open(&self, name: &RecordName, sealed: &[u8], now_ms: u64) -> Result<Opened, OpenError> {
        let layout = Layout::read(sealed)?;
        let key = self.by_id(layout.key_id).ok_or(OpenError::UnknownKey)?;
        let nonce = Nonce::<Aes256Gcm>::try_from(layout.nonce).map_err(|_| OpenError::Truncated)?;
        let mut text = Zeroizing::new(layout.ciphertext.to_vec());
        key.cipher
            .decrypt_in_place(&nonce, &associated_data(layout.header, name), &mut *text)
            .map_err(|_| OpenError::NotAuthentic)?;
        if now_ms >= layout.times.expires_at_ms {
            return Err(OpenError::Expired);
        }
        Ok(Opened { times: layout.times, plaintext: std::mem::take(&mut *text) })
    }
}

fn associated_data(header: &[u8], name: &RecordName) -> Vec<u8> {
    [header, name.as_str().as_bytes()].concat()
}

/// A sealed record, taken apart but not yet believed.
struct Layout<'a> {
    header: &'a [u8],
    key_id: &'a [u8],
    times: Times,
    nonce: &'a [u8],
    ciphertext: &'a [u8],
}

impl<'a> Layout<'a> {
    fn read(sealed: &'a [u8]) -> Result<Self, OpenError> {
        let [version, id_length, rest @ ..] = sealed else { return Err(OpenError::Truncated) };
        if *version != VERSION {
            return Err(OpenError::NewerVersion);
        }
        let id_length = usize::from(*id_length);
        if id_length == 0 || id_length > MAX_KEY_ID_BYTES {
            return Err(OpenError::NotAuthentic);
        }
        let (key_id, rest) = rest.split_at_checked(id_length).ok_or(OpenError::Truncated)?;
        let (fetched, rest) = rest.split_first_chunk::<8>().ok_or(OpenError::Truncated)?;
        let (expires, rest) = rest.split_first_chunk::<8>().ok_or(OpenError::Truncated)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES).ok_or(OpenError::Truncated)?;
        if ciphertext.len() < TAG_BYTES {
            return Err(OpenError::Truncated);
        }
        Ok(Self {
            header: &sealed[..18 + id_length],
            key_id,
            times: Times { fetched_at_ms: u64::from_be_bytes(*fetched), expires_at_ms: u64::from_be_bytes(*expires) },
            nonce,
            ciphertext,
        })
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

    /// Made once by another implementation (Python's `cryptography`) from the layout above; it has to open for ever.
    const GOLDEN_KEY: &str = "golden:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const GOLDEN: &str = include_str!("golden-v1.txt");

    #[test]
    fn the_golden_record_of_version_1_opens() {
        use base64::Engine;
        let ring = Keyring::parse(GOLDEN_KEY).unwrap();
        let name = ring.names("golden").remove(0);
        let sealed = base64::engine::general_purpose::STANDARD.decode(GOLDEN.trim()).unwrap();
        let opened = ring.open(&name, &sealed, 1_999).unwrap();
        assert_eq!(opened.plaintext, br#"{"name":"Golden","cod":200}"#);
        assert_eq!(opened.times, TIMES);
    }

    #[test]
    fn what_was_sealed_opens_and_two_seals_of_the_same_differ() {
        let ring = ring(&["a"]);
        let name = ring.names("x").remove(0);
        let (one, two) = (ring.seal(&name, TIMES, b"body").unwrap(), ring.seal(&name, TIMES, b"body").unwrap());
        assert_ne!(one, two);
        for sealed in [one, two] {
            let opened = ring.open(&name, &sealed, 1_999).unwrap();
            assert_eq!((opened.plaintext.as_slice(), opened.times), (b"body".as_slice(), TIMES));
            assert!(!sealed.windows(4).any(|window| window == b"body"));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let ring = ring(&["a"]);
        let name = ring.names("x").remove(0);
        let sealed = ring.seal(&name, TIMES, b"some weather").unwrap();
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
    fn each_reason_has_its_name() {
        let a = ring(&["a"]);
        let name = a.names("x").remove(0);
        let sealed = a.seal(&name, TIMES, b"w").unwrap();
        let fail = |ring: &Keyring, name: &RecordName, sealed: &[u8], now| ring.open(name, sealed, now).unwrap_err();
        assert_eq!(fail(&a, &name, &sealed, 2_000), OpenError::Expired);
        assert_eq!(fail(&a, &name, &sealed[..20], 1_500), OpenError::Truncated);
        assert_eq!(fail(&a, &a.names("y").remove(0), &sealed, 1_500), OpenError::NotAuthentic);
        assert_eq!(fail(&ring(&["b"]), &name, &sealed, 1_500), OpenError::UnknownKey);
        let mut newer = sealed.clone();
        newer[0] = VERSION + 1;
        assert_eq!(fail(&a, &name, &newer, 1_500), OpenError::NewerVersion);
        let mut later = sealed;
        later[18] ^= 1;
        assert_eq!(fail(&a, &name, &later, 1_500), OpenError::NotAuthentic);
    }

    #[test]
    fn an_older_key_of_the_ring_still_opens_and_the_first_one_seals() {
        let (old, both) = (ring(&["old"]), ring(&["new", "old"]));
        let name = old.names("x").remove(0);
        let sealed = old.seal(&name, TIMES, b"w").unwrap();
        assert!(both.names("x").contains(&name), "records of the older key are still found");
        assert_eq!(both.open(&name, &sealed, 1_500).unwrap().plaintext, b"w");
        assert_eq!(&both.seal(&name, TIMES, b"w").unwrap()[2..5], b"new");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_and_garbage_never_opens(
            body in proptest::collection::vec(any::<u8>(), 0..600),
            garbage in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let ring = ring(&["a"]);
            let name = ring.names("x").remove(0);
            let sealed = ring.seal(&name, TIMES, &body).unwrap();
            prop_assert_eq!(ring.open(&name, &sealed, 0).unwrap().plaintext, body);
            prop_assert!(ring.open(&name, &garbage, 0).is_err());
        }
    }
}
