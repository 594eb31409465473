//! The cache against a model of it: whatever happens in whatever order, every answer keeps the promises in `ledger`.
//!
//! A case is a random list of steps on one cache (`ops`); a case that fails is shrunk to the steps that matter and printed.
//! `STRATUS_MODEL_STEPS` sets how many steps are done in all.

mod ledger;
mod ops;
mod source;
mod world;

use std::collections::BTreeSet;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::harness::standstill::{Outside, standing_still};
use ledger::Memory;
use ops::Op;
use world::{Variant, World};

/// Steps of both tests together, when nobody asks for more.
const STEPS: usize = 110_000;
/// The average number of steps of a case.
const CASE: usize = 250;
/// How long a failing case may be shrunk, in milliseconds.
const SHRINKING_MS: u32 = 120_000;

/// Every way to be answered.
const WAYS: [&str; 10] =
    ["memory", "redis", "negative", "renewed", "fallback", "collapsed", "source", "unknown", "failed", "lost"];

/// This share of all steps.
fn share(percent: usize) -> usize {
    let steps = std::env::var("STRATUS_MODEL_STEPS").map(|steps| steps.parse().expect("a number of steps"));
    steps.unwrap_or(STEPS) * percent / 100
}

/// Plays one case.
fn play(
    variant: Variant,
    outside: Option<&Outside>,
    steps: &[Op],
    seen: &mut BTreeSet<&'static str>,
) -> Result<(), String> {
    let line = outside.map(Outside::line);
    standing_still(async {
        let mut world = World::new(variant, line).await?;
        for (number, step) in steps.iter().enumerate() {
            let done = world.step(step).await;
            done.map_err(|why| format!("{why}\nat step {number}, {step:?}, of {variant:?}"))?;
        }
        seen.extend(&world.ledger.seen);
        Ok(())
    })
}

/// Plays random cases until so many steps are done; the ways to be answered that occurred.
fn explore(variant: Variant, outside: Option<&Outside>, steps: usize) -> BTreeSet<&'static str> {
    let (mut done, mut seen) = (0, BTreeSet::new());
    while done < steps {
        let config = Config {
            cases: 1,
            failure_persistence: None,
            max_shrink_time: SHRINKING_MS,
            max_shrink_iters: 100_000,
            ..Config::default()
        };
        let played = std::cell::RefCell::new((&mut done, &mut seen));
        let outcome = TestRunner::new(config).run(&ops::case(CASE), |case| {
            let (done, seen) = &mut *played.borrow_mut();
            **done += case.len();
            play(variant, outside, &case, seen).map_err(TestCaseError::fail)
        });
        if let Err(TestError::Fail(why, case)) = &outcome {
            let steps: Vec<_> = case.iter().map(|step| format!("  {step:?}")).collect();
            panic!("{why}\nafter these steps:\n{}", steps.join("\n"));
        }
        outcome.expect("no case is aborted");
    }
    seen
}

#[test]
fn whatever_happens_the_cache_keeps_its_promises_on_a_store_in_the_process() {
    let mut seen = BTreeSet::new();
    for (memory, not_found_secs) in [(Memory::Ample, 30), (Memory::Off, 0)] {
        seen.extend(explore(Variant { memory, jitter_percent: 0, not_found_secs }, None, share(35)));
    }
    let expected: BTreeSet<_> = WAYS.into_iter().filter(|way| *way != "redis").collect();
    assert!(seen == expected || share(100) < STEPS, "only these ways to be answered occurred: {seen:?}");
}

#[test]
fn whatever_happens_the_cache_keeps_its_promises_on_a_redis_that_comes_and_goes() {
    let outside = Outside::new();
    let mut seen = BTreeSet::new();
    for (memory, jitter_percent) in [(Memory::Ample, 20), (Memory::Off, 0), (Memory::Small, 20)] {
        seen.extend(explore(Variant { memory, jitter_percent, not_found_secs: 30 }, Some(&outside), share(10)));
    }
    assert!(seen == WAYS.into() || share(100) < STEPS, "only these ways to be answered occurred: {seen:?}");
}
