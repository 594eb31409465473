//! The counters as they stand now, read back: what changes between two readings is what happened meanwhile.

use std::collections::BTreeMap;

use super::Metrics;

/// What the metrics say at one moment.
#[derive(Debug, Clone, Default)]
pub struct Readings(BTreeMap<String, Vec<Series>>);

#[derive(Debug, Clone)]
struct Series {
    labels: String,
    value: f64,
}

/// The labels of one series as they are written: `a="b",c="d"`.
#[derive(Debug, Clone, Copy)]
pub struct SeriesLabels<'a>(&'a str);

impl<'a> SeriesLabels<'a> {
    /// The value of a label, empty if it has none of this name. None of ours has a quote in it.
    pub fn value(self, name: &str) -> &'a str {
        let mut pairs = self.0.split("\",").filter_map(|pair| pair.split_once("=\""));
        pairs.find(|(found, _)| *found == name).map_or("", |(_, value)| value.trim_end_matches('"'))
    }
}

impl Metrics {
    /// All of them as they stand now.
    pub fn read(&self) -> Readings {
        // The registry can be written and not walked; what it writes is the one list of all that there is.
        Readings::parse(&self.render())
    }
}

impl Readings {
    /// Lines as we write them: a name, perhaps labels, a value.
    fn parse(text: &str) -> Self {
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let Ok(value) = value.parse() else { continue };
            let labels = labels.trim_end_matches('}').to_owned();
            all.entry(name.to_owned()).or_default().push(Series { labels, value });
        }
        Self(all)
    }

    /// The sum of all series of this name whose labels fit.
    pub fn sum(&self, name: &str, fits: impl Fn(SeriesLabels<'_>) -> bool) -> f64 {
        let series = self.0.get(name).map_or(&[][..], Vec::as_slice);
        series.iter().filter(|series| fits(SeriesLabels(&series.labels))).map(|series| series.value).sum()
    }

    /// Each series of this name by the value of its one label.
    pub fn by_label(&self, name: &str, by: &str) -> BTreeMap<&str, f64> {
        let series = self.0.get(name).map_or(&[][..], Vec::as_slice);
        series.iter().map(|series| (SeriesLabels(&series.labels).value(by), series.value)).collect()
    }

    /// The value of a gauge without labels, 0 if there is none.
    pub fn gauge(&self, name: &str) -> f64 {
        self.sum(name, |_| true)
    }

    /// By the upper bound of each bucket of a histogram, in order: how many were observed since `before` that are no larger.
    pub fn buckets_since(&self, before: &Self, histogram: &str) -> Vec<(f64, f64)> {
        let name = format!("{histogram}_bucket");
        let then = before.by_label(&name, "le");
        let bound = |le: &str| if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap_or(f64::INFINITY) };
        let mut buckets: Vec<_> = self
            .by_label(&name, "le")
            .into_iter()
            .map(|(le, count)| (bound(le), count - then.get(le).copied().unwrap_or_default()))
            .collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        buckets
    }
}

/// The value below which a part of all observations lie, as Prometheus' `histogram_quantile` tells it: spread evenly in each
/// bucket. `None` if there are no observations; beyond the last bound, that bound.
pub fn quantile(part: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let (_, all) = *buckets.last().filter(|(_, all)| *all > 0.0)?;
    let wanted = part * all;
    let (mut lower, mut below) = (0.0, 0.0);
    for &(upper, count) in buckets {
        if count >= wanted {
            let within = if count > below { (wanted - below) / (count - below) } else { 1.0 };
            return Some(if upper.is_finite() { lower + (upper - lower) * within } else { lower });
        }
        (lower, below) = (upper, count);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_counted_is_read_back_by_its_labels() {
        let metrics = Metrics::new();
        metrics.request_ended("/weather/{location}", "GET", 200, Duration::from_millis(1));
        let before = metrics.read();
        for status in [200, 200, 503] {
            metrics.request_ended("/weather/{location}", "GET", status, Duration::from_millis(1));
        }
        metrics.request_ended("/status", "GET", 200, Duration::from_millis(1));
        metrics.answered("hit_memory");
        let now = metrics.read();
        let weather = |readings: &Readings, status: &str| {
            readings.sum("stratus_http_requests_total", |labels| {
                labels.value("route") == "/weather/{location}" && labels.value("status").starts_with(status)
            })
        };
        assert_eq!((weather(&before, ""), weather(&now, ""), weather(&now, "5")), (1.0, 4.0, 1.0));
        assert_eq!(now.by_label("stratus_cache_answers_total", "result")["hit_memory"], 1.0);
        assert_eq!(now.gauge("stratus_http_requests_in_flight"), 0.0);
        let buckets = now.buckets_since(&before, "stratus_http_request_duration_seconds");
        assert_eq!((buckets.len(), buckets.last().copied()), (19, Some((f64::INFINITY, 4.0))));
    }

    #[test]
    fn quantiles_are_spread_evenly_in_a_bucket_and_end_at_the_last_bound() {
        let buckets = [(1.0, 50.0), (2.0, 90.0), (4.0, 90.0), (f64::INFINITY, 100.0)];
        for (part, expected) in [(0.25, 0.5), (0.5, 1.0), (0.7, 1.5), (0.9, 2.0), (0.99, 4.0)] {
            assert_eq!(quantile(part, &buckets), Some(expected), "{part}");
        }
        assert_eq!((quantile(0.5, &[]), quantile(0.5, &[(1.0, 0.0), (f64::INFINITY, 0.0)])), (None, None));
    }
}
