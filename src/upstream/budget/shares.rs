//! Whom the next slot may go to when slots are scarce.
//!
//! Scarce means: half of them are taken. Then nothing is fetched ahead of its time, and each caller has a fair share of what
//! is there for misses: there is one for each caller who holds a slot for a miss, or was refused within a minute, or asks.
//! Who has had that gets none while there are others, so that one who goes through all cities does not take the calls of
//! the rest; who is alone may have them all.
//!
//! Tight means: calls have been short for more than a moment, so that the adaptive factor makes renewals go without. Then
//! misses have four tenths of the slots all together, and those who hold none a little more, so that there is something
//! for who comes last. Renewals may take any slot: their places are asked for.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::slots::View;
use crate::weather::{Caller, Purpose};

/// From this share of taken slots on they are scarce.
const SCARCE: f64 = 0.5;
/// What misses have of them when it is tight.
const FOR_MISSES: f64 = 0.4;
/// The same for callers who hold none.
const FOR_FIRST_MISSES: f64 = 0.5;
/// How long a caller who was refused counts as active.
const ACTIVE_FOR: Duration = Duration::from_mins(1);
/// Callers that are remembered at most; the oldest are forgotten.
const MAX_REFUSED: usize = 1024;

/// The callers who were refused lately, the last one last.
#[derive(Debug, Default)]
pub(super) struct RefusedCallers(VecDeque<(Caller, Instant)>);

impl RefusedCallers {
    /// Remembers a refusal.
    pub(super) fn note(&mut self, purpose: Purpose, now: Instant) {
        let Purpose::Miss(caller) = purpose else { return };
        self.0.retain(|(other, at)| *other != caller && now < *at + ACTIVE_FOR);
        if self.0.len() >= MAX_REFUSED {
            self.0.pop_front();
        }
        self.0.push_back((caller, now));
    }

    fn active(&self, now: Instant) -> HashSet<Caller> {
        self.0.iter().filter(|(_, at)| now < *at + ACTIVE_FOR).map(|(caller, _)| *caller).collect()
    }
}

/// What a purpose may have at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A free slot.
    Open,
    /// Nothing: the caller is over its share.
    OverShare,
    /// Nothing: what is left is for more urgent purposes.
    Reserved,
    /// It might, but there is none.
    Full,
}

/// The judge of one request for a permit.
pub(super) struct Judge<'a> {
    purpose: Purpose,
    view: &'a View,
    weight: u32,
    is_tight: bool,
    refused: HashSet<Caller>,
}

impl<'a> Judge<'a> {
    /// `weight` is for how many calls a slot stands.
    pub(super) fn new(
        purpose: Purpose,
        view: &'a View,
        weight: u32,
        is_tight: bool,
        refused: &RefusedCallers,
        now: Instant,
    ) -> Self {
        Self { purpose, view, weight, is_tight, refused: refused.active(now) }
    }

    /// What it may have at `at` if nothing else happens until then.
    pub(super) fn verdict(&self, at: Instant) -> Verdict {
        let verdict = if self.view.pressure(at) < SCARCE { Verdict::Open } else { self.when_scarce(at) };
        if verdict == Verdict::Open && self.view.free(at).next().is_none() { Verdict::Full } else { verdict }
    }

    fn when_scarce(&self, at: Instant) -> Verdict {
        let asker = match self.purpose {
            Purpose::Ahead => return Verdict::Reserved,
            Purpose::Renewal => return Verdict::Open,
            Purpose::Miss(caller) => caller,
        };
        let weight = self.weight as usize;
        let holders: Vec<_> = self.view.misses(at).collect();
        let others = self.refused.iter().chain(&holders).filter(|caller| **caller != asker).collect::<HashSet<_>>();
        // Whole slots: what is left over is nobody's.
        let part = |share: f64| if self.is_tight { (self.view.len() as f64 * share) as usize } else { self.view.len() };
        let fair = (part(FOR_MISSES) * weight / (others.len() + 1)).max(1);
        let held = holders.iter().filter(|caller| **caller == asker).count() * weight;
        let for_misses = part(if held == 0 { FOR_FIRST_MISSES } else { FOR_MISSES });
        if held >= fair && !others.is_empty() {
            Verdict::OverShare
        } else if self.is_tight && holders.len() >= for_misses {
            Verdict::Reserved
        } else {
            Verdict::Open
        }
    }

