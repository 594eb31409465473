//! How many requests are traced: callers whom nobody knows may ask for it, and must not be able to make us send without end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Traces that may begin in a second, and at once.
const PER_SECOND: u64 = 50;
/// The time that one of them takes up, in nanoseconds.
const EACH: u64 = 1_000_000_000 / PER_SECOND;
/// The time that may be taken up in advance.
const BURST: u64 = 1_000_000_000;

/// A bucket that is never locked: it only knows until when time is taken up.
#[derive(Debug)]
pub(super) struct Rate {
    began: Instant,
    /// Nanoseconds since then.
    taken_until: AtomicU64,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), taken_until: AtomicU64::new(0) }
    }

    /// Whether one more may begin.
    pub(super) fn take(&self) -> bool {
        self.take_at(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, now: u64) -> bool {
        let take = |taken: u64| {
            let until = taken.max(now).saturating_add(EACH);
            (until <= now.saturating_add(BURST)).then_some(until)
        };
        self.taken_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_begin_at_once_and_in_any_second_after_that() {
        let rate = Rate::new();
        let begun = |now: u64| (0..1_000).filter(|_| rate.take_at(now)).count() as u64;
        assert_eq!(begun(0), PER_SECOND);
        assert_eq!(begun(EACH - 1), 0);
        assert_eq!(begun(EACH), 1);
        assert_eq!(begun(EACH + BURST), PER_SECOND);
        assert_eq!(begun(1_000 * BURST), PER_SECOND, "what was not taken for long does not add up");
    }
}
