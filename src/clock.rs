//! The clocks, handed in, so that a test can turn them: the wall clock, from which ages and expiry are computed, and one
//! that never steps, for pauses.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the time in Unix milliseconds, and how much of it has passed.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// For a clock of one's own: when it was made, by both clocks.
    made: Option<(Instant, u64)>,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        let wall = || {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
        };
        Self { wall: Arc::new(wall), made: None }
    }

    /// A clock of one's own; pauses are as long as it says.
    pub fn from_fn(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let made = Some((Instant::now(), now_ms()));
        Self { wall: Arc::new(now_ms), made }
    }

    /// Now, Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        (self.wall)()
    }

    /// An instant by the clock that never steps: what happens to the wall clock changes no pause.
    pub fn instant(&self) -> Instant {
        match self.made {
            None => Instant::now(),
            Some((instant, made_ms)) => instant + Duration::from_millis(self.now_ms().saturating_sub(made_ms)),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}