    /// The soonest time that it may have a slot; `None` if no end of a slot brings that.
    pub(super) fn soonest(&self, now: Instant) -> Option<Instant> {
        self.view.ends(now).into_iter().find(|at| self.verdict(*at) == Verdict::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::Note;
    use super::*;

    const TTL: Duration = Duration::from_secs(63);

    /// A view of 50 slots, of which these are taken, a second apart.
    fn view(now: Instant, taken: &[(usize, Purpose)]) -> View {
        let mut view = View::new(50, TTL, now);
        let purposes = taken.iter().flat_map(|(times, purpose)| std::iter::repeat_n(*purpose, *times));
        for (slot, purpose) in purposes.enumerate() {
            view.ours(slot, Note { purpose, end_ms: 0 }, now + Duration::from_secs(slot as u64));
        }
        view
    }

    fn miss(caller: u64) -> Purpose {
        Purpose::Miss(Caller(caller))
    }

    /// When it is tight.
    fn verdict(purpose: Purpose, view: &View, weight: u32, refused: &RefusedCallers, now: Instant) -> Verdict {
        Judge::new(purpose, view, weight, true, refused, now).verdict(now)
    }

    #[test]
    fn while_less_than_half_is_taken_everybody_gets_a_slot() {
        let (now, nobody) = (Instant::now(), RefusedCallers::default());
        let calm = view(now, &[(24, miss(1))]);
        for purpose in [Purpose::Ahead, Purpose::Renewal, miss(1), miss(2)] {
            assert_eq!(verdict(purpose, &calm, 1, &nobody, now), Verdict::Open);
        }
    }

    #[test]
    fn when_half_is_taken_nothing_is_fetched_ahead_and_one_caller_alone_has_four_tenths() {
        let (now, nobody) = (Instant::now(), RefusedCallers::default());
        let busy = view(now, &[(6, Purpose::Renewal), (19, miss(1))]);
        let ask = |purpose, view: &View| verdict(purpose, view, 1, &nobody, now);
        assert_eq!(ask(Purpose::Ahead, &busy), Verdict::Reserved);
        assert_eq!((ask(Purpose::Renewal, &busy), ask(miss(1), &busy)), (Verdict::Open, Verdict::Open));
        let more = view(now, &[(6, Purpose::Renewal), (20, miss(1))]);
        assert_eq!(ask(miss(1), &more), Verdict::Reserved);
        let calm = Judge::new(miss(1), &more, 1, false, &nobody, now);
        assert_eq!(calm.verdict(now), Verdict::Open, "one caller alone has all, while renewals do not go without");
        let full = view(now, &[(50, Purpose::Renewal)]);
        assert_eq!((ask(Purpose::Renewal, &full), ask(miss(1), &full)), (Verdict::Full, Verdict::Full));
    }

    #[test]
    fn a_caller_has_its_fair_share_among_those_who_hold_slots_or_were_refused() {
        let now = Instant::now();
        let busy = view(now, &[(10, Purpose::Renewal), (10, miss(1)), (5, miss(2))]);
        let mut refused = RefusedCallers::default();
        let ask = |caller, refused: &RefusedCallers| verdict(miss(caller), &busy, 1, refused, now);
        assert_eq!((ask(1, &refused), ask(2, &refused)), (Verdict::OverShare, Verdict::Open));
        refused.note(miss(3), now);
        refused.note(miss(4), now);
        assert_eq!((ask(2, &refused), ask(3, &refused)), (Verdict::OverShare, Verdict::Open));
        let later = now + ACTIVE_FOR;
        let judge = Judge::new(miss(2), &busy, 1, true, &refused, later);
        assert_eq!(judge.verdict(now), Verdict::Open, "a refusal is forgotten after a minute");
    }

    #[test]
    fn a_slot_that_stands_for_several_calls_counts_as_so_many() {
        let now = Instant::now();
        let busy = view(now, &[(20, Purpose::Renewal), (5, miss(1))]);
        let mut refused = RefusedCallers::default();
        // 80 of 200 calls for misses, 16 for each of 5: 4 slots.
        (2..=5).for_each(|caller| refused.note(miss(caller), now));
        assert_eq!(verdict(miss(1), &busy, 4, &refused, now), Verdict::OverShare);
        assert_eq!(verdict(miss(2), &busy, 4, &refused, now), Verdict::Open);
    }

    #[test]
    fn the_soonest_time_is_when_the_verdict_changes() {
        let (now, nobody) = (Instant::now(), RefusedCallers::default());
        let busy = view(now, &[(30, Purpose::Renewal)]);
        let judge = Judge::new(Purpose::Ahead, &busy, 1, true, &nobody, now);
        let at = judge.soonest(now).unwrap();
        // After 6 of 30 have ended, 24 of 50 are left.
        assert_eq!(at, now + TTL + Duration::from_secs(5));
        assert_eq!(judge.verdict(at), Verdict::Open);
        assert_eq!(judge.verdict(at - Duration::from_millis(1)), Verdict::Reserved);
    }

    #[test]
    fn the_callers_who_are_remembered_are_bounded() {
        let (now, mut refused) = (Instant::now(), RefusedCallers::default());
        (0..5_000).for_each(|caller| refused.note(miss(caller), now));
        let active = refused.active(now);
        assert_eq!(active.len(), MAX_REFUSED);
        assert!(active.contains(&Caller(4_999)) && !active.contains(&Caller(0)));
    }
}
