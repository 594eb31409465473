//! How old is too old: pure functions of times and settings, evaluated at every read.
//!
//! ```text
//! fetched          fresh             + stale while revalidate        + stale if error
//!    |-- Fresh ------|------- Renew -------|------------ Fallback ---------|-- Dead -->
//!      the answer       the answer, and        the answer only if
//!                       asked anew behind it   asking anew fails
//! ```

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::weather::LONGEST_FRESH;

/// How long answers are good.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// An answer this young is given without asking again.
    pub fresh: Duration,
    /// How long after that it is given while it is asked anew (RFC 5861).
    pub stale_while_revalidate: Duration,
    /// How long after that it is given when asking anew fails (RFC 5861).
    pub stale_if_error: Duration,
    /// How long it is remembered that the upstream does not know a place; zero for not at all.
    pub not_found: Duration,
    /// By how much freshness is shortened at most, in percent, so that what was fetched together does not end together.
    pub jitter_percent: u32,
}

/// Where in the jitter a record lies, 0 to 1023: the same on every replica, since it is computed from the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread(u32);

impl Spread {
    /// Of a record, by its name and its time.
    pub(super) fn of(name: &str, fetched_at_ms: u64) -> Self {
        let digest = Sha256::new().chain_update(name).chain_update(fetched_at_ms.to_be_bytes()).finalize();
        Self(u32::from(u16::from_be_bytes([digest[0], digest[1]])) % 1024)
    }
}

/// What an answer of some age is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// May be given as it is.
    Fresh,
    /// May be given; should be asked anew.
    Renew,
    /// May be given if asking anew fails.
    Fallback,
    /// May not be given any more.
    Dead,
}

impl Freshness {
    /// The word in traces.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Renew => "renew",
            Self::Fallback => "fallback",
            Self::Dead => "dead",
        }
    }
}

/// The windows of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// From when it was fetched.
    pub fresh: Duration,
    /// After that.
    pub stale_while_revalidate: Duration,
    /// After that.
    pub stale_if_error: Duration,
}

impl Policy {
    /// The windows of an answer that is good for so long, if that is longer than the weather of now is.
    pub(super) fn answer(&self, good_for: Option<Duration>, spread: Spread) -> Windows {
        Windows {
            fresh: self.shortened(good_for.map_or(self.fresh, |fresh| fresh.max(self.fresh)), spread),
            stale_while_revalidate: self.stale_while_revalidate,
            stale_if_error: self.stale_if_error,
        }
    }

    /// The windows of a record that a place is unknown: asked again as soon as it is not fresh.
    pub(super) fn unknown_place(&self, spread: Spread) -> Windows {
        Windows {
            fresh: self.shortened(self.not_found, spread),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        }
    }

    /// How long a record with these windows lies in the store: that the store can see, and it shall not see by it whether a
    /// place is known, so that is not shorter for one that is not.
    pub(super) fn kept(&self, windows: &Windows, good_for: Option<Duration>, spread: Spread) -> Duration {
        windows.lifetime().max(self.answer(good_for, spread).lifetime())
    }

    /// The longest that any record is kept.
    pub fn longest_lifetime(&self) -> Duration {
        let fresh = self.fresh.max(LONGEST_FRESH);
        (fresh + self.stale_while_revalidate + self.stale_if_error).max(self.not_found)
    }

    fn shortened(&self, window: Duration, spread: Spread) -> Duration {
        window - window * self.jitter_percent * spread.0 / (100 * 1024)
    }
}

impl Windows {
    /// How long a record is kept: the sum.
    pub fn lifetime(&self) -> Duration {
        self.fresh + self.stale_while_revalidate + self.stale_if_error
    }

    /// What a record fetched at `fetched_at_ms` is good for at `now_ms` (both Unix milliseconds).
    pub fn freshness(&self, fetched_at_ms: u64, now_ms: u64) -> Freshness {
        let age = age(fetched_at_ms, now_ms);
        if age < self.fresh {
            Freshness::Fresh
        } else if age < self.fresh + self.stale_while_revalidate {
            Freshness::Renew
        } else if age < self.lifetime() {
            Freshness::Fallback
        } else {
            Freshness::Dead
        }
    }

