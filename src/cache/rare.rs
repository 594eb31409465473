//! Questions that found nothing: when calls are short, a place that is asked for the first time in hours has to wait until it
//! is asked for again. Most places that one looks for among a hundred thousand are never asked for twice, and made-up ones
//! hardly ever.

use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::weather::Query;

/// A question counts half after this time.
const HALF_LIFE: Duration = Duration::from_secs(2 * 3_600);
/// So often it has to have been asked: twice, with the first time up to half an hour ago.
const OFTEN: f32 = 1.84;
/// Questions that are remembered; the least asked are forgotten.
const QUESTIONS: usize = 16_384;

#[derive(Debug, Clone, Copy)]
struct Asked {
    times: f32,
    at: Instant,
}

/// How often questions were asked that found nothing.
pub(super) struct Rare(Cache<Query, Asked>);

impl Rare {
    pub(super) fn new() -> Self {
        Self(Cache::new(QUESTIONS))
    }

    /// Counts a question that found nothing; whether it has to wait, if calls are short.
    pub(super) fn has_to_wait(&self, query: &Query, is_short: bool, now: Instant) -> bool {
        let before = self.0.get(query).map_or(0.0, |asked| {
            let age = now.saturating_duration_since(asked.at);
            asked.times * (-age.div_duration_f32(HALF_LIFE)).exp2()
        });
        let times = before + 1.0;
        self.0.insert(query.clone(), Asked { times, at: now });
        is_short && times < OFTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_calls_are_short_the_first_question_in_hours_waits_and_the_second_one_does_not() {
        let (rare, now) = (Rare::new(), Instant::now());
        let query = |name: &str| Query::parse(name, "").unwrap();
        assert!(!rare.has_to_wait(&query("Oslo"), false, now), "there are calls enough");
        assert!(rare.has_to_wait(&query("Rome"), true, now) && rare.has_to_wait(&query("Bern"), true, now));
        assert!(!rare.has_to_wait(&query("Rome"), true, now + Duration::from_secs(1)));
        assert!(!rare.has_to_wait(&query("Oslo"), true, now + Duration::from_secs(1_700)));
        assert!(rare.has_to_wait(&query("Bern"), true, now + Duration::from_secs(4 * 3_600)));
    }
}
