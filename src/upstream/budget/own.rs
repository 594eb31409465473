//! The own part of the minute: calls that need no store.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::parts::Own;
use crate::weather::Purpose;

/// The own calls of the last minute.
#[derive(Debug)]
pub(super) struct OwnMinute {
    part: Own,
    /// How long a call counts: a minute, and by how much later than its permit it may arrive.
    counts_for: Duration,
    started: Instant,
    calls: VecDeque<Instant>,
}

impl OwnMinute {
    pub(super) fn new(part: Own, counts_for: Duration, now: Instant) -> Self {
        Self { part, counts_for, started: now, calls: VecDeque::new() }
    }

    /// Whether there is a call left for this purpose at `at`. What is ahead of its time gets half of the part.
    pub(super) fn is_open(&self, purpose: Purpose, at: Instant) -> bool {
        let limit = self.limit(at);
        let limit = if purpose == Purpose::Ahead { limit / 2 } else { limit };
        self.used(at) < limit
    }

    /// Notes a call.
    pub(super) fn note(&mut self, now: Instant) {
        while self.calls.front().is_some_and(|call| *call + self.counts_for <= now) {
            self.calls.pop_front();
        }
        self.calls.push_back(now);
    }

    /// The soonest time that there is a call for this purpose; `None` if there never is.
    pub(super) fn soonest(&self, purpose: Purpose, now: Instant) -> Option<Instant> {
        let ends = self.calls.iter().map(|call| *call + self.counts_for).chain([self.started + self.counts_for]);
        ends.chain([now]).filter(|at| *at >= now && self.is_open(purpose, *at)).min()
    }

    /// How many calls are left.
    pub(super) fn left(&self, now: Instant) -> u64 {
        self.limit(now).saturating_sub(self.used(now))
    }

    /// The share of it that is used, 0 to 1.
    pub(super) fn pressure(&self, now: Instant) -> f64 {
        let limit = self.limit(now);
        // Nothing is used of nothing.
        if limit == 0 { 0.0 } else { 1.0 - self.left(now) as f64 / limit as f64 }
    }

    /// Whether a process before this one may have used it within the window.
    pub(super) fn is_new(&self, at: Instant) -> bool {
        at < self.started + self.counts_for
    }

    fn limit(&self, at: Instant) -> u64 {
        self.part.limit(self.is_new(at))
    }

    fn used(&self, at: Instant) -> u64 {
        self.calls.iter().filter(|call| **call + self.counts_for > at).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(63);

    fn take(own: &mut OwnMinute, now: Instant) -> bool {
        let open = own.is_open(Purpose::Renewal, now);
        if open {
            own.note(now);
        }
        open
    }

    #[test]
    fn a_new_process_has_a_tenth_and_later_the_rest_in_any_minute() {
        let started = Instant::now();
        let mut own = OwnMinute::new(Own { new: 1, old: 11 }, SPAN, started);
        assert!(take(&mut own, started) && !take(&mut own, started + Duration::from_secs(62)));
        assert_eq!(own.soonest(Purpose::Renewal, started + Duration::from_secs(1)), Some(started + SPAN));
        let later = started + SPAN;
        assert_eq!((0..20).filter(|_| take(&mut own, later)).count(), 11);
        assert!((own.pressure(later) - 1.0).abs() < 1e-9);
        assert_eq!(own.soonest(Purpose::Renewal, later), Some(later + SPAN));
        assert!(!take(&mut own, later + SPAN - Duration::from_millis(1)) && take(&mut own, later + SPAN));
    }

    #[test]
    fn half_of_it_is_for_what_is_ahead_of_its_time_and_without_a_part_there_is_never_a_call() {
        let started = Instant::now();
        let mut own = OwnMinute::new(Own { new: 0, old: 2 }, SPAN, started);
        let later = started + SPAN;
        assert!(own.is_open(Purpose::Ahead, later) && take(&mut own, later));
        assert!(!own.is_open(Purpose::Ahead, later) && own.is_open(Purpose::Renewal, later));
        assert_eq!(own.soonest(Purpose::Ahead, later), Some(later + SPAN));
        let none = OwnMinute::new(Own { new: 0, old: 0 }, SPAN, started);
        assert_eq!(none.soonest(Purpose::Renewal, later), None);
    }
}
