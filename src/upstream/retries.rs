//! How much may be asked twice. Retries without a limit turn an upstream's weak moment into an outage: each of them is
//! one more call that it has to bear.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a retry costs. A first call adds one, so retries are at most a tenth of the first calls.
const COST: u32 = 10;
/// Retries that can be saved up: a quiet day does not pay for a storm.
const MOST_SAVED: u32 = 10 * COST;

/// A token bucket for retries, filled by first calls. It starts empty.
#[derive(Debug, Default)]
pub(super) struct RetryBudget {
    /// In tenths of a retry.
    saved: AtomicU32,
}

impl RetryBudget {
    /// A first call was made.
    pub(super) fn called(&self) {
        let add = |saved: u32| (saved < MOST_SAVED).then_some(saved + 1);
        // Full is full.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes one retry, if there is one.
    pub(super) fn take(&self) -> bool {
        let spend = |saved: u32| saved.checked_sub(COST);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

/// How long to wait before a retry: 50 to 150 ms, at random, so that calls that failed together do not come back
/// together.
pub(super) fn pause() -> Duration {
    Duration::from_millis(fastrand::u64(50..=150))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_budget_starts_empty_and_ten_calls_pay_for_one_retry() {
        let budget = RetryBudget::default();
        assert!(!budget.take());
        (0..9).for_each(|_| budget.called());
        assert!(!budget.take());
        budget.called();
        assert!(budget.take() && !budget.take());
    }

    #[test]
    fn at_most_ten_retries_are_saved_up() {
        let budget = RetryBudget::default();
        (0..1_000).for_each(|_| budget.called());
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10);
    }

    #[test]
    fn the_pause_is_between_50_and_150_ms_and_not_always_the_same() {
        let pauses: Vec<_> = (0..1_000).map(|_| pause().as_millis()).collect();
        assert!(pauses.iter().all(|pause| (50..=150).contains(pause)));
        assert!(pauses.iter().min() < Some(&75) && pauses.iter().max() > Some(&125));
    }

    proptest! {
        #[test]
        fn retries_are_at_most_a_tenth_of_first_calls(
            turns in prop::collection::vec((0..40_u32, 0..5_u32), 0..50),
        ) {
            let (budget, mut calls, mut retries) = (RetryBudget::default(), 0, 0);
            for (first, wanted) in turns {
                (0..first).for_each(|_| budget.called());
                calls += first;
                for _ in 0..wanted {
                    retries += u32::from(budget.take());
                    prop_assert!(retries * 10 <= calls);
                }
            }
        }
    }
}
