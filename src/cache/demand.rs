//! How much a place is asked for, as far as this replica knows: what its next renewal is worth.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Questions count half after this time: long enough to tell a place that is asked for once an hour from one that is
/// never asked for again, short enough that yesterday's news are forgotten.
const HALF_LIFE: Duration = Duration::from_secs(4 * 3_600);
/// How long a stale copy in memory is given without looking whether there is a newer one in the store.
const LOOK_EVERY_MS: u64 = 15_000;
/// How long a hot copy is given without trying to renew it ahead of its time.
const TRY_EVERY_MS: u64 = 1_000;
/// Answers of one record from which on its place counts as hot: it is asked for again before the record ends.
const HOT: u32 = 4;

/// Questions about a place: those that one record answered, and what is left of those before it.
#[derive(Debug, Default)]
pub(super) struct Demand {
    asked: AtomicU32,
    /// A number of questions, the bits of an `f32`.
    earlier: AtomicU32,
    /// When something newer was last looked for, Unix milliseconds.
    looked_ms: AtomicU64,
}

impl Demand {
    /// One more question.
    pub(super) fn count(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes over from the record before, which was `age` older.
    pub(super) fn follow(&self, before: &Self, age: Duration) {
        self.earlier.store(before.level(age).to_bits(), Ordering::Relaxed);
    }

    /// Questions until now, older ones for less. The record is `age` old.
    pub(super) fn level(&self, age: Duration) -> f32 {
        let earlier = f32::from_bits(self.earlier.load(Ordering::Relaxed));
        #[allow(clippy::cast_precision_loss, reason = "a count of millions may be off by a few")]
        let asked = self.asked.load(Ordering::Relaxed) as f32;
        earlier * (-age.div_duration_f32(HALF_LIFE)).exp2() + asked
    }

    /// Whether the store has to be looked at for something newer, which another replica may have brought: at most once
    /// within [`LOOK_EVERY_MS`].
    pub(super) fn has_to_look(&self, now_ms: u64) -> bool {
        self.is_time(now_ms, LOOK_EVERY_MS)
    }

    /// Whether it is time to try again to renew it ahead.
    pub(super) fn has_to_try(&self, now_ms: u64) -> bool {
        self.is_hot() && self.is_time(now_ms, TRY_EVERY_MS)
    }

    fn is_time(&self, now_ms: u64, every_ms: u64) -> bool {
        let looked_ms = self.looked_ms.load(Ordering::Relaxed);
        // Also if the clock was set back.
        let is_due = now_ms.abs_diff(looked_ms) >= every_ms;
        is_due && self.looked_ms.compare_exchange(looked_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether it is asked for so often that it should never have to be asked anew while somebody asks.
    fn is_hot(&self) -> bool {
        self.asked.load(Ordering::Relaxed) >= HOT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_counts_half_after_the_half_life_and_is_handed_on() {
        let first = Demand::default();
        (0..8).for_each(|_| first.count());
        let second = Demand::default();
        second.follow(&first, HALF_LIFE);
        second.count();
        // Those that the first record answered have no age of their own: they count in full until it is replaced.
        assert!((second.level(Duration::ZERO) - 9.0).abs() < 0.01);
        assert!((second.level(HALF_LIFE) - 5.0).abs() < 0.01);
        let third = Demand::default();
        third.follow(&second, HALF_LIFE);
        assert!((third.level(HALF_LIFE) - 2.5).abs() < 0.01);
        assert!(first.is_hot() && !second.is_hot());
    }
}
