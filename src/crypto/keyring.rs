//! The keys, by id, and what is derived from each.
//!
//! From each master key HKDF-SHA-256 (RFC 5869) derives one key per job, so that no key is used for two algorithms:
//!
//! | label | job |
//! |---|---|
//! | `stratus/v2/seal` | XAES-256-GCM of records |
//! | `stratus/v2/name` | HMAC-SHA-256 (RFC 2104) names of records |
//! | `stratus/v2/simulated-name` | the same for a service that makes its weather up |
//! | `stratus/v2/credential` | XAES-256-GCM of credentials |
//! | `stratus/v2/reference` | HMAC-SHA-256 of what people see of a credential |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::envelope::{Padding, SealError, Times};
use super::key_file::{KeyFault, key_lines, parse_line};
use super::xaes::{KEY_BYTES, Xaes256Gcm};

/// Every key in Redis begins with this.
const NAME_PREFIX: &str = "stratus:";

/// What a record is called in Redis: `stratus:` and the HMAC-SHA-256 of what it is about, base64url.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordName(String);

impl RecordName {
    /// The name as it stands in Redis.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Bytes of the tag that names of one group have in common. It need not be unlike any other, only be the same.
const TAG_BYTES: usize = 6;
/// What is real and what is made up lie in one store, each under names that the other never looks at.
#[derive(Debug, Clone, Copy)]
enum Realm {
    Real,
    Simulated,
}

/// Bytes of a reference to a credential: enough that no two of a vault are the same.
const REFERENCE_BYTES: usize = 6;

/// One key and what is derived from it. The master key itself is not kept.
pub(super) struct Key {
    pub(super) id: String,
    records: Xaes256Gcm,
    credentials: Xaes256Gcm,
    naming: Zeroizing<[u8; KEY_BYTES]>,
    naming_simulated: Zeroizing<[u8; KEY_BYTES]>,
    referring: Zeroizing<[u8; KEY_BYTES]>,
    sealed: AtomicU64,
    opened: AtomicU64,
    last_end_ms: AtomicU64,
}

impl Key {
    fn derive(id: String, master: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, master);
        let derived = |label: &str| {
            let mut okm = Zeroizing::new([0; KEY_BYTES]);
            hkdf.expand(label.as_bytes(), okm.as_mut_slice())
                .expect("32 bytes are far below the 8160 that HKDF-SHA-256 can give");
            okm
        };
        let [sealed, opened, last_end_ms] = [const { AtomicU64::new(0) }; 3];
        Self {
            id,
            records: Xaes256Gcm::new(&derived("stratus/v2/seal")),
            credentials: Xaes256Gcm::new(&derived("stratus/v2/credential")),
            naming: derived("stratus/v2/name"),
            naming_simulated: derived("stratus/v2/simulated-name"),
            referring: derived("stratus/v2/reference"),
            sealed,
            opened,
            last_end_ms,
        }
    }

    /// The cipher for what is padded like this.
    pub(super) fn cipher(&self, padding: Padding) -> &Xaes256Gcm {
        match padding {
            Padding::Note | Padding::Record => &self.records,
            Padding::Credential => &self.credentials,
        }
    }

