//! The upstream of the model: every answer has a number of its own, and a diary keeps what was said, to whom and when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use stratus::clock::Clock;
use stratus::weather::{Fetched, Fetching, Purpose, Query, Source, SourceError};
use tokio::sync::watch;

use crate::harness::proxy::locked;

/// The questions that the model asks.
pub(super) const KEYS: usize = 4;

/// Numbers what happens, across all tasks: of two events the later one has the larger number.
#[derive(Clone, Default)]
pub(super) struct Order(Arc<AtomicU64>);

impl Order {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// How the upstream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Fails(SourceError),
    KnowsNoPlace,
    Panics,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Weather(Bytes),
    Unknown,
    Failed(SourceError),
    Panicked,
}

/// One call about one question; its number is its place in the diary, from 1.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) began: u64,
    /// `None` while it is under way.
    pub(super) end: Option<End>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) tick: u64,
    pub(super) at_ms: u64,
    pub(super) word: Word,
}

/// All calls, by question.
#[derive(Debug, Default)]
pub(super) struct Diary {
    pub(super) calls: [Vec<Call>; KEYS],
    under_way: [bool; KEYS],
    /// Two calls about one question were under way at once.
    pub(super) crossed: bool,
}

impl Diary {
    /// What a call said, and when.
    pub(super) fn end(&self, key: usize, number: usize) -> Option<&End> {
        self.calls[key].get(number.checked_sub(1)?)?.end.as_ref()
    }

    /// What was the matter with a question when the clock said `now_ms`, if it may not have been asked for that, by what had
    /// been said before `tick`. What the cache forgets when it is restarted, or takes off for jitter, is not known here.
    pub(super) fn held(&self, key: usize, tick: u64, now_ms: u64) -> Option<SourceError> {
        let mut ends: Vec<_> = self.ends(key).map(|(_, end)| end).filter(|end| end.tick <= tick).collect();
        ends.sort_by_key(|end| end.tick);
        let (mut steps, mut held) = (None, None);
        for end in ends {
            match end.word {
                Word::Weather(_) | Word::Unknown => (steps, held) = (None, None),
                Word::Panicked => {}
                Word::Failed(error) => {
                    let Some(length) = pause(error, steps) else { continue };
                    steps = Some(length);
                    held = Some((error, end.at_ms + u64::try_from(length.as_millis()).expect("a short time")));
                }
            }
        }
        held.filter(|(_, until_ms)| now_ms < *until_ms).map(|(error, _)| error)
    }

    /// What was said about a question, the latest first, with its numbers.
    pub(super) fn ends(&self, key: usize) -> impl Iterator<Item = (usize, &End)> {
        let calls = self.calls[key].iter().enumerate().rev();
        calls.filter_map(|(index, call)| Some((index + 1, call.end.as_ref()?)))
    }
}

/// The pause after a failure, by the one before it; none after what is not a matter of the question.
fn pause(error: SourceError, before: Option<Duration>) -> Option<Duration> {
    match error {
        SourceError::NoKey | SourceError::RejectedKey | SourceError::BudgetExhausted { .. } => None,
        _ => Some(before.map_or(Duration::from_secs(1), |before| (before * 2).min(Duration::from_secs(60)))),
    }
}

/// The upstream. Of questions that are none of the model's it has always the same to say, at once.
pub(super) struct Teller {
    pub(super) questions: [Query; KEYS],
    clock: Clock,
    order: Order,
    mood: Mutex<Mood>,
    /// Whether answers are let through.
    open: watch::Sender<bool>,
    diary: Mutex<Diary>,
}

impl Teller {
    pub(super) fn new(questions: [Query; KEYS], clock: Clock, order: Order) -> Arc<Self> {
        let (mood, open) = (Mutex::new(Mood::Well), watch::Sender::new(true));
        Arc::new(Self { questions, clock, order, mood, open, diary: Mutex::default() })
    }

    pub(super) fn feel(&self, mood: Mood) {
        *locked(&self.mood) = mood;
    }

    /// Holds answers back, or lets them through again.
    pub(super) fn let_through(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Looks into the diary.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Diary) -> T) -> T {
        look(&locked(&self.diary))
    }

    /// How many calls about a question have begun.
    pub(super) fn calls(&self, key: usize) -> usize {
        self.read(|diary| diary.calls[key].len())
    }

    fn enter(&self, key: usize) -> UnderWay<'_> {
        let mut diary = locked(&self.diary);
        diary.crossed |= std::mem::replace(&mut diary.under_way[key], true);
        diary.calls[key].push(Call { began: self.order.next(), end: None });
        UnderWay { teller: self, key, number: diary.calls[key].len() }
    }
}

/// A call, until it ends in whatever way.
struct UnderWay<'a> {
    teller: &'a Teller,
    key: usize,
    number: usize,
}

impl UnderWay<'_> {
    fn say(self) -> Result<Fetched, SourceError> {
        let at_ms = self.teller.clock.now_ms();
        let word = match *locked(&self.teller.mood) {
            Mood::Well => Word::Weather(self.body()),
            Mood::KnowsNoPlace => Word::Unknown,
            Mood::Fails(error) => Word::Failed(error),
            Mood::Panics => Word::Panicked,
        };
        let end = End { tick: self.teller.order.next(), at_ms, word: word.clone() };
        locked(&self.teller.diary).calls[self.key][self.number - 1].end = Some(end);
        match word {
            Word::Weather(body) => Ok(Fetched { body, fetched_at_ms: at_ms }),
            Word::Unknown => Err(SourceError::UnknownLocation),
            Word::Failed(error) => Err(error),
            // Not `panic!`, which prints.
            Word::Panicked => std::panic::resume_unwind(Box::new("the upstream panics")),
        }
    }

    /// The number, then the question, then up to 900 bytes that compress and encrypt to as much as real ones.
    fn body(&self) -> Bytes {
        let subject = self.teller.questions[self.key].subject();
        let filler = "{\"temp\":12}".repeat(self.number * 7 % 82);
        format!("{} {subject} {filler}", self.number).into()
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        locked(&self.teller.diary).under_way[self.key] = false;
    }
}

impl Source for Teller {
    fn fetch<'a>(&'a self, query: &'a Query, _: Purpose) -> Fetching<'a> {
        Box::pin(async move {
            let Some(key) = self.questions.iter().position(|question| question == query) else {
                return Ok(Fetched { body: Bytes::from_static(b"0"), fetched_at_ms: self.clock.now_ms() });
            };
            let call = self.enter(key);
            // Some calls take longer than others.
            for _ in 0..call.number % 4 {
                tokio::task::yield_now().await;
            }
            self.open.subscribe().wait_for(|open| *open).await.expect("it is held here");
            call.say().map_err(Into::into)
        })
    }
}
