//! What files say is read again when they change, and checked before it takes the place of what they said before.
//!
//! Each thing that is made of files is a [`Live`] value, which its users look at whenever they need it. A [`Reloader`] reads
//! the files once a second, and at once on SIGHUP. What is the same as before is left alone; what is new and good is taken;
//! what is bad is told once, and the last good one stays in use until the files are mended.
//!
//! Contents are compared, not dates: a file may be a link that is moved (as Kubernetes does it), have a date of the past, or
//! lie on a file system without good ones. They are a few kilobytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

/// How often files are read again.
const INTERVAL: Duration = Duration::from_secs(1);
/// Who asks for a look waits for it no longer: a file system may hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// A value that may be replaced while it is in use. Clones share it.
pub struct Live<T>(Arc<Shared<T>>);

struct Shared<T> {
    value: ArcSwap<T>,
    replaced: watch::Sender<()>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Shows nothing of the value, which is a secret more often than not.
impl<T> std::fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live")
    }
}

impl<T> Live<T> {
    /// A value that stays as it is unless somebody replaces it.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared { value: ArcSwap::from_pointee(value), replaced: watch::Sender::new(()) }))
    }

    /// The value as it is now; to be let go of soon.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.0.value.load()
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        self.0.value.load_full()
    }

    /// Takes another value.
    pub fn replace(&self, value: T) {
        self.0.value.store(Arc::new(value));
        self.0.replaced.send_replace(());
    }

    /// Tells when the value is replaced.
    pub fn replaced(&self) -> watch::Receiver<()> {
        self.0.replaced.subscribe()
    }
}

/// What files say now.
pub struct Reading<T> {
    /// Made of them.
    pub value: T,
    /// Tells their contents apart; see [`fingerprint`].
    pub fingerprint: [u8; 32],
}

/// Reads a file of the configuration: a device or a pipe may have no end.
///
/// # Errors
/// It is no regular file, or cannot be read.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.is_file() { fs::read(path) } else { Err(io::Error::other("it is no regular file")) }
}

/// Tells contents apart.
pub fn fingerprint<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for content in contents {
        // So that the border between two counts.
        digest.update(content.len().to_be_bytes());
        digest.update(content);
    }
    digest.finalize().into()
}

/// What a look at the files of one setting gave.
enum Look {
    Same,
    Taken,
    Refused(String),
}

/// How a setting that is made of files stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FileState {
    /// What the files say is in use.
    InUse,
    /// What they said last is not usable; what they said before is in use.
    Refused {
        /// Why, with the fix.
        reason: String,
    },
}

struct Subject {
    key: String,
    look: Box<dyn FnMut() -> Look + Send>,
}

/// The settings that are made of files, while they are collected.
#[derive(Default)]
pub struct Reloader {
    subjects: Vec<Subject>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.subjects.iter().map(|subject| &subject.key)).finish()
    }
}

impl Reloader {
    /// Watches the files of the setting `key`: `read` reads and checks them, `take` puts what they say into use, which it may
    /// refuse. `first` is the fingerprint of what is in use already.
    pub fn watch<T: 'static>(
        &mut self,
        key: &str,
        first: [u8; 32],
        mut read: impl FnMut() -> Result<Reading<T>, String> + Send + 'static,
        mut take: impl FnMut(T) -> Result<(), String> + Send + 'static,
    ) {
        let mut in_use = first;
        let look = move || match read() {
            Ok(reading) if reading.fingerprint == in_use => Look::Same,
            Ok(Reading { value, fingerprint }) => match take(value) {
                Ok(()) => {
                    in_use = fingerprint;
                    Look::Taken
                }
                Err(reason) => Look::Refused(reason),
            },
            Err(reason) => Look::Refused(reason),
        };
        self.subjects.push(Subject { key: key.to_owned(), look: Box::new(look) });
    }

    /// Begins to watch; needs a Tokio runtime. Ends when the handle and its clones are gone.
    pub fn start(self) -> Reloading {
        let states = self.subjects.iter().map(|subject| (subject.key.clone(), FileState::InUse)).collect();
        let states = Arc::new(Mutex::new(states));
        let (asked, requests) = mpsc::channel(1);
        tokio::spawn(look_again_and_again(self.subjects, Arc::clone(&states), requests));
        Reloading { states, asked }
    }
}

type States = Arc<Mutex<BTreeMap<String, FileState>>>;

/// Files that are watched.
#[derive(Clone)]
pub struct Reloading {
    states: States,
    asked: mpsc::Sender<oneshot::Sender<()>>,
}

impl Reloading {
    /// How each setting that is made of files stands.
    pub fn states(&self) -> BTreeMap<String, FileState> {
        lock(&self.states).clone()
    }

