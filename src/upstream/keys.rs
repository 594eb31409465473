//! The keys that the upstream may be asked with: those of the vault in turn, and the one of the configuration when none of
//! these is left.
//!
//! A key of the vault that the upstream refuses is put aside on this replica: for ten minutes, or until another one is put
//! in its place. The configuration's is not, since nothing comes after it. If everything is put aside and there is none in
//! the configuration, the one that was put aside first is tried again: how often that happens, the breaker decides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::credentials::{Credential, Id, Vault};
use crate::reload::{Live, fingerprint};
use crate::telemetry::CredentialReport;

/// The service whose credentials these are: `openweathermap` and `openweathermap/…`.
const SERVICE: &str = "openweathermap";
/// How long a key is put aside: a new one can take two hours to work, and each attempt costs a call.
const ASIDE: Duration = Duration::from_mins(10);

/// The keys.
pub struct Keys {
    vault: Option<Vault>,
    /// Whose credentials of the vault are used; nobody's where the upstream is simulated.
    service: Option<&'static str>,
    configured: Option<Live<SecretString>>,
    clock: Clock,
    turn: AtomicUsize,
    aside: Mutex<Vec<Aside>>,
    seen: Mutex<Seen>,
}

/// The keys that there were when somebody looked last.
#[derive(Default)]
struct Seen {
    configured: Option<Arc<SecretString>>,
    entries: Vec<Which>,
}

/// A key of the vault that was refused.
struct Aside {
    which: Which,
    since: Instant,
}

/// Tells keys apart. What is put into the vault anew is another one, be it the same secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    Configured,
    Entry(Id, u64),
}

impl Which {
    fn of(entry: &Credential) -> Self {
        Self::Entry(entry.id.clone(), entry.put_at_ms())
    }
}

/// One of them.
pub enum Key {
    /// Of the configuration.
    Configured(Arc<SecretString>),
    /// Of the vault.
    Entry(Arc<Credential>),
}

impl Key {
    /// The key itself.
    pub fn secret(&self) -> &SecretString {
        match self {
            Self::Configured(secret) => secret,
            Self::Entry(entry) => entry.secret(),
        }
    }

    pub(super) fn which(&self) -> Which {
        match self {
            Self::Configured(_) => Which::Configured,
            Self::Entry(entry) => Which::of(entry),
        }
    }

