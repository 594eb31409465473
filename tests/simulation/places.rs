//! Places and how much each is asked for: by Zipf's law the second one half as much as the first, the third a third.

/// How often a place has to be asked for anew by a cache without a budget: after five minutes.
const FRESH_SECS: f64 = 300.0;

/// The places, the most popular first.
pub(crate) struct Places {
    /// The share of the requests that is for a place or for a more popular one.
    up_to: Vec<f64>,
}

impl Places {
    pub(crate) fn new(number: usize) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<_> = (1..=number)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|share| *share /= sum);
        Self { up_to }
    }

    /// One of them, at random; 0 is the most popular.
    pub(crate) fn any(&self, random: &mut fastrand::Rng) -> usize {
        let at = random.f64();
        self.up_to.partition_point(|share| *share <= at).min(self.up_to.len() - 1)
    }

    /// Calls a minute that a cache without a budget makes at so many requests a second. It calls for a place when somebody
    /// asks who finds nothing fresh: once in the time that an answer is fresh and the time until the next request.
    pub(crate) fn demand(&self, requests_per_sec: f64) -> f64 {
        let shares = std::iter::once(self.up_to[0]).chain(self.up_to.windows(2).map(|pair| pair[1] - pair[0]));
        let calls = shares.map(|share| share * requests_per_sec).map(|rate| rate / (1.0 + rate * FRESH_SECS));
        60.0 * calls.sum::<f64>()
    }

    /// Requests a second of which a cache without a budget makes so many calls a minute.
    pub(crate) fn requests_per_sec(&self, calls_per_minute: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1e6);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.demand(middle) < calls_per_minute { low = middle } else { high = middle }
        }
        low
    }
}

#[test]
fn the_demand_is_what_it_is_said_to_be() {
    let places = Places::new(1_000);
    let rate = places.requests_per_sec(60.0);
    assert!((places.demand(rate) - 60.0).abs() < 1e-6);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut fetched, mut now, mut calls) = (vec![-FRESH_SECS; 1_000], 0.0, 0);
    while now < 36_000.0 {
        now -= random.f64().ln() / rate;
        let place = places.any(&mut random);
        if now - fetched[place] >= FRESH_SECS {
            (fetched[place], calls) = (now, calls + 1);
        }
    }
    assert!((calls as f64 / 600.0 - 60.0).abs() < 3.0, "{calls}");
}
