//! The figures of a day, as tables.

use std::time::Duration;

use super::books::{Hour, Outcomes, Tally, misses};
use super::day::Day;
use super::figures::{Table, minutes, most_within, percent};
use super::plan::Trouble;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR_SECS: u64 = 3_600;

/// Everything about a day.
pub(crate) fn of(day: &Day) -> String {
    let plan = &day.plan;
    let cap = if plan.per_day == 0 { "no cap of the day".to_owned() } else { format!("{} a day", plan.per_day) };
    format!(
        "{}: {} places, {} calls a minute, {cap}; simulated in {:.0} s\n\n{}\n{}\n{}",
        plan.title,
        plan.places,
        plan.per_minute,
        day.took.as_secs_f64(),
        summary(day).print(),
        requests(day).print(),
        hours(day).print()
    )
}

/// What a scanner changes.
pub(crate) fn of_pair(with: &Day, without: &Day) -> String {
    let mut table = Table::default();
    table.line(["", with.plan.title, without.plan.title].map(str::to_owned));
    let pair = |name: &str, figure: fn(&Day) -> String| [name.to_owned(), figure(with), figure(without)];
    table.line(pair("misses answered", |day| share(misses(&day.books.ordinary))));
    table.line(pair("popular places answered", |day| answered(&day.books.popular)));
    table.line(pair("scanner answered", |day| {
        let all: u64 = day.books.scanner.values().sum();
        percent(day.books.scanner.get("unknown place").copied().unwrap_or(0), all)
    }));
    table.line(pair("calls", |day| day.calls.len().to_string()));
    table.print()
}

/// How often it was called in such times.
pub(crate) fn calls_while(day: &Day, trouble: Trouble) -> usize {
    let times = day.plan.times_of(trouble);
    times.map(|when| calls_in(day, when.start, when.end)).sum()
}

fn calls_in(day: &Day, from: Duration, to: Duration) -> usize {
    let when = day.plan.warm_up + from..day.plan.warm_up + to;
    day.calls.iter().filter(|at| when.contains(*at)).count()
}

fn share((some, all): (u64, u64)) -> String {
    percent(some, all)
}

fn answered(tally: &Tally) -> String {
    percent(tally.answered, tally.requests)
}

fn summary(day: &Day) -> Table {
    let (plan, books) = (&day.plan, &day.books);
    let mut table = Table::default();
    table.line(["requests a second".into(), format!("{:.2}", day.requests_per_sec)]);
    table.line(["calls a minute that they would make without a budget".into(), format!("{:.1}", day.demand)]);
    table.line(["calls of the upstream".into(), calls_in(day, Duration::ZERO, plan.lasts).to_string()]);
    table.line(["most calls in any 60 s".into(), most_within(MINUTE, &day.calls).to_string()]);
    table.line(["calls while it says 429".into(), calls_while(day, Trouble::RateLimited).to_string()]);
    table.line(["calls while it fails".into(), calls_while(day, Trouble::Failing).to_string()]);
    table.line([format!("the {} popular places: answered", plan.popular), answered(&books.popular)]);
    for (name, tally) in [("all day", &books.popular), ("without the failure of the upstream", &books.unexcused)] {
        for rank in [50, 95, 99] {
            table.line([format!("their age, p{rank}, min:s, {name}"), minutes(tally.ages.percentile(rank))]);
        }
    }
    table.line(["oldest answer of all places, min:s".into(), minutes(books.oldest)]);
    table.line(["requests without a copy: answered".into(), share(misses(&books.ordinary))]);
    table
}

fn requests(day: &Day) -> Table {
    let mut table = Table::default();
    let mut add = |title: &str, outcomes: &Outcomes| {
        let all: u64 = outcomes.values().sum();
        table.line([title.to_owned(), all.to_string(), String::new()]);
        for (name, number) in outcomes {
            table.line([format!("  {name}"), number.to_string(), percent(*number, all)]);
        }
    };
    add("requests of ordinary callers", &day.books.ordinary);
    add("requests of the scanner", &day.books.scanner);
    table
}

fn hours(day: &Day) -> Table {
    let mut table = Table::default();
    table.line(["hour", "calls", "popular", "p50", "p95", "oldest", "adaptive factor"].map(str::to_owned));
    for (number, Hour { popular, factor: (lowest, highest) }) in day.books.hours.iter().enumerate() {
        let from = Duration::from_secs(number as u64 * HOUR_SECS);
        table.line([
            number.to_string(),
            calls_in(day, from, from + Duration::from_secs(HOUR_SECS)).to_string(),
            answered(popular),
            minutes(popular.ages.percentile(50)),
            minutes(popular.ages.percentile(95)),
            minutes(popular.ages.oldest()),
            format!("{lowest:.0} to {highest:.0}"),
        ]);
    }
    table
}
