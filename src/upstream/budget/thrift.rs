//! The adaptive factor: how much more than usual a call has to be worth.
//!
//! While more than nine tenths of the minute are taken it doubles every 30 s, while less than eight tenths are it halves,
//! in between it stays. It moves evenly, and is brought up to date when somebody looks.

use std::time::Duration;

use tokio::time::Instant;

/// Above this share of the minute the factor grows.
const GROWS_ABOVE: f64 = 0.9;
/// Below this one it shrinks.
const SHRINKS_BELOW: f64 = 0.8;
/// How long it takes to double, or to halve.
const DOUBLES_IN: Duration = Duration::from_secs(30);
/// From this binary logarithm on, after three seconds of it, it is no mere burst.
const TIGHT_LEVEL: f64 = 0.1;
/// The binary logarithm of the largest factor, 1024.
const MAX_LEVEL: f64 = 10.0;

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

    /// The factor, at least 1. The time since the last look counts as if the pressure had been the same all along, so
    /// look whenever it changes.
    pub(super) fn look(&mut self, now: Instant, pressure: f64) -> f64 {
        let steps = now.duration_since(self.looked).as_secs_f64() / DOUBLES_IN.as_secs_f64();
        self.looked = now;
        if pressure > GROWS_ABOVE {
            self.level += steps;
        } else if pressure < SHRINKS_BELOW {
            self.level -= steps;
        }
        self.level = self.level.clamp(0.0, MAX_LEVEL);
        self.level.exp2()
    }

    /// Whether calls have been short for more than a moment, so that renewals go without.
    pub(super) fn is_tight(&self) -> bool {
        self.level > TIGHT_LEVEL
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
    async fn it_doubles_every_30_seconds_under_pressure_stays_in_between_and_halves_without() {
        let mut thrift = Thrift::new(Instant::now());
        assert!(near(thrift.look(Instant::now(), 1.0), 1.0));
        assert!(near(after(&mut thrift, 15, 0.95).await, 2_f64.sqrt()));
        assert!(near(after(&mut thrift, 45, 0.91).await, 4.0));
        assert!(near(after(&mut thrift, 600, 0.9).await, 4.0));
        assert!(near(after(&mut thrift, 600, 0.8).await, 4.0));
        assert!(near(after(&mut thrift, 30, 0.79).await, 2.0));
        assert!(near(after(&mut thrift, 600, 0.0).await, 1.0));
        assert!(near(after(&mut thrift, 30, 1.0).await, 2.0));
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_1024_and_comes_back_from_there() {
        let mut thrift = Thrift::new(Instant::now());
        assert!(near(after(&mut thrift, 100_000, 1.0).await, 1024.0));
        assert!(near(after(&mut thrift, 60, 0.5).await, 256.0));
    }

    #[tokio::test(start_paused = true)]
    async fn how_often_it_is_looked_at_does_not_matter() {
        let mut thrift = Thrift::new(Instant::now());
        for _ in 0..899 {
            advance(Duration::from_millis(100)).await;
            thrift.look(Instant::now(), 1.0);
        }
        advance(Duration::from_millis(100)).await;
        assert!(near(thrift.look(Instant::now(), 1.0), 8.0));
    }
}
