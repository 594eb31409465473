//! The own part: requests that a replica grants without asking the store.

/// What is counted in.
const WINDOW_MS: u64 = 60_000;

/// Grants at most `part` in any minute, some of them at once (the generic cell rate algorithm of ITU-T I.371, in which a
/// burst and what flows in during a minute are together the part).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Own {
    /// When all that was granted has flowed in, Unix milliseconds.
    flowed_in_ms: u64,
}

/// How many at once, and milliseconds until one more.
fn pace(part: u32) -> Option<(u64, u64)> {
    let a_minute = part.div_ceil(2);
    let every_ms = WINDOW_MS.div_ceil(u64::from(a_minute).max(1));
    (part > 0).then_some((u64::from(part + 1 - a_minute), every_ms))
}

impl Own {
    /// Grants one if there is one.
    pub(super) fn take(&mut self, part: u32, now_ms: u64) -> bool {
        let Some((at_once, every_ms)) = pace(part) else { return false };
        let flowed_in = self.flowed_in(at_once * every_ms, now_ms);
        let is_granted = flowed_in - now_ms <= (at_once - 1) * every_ms;
        if is_granted {
            self.flowed_in_ms = flowed_in + every_ms;
        }
        is_granted
    }

    /// How many there are.
    pub(super) fn left(self, part: u32, now_ms: u64) -> u32 {
        let Some((at_once, every_ms)) = pace(part) else { return 0 };
        let room_ms = at_once * every_ms - (self.flowed_in(at_once * every_ms, now_ms) - now_ms);
        u32::try_from(room_ms / every_ms).unwrap_or(part)
    }

    /// When there is one, Unix milliseconds; `None` if there never is.
    pub(super) fn soonest(self, part: u32, now_ms: u64) -> Option<u64> {
        let (at_once, every_ms) = pace(part)?;
        let flowed_in = self.flowed_in(at_once * every_ms, now_ms);
        Some(flowed_in.saturating_sub((at_once - 1) * every_ms).max(now_ms))
    }

    /// No further ahead than a whole burst: the clock may have been put back.
    fn flowed_in(self, burst_ms: u64, now_ms: u64) -> u64 {
        self.flowed_in_ms.clamp(now_ms, now_ms + burst_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_is_used_in_full_and_never_exceeded_in_any_minute() {
        for part in 0..40 {
            let mut own = Own::default();
            let start = 1_000_000;
            let granted: Vec<u64> = (start..start + 300_000).step_by(50).filter(|now| own.take(part, *now)).collect();
            let most =
                granted.iter().map(|from| granted.iter().filter(|at| (*from..from + 60_000).contains(at)).count());
            assert_eq!(most.max().unwrap_or(0), part as usize, "{part}");
        }
    }

    #[test]
    fn the_soonest_time_is_the_first_that_grants_one_also_after_the_clock_was_put_back() {
        let mut own = Own::default();
        let now = 10_000_000;
        assert_eq!((own.left(7, now), own.soonest(0, now)), (4, None));
        while own.take(7, now) {}
        let soonest = own.soonest(7, now).unwrap();
        assert!(!own.take(7, soonest - 1) && own.left(7, soonest - 1) == 0 && own.take(7, soonest));
        let put_back = now - 5_000_000;
        assert!(own.soonest(7, put_back).unwrap() <= put_back + 60_000);
    }
}
