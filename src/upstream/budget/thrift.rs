//! The adaptive factor: how much more than usual a renewal has to be worth.
//!
//! It follows the pressure: 1 up to 85 %, and from there to 1024 when nothing is left, within five minutes or so, since
//! what it changes is seen in the minutes that follow. It depends on nothing else, so all replicas, also new ones, come to the
//! same factor. It is brought up to date when somebody looks.

use std::time::Duration;

use tokio::time::Instant;

/// Up to this pressure there are calls enough: a little is always left for who comes last.
pub(super) const ENOUGH: f64 = 0.85;
/// Binary logarithms of the factor for the whole of pressure.
const STEEPNESS: f64 = 70.0;
/// How long it takes to come nearer by two thirds.
const LAG: Duration = Duration::from_secs(300);
/// The binary logarithm of the largest factor, 1024.
const MAX_LEVEL: f64 = 10.0;
/// A factor below 2 is none: it would come and go.
const LEAST_LEVEL: f64 = 1.0;

/// The factor and when it was looked at last.
#[derive(Debug)]
pub(super) struct Thrift {
    level: f64,
    looked: Instant,
}

impl Thrift {
    /// There are calls enough.
    pub(super) fn new(now: Instant) -> Self {
        Self { level: 0.0, looked: now }
    }

    /// The factor: 1, or 2 and more. The time since the last look counts as if the pressure had been the same all along, so
    /// look whenever it changes.
    pub(super) fn look(&mut self, now: Instant, pressure: f64) -> f64 {
        let passed = now.duration_since(self.looked).div_duration_f64(LAG);
        self.looked = now;
        let aim = (STEEPNESS * (pressure - ENOUGH)).clamp(0.0, MAX_LEVEL);
        self.level += (aim - self.level) * (1.0 - (-passed).exp());
        if self.level < LEAST_LEVEL { 1.0 } else { self.level.exp2() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    async fn after(thrift: &mut Thrift, seconds: u64, pressure: f64) -> f64 {
        advance(Duration::from_secs(seconds)).await;
        thrift.look(Instant::now(), pressure)
    }

    fn near(value: f64, expected: f64) -> bool {
        (value / expected - 1.0).abs() < 1e-6
    }

    #[tokio::test(start_paused = true)]
    async fn it_follows_the_pressure_from_1_to_1024_with_a_lag_of_five_minutes() {
        let mut thrift = Thrift::new(Instant::now());
        assert!(near(after(&mut thrift, 3_600, 0.85).await, 1.0));
        // Two thirds of the way to the tenth power of 2.
        assert!(near(after(&mut thrift, 300, 1.0).await, (10.0 * (1.0 - (-1_f64).exp())).exp2()));
        assert!(near(after(&mut thrift, 36_000, 1.0).await, 1024.0));
        assert!(near(after(&mut thrift, 36_000, 0.9).await, 3.5_f64.exp2()));
        assert!(near(after(&mut thrift, 300, 0.5).await, (3.5 * (-1_f64).exp()).exp2()));
        assert!(near(after(&mut thrift, 300, 0.5).await, 1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn where_it_came_from_does_not_matter() {
        let (mut old, mut new) = (Thrift::new(Instant::now()), Thrift::new(Instant::now()));
        after(&mut old, 36_000, 1.0).await;
        new.look(Instant::now(), 1.0);
        advance(Duration::from_secs(7_200)).await;
        assert!(near(old.look(Instant::now(), 0.92), new.look(Instant::now(), 0.92)));
    }

    #[tokio::test(start_paused = true)]
    async fn how_often_it_is_looked_at_does_not_matter() {
        let mut thrift = Thrift::new(Instant::now());
        for _ in 0..3_000 {
            advance(Duration::from_millis(100)).await;
            thrift.look(Instant::now(), 1.0);
        }
        assert!(near(thrift.look(Instant::now(), 1.0), (10.0 * (1.0 - (-1_f64).exp())).exp2()));
    }
}
