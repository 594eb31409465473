//! How the caps are cut up.
//!
//! Of each cap every replica owns a small part, the rest is shared through the store. `max_replicas` own parts and the
//! shared part are the cap: whatever some replicas cannot see of the others, together they stay below it.

use super::BudgetConfig;

/// Slots at most: all of them are read every second. Above that many calls a slot stands for several.
const MAX_SLOTS: u64 = 600;

/// What one replica may use without asking anybody.
///
/// A process that was started in this minute (day, month) may have had a predecessor whose calls it does not know. So a
/// new one may use a tenth of the part, and one that is not new the other nine: together they do not use more than it. Of
/// a part of one call a new process has nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    /// For a process that was started within the window.
    pub(super) new: u64,
    /// For any other.
    pub(super) old: u64,
}

impl Own {
    fn of(part: u64) -> Self {
        let new = if part < 2 { 0 } else { (part / 10).max(1) };
        Self { new, old: part - new }
    }

    /// The part for a process of which it is known whether it is new.
    pub(super) fn limit(self, is_new: bool) -> u64 {
        if is_new { self.new } else { self.old }
    }
}

/// One cap, cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Of each replica.
    pub(super) own: Own,
    /// Of all together.
    pub(super) shared: u64,
}

impl Part {
    fn cut(cap: u64, own: u64, replicas: u64) -> Self {
        Self { own: Own::of(own), shared: cap - own * replicas }
    }
}

/// All caps, cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    /// Of the minute: the own part.
    pub(super) own: Own,
    /// Of the minute: how many slots the shared part has.
    pub(super) slots: usize,
    /// For how many calls one slot stands.
    pub(super) weight: u32,
    /// Of the day, if it has a cap.
    pub(super) day: Option<Part>,
    /// Of the month, if it has a cap.
    pub(super) month: Option<Part>,
}

impl Parts {
    /// The parts in a fleet; without one (`fleet` is false) everything goes through the store in this process.
    pub(super) fn of(config: &BudgetConfig, fleet: bool) -> Self {
        let replicas = u64::from(config.max_replicas.max(1));
        let fifth = |cap: u64| if fleet { cap / 5 / replicas } else { 0 };
        let per_minute = u64::from(config.per_minute.max(1));
        let at_least = u64::from(fleet && replicas <= per_minute / 2);
        let minute = Part::cut(per_minute, fifth(per_minute).max(at_least), replicas);
        // Only for when the store is away: while it is there it counts every call of the day and the month.
        let twentieth = |cap: u64| if fleet { cap / 20 / replicas } else { 0 };
        let long = |cap: u64| (cap > 0).then(|| Part::cut(cap, twentieth(cap), replicas));
        let weight = minute.shared.div_ceil(MAX_SLOTS).max(1);
        Self {
            own: minute.own,
            // Both fit: no slot count is above MAX_SLOTS, no weight above a cap of 32 bits.
            slots: usize::try_from(minute.shared / weight).unwrap_or(0),
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            day: long(config.per_day),
            month: long(config.per_month),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn config(per_minute: u32, per_day: u64, per_month: u64, max_replicas: u32) -> BudgetConfig {
        BudgetConfig { per_minute, per_day, per_month, max_replicas, call_lag: Duration::from_secs(3) }
    }

    #[test]
    fn the_free_plan_is_cut_up_for_eight_replicas_and_for_one() {
        let eight = Parts::of(&config(60, 0, 1_000_000, 8), true);
        assert_eq!((eight.own, eight.slots, eight.weight), (Own { new: 0, old: 1 }, 52, 1));
        assert_eq!((eight.day, eight.month.unwrap().shared), (None, 950_000));
        let one = Parts::of(&config(60, 1_000, 0, 1), true);
        assert_eq!((one.own, one.slots), (Own { new: 1, old: 11 }, 48));
        assert_eq!(one.day, Some(Part { own: Own { new: 5, old: 45 }, shared: 950 }));
        let alone = Parts::of(&config(60, 1_000, 0, 8), false);
        assert_eq!((alone.own.old, alone.slots, alone.day.unwrap().shared), (0, 60, 1_000));
    }

    #[test]
    fn above_600_calls_a_slot_stands_for_several() {
        let parts = Parts::of(&config(3_000, 0, 0, 4), true);
        assert_eq!((parts.own.old + parts.own.new, parts.weight, parts.slots), (150, 4, 600));
    }

    proptest! {
        #[test]
        fn the_parts_of_all_replicas_are_never_more_than_the_cap_and_never_nothing(
            per_minute in prop_oneof![1..200_u32, 1..=u32::MAX],
            per_day in prop_oneof![0..5_000_u64, any::<u64>()],
            per_month in any::<u64>(),
            max_replicas in prop_oneof![1..100_u32, 1..=u32::MAX],
            fleet in any::<bool>(),
        ) {
            let parts = Parts::of(&config(per_minute, per_day, per_month, max_replicas), fleet);
            let all = |own: Own, shared: u128| shared + u128::from(own.new + own.old) * u128::from(max_replicas);
            let shared = parts.slots as u128 * u128::from(parts.weight);
            prop_assert!(all(parts.own, shared) <= u128::from(per_minute));
            prop_assert!((1..=600).contains(&parts.slots));
            prop_assert!(fleet || parts.own.old == 0);
            for (part, cap) in [(parts.day, per_day), (parts.month, per_month)] {
                prop_assert_eq!(part.is_some(), cap > 0);
                prop_assert!(part.is_none_or(|part| all(part.own, part.shared.into()) == u128::from(cap)));
            }
        }
    }
}
