//! What every day has to keep.

use std::time::Duration;

use super::books::{Outcomes, Tally, misses};
use super::day::{Day, play};
use super::figures::most_within;
use super::plan::{Plan, Trouble};
use super::report;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// Calls that each replica may need to learn that the upstream says 429: one, and one after each pause.
const CALLS_TO_LEARN: usize = 2;
/// The scanner gets less than this share of its answers, and the others at least this share of what they get without it.
const SCANNED: f64 = 0.05;
const NOT_TAKEN: f64 = 0.85;

fn is_whole_day() -> bool {
    match std::env::var("STRATUS_SIMULATED_HOURS").as_deref() {
        Ok("24") => true,
        Ok(other) => panic!("STRATUS_SIMULATED_HOURS is 24 for a whole day, or not set, not {other:?}"),
        Err(_) => false,
    }
}

fn plan() -> Plan {
    if is_whole_day() { Plan::whole_day() } else { Plan::short_day() }
}

/// (a): neither in any minute nor in any day more calls than the plan has.
fn hold_caps(day: &Day) {
    assert!(most_within(MINUTE, &day.calls) <= day.plan.per_minute as usize, "more calls than a minute has");
    let midnight = day.plan.warm_up;
    for day_of in [Duration::ZERO..midnight, midnight..midnight + DAY] {
        let calls = day.calls.iter().filter(|at| day_of.contains(*at)).count() as u64;
        assert!(day.plan.per_day == 0 || calls <= day.plan.per_day, "{calls} calls in a day of {}", day.plan.per_day);
    }
    assert_eq!(day.books.mixed_up, 0, "answers about other places");
}

fn answered(tally: &Tally) -> f64 {
    tally.answered as f64 / tally.requests.max(1) as f64
}

/// (b) and (c): the popular places are answered, and not with weather that is too old. While the upstream fails for a large
/// part of the day nothing new can be had, so that time is left out, but not of the report.
fn hold_popular(day: &Day) {
    let (popular, unexcused, promise) = (&day.books.popular, &day.books.unexcused, &day.plan.promise);
    let share = answered(popular);
    assert!(share >= promise.answered, "{:.2} % of the requests for popular places were answered", 100.0 * share);
    let age = unexcused.ages.percentile(95);
    assert!(age <= promise.age, "the 95th percentile of the age is {age:?}");
}

/// (e): what has said 429 is left alone.
fn hold_back(day: &Day) {
    let calls = report::calls_while(day, Trouble::RateLimited);
    assert!(calls <= CALLS_TO_LEARN * day.plan.replicas, "{calls} calls while the upstream said 429");
}

fn ratio((some, all): (u64, u64)) -> f64 {
    some as f64 / all.max(1) as f64
}

/// (d): who asks for one made-up place after the other is refused.
fn refuse_scanner(outcomes: &Outcomes) {
    let all = outcomes.values().sum();
    let share = ratio((outcomes.get("unknown place").copied().unwrap_or(0), all));
    assert!(all > 0 && share <= SCANNED, "{:.2} % of the scanner's questions were answered", 100.0 * share);
}

#[test]
fn a_day_with_all_troubles() {
    let day = play(plan());
    println!("{}", report::of(&day));
    hold_caps(&day);
    hold_back(&day);
    refuse_scanner(&day.books.scanner);
    hold_popular(&day);
}

#[test]
fn a_day_whose_calls_are_used_up_before_its_end() {
    let plan = if is_whole_day() { Plan { per_day: 60_000, ..plan() } } else { Plan::short_of_calls() };
    let day = play(Plan { title: "with a cap of the day", ..plan });
    println!("{}", report::of(&day));
    hold_caps(&day);
    hold_back(&day);
}

#[test]
fn a_scanner_takes_little_from_the_others() {
    let quiet = Plan { troubles: Vec::new(), ..if is_whole_day() { Plan::some_hours() } else { Plan::some_minutes() } };
    let with = play(Plan { title: "with a scanner", ..quiet.clone() });
    let without = play(Plan { title: "without a scanner", scanner: false, ..quiet });
    println!("{}", report::of_pair(&with, &without));
    refuse_scanner(&with.books.scanner);
    let (with, without) = (ratio(misses(&with.books.ordinary)), ratio(misses(&without.books.ordinary)));
    assert!(with >= NOT_TAKEN * without, "{with:.4} of the misses were answered, {without:.4} without a scanner");
}
