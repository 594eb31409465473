//! What is written down of a day: who was answered and how, and how old the answers were.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use stratus::cache::{Answer, Content, GetError, Origin};

use super::figures::Ages;
use super::plan::{Plan, Trouble};
use super::upstream;

const HOUR_SECS: u64 = 3_600;
/// How long after a failure the answers may still be older for it.
const RECOVERY: Duration = Duration::from_mins(15);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ordinary,
    Scanner,
}

/// A request: who, for which place, and when since the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) who: Who,
    pub(crate) place: u64,
    pub(crate) at: Duration,
}

/// Requests by outcome.
pub(crate) type Outcomes = BTreeMap<&'static str, u64>;

/// One hour of the day.
#[derive(Debug, Clone)]
pub(crate) struct Hour {
    pub(crate) popular: Tally,
    /// The lowest and the highest adaptive factor of any replica.
    pub(crate) factor: (f64, f64),
}

/// Requests for the popular places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    pub(crate) ages: Ages,
}

/// The books of a day.
pub(crate) struct Books {
    day: Range<Duration>,
    popular_places: u64,
    /// When the answers are old because there are no new ones.
    excused: Vec<Range<Duration>>,
    pub(crate) ordinary: Outcomes,
    pub(crate) scanner: Outcomes,
    pub(crate) popular: Tally,
    /// Without those in excused times.
    pub(crate) unexcused: Tally,
    pub(crate) hours: Vec<Hour>,
    pub(crate) oldest: Duration,
    /// Answers that are not about the place that was asked for.
    pub(crate) mixed_up: u64,
}

impl Books {
    pub(crate) fn new(plan: &Plan) -> Self {
        let failing = plan.times_of(Trouble::Failing);
        let excused = failing.map(|when| plan.warm_up + when.start..plan.warm_up + when.end + RECOVERY).collect();
        let hours = plan.lasts.as_secs().div_ceil(HOUR_SECS) as usize;
        Self {
            day: plan.warm_up..plan.warm_up + plan.lasts,
            popular_places: plan.popular as u64,
            excused,
            ordinary: Outcomes::new(),
            scanner: Outcomes::new(),
            popular: Tally::default(),
            unexcused: Tally::default(),
            hours: vec![Hour { popular: Tally::default(), factor: (f64::INFINITY, 0.0) }; hours],
            oldest: Duration::ZERO,
            mixed_up: 0,
        }
    }

    fn hour(&mut self, at: Duration) -> &mut Hour {
        let since = at - self.day.start;
        &mut self.hours[(since.as_secs() / HOUR_SECS) as usize]
    }

    /// A replica's adaptive factor at some time.
    pub(crate) fn note_factor(&mut self, at: Duration, factor: f64) {
        if self.day.contains(&at) {
            let (lowest, highest) = self.hour(at).factor;
            self.hour(at).factor = (lowest.min(factor), highest.max(factor));
        }
    }

    /// What became of a request, and when.
    pub(crate) fn note(&mut self, asked: Asked, at: Duration, result: &Result<Answer, GetError>) {
        if !self.day.contains(&asked.at) {
            return;
        }
        let outcomes = if asked.who == Who::Scanner { &mut self.scanner } else { &mut self.ordinary };
        *outcomes.entry(outcome(result)).or_default() += 1;
        let age = self.age(asked, at, result);
        self.oldest = self.oldest.max(age.unwrap_or_default());
        if asked.who == Who::Scanner || asked.place >= self.popular_places {
            return;
        }
        let excused = self.excused.iter().any(|when| when.contains(&asked.at));
        let unexcused = (!excused).then_some(&mut self.unexcused);
        let since = asked.at - self.day.start;
        let hour = &mut self.hours[(since.as_secs() / HOUR_SECS) as usize].popular;
        for tally in [Some(&mut self.popular), Some(hour), unexcused].into_iter().flatten() {
            tally.requests += 1;
            if let Some(age) = age {
                tally.answered += 1;
                tally.ages.note(age);
            }
        }
    }

    /// The true age of the weather that was given, if it was.
    fn age(&mut self, asked: Asked, at: Duration, result: &Result<Answer, GetError>) -> Option<Duration> {
        let Ok(Answer { content: Content::Weather(body), .. }) = result else { return None };
        match upstream::read(&body.bytes()) {
            Some((place, made)) if place == asked.place => Some(at - made),
            _ => {
                self.mixed_up += 1;
                None
            }
        }
    }
}

fn outcome(result: &Result<Answer, GetError>) -> &'static str {
    match result {
        Ok(answer) => match (answer.origin, &answer.content) {
            (_, Content::UnknownPlace(_)) => "unknown place",
            (Origin::Fresh(_), _) => "fresh",
            (Origin::Stale(_), _) => "stale",
            (Origin::Source { stale: false, .. }, _) => "loaded",
            (Origin::Source { stale: true, .. }, _) => "renewed",
        },
        Err(error) => error.as_str(),
    }
}

/// Of those who found no copy: how many were answered, and how many they were.
pub(crate) fn misses(outcomes: &Outcomes) -> (u64, u64) {
    let answered = |name: &str| matches!(name, "loaded" | "fresh" | "stale" | "renewed" | "unknown place");
    let loaded = outcomes.get("loaded").copied().unwrap_or(0);
    let refused: u64 = outcomes.iter().filter(|(name, _)| !answered(name)).map(|(_, number)| number).sum();
    (loaded, loaded + refused)
}
