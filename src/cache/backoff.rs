//! Questions whose load has failed: each is tried again only after a pause that grows, and meanwhile answered from the
//! copy that there is, or with the same error.

use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::weather::{Failure, Query, SourceError};

/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long another replica's pause is heeded before it is looked again whether it lasts: whose clock is behind would keep to it
/// for too long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Questions that are remembered. When there are more, the upstream fails as a whole, and that is not for us to notice.
const QUESTIONS: usize = 16_384;

#[derive(Debug, Clone)]
struct Step {
    failure: Failure,
    pause: Duration,
    until: Instant,
}

/// The pauses, by question.
pub(super) struct BackOff(Cache<Query, Step>);

impl BackOff {
    pub(super) fn new() -> Self {
        Self(Cache::new(QUESTIONS))
    }

    /// Why `query` should not be tried at `now`.
    pub(super) fn holds(&self, query: &Query, now: Instant) -> Option<Failure> {
        if self.0.is_empty() {
            return None;
        }
        let step = self.0.get(query)?;
        (now < step.until).then_some(step.failure)
    }

    /// A load failed: gives the pause before the next one. `None` if that is not a matter of the question.
    pub(super) fn failed(&self, query: &Query, failure: &Failure, now: Instant) -> Option<Duration> {
        if !is_failure(failure.error) {
            return None;
        }
        let before = self.0.get(query).map(|step| step.pause);
        let pause = before.map_or(FIRST_PAUSE, |before| (before * 2).min(LONGEST_PAUSE));
        self.0.insert(query.clone(), Step { failure: failure.clone(), pause, until: now + jittered(pause) });
        Some(pause)
    }

    /// Another replica's load failed: nobody tries again here for `pause` either, as far as it is known.
    pub(super) fn follow(&self, query: &Query, error: SourceError, pause: Duration, now: Instant) {
        // What is left of a pause says nothing of how long the next one has to be.
        let step = self.0.get(query).map_or(FIRST_PAUSE, |step| step.pause).max(pause);
        self.0.insert(query.clone(), Step { failure: error.into(), pause: step, until: now + pause.min(LOOK_AGAIN) });
    }

    /// A load succeeded: the next failure is the first one again.
    pub(super) fn succeeded(&self, query: &Query) {
        if !self.0.is_empty() {
            self.0.remove(query);
        }
    }
}

/// Whether it may be a matter of the question. The others are of the account, the caller or the whole upstream, which are
/// minded elsewhere.
fn is_failure(error: SourceError) -> bool {
    matches!(
        error,
        SourceError::Timeout | SourceError::Unavailable | SourceError::Failed | SourceError::InvalidResponse
    )
}

/// Up to a quarter less, so that what failed together is not tried together.
fn jittered(pause: Duration) -> Duration {
    pause - pause * fastrand::u32(0..256) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str) -> Query {
        Query::parse(name, "").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_of_a_question_doubles_to_its_longest_and_a_success_ends_it() {
        let (back_off, london) = (BackOff::new(), query("London"));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let now = Instant::now();
            assert_eq!(back_off.holds(&london, now), None);
            let pause = back_off.failed(&london, &SourceError::Failed.into(), now);
            assert_eq!(pause, Some(Duration::from_secs(seconds)));
            assert_eq!(back_off.holds(&london, now + pause.unwrap() * 3 / 4), Some(SourceError::Failed.into()));
            assert_eq!(back_off.holds(&query("Paris"), now), None);
            tokio::time::advance(pause.unwrap()).await;
        }
        back_off.failed(&london, &SourceError::Failed.into(), Instant::now());
        back_off.succeeded(&london);
        assert_eq!(back_off.holds(&london, Instant::now()), None);
        assert_eq!(back_off.failed(&london, &SourceError::Timeout.into(), Instant::now()), Some(FIRST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_another_replicas_pause_does_not_shorten_the_next_one() {
        let (back_off, london, now) = (BackOff::new(), query("London"), Instant::now());
        for _ in 0..3 {
            back_off.failed(&london, &SourceError::Failed.into(), now);
        }
        for left in [Duration::from_millis(700), Duration::ZERO] {
            back_off.follow(&london, SourceError::Failed, left, now);
        }
        assert_eq!(back_off.failed(&london, &SourceError::Failed.into(), now), Some(Duration::from_secs(8)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_failure_of_the_question_holds_nothing() {
        let (back_off, london, now) = (BackOff::new(), query("London"), Instant::now());
        let retry_after = Duration::from_secs(40);
        for error in [
            SourceError::NoKey,
            SourceError::RejectedKey,
            SourceError::BudgetExhausted { retry_after },
            SourceError::OverShare { retry_after },
            SourceError::Paused { retry_after },
            SourceError::UnknownLocation,
        ] {
            assert_eq!((back_off.failed(&london, &error.into(), now), back_off.holds(&london, now)), (None, None));
        }
    }
}