    /// Tells secrets apart, and nothing else of them. It leaves the process sealed only.
    pub(super) fn tag(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = fingerprint([self.secret().expose_secret().as_bytes()]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Keys {
    /// Those of the vault, if there is one, and that of the configuration.
    pub fn new(vault: Option<Vault>, configured: Option<Live<SecretString>>, clock: Clock) -> Self {
        Self {
            vault,
            service: Some(SERVICE),
            configured,
            clock,
            turn: AtomicUsize::new(0),
            aside: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// For a simulated upstream, which takes any. What is in `vault` is shown and not used: it belongs to the real one.
    pub fn simulated(vault: Vault, clock: Clock) -> Self {
        let any = Live::new(SecretString::from("simulated"));
        Self { service: None, ..Self::new(Some(vault), Some(any), clock) }
    }

    /// Whether they are for a simulated upstream.
    pub(super) fn is_simulated(&self) -> bool {
        self.service.is_none()
    }

    /// Whether there is one at all.
    pub fn any(&self) -> bool {
        self.configured.is_some() || !self.entries().is_empty()
    }

    /// Whether there is one that was not there when this was asked last.
    pub(super) fn has_new(&self) -> bool {
        let configured = self.configured.as_ref().map(Live::get);
        let entries: Vec<_> = self.entries().iter().map(|entry| Which::of(entry)).collect();
        let mut seen = whole(&self.seen);
        let same = match (&configured, &seen.configured) {
            (Some(now), Some(before)) => Arc::ptr_eq(now, before),
            (now, _) => now.is_none(),
        };
        let new = !same || entries.iter().any(|entry| !seen.entries.contains(entry));
        *seen = Seen { configured, entries };
        new
    }

    /// The key that the next question is put with.
    pub fn first(&self) -> Option<Key> {
        self.next(&[])
    }

    /// The key for the next call of a question that was put with the `tried` ones already. `None`: there is no other.
    pub(super) fn next(&self, tried: &[Which]) -> Option<Key> {
        let entries = self.usable(tried);
        if let Some(turn) = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(entries.len()) {
            return Some(Key::Entry(Arc::clone(&entries[turn])));
        }
        if let (Some(configured), false) = (&self.configured, tried.contains(&Which::Configured)) {
            return Some(Key::Configured(configured.get()));
        }
        if tried.is_empty() { self.first_put_aside() } else { None }
    }

    /// Whether there is another one than these that was not refused of late.
    pub(super) fn has_other(&self, tried: &[Which]) -> bool {
        (self.configured.is_some() && !tried.contains(&Which::Configured)) || !self.usable(tried).is_empty()
    }

    /// The upstream refused it.
    pub(super) fn refused(&self, key: &Key) {
        let Key::Entry(entry) = key else { return };
        let (now, which) = (self.clock.instant(), Which::of(entry));
        let there: Vec<_> = self.entries().iter().map(|entry| Which::of(entry)).collect();
        let mut aside = self.aside();
        // Not of what was replaced or has ended, and not for longer than it lasts.
        aside.retain(|other| lasts(other, now) && there.contains(&other.which));
        match aside.iter_mut().find(|other| other.which == which) {
            Some(known) => known.since = now,
            None => {
                aside.push(Aside { which, since: now });
                tracing::warn!(
                    id = %entry.id,
                    reference = %entry.reference,
                    pause_secs = ASIDE.as_secs(),
                    "the upstream refuses a key of the vault (401), which is put aside: replace it with \
                     `stratus credential put`; a new key can take two hours to work"
                );
            }
        }
    }

    /// The upstream took it.
    pub(super) fn taken(&self, key: &Key) {
        let which = key.which();
        let mut aside = self.aside();
        let before = aside.len();
        aside.retain(|other| other.which != which);
        if let (Key::Entry(entry), true) = (key, aside.len() < before) {
            tracing::info!(id = %entry.id, reference = %entry.reference, "the upstream takes a key of the vault again");
        }
    }

    /// All that is in the vault, also what is no key of this upstream.
    pub(super) fn report(&self) -> Vec<CredentialReport> {
        let Some(vault) = &self.vault else { return Vec::new() };
        let (now_ms, now) = (vault.now_ms(), self.clock.instant());
        let state = |entry: &Credential| match entry.id.service() {
            service if Some(service) != self.service => "unused",
            _ if self.is_aside(entry, now) => "put_aside",
            _ => "in_use",
        };
        let report = |entry: Arc<Credential>| CredentialReport {
            id: entry.id.to_string(),
            reference: entry.reference.to_string(),
            expires_in_secs: entry.expires_in_secs(now_ms),
            state: state(&entry),
        };
        vault.view().into_iter().map(report).collect()
    }

    fn entries(&self) -> Vec<Arc<Credential>> {
        let mut entries = self.vault.as_ref().map(Vault::view).unwrap_or_default();
        entries.retain(|entry| Some(entry.id.service()) == self.service);
        entries
    }

    fn usable(&self, tried: &[Which]) -> Vec<Arc<Credential>> {
        let now = self.clock.instant();
        let mut entries = self.entries();
        entries.retain(|entry| !self.is_aside(entry, now) && !tried.contains(&Which::of(entry)));
        entries
    }

    fn is_aside(&self, entry: &Credential, now: Instant) -> bool {
        let which = Which::of(entry);
        self.aside().iter().any(|aside| aside.which == which && lasts(aside, now))
    }

    fn first_put_aside(&self) -> Option<Key> {
        let entries = self.entries();
        let aside = self.aside();
        let since = |entry: &&Arc<Credential>| {
            let which = Which::of(entry);
            aside.iter().find(|aside| aside.which == which).map(|aside| aside.since)
        };
        entries.iter().min_by_key(since).map(|entry| Key::Entry(Arc::clone(entry)))
    }

    fn aside(&self) -> MutexGuard<'_, Vec<Aside>> {
        whole(&self.aside)
    }
}

/// What is in there is whole whenever it is not locked.
fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lasts(aside: &Aside, now: Instant) -> bool {
    now < aside.since + ASIDE
}
