//! What may happen, and how often.

use std::time::Duration;

use proptest::prelude::*;
use stratus::weather::SourceError;

use super::source::{KEYS, Mood};

/// One step.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// One caller asks.
    Get(usize),
    /// Several ask the same at once.
    Crowd(usize, usize),
    /// Memory alone is asked.
    Recall(usize),
    /// Time passes.
    Pass(u64),
    /// Time passes to the end of a window of the newest answer to a question, or 1 ms to either side of it.
    PassTo {
        key: usize,
        window: usize,
        offset: i64,
    },
    /// Others ask about other places.
    Fill,
    /// The upstream changes.
    Upstream(Mood),
    /// Redis can be reached, or no longer.
    Redis {
        reachable: bool,
    },
    /// The place of a question is purged.
    Purge(usize),
    PurgeAll,
    /// Another cache on the same store.
    Restart,
    /// Callers ask, maybe just when a window has ended. While the upstream thinks about it other things happen; then all
    /// get their answers. One more may ask just when the upstream answers.
    While {
        key: usize,
        window: Option<usize>,
        callers: usize,
        steps: Vec<Op>,
        late: bool,
    },
}

fn key() -> impl Strategy<Value = usize> {
    0..KEYS
}

/// From a millisecond to past every window.
fn pass() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u64..2_000).prop_map(Op::Pass),
        3 => (2_000_u64..50_000).prop_map(Op::Pass),
        1 => (50_000_u64..500_000).prop_map(Op::Pass),
        6 => (key(), 0..3_usize, -1..=1_i64).prop_map(|(key, window, offset)| Op::PassTo { key, window, offset }),
    ]
}

fn mood() -> impl Strategy<Value = Mood> {
    let failures = prop::sample::select(vec![
        SourceError::NoKey,
        SourceError::RejectedKey,
        SourceError::BudgetExhausted { retry_after: Duration::from_secs(60) },
        SourceError::Timeout,
        SourceError::Unavailable,
        SourceError::Failed,
        SourceError::InvalidResponse,
    ]);
    prop_oneof![
        5 => Just(Mood::Well),
        3 => failures.prop_map(Mood::Fails),
        2 => Just(Mood::KnowsNoPlace),
        1 => Just(Mood::Panics),
    ]
}

/// What can happen while callers wait.
fn meanwhile() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => key().prop_map(Op::Get),
        1 => key().prop_map(Op::Recall),
        3 => pass(),
        3 => mood().prop_map(Op::Upstream),
        2 => Just(Op::Fill),
        2 => key().prop_map(Op::Purge),
        1 => Just(Op::PurgeAll),
    ]
}

/// A case: so many steps on average, those inside of others not counted.
pub(super) fn case(steps: usize) -> impl Strategy<Value = Vec<Op>> {
    let asking = prop_oneof![
        30 => key().prop_map(Op::Get),
        6 => (key(), 2..6_usize).prop_map(|(key, callers)| Op::Crowd(key, callers)),
        10 => key().prop_map(Op::Recall),
    ];
    let steps_meanwhile = prop::collection::vec(meanwhile(), 0..6);
    let thinking = (key(), prop::option::of(0..3_usize), 1..4_usize, steps_meanwhile, any::<bool>());
    let op = prop_oneof![
        45 => asking,
        24 => pass(),
        8 => mood().prop_map(Op::Upstream),
        3 => key().prop_map(Op::Purge),
        1 => Just(Op::PurgeAll),
        1 => Just(Op::Fill),
        1 => Just(Op::Restart),
        1 => any::<bool>().prop_map(|reachable| Op::Redis { reachable }),
        8 => thinking.prop_map(|(key, window, callers, steps, late)| {
            Op::While { key, window, callers, steps, late }
        }),
    ];
    prop::collection::vec(op, 1..2 * steps)
}
