//! What the service says of itself at one moment: `/status`, and of `/metrics` the counters that rates are made of.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::super::admin::{NO_STRATUS, Watcher};

/// What the service said.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Value,
    pub(super) counts: Counts,
}

impl Sample {
    /// Asks the service; if that fails, why, and what to do.
    pub(super) async fn take(watcher: &Watcher) -> Result<Self, String> {
        let at = Instant::now();
        let (status, metrics) = (watcher.get("/status").await?, watcher.get("/metrics").await?);
        let status = serde_json::from_str(&status).map_err(|_| NO_STRATUS.to_owned())?;
        Ok(Self { at, status, counts: Counts::read(&metrics) })
    }
}

/// Counters and gauges of `/metrics`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Requests of callers, without those of operators and probes.
    pub(super) requests: f64,
    /// Questions by how they were answered.
    pub(super) answers: BTreeMap<String, f64>,
    /// Calls to the upstream.
    pub(super) calls: f64,
    /// How long requests took: how many at most so many seconds.
    pub(super) buckets: Vec<(f64, f64)>,
    pub(super) memory_entries: f64,
    pub(super) memory_bytes: f64,
}

impl Counts {
    /// Reads the OpenMetrics text format, as far as it is of use here.
    pub(super) fn read(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let label = |name: &str| label(labels, name);
            match name {
                "stratus_http_requests_total" if label("route").is_some_and(is_of_callers) => counts.requests += value,
                "stratus_cache_answers_total" => {
                    counts.answers.extend(label("result").map(|result| (result.to_owned(), value)));
                }
                "stratus_upstream_calls_total" => counts.calls += value,
                "stratus_http_request_duration_seconds_bucket" => {
                    let bound = label("le").map(|bound| bound.parse().unwrap_or(f64::INFINITY));
                    counts.buckets.extend(bound.map(|bound| (bound, value)));
                }
                "stratus_memory_entries" => counts.memory_entries = value,
                "stratus_memory_size_bytes" => counts.memory_bytes = value,
                _ => {}
            }
        }
        counts
    }
}

/// The value of a label. Ours hold no quotes.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.trim_end_matches('}').split("\",").find_map(|label| {
        let (found, value) = label.split_once("=\"")?;
        (found == name).then(|| value.trim_end_matches('"'))
    })
}

/// Whether a route is one of those that apps ask: our own or OpenWeatherMap's.
fn is_of_callers(route: &str) -> bool {
    ["/weather/", "/forecast/", "/air/", "/data/", "/geo/", "/img/", "/map/"].iter().any(|root| route.starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_what_operators_ask_is_not_counted() {
        let counts = Counts::read(concat!(
            "# TYPE stratus_http_requests counter\n",
            "stratus_http_requests_total{route=\"/weather/{location}\",method=\"GET\",status=\"200\"} 7\n",
            "stratus_http_requests_total{route=\"/data/2.5/weather\",method=\"GET\",status=\"200\"} 2\n",
            "stratus_http_requests_total{route=\"/metrics\",method=\"GET\",status=\"200\"} 50\n",
            "stratus_cache_answers_total{result=\"hit_memory\"} 5\n",
            "stratus_upstream_calls_total{outcome=\"ok\"} 3\n",
            "stratus_upstream_calls_total{outcome=\"failed\"} 1\n",
            "stratus_http_request_duration_seconds_bucket{le=\"0.0001\"} 4\n",
            "stratus_http_request_duration_seconds_bucket{le=\"+Inf\"} 9\n",
            "stratus_memory_entries 4\n",
            "stratus_memory_size_bytes 4096\n",
            "nonsense\nstratus_memory_entries NaN\n# EOF\n",
        ));
        let expected = Counts {
            requests: 9.0,
            answers: BTreeMap::from([("hit_memory".to_owned(), 5.0)]),
            calls: 4.0,
            buckets: vec![(0.0001, 4.0), (f64::INFINITY, 9.0)],
            memory_entries: 4.0,
            memory_bytes: 4096.0,
        };
        assert_eq!(counts, expected);
        assert_eq!(Counts::read(""), Counts::default());
    }

    #[test]
    fn what_the_service_counts_is_found_under_these_names() {
        let metrics = crate::telemetry::Metrics::new();
        metrics.request_ended("/weather/{location}", "GET", 200, std::time::Duration::from_millis(3));
        metrics.answered("hit_memory");
        metrics.upstream_called("ok", std::time::Duration::from_millis(3));
        metrics.set_memory(2, 700);
        let counts = Counts::read(&metrics.render());
        assert_eq!((counts.requests, counts.calls, counts.answers["hit_memory"]), (1.0, 1.0, 1.0));
        assert_eq!((counts.memory_entries, counts.memory_bytes), (2.0, 700.0));
        assert!(counts.buckets.len() > 10 && counts.buckets.last().is_some_and(|(_, all)| *all == 1.0));
    }
}
