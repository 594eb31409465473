//! Whom the next slot may go to when slots are scarce.
//!
//! Scarce means: half of them are taken. Then nothing is fetched ahead of its time, and each caller has a fair share of what
//! is there for misses: there is one for each caller who holds a slot for a miss, or was refused within a minute, or asks.
//! Who has had that gets none while there are others, so that one who goes through all cities does not take the calls of
//! the rest. Who is alone may have three quarters, so that there is something for who comes last.
//!
//! Renewals have three quarters of the slots if they need them: misses leave free what renewals have had of late and half as much again,
//! and a tenth, so that renewals can grow. Their places are asked for, and what one costs spares many callers a stale answer.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::slots::View;
use crate::weather::{Caller, Purpose};

/// From this share of taken slots on they are scarce.
const SCARCE: f64 = 0.5;
/// What one caller who is alone has of those for misses.
const FOR_ONE: f64 = 0.75;
/// What renewals have of all slots if they need them.
pub(super) const FOR_RENEWALS: f64 = 0.75;
/// How much more than they have had of late is left free for them: so many times, and so much of all.
const GROWTH: f64 = 1.5;
const ROOM: f64 = 0.1;
/// From this share of what misses may have on they are short for new places.
const NEARLY_ALL: f64 = 0.6;
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
    refused: HashSet<Caller>,
}

impl<'a> Judge<'a> {
    /// `weight` is for how many calls a slot stands.
    pub(super) fn new(purpose: Purpose, view: &'a View, weight: u32, refused: &RefusedCallers, now: Instant) -> Self {
        let refused = if let Purpose::Miss(_) = purpose { refused.active(now) } else { HashSet::new() };
        Self { purpose, view, weight, refused }
    }

    /// What it may have at `at` if nothing else happens until then.
    pub(super) fn verdict(&self, at: Instant) -> Verdict {
        let verdict = if self.view.pressure(at) < SCARCE { Verdict::Open } else { self.when_scarce(at) };
        let could_be_open = verdict == Verdict::Open || verdict == Verdict::Reserved && self.purpose != Purpose::Ahead;
        if could_be_open && self.view.free(at).next().is_none() { Verdict::Full } else { verdict }
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
        let for_misses = for_misses(self.view, at);
        let for_one = (for_misses as f64 * FOR_ONE) as usize;
        let fair = (for_one * weight / (others.len() + 1)).max(1);
        let held = holders.iter().filter(|caller| **caller == asker).count() * weight;
        if held >= fair && !others.is_empty() {
            Verdict::OverShare
        } else if holders.len() >= if held < fair { for_misses } else { for_one } {
            Verdict::Reserved
        } else {
            Verdict::Open
        }
    }

    /// The soonest time that it may have a slot; `None` if no end of a slot brings that.
    pub(super) fn soonest(&self, now: Instant) -> Option<Instant> {
        // What opens stays open while nothing else happens.
        let ends = self.view.ends(now);
        ends.get(ends.partition_point(|at| self.verdict(*at) != Verdict::Open)).copied()
    }
}

/// The slots that misses may have all together. Whole ones: what is left over is nobody's.
fn for_misses(view: &View, at: Instant) -> usize {
    let slots = view.len() as f64;
    let for_renewals = (GROWTH * view.renewals(at) as f64 + ROOM * slots).min(FOR_RENEWALS * slots);
    (slots - for_renewals) as usize
}

/// Whether misses have nearly all that they may have.
pub(super) fn is_short_for_misses(view: &View, at: Instant) -> bool {
    view.pressure(at) >= SCARCE && view.misses(at).count() as f64 >= NEARLY_ALL * for_misses(view, at) as f64
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

    fn verdict(purpose: Purpose, view: &View, weight: u32, refused: &RefusedCallers, now: Instant) -> Verdict {
        Judge::new(purpose, view, weight, refused, now).verdict(now)
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
    fn when_half_is_taken_nothing_is_fetched_ahead_and_misses_leave_room_for_renewals() {
        let (now, nobody) = (Instant::now(), RefusedCallers::default());
        let ask = |purpose, view: &View| verdict(purpose, view, 1, &nobody, now);
        // Of 50: 5 are left free, and one caller alone has three quarters of the other 45.
        let busy = view(now, &[(32, miss(1))]);
        assert_eq!(ask(Purpose::Ahead, &busy), Verdict::Reserved);
        assert_eq!((ask(Purpose::Renewal, &busy), ask(miss(1), &busy)), (Verdict::Open, Verdict::Open));
        let more = view(now, &[(33, miss(1))]);
        assert_eq!((ask(miss(1), &more), ask(miss(2), &more)), (Verdict::Reserved, Verdict::Open));
        // With 10 renewals 20 are left for them.
        let renewing = |misses| view(now, &[(10, Purpose::Renewal), (misses, miss(1))]);
        assert_eq!((ask(miss(2), &renewing(29)), ask(miss(2), &renewing(30))), (Verdict::Open, Verdict::Reserved));
        // However many there are, misses have a quarter.
        let many = |misses| view(now, &[(30, Purpose::Renewal), (misses, miss(1))]);
        assert_eq!((ask(miss(2), &many(11)), ask(miss(2), &many(12))), (Verdict::Open, Verdict::Reserved));
        let full = view(now, &[(50, Purpose::Renewal)]);
        assert_eq!((ask(Purpose::Renewal, &full), ask(miss(1), &full)), (Verdict::Full, Verdict::Full));
    }

    #[test]
    fn a_caller_has_its_fair_share_among_those_who_hold_slots_or_were_refused() {
        let now = Instant::now();
        // Of 50, 20 are for renewals: of the other 30 one caller has 22, two have 11 each.
        let busy = view(now, &[(10, Purpose::Renewal), (11, miss(1)), (5, miss(2))]);
        let mut refused = RefusedCallers::default();
        let ask = |caller, refused: &RefusedCallers| verdict(miss(caller), &busy, 1, refused, now);
        assert_eq!((ask(1, &refused), ask(2, &refused)), (Verdict::OverShare, Verdict::Open));
        refused.note(miss(3), now);
        refused.note(miss(4), now);
        assert_eq!((ask(2, &refused), ask(3, &refused)), (Verdict::OverShare, Verdict::Open));
        let later = now + ACTIVE_FOR;
        let judge = Judge::new(miss(2), &busy, 1, &refused, later);
        assert_eq!(judge.verdict(now), Verdict::Open, "a refusal is forgotten after a minute");
    }

    #[test]
    fn a_slot_that_stands_for_several_calls_counts_as_so_many() {
        let now = Instant::now();
        let busy = view(now, &[(20, Purpose::Renewal), (5, miss(1))]);
        let mut refused = RefusedCallers::default();
        // 60 of 200 calls for one caller, 12 for each of 5: 3 slots.
        (2..=5).for_each(|caller| refused.note(miss(caller), now));
        assert_eq!(verdict(miss(1), &busy, 4, &refused, now), Verdict::OverShare);
        assert_eq!(verdict(miss(2), &busy, 4, &refused, now), Verdict::Open);
    }

    #[test]
    fn the_soonest_time_is_when_the_verdict_changes() {
        let (now, nobody) = (Instant::now(), RefusedCallers::default());
        let busy = view(now, &[(30, Purpose::Renewal)]);
        let judge = Judge::new(Purpose::Ahead, &busy, 1, &nobody, now);
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
