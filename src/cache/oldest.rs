//! How old the stale answers of late were.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Each maximum is of so long.
const SPAN: Duration = Duration::from_secs(60);

/// The oldest answer of this span and of the one before it.
#[derive(Debug, Default)]
pub(super) struct Oldest(Mutex<Option<Spans>>);

#[derive(Debug)]
struct Spans {
    began: Instant,
    now: Duration,
    before: Duration,
}

impl Oldest {
    /// A stale answer of this age was given.
    pub(super) fn given(&self, age: Duration, now: Instant) {
        self.with(now, |spans| spans.now = spans.now.max(age));
    }

    /// The oldest of the last one or two minutes; zero if there was none.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.with(now, |spans| spans.now.max(spans.before))
    }

    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut Spans) -> T) -> T {
        // Three numbers are whole whatever happened to their holder.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = held.get_or_insert(Spans { began: now, now: Duration::ZERO, before: Duration::ZERO });
        let passed = now.saturating_duration_since(spans.began);
        if passed >= SPAN {
            let before = if passed < 2 * SPAN { spans.now } else { Duration::ZERO };
            *spans = Spans { began: now, now: Duration::ZERO, before };
        }
        act(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_answer_is_remembered_for_one_to_two_minutes() {
        let (oldest, begin, secs) = (Oldest::default(), Instant::now(), Duration::from_secs);
        assert_eq!(oldest.age(begin), Duration::ZERO);
        oldest.given(secs(900), begin + secs(10));
        oldest.given(secs(400), begin + secs(20));
        assert_eq!(oldest.age(begin + secs(59)), secs(900));
        oldest.given(secs(500), begin + secs(61));
        assert_eq!(oldest.age(begin + secs(62)), secs(900));
        assert_eq!(oldest.age(begin + secs(122)), secs(500));
        assert_eq!(oldest.age(begin + secs(600)), Duration::ZERO);
    }
}
