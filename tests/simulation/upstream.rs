//! The upstream of all replicas: it writes down when it is called, takes its time, and answers as its mood is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use stratus::clock::Clock;
use stratus::upstream::{Call, Permit};
use stratus::weather::{Fetched, Fetching, Query, SourceError};
use tokio::time::{Instant, sleep};

/// Places from this number on do not exist.
pub(crate) const MADE_UP: u64 = 10_000_000;
/// How long it takes to connect: seldom long, but never longer than what the fleet is told.
const CONNECTING_MS: u64 = 20;
const CONNECTING_SLOWLY_MS: u64 = 1_000;
/// One call of so many connects slowly.
const SLOW: u32 = 100;
/// How long an answer takes.
const THINKING_MS: std::ops::RangeInclusive<u64> = 50..=250;
/// When a client gives up.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a 429 says.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// How the upstream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// One half of the calls is answered 503, the other half never.
    Failing,
    /// Every call is answered 429.
    RateLimiting,
}

/// The upstream.
pub(crate) struct Sky {
    began: Instant,
    notes: Mutex<Notes>,
}

struct Notes {
    mood: Mood,
    random: fastrand::Rng,
    calls: Vec<Duration>,
}

impl Sky {
    pub(crate) fn new(random: fastrand::Rng) -> Arc<Self> {
        let notes = Notes { mood: Mood::Well, random, calls: Vec::new() };
        Arc::new(Self { began: Instant::now(), notes: Mutex::new(notes) })
    }

    pub(crate) fn feel(&self, mood: Mood) {
        self.with(|notes| notes.mood = mood);
    }

    /// When it was called, in order, since the beginning.
    pub(crate) fn calls(&self) -> Vec<Duration> {
        let mut calls = self.with(|notes| notes.calls.clone());
        calls.sort_unstable();
        calls
    }

    async fn answer(&self, place: u64) -> Result<Bytes, SourceError> {
        let connecting = self.with(|notes| {
            let slow = notes.random.u32(0..SLOW) == 0;
            notes.random.u64(0..=if slow { CONNECTING_SLOWLY_MS } else { CONNECTING_MS })
        });
        sleep(Duration::from_millis(connecting)).await;
        let at = self.began.elapsed();
        let (mood, hangs, thinking) = self.with(|notes| {
            notes.calls.push(at);
            (notes.mood, notes.random.bool(), notes.random.u64(THINKING_MS))
        });
        match mood {
            Mood::Failing if hangs => {
                sleep(CLIENT_TIMEOUT - Duration::from_millis(connecting)).await;
                Err(SourceError::Timeout)
            }
            Mood::Failing => Err(SourceError::Unavailable),
            Mood::RateLimiting => Err(SourceError::BudgetExhausted { retry_after: RETRY_AFTER }),
            Mood::Well => {
                sleep(Duration::from_millis(thinking)).await;
                if place < MADE_UP { Ok(body(place, self.began.elapsed())) } else { Err(SourceError::UnknownLocation) }
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Notes) -> T) -> T {
        act(&mut self.notes.lock().expect("nobody panics with it"))
    }
}

/// Weather, which says of which place it is and when it was made.
fn body(place: u64, made: Duration) -> Bytes {
    let made = made.as_millis();
    format!(r#"{{"id":{place},"dt":{made},"weather":[{{"id":800,"main":"Clear"}}],"main":{{"temp":12}},"cod":200}}"#)
        .into()
}

/// Of which place the weather is, and when it was made.
pub(crate) fn read(body: &[u8]) -> Option<(u64, Duration)> {
    let (place, rest) = std::str::from_utf8(body).ok()?.strip_prefix(r#"{"id":"#)?.split_once(r#","dt":"#)?;
    let made = rest.split_once(',')?.0.parse().ok()?;
    Some((place.parse().ok()?, Duration::from_millis(made)))
}

/// How a replica reaches it.
pub(crate) struct Line {
    pub(crate) sky: Arc<Sky>,
    pub(crate) clock: Clock,
}

impl Call for Line {
    fn call<'a>(&'a self, query: &'a Query, _: &'a SecretString, _: Permit) -> Fetching<'a> {
        Box::pin(async move {
            let place = query.value("id").and_then(|id| id.parse().ok()).ok_or(SourceError::UnknownLocation)?;
            let body = self.sky.answer(place).await?;
            Ok(Fetched { body, fetched_at_ms: self.clock.now_ms() })
        })
    }
}