    /// Whole seconds of freshness left: at least 1 while it is fresh, -1 in the first second of staleness.
    pub fn ttl_secs(&self, fetched_at_ms: u64, now_ms: u64) -> i64 {
        let age = age(fetched_at_ms, now_ms);
        let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match self.fresh.checked_sub(age) {
            Some(left) if !left.is_zero() => whole(left) + i64::from(left.subsec_nanos() > 0),
            _ => -1 - whole(age - self.fresh),
        }
    }
}

/// By how much the clocks of replicas may differ.
const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// Whether a time is further ahead than clocks differ: it was written by a clock that is wrong, or this one was set back.
/// What has such a time would count as new for too long, and a mark would hide what is written now.
pub(super) fn is_from_the_future(fetched_at_ms: u64, now_ms: u64) -> bool {
    fetched_at_ms > now_ms.saturating_add(CLOCK_TOLERANCE_MS)
}

/// The age of an answer. One from the future (another machine's clock is ahead) has age zero.
pub fn age(fetched_at_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(fetched_at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: Policy = Policy {
        fresh: Duration::from_secs(300),
        stale_while_revalidate: Duration::from_secs(60),
        stale_if_error: Duration::from_secs(3_600),
        not_found: Duration::from_secs(100),
        jitter_percent: 10,
    };

    #[test]
    fn the_windows_follow_each_other_to_the_millisecond() {
        let windows = POLICY.answer(None, Spread(0));
        for (age_ms, expected, ttl) in [
            (0, Freshness::Fresh, 300),
            (299_999, Freshness::Fresh, 1),
            (300_000, Freshness::Renew, -1),
            (300_001, Freshness::Renew, -1),
            (359_999, Freshness::Renew, -60),
            (360_000, Freshness::Fallback, -61),
            (3_959_999, Freshness::Fallback, -3_660),
            (3_960_000, Freshness::Dead, -3_661),
        ] {
            let (fetched, now) = (1_000_000, 1_000_000 + age_ms);
            assert_eq!(windows.freshness(fetched, now), expected, "{age_ms}");
            assert_eq!(windows.ttl_secs(fetched, now), ttl, "{age_ms}");
        }
    }

    #[test]
    fn an_unknown_place_is_fresh_or_dead() {
        let windows = POLICY.unknown_place(Spread(0));
        assert_eq!(windows.freshness(0, 99_999), Freshness::Fresh);
        assert_eq!(windows.freshness(0, 100_000), Freshness::Dead);
    }

    #[test]
    fn an_answer_from_the_future_is_new() {
        assert_eq!(POLICY.answer(None, Spread(0)).freshness(2_000, 1_000), Freshness::Fresh);
        assert_eq!(age(2_000, 1_000), Duration::ZERO);
    }

    #[test]
    fn what_was_fetched_together_ends_spread_over_the_whole_jitter() {
        let fresh: Vec<_> = (0..1_000)
            .map(|number| POLICY.answer(None, Spread::of(&format!("stratus:{number}"), 1_000)).fresh.as_millis())
            .collect();
        let tenths = |from: u128| fresh.iter().filter(|ms| (from..from + 3_000).contains(*ms)).count();
        assert!(fresh.iter().all(|ms| (270_000..=300_000).contains(ms)));
        for tenth in 0..10 {
            assert!(tenths(270_000 + tenth * 3_000) > 50, "{tenth}");
        }
        assert_eq!(Spread::of("a", 1), Spread::of("a", 1));
        assert_ne!(Spread::of("a", 1), Spread::of("a", 2));
    }

    proptest! {
        #[test]
        fn freshness_only_ever_declines_and_agrees_with_the_ttl(
            spread in 0_u32..1024, first in 0_u64..5_000_000, later in 0_u64..5_000_000,
        ) {
            let windows = POLICY.answer(None, Spread(spread));
            let rank = |age| match windows.freshness(0, age) {
                Freshness::Fresh => 0,
                Freshness::Renew => 1,
                Freshness::Fallback => 2,
                Freshness::Dead => 3,
            };
            prop_assert!(rank(first) <= rank(first + later));
            prop_assert_eq!(rank(first) == 0, windows.ttl_secs(0, first) > 0);
        }
    }
}
