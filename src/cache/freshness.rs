//! How old is too old: pure functions of three times and the settings.

use std::time::Duration;

/// How long an answer is kept.
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// An answer this young is given without asking again.
    pub fresh: Duration,
    /// How long after that others (browsers, CDNs) may give it while they ask again (RFC 5861).
    pub stale_while_revalidate: Duration,
    /// How long after that it may be given when asking again fails (RFC 5861).
    pub stale_if_error: Duration,
}

/// What an answer of some age is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// May be given as it is.
    Fresh,
    /// May be given if the upstream fails.
    Stale,
    /// May not be given any more.
    Dead,
}

impl CacheConfig {
    /// How long a record is kept at all: the sum of the windows.
    pub fn lifetime(&self) -> Duration {
        self.fresh + self.stale_while_revalidate + self.stale_if_error
    }

    /// What an answer fetched at `fetched_at_ms` is good for at `now_ms` (both Unix milliseconds).
    pub fn freshness(&self, fetched_at_ms: u64, now_ms: u64) -> Freshness {
        let age = age(fetched_at_ms, now_ms);
        if age < self.fresh {
            Freshness::Fresh
        } else if age < self.lifetime() {
            Freshness::Stale
        } else {
            Freshness::Dead
        }
    }

    /// Whole seconds of freshness left: 1 in the last second of it, -1 in the first second of staleness. Together with
    /// the age in whole seconds it adds up to the freshness.
    pub fn ttl_secs(&self, fetched_at_ms: u64, now_ms: u64) -> i64 {
        let age = age(fetched_at_ms, now_ms);
        let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        if age < self.fresh { whole(self.fresh) - whole(age) } else { -1 - whole(age - self.fresh) }
    }
}

/// The age of an answer. One from the future (another machine's clock is ahead) has age zero.
pub fn age(fetched_at_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(fetched_at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: CacheConfig = CacheConfig {
        fresh: Duration::from_secs(300),
        stale_while_revalidate: Duration::from_secs(60),
        stale_if_error: Duration::from_secs(3_600),
    };

    #[test]
    fn the_windows_follow_each_other_to_the_millisecond() {
        for (age_ms, expected, ttl) in [
            (0, Freshness::Fresh, 300),
            (299_999, Freshness::Fresh, 1),
            (300_000, Freshness::Stale, -1),
            (300_001, Freshness::Stale, -1),
            (3_959_999, Freshness::Stale, -3_660),
            (3_960_000, Freshness::Dead, -3_661),
        ] {
            let (fetched, now) = (1_000_000, 1_000_000 + age_ms);
            assert_eq!(CONFIG.freshness(fetched, now), expected, "{age_ms}");
            assert_eq!(CONFIG.ttl_secs(fetched, now), ttl, "{age_ms}");
        }
    }

    #[test]
    fn an_answer_from_the_future_is_new() {
        assert_eq!(CONFIG.freshness(2_000, 1_000), Freshness::Fresh);
        assert_eq!(age(2_000, 1_000), Duration::ZERO);
    }
}
