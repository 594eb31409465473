//! Wrong admin tokens: few a minute from one address are looked at, so that nobody tries many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::weather::Caller;

/// Wrong tokens of one address within [`WINDOW`]; then none of its tokens is looked at, not even a right one.
const TOLERATED: u32 = 10;
/// From the first wrong one of them.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered. More of them at once all count as one.
const ADDRESSES: usize = 1_024;

/// Who has tried wrong tokens lately. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct WrongTokens(Arc<Mutex<HashMap<Caller, Tries>>>);

#[derive(Debug, Clone, Copy)]
struct Tries {
    since: Instant,
    count: u32,
}

/// Whom all those count as for whom there is no room.
const OTHERS: Caller = Caller(u64::MAX);

impl WrongTokens {
    /// How long no token of `caller` is looked at; `None` if it is.
    pub(super) fn refused_for(&self, caller: Caller, now: Instant) -> Option<Duration> {
        let tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tries.get(&caller).or_else(|| tries.get(&OTHERS))?;
        let left = (known.since + WINDOW).saturating_duration_since(now);
        (known.count >= TOLERATED && !left.is_zero()).then_some(left)
    }

    /// Notes a wrong one, and gives whether it is the last that is looked at for now.
    pub(super) fn note(&self, caller: Caller, now: Instant) -> bool {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= ADDRESSES && !tries.contains_key(&caller) {
            tries.retain(|_, tries| now < tries.since + WINDOW);
        }
        let caller = if tries.len() >= ADDRESSES && !tries.contains_key(&caller) { OTHERS } else { caller };
        let known = tries.entry(caller).or_insert(Tries { since: now, count: 0 });
        if now >= known.since + WINDOW {
            *known = Tries { since: now, count: 0 };
        }
        known.count += 1;
        known.count == TOLERATED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_ones_a_minute_are_looked_at_and_other_addresses_go_on() {
        let (wrong, now) = (WrongTokens::default(), Instant::now());
        let (one, other) = (Caller(1), Caller(2));
        let last: Vec<_> = (0..10)
            .map(|_| {
                assert_eq!(wrong.refused_for(one, now), None);
                wrong.note(one, now)
            })
            .collect();
        assert_eq!(last, [[false; 9].as_slice(), &[true]].concat());
        assert_eq!(wrong.refused_for(one, now + WINDOW / 4), Some(WINDOW * 3 / 4));
        assert_eq!((wrong.refused_for(other, now), wrong.refused_for(one, now + WINDOW)), (None, None));
        assert!(!wrong.note(one, now + WINDOW));
        assert_eq!(wrong.refused_for(one, now + WINDOW), None);
    }

    #[test]
    fn memory_is_bounded_and_who_has_no_room_in_it_is_limited_all_the_same() {
        let (wrong, now) = (WrongTokens::default(), Instant::now());
        for address in 0..3_000 {
            wrong.note(Caller(address), now);
        }
        assert!(wrong.0.lock().unwrap().len() <= ADDRESSES + 1);
        assert!(wrong.refused_for(Caller(2_999), now).is_some() && wrong.refused_for(Caller(9_999), now).is_some());
        assert_eq!(wrong.refused_for(Caller(5), now), None, "who is remembered has its own count");
        let later = now + WINDOW;
        assert!(!wrong.note(Caller(9_999), later));
        assert_eq!(wrong.0.lock().unwrap().len(), 1);
    }
}
