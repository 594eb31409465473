//! Numbers that are counted, and how they are printed.

use std::fmt::Write as _;
use std::time::Duration;

/// Ages by the second.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ages {
    by_second: Vec<u64>,
    number: u64,
}

impl Ages {
    pub(crate) fn note(&mut self, age: Duration) {
        let second = usize::try_from(age.as_secs()).expect("a short time");
        if second >= self.by_second.len() {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
        self.number += 1;
    }

    /// The age that so many percent of the answers do not exceed.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let mut left = (self.number * percent).div_ceil(100);
        let second = self.by_second.iter().position(|number| {
            left = left.saturating_sub(*number);
            left == 0
        });
        Duration::from_secs(second.map_or(0, |second| second as u64 + u64::from(self.number > 0)))
    }

    pub(crate) fn oldest(&self) -> Duration {
        Duration::from_secs(self.by_second.len() as u64)
    }
}

/// The most events in any span of this length.
pub(crate) fn most_within(span: Duration, events: &[Duration]) -> usize {
    let mut first = 0;
    let within = events.iter().enumerate().map(|(last, at)| {
        while events[first] + span <= *at {
            first += 1;
        }
        last + 1 - first
    });
    within.max().unwrap_or(0)
}

/// Lines of aligned columns, the first one to the left.
#[derive(Default)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn line<const N: usize>(&mut self, cells: [String; N]) {
        self.0.push(cells.into());
    }

    pub(crate) fn print(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.0.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for line in &self.0 {
            let mut printed = String::new();
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(printed, "{cell:<width$}"),
                    _ => write!(printed, "  {cell:>width$}"),
                };
            }
            text += printed.trim_end();
            text.push('\n');
        }
        text
    }
}

/// As in `12.3 %`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.2} %", 100.0 * part as f64 / whole as f64) }
}

/// As in `12:34` minutes.
pub(crate) fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[test]
fn percentiles_and_spans_are_counted_right() {
    let mut ages = Ages::default();
    (0..100).for_each(|second| ages.note(Duration::from_secs(second)));
    assert_eq!((ages.percentile(50), ages.percentile(95)), (Duration::from_secs(50), Duration::from_secs(95)));
    assert_eq!((ages.oldest(), Ages::default().percentile(95)), (Duration::from_secs(100), Duration::ZERO));
    let events = [0, 1, 60, 61, 62, 119].map(Duration::from_secs);
    assert_eq!(most_within(Duration::from_secs(60), &events), 4);
    assert_eq!(most_within(Duration::from_secs(60), &[]), 0);
}