    fn name(&self, realm: Realm, subject: &str) -> RecordName {
        RecordName(format!("{NAME_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.digest(realm, subject))))
    }

    /// What stands in the braces is all that a Redis Cluster looks at to find a place for it.
    fn name_together(&self, realm: Realm, group: &str, subject: &str) -> RecordName {
        let (tag, digest) = (self.digest(realm, group), self.digest(realm, subject));
        let (tag, digest) = (URL_SAFE_NO_PAD.encode(&tag[..TAG_BYTES]), URL_SAFE_NO_PAD.encode(digest));
        RecordName(format!("{NAME_PREFIX}{{{tag}}}{digest}"))
    }

    fn digest(&self, realm: Realm, text: &str) -> [u8; 32] {
        let naming = match realm {
            Realm::Real => &self.naming,
            Realm::Simulated => &self.naming_simulated,
        };
        hmac(naming, &[text.as_bytes()])
    }

    /// Whether both were derived from one master key.
    fn is_same_as(&self, other: &Self) -> bool {
        self.naming.ct_eq(other.naming.as_slice()).into()
    }

    pub(super) fn sealed(&self, times: Times, padding: Padding) {
        self.used(&self.sealed, times, padding);
    }

    pub(super) fn opened(&self, times: Times, padding: Padding) {
        self.used(&self.opened, times, padding);
    }

    fn used(&self, counter: &AtomicU64, times: Times, padding: Padding) {
        if padding == Padding::Record {
            counter.fetch_add(1, Ordering::Relaxed);
            self.last_end_ms.fetch_max(times.expires_at_ms, Ordering::Relaxed);
        }
    }
}

/// HMAC-SHA-256 of `parts`, one after the other.
fn hmac(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// What one key of the ring was used for by this process, records only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key's id.
    pub id: String,
    /// Whether it is the one that seals now.
    pub seals: bool,
    /// Records sealed with it.
    pub sealed: u64,
    /// Records opened with it.
    pub opened: u64,
    /// When the last of them is dead, Unix milliseconds; 0 if there was none.
    pub last_end_ms: u64,
}

/// The keys, the sealing one first. They can be replaced while the ring is in use. `Debug` shows ids only.
pub struct Keyring {
    held: Arc<Held>,
    realm: Realm,
}

/// The keys, for the rings of both realms.
struct Held {
    keys: ArcSwap<Vec<Arc<Key>>>,
    /// How often they were replaced.
    version: AtomicU64,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Keyring {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// Every fault of the file, not only the first.
    pub fn parse(text: &str) -> Result<Self, Vec<KeyFault>> {
        let mut keys: Vec<Arc<Key>> = Vec::new();
        let mut faults = Vec::new();
        for (number, line) in key_lines(text) {
            let key = parse_line(number, line).map(|(id, master)| Key::derive(id, &master));
            match key {
                Ok(key) => {
                    if keys.iter().any(|other| other.id == key.id) {
                        faults.push(KeyFault::Duplicate(key.id));
                    } else if let Some(other) = keys.iter().find(|other| other.is_same_as(&key)) {
                        faults.push(KeyFault::SameKey { id: key.id, other: other.id.clone() });
                    } else {
                        keys.push(Arc::new(key));
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
        if keys.is_empty() && faults.is_empty() {
            faults.push(KeyFault::Empty);
        }
        if faults.is_empty() { Ok(Self::of(keys)) } else { Err(faults) }
    }

    /// A ring of one key, whatever that is: for the golden records, whose key everybody knows.
    #[cfg(test)]
    pub(super) fn of_sample(id: &str, master: &[u8; KEY_BYTES]) -> Self {
        Self::of(vec![Arc::new(Key::derive(id.to_owned(), master))])
    }

    fn of(keys: Vec<Arc<Key>>) -> Self {
        let held = Held { keys: ArcSwap::from_pointee(keys), version: AtomicU64::new(0) };
        Self { held: Arc::new(held), realm: Realm::Real }
    }

    /// The same keys, also when they are replaced, by which everything has another name: for a service that makes its weather
    /// up. Nothing that it leaves in the store is ever found by a real one, nor the other way round; and since the name of
    /// a record is sealed with it, none opens that somebody moved.
    #[must_use]
    pub fn simulated(&self) -> Self {
        Self { held: Arc::clone(&self.held), realm: Realm::Simulated }
    }

    /// A ring with one fresh random key.
    ///
    /// # Errors
    /// The operating system gave no random bytes.
    pub fn ephemeral() -> Result<Self, SealError> {
        let mut master = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(master.as_mut_slice()).map_err(|_| SealError::NoRandomness)?;
        Ok(Self::of(vec![Arc::new(Key::derive("ephemeral".to_owned(), master.as_slice()))]))
    }

    /// Takes the keys of another ring in place of its own, at once and for all who share it. A key that stays keeps its
    /// counts.
    ///
    /// # Errors
    /// An id would mean another key than before: records sealed with the old one could not be told from changed ones.
    pub fn replace(&self, new: &Self) -> Result<(), KeyFault> {
        let old = self.held.keys.load();
        let keep = |key: &Arc<Key>| match old.iter().find(|known| known.id == key.id) {
            Some(known) if known.is_same_as(key) => Ok(Arc::clone(known)),
            Some(_) => Err(KeyFault::Changed(key.id.clone())),
            None => Ok(Arc::clone(key)),
        };
        let keys = new.held.keys.load().iter().map(keep).collect::<Result<_, _>>()?;
        self.held.keys.store(Arc::new(keys));
        // After the keys: names made at this version are those of these keys or of later ones.
        self.held.version.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Changes whenever the keys are replaced.
    pub fn version(&self) -> u64 {
        self.held.version.load(Ordering::Acquire)
    }

    /// The ids, the sealing key's first.
    pub fn ids(&self) -> Vec<String> {
        self.held.keys.load().iter().map(|key| key.id.clone()).collect()
    }

    /// What each key was used for by this process, the sealing one first.
    pub fn uses(&self) -> Vec<KeyUse> {
        let of = |(place, key): (usize, &Arc<Key>)| KeyUse {
            id: key.id.clone(),
            seals: place == 0,
            sealed: key.sealed.load(Ordering::Relaxed),
            opened: key.opened.load(Ordering::Relaxed),
            last_end_ms: key.last_end_ms.load(Ordering::Relaxed),
        };
        self.held.keys.load().iter().enumerate().map(of).collect()
    }

    /// What a record about `subject` is called, under each key: new records take the first name, the others are where
    /// records sealed before the last rotation still lie. At least one.
    pub fn names(&self, subject: &str) -> Vec<RecordName> {
        self.held.keys.load().iter().map(|key| key.name(self.realm, subject)).collect()
    }

    /// The same for what has to be in one place with the rest of its `group`, so that all of it is lost or nothing is.
    pub fn names_together(&self, group: &str, subject: &str) -> Vec<RecordName> {
        let keys = self.held.keys.load();
        keys.iter().map(|key| key.name_together(self.realm, group, subject)).collect()
    }

    /// What people and logs see of the secret `secret` that is known as `id`, under the key that seals: it tells secrets
    /// apart, and says nothing of them to who has no key.
    pub fn reference(&self, id: &str, secret: &[u8]) -> [u8; REFERENCE_BYTES] {
        // The length first, so that the border between the two counts.
        let digest = hmac(&self.sealing().referring, &[&(id.len() as u64).to_be_bytes(), id.as_bytes(), secret]);
        let mut reference = [0; REFERENCE_BYTES];
        reference.copy_from_slice(&digest[..REFERENCE_BYTES]);
        reference
    }

    /// The key that seals.
    pub(super) fn sealing(&self) -> Arc<Key> {
        Arc::clone(&self.held.keys.load()[0])
    }

    pub(super) fn by_id(&self, id: &[u8]) -> Option<Arc<Key>> {
        self.held.keys.load().iter().find(|key| key.id.as_bytes() == id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn line(id: &str, seed: u8) -> String {
        let key: Vec<u8> = (0..32).map(|i| i ^ seed).collect();
        format!("{id}:{}", STANDARD.encode(key))
    }

    fn ring(lines: &[String]) -> Keyring {
        Keyring::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn names_depend_on_the_key_and_on_the_subject_and_show_neither() {
        let ring = ring(&[line("a", 1), line("b", 2)]);
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
    fn names_of_a_group_have_what_is_in_braces_in_common_and_nothing_else() {
        let ring = ring(&[line("a", 1), line("b", 2)]);
        let (one, other) = (ring.names_together("group", "one"), ring.names_together("group", "other"));
        let tag = |name: &RecordName| {
            let (before, after) = name.as_str().split_once('}').unwrap();
            assert_eq!((before.len(), after.len()), ("stratus:{".len() + 8, 43));
            before.to_owned()
        };
        assert_eq!((tag(&one[0]), tag(&one[1])), (tag(&other[0]), tag(&other[1])));
        assert!(one[0] != other[0] && tag(&one[0]) != tag(&one[1]));
        assert_ne!(tag(&one[0]), tag(&ring.names_together("else", "one")[0]));
    }

    #[test]
    fn nothing_has_the_same_name_in_both_realms_and_neither_opens_what_was_moved_from_the_other() {
        let real = ring(&[line("a", 1), line("b", 2)]);
        let simulated = real.simulated();
        let names = |ring: &Keyring| ring.names("london");
        assert_eq!(names(&simulated), names(&ring(&[line("a", 1), line("b", 2)]).simulated()), "replicas meet there");
        assert!(names(&simulated).iter().all(|name| !names(&real).contains(name)));

        let times = Times { fetched_at_ms: 1, expires_at_ms: 9 };
        let (made_up, measured) = (simulated.names("london").remove(0), real.names("london").remove(0));
        let sealed = simulated.seal(&made_up, times, b"w", Padding::Record).unwrap();
        assert_eq!(simulated.open(&made_up, &sealed, 2).unwrap().content, b"w");
        real.open(&measured, &sealed, 2).unwrap_err();

        real.replace(&ring(&[line("c", 3), line("a", 1)])).unwrap();
        assert_eq!((simulated.ids(), simulated.version()), (real.ids(), real.version()), "they are the same keys");
        assert!(names(&simulated).contains(&made_up));
    }

    #[test]
    fn a_reference_depends_on_the_key_the_id_the_secret_and_the_border_between_them() {
        let (one, other) = (ring(&[line("a", 1)]), ring(&[line("b", 2)]));
        let reference = one.reference("id", b"secret");
        assert_eq!(reference, one.reference("id", b"secret"));
        let different =
            [one.reference("ids", b"ecret"), one.reference("id", b"secre"), other.reference("id", b"secret")];
        assert!(!different.contains(&reference), "{different:?}");
        // Made by another implementation, from the documentation of the layout.
        assert_eq!(reference, [0xc7, 0xae, 0x8c, 0x17, 0x92, 0xe8]);
    }

    #[test]
    fn debug_shows_ids_only() {
        assert_eq!(format!("{:?}", ring(&[line("a", 1), line("b", 2)])), r#"["a", "b"]"#);
    }

    #[test]
    fn a_ring_takes_new_keys_while_it_is_shared_and_keeps_the_counts_of_those_that_stay() {
        let shared = Arc::new(ring(&[line("old", 1)]));
        let other = Arc::clone(&shared);
        let (name, times) = (shared.names("x").remove(0), Times { fetched_at_ms: 1, expires_at_ms: 9 });
        let sealed = shared.seal(&name, times, b"w", Padding::Record).unwrap();

        shared.replace(&ring(&[line("new", 2), line("old", 1)])).unwrap();
        assert_eq!(other.ids(), ["new", "old"]);
        assert_eq!(other.open(&name, &sealed, 2).unwrap().content, b"w");
        let note = other.seal(&name, Times { fetched_at_ms: 1, expires_at_ms: 99 }, b"n", Padding::Note).unwrap();
        other.open(&name, &note, 2).unwrap();
        let used = |id: &str, seals, sealed, opened, last_end_ms| KeyUse {
            id: id.to_owned(),
            seals,
            sealed,
            opened,
            last_end_ms,
        };
        assert_eq!(other.uses(), [used("new", true, 0, 0, 0), used("old", false, 1, 1, 9)], "notes do not count");
    }

    #[test]
    fn an_id_cannot_become_another_keys_while_records_sealed_with_the_first_may_be_there() {
        let ring_in_use = ring(&[line("a", 1)]);
        let fault = ring_in_use.replace(&ring(&[line("b", 3), line("a", 2)])).unwrap_err();
        assert_eq!(fault, KeyFault::Changed("a".into()));
        assert_eq!(ring_in_use.ids(), ["a"], "nothing of it was taken");
    }
}
