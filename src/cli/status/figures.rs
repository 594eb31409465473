//! What happened between two samples, and how figures are written for people.

use std::collections::BTreeMap;

use super::sample::Sample;

/// What happened between two samples, or since the service started.
pub(super) struct Period {
    pub(super) secs: f64,
    /// All the time since the service started.
    pub(super) whole: bool,
    pub(super) requests: f64,
    pub(super) answers: BTreeMap<String, f64>,
    pub(super) calls: f64,
    buckets: Vec<(f64, f64)>,
}

impl Period {
    /// From `before` to `now`; from the start of the service if there is no sample before, or it has started anew since.
    pub(super) fn new(now: &Sample, before: Option<&Sample>) -> Self {
        let uptime = |sample: &Sample| sample.status["uptime_secs"].as_f64().unwrap_or(0.0);
        let before = before.filter(|before| {
            before.counts.requests <= now.counts.requests && uptime(before) <= uptime(now) && before.at < now.at
        });
        let Some(before) = before else {
            let counts = &now.counts;
            return Self {
                secs: uptime(now),
                whole: true,
                requests: counts.requests,
                answers: counts.answers.clone(),
                calls: counts.calls,
                buckets: counts.buckets.clone(),
            };
        };
        let (new, old) = (&now.counts, &before.counts);
        let answers = new.answers.iter().map(|(kind, count)| {
            let earlier = old.answers.get(kind).copied().unwrap_or(0.0);
            (kind.clone(), (count - earlier).max(0.0))
        });
        let earlier = |number: usize| old.buckets.get(number).map_or(0.0, |(_, count)| *count);
        let buckets = new.buckets.iter().enumerate();
        Self {
            secs: (now.at - before.at).as_secs_f64(),
            whole: false,
            requests: new.requests - old.requests,
            answers: answers.collect(),
            calls: (new.calls - old.calls).max(0.0),
            buckets: buckets.map(|(number, (bound, count))| (*bound, (count - earlier(number)).max(0.0))).collect(),
        }
    }

    /// Requests a second; `None` of no time at all.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.secs > 0.0).then(|| self.requests / self.secs)
    }

    /// The share of questions that a copy answered, in percent.
    pub(super) fn hits(&self) -> Option<f64> {
        let all: f64 = self.answers.values().sum();
        let of_copies = ["hit_memory", "hit_redis", "negative", "stale"];
        let hits: f64 = of_copies.iter().filter_map(|kind| self.answers.get(*kind)).sum();
        (all > 0.0).then(|| 100.0 * hits / all)
    }

    /// The time in seconds that this share of all requests took at most: the bound of its bucket.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.buckets.last().map(|(_, all)| *all).filter(|all| *all > 0.0)?;
        self.buckets.iter().find(|(_, count)| *count >= share * all).map(|(bound, _)| *bound)
    }
}

/// `850 µs`, `1.6 ms`, `3.3 s`
pub(super) fn duration(secs: f64) -> String {
    match secs {
        _ if secs.is_infinite() => "more".to_owned(),
        _ if secs < 0.001 => format!("{:.0} µs", secs * 1e6),
        _ if secs < 1.0 => format!("{:.1} ms", secs * 1e3),
        _ => format!("{secs:.1} s"),
    }
}

/// `45 s`, `12 min 5 s`, `3 h 12 min`, `8 d 3 h`
pub(super) fn span(secs: u64) -> String {
    let (minutes, hours, days) = (secs / 60, secs / 3_600, secs / 86_400);
    match secs {
        0..=59 => format!("{secs} s"),
        60..=3_599 => format!("{minutes} min {} s", secs % 60),
        3_600..=86_399 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// `700 B`, `12.3 KB`, `64.0 MB`, of 1024
pub(super) fn bytes(bytes: f64) -> String {
    const K: f64 = 1_024.0;
    match bytes {
        _ if bytes < K => format!("{bytes:.0} B"),
        _ if bytes < K * K => format!("{:.1} KB", bytes / K),
        _ => format!("{:.1} MB", bytes / K / K),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::sample::Counts;
    use super::*;
    use serde_json::json;

    fn sample(at: Instant, uptime_secs: u64, requests: f64, fast: f64) -> Sample {
        let counts = Counts {
            requests,
            answers: BTreeMap::from([("hit_memory".to_owned(), fast), ("miss".to_owned(), requests - fast)]),
            calls: requests - fast,
            buckets: vec![(0.001, fast), (1.0, requests), (f64::INFINITY, requests)],
            ..Counts::default()
        };
        Sample { at, status: json!({"uptime_secs": uptime_secs}), counts }
    }

    #[test]
    fn figures_are_of_what_happened_between_two_samples() {
        let start = Instant::now();
        let before = sample(start, 100, 1_000.0, 500.0);
        let now = sample(start + Duration::from_secs(2), 102, 1_100.0, 590.0);
        let period = Period::new(&now, Some(&before));
        assert_eq!((period.rate(), period.hits(), period.calls, period.whole), (Some(50.0), Some(90.0), 10.0, false));
        assert_eq!((period.quantile(0.5), period.quantile(0.99)), (Some(0.001), Some(1.0)));
    }

    #[test]
    fn without_a_sample_before_or_after_a_restart_they_are_of_all_the_time() {
        let start = Instant::now();
        let (old, new) = (sample(start, 100, 1_000.0, 500.0), sample(start + Duration::from_secs(1), 4, 8.0, 6.0));
        for before in [None, Some(&old)] {
            let period = Period::new(&new, before);
            assert_eq!((period.rate(), period.hits(), period.whole), (Some(2.0), Some(75.0), true));
        }
        let nothing = Period::new(&sample(start, 0, 0.0, 0.0), None);
        assert_eq!((nothing.rate(), nothing.hits(), nothing.quantile(0.5)), (None, None, None));
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!([0.00085, 0.0016, 3.3].map(duration), ["850 µs", "1.6 ms", "3.3 s"]);
        assert_eq!([45, 725, 11_520, 702_000].map(span), ["45 s", "12 min 5 s", "3 h 12 min", "8 d 3 h"]);
        assert_eq!([700.0, 12_595.0, 67_108_864.0].map(bytes), ["700 B", "12.3 KB", "64.0 MB"]);
    }
}