    /// How many of them have files whose content is not used because it is bad.
    pub fn refused(&self) -> usize {
        lock(&self.states).values().filter(|state| **state != FileState::InUse).count()
    }

    /// Looks at all files now, and returns when that is done.
    pub async fn look(&self) {
        let (done, looked) = oneshot::channel();
        let look = async {
            if self.asked.send(done).await.is_ok() {
                let _ = looked.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, look).await;
    }
}

async fn look_again_and_again(
    mut subjects: Vec<Subject>,
    states: States,
    mut requests: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = ticks.tick() => None,
            asked = requests.recv() => match asked {
                Some(asked) => Some(asked),
                None => return,
            },
        };
        let states = Arc::clone(&states);
        // Reading files blocks.
        let looked = tokio::task::spawn_blocking(move || {
            subjects.iter_mut().for_each(|subject| subject.look(&states));
            subjects
        });
        match looked.await {
            Ok(back) => subjects = back,
            Err(_) => {
                tracing::error!("files are not read again any more until the service is restarted");
                return;
            }
        }
        if let Some(asked) = asked {
            let _ = asked.send(());
        }
    }
}

impl Subject {
    /// Looks at the files, and says so when something is new: once, not every second.
    fn look(&mut self, states: &States) {
        let state = match (self.look)() {
            Look::Same => FileState::InUse,
            Look::Taken => {
                tracing::info!(key = %self.key, "the new content of a file is in use");
                FileState::InUse
            }
            Look::Refused(reason) => FileState::Refused { reason },
        };
        let before = lock(states).insert(self.key.clone(), state.clone());
        match (&state, before) {
            (FileState::Refused { .. }, Some(before)) if before == state => {}
            (FileState::Refused { reason }, _) => {
                tracing::warn!(key = %self.key, "the new content of a file is not used, the old one stays: {reason}");
            }
            (FileState::InUse, Some(FileState::Refused { .. })) => {
                tracing::info!(key = %self.key, "what was wrong with a file is mended");
            }
            (FileState::InUse, _) => {}
        }
    }
}

fn lock(states: &States) -> MutexGuard<'_, BTreeMap<String, FileState>> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variable = Arc<Mutex<Result<String, String>>>;

    /// A setting whose file is this variable.
    fn watched(first: &str) -> (Variable, Live<String>, Reloader) {
        let file: Variable = Arc::new(Mutex::new(Ok(first.to_owned())));
        let (read, live, mut reloader) = (Arc::clone(&file), Live::new(first.to_owned()), Reloader::default());
        let reading = |text: String| Reading { fingerprint: fingerprint([text.as_bytes()]), value: text };
        let taken = live.clone();
        reloader.watch(
            "a.key_file",
            fingerprint([first.as_bytes()]),
            move || read.lock().unwrap().clone().map(reading),
            move |text: String| {
                if text == "unfit" {
                    return Err("does not fit".to_owned());
                }
                taken.replace(text);
                Ok(())
            },
        );
        (file, live, reloader)
    }

    #[tokio::test]
    async fn what_is_good_is_taken_and_what_is_bad_leaves_the_last_good_one_in_use() {
        let (file, live, reloader) = watched("one");
        let reloading = reloader.start();
        let refused = |reason: &str| FileState::Refused { reason: reason.to_owned() };
        let steps = [
            (Ok("one"), "one", FileState::InUse),
            (Ok("two"), "two", FileState::InUse),
            (Err("gone"), "two", refused("gone")),
            (Ok("unfit"), "two", refused("does not fit")),
            (Ok("two"), "two", FileState::InUse),
            (Ok("three"), "three", FileState::InUse),
        ];
        for (content, in_use, state) in steps {
            *file.lock().unwrap() = content.map(str::to_owned).map_err(str::to_owned);
            reloading.look().await;
            assert_eq!((live.get().as_str(), &reloading.states()["a.key_file"]), (in_use, &state));
        }
    }

    #[tokio::test]
    async fn only_a_new_content_is_told_to_who_waits_for_one() {
        let (file, live, reloader) = watched("one");
        let (reloading, mut replaced) = (reloader.start(), live.replaced());
        reloading.look().await;
        assert!(!replaced.has_changed().unwrap());
        *file.lock().unwrap() = Ok("two".to_owned());
        reloading.look().await;
        replaced.changed().await.unwrap();
        assert_eq!(live.load().as_str(), "two");
    }

    #[test]
    fn the_border_between_two_files_counts() {
        assert_ne!(fingerprint([b"ab".as_slice(), b"c"]), fingerprint([b"a".as_slice(), b"bc"]));
    }
}
