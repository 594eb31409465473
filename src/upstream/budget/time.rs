//! Times on the wire and how long it is until then.

use std::time::Duration;

/// In milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long it is until `end_ms` of a wall clock. Clocks that are wrong make it wrong, but never longer than `longest`.
pub(super) fn until(end_ms: u64, wall_ms: u64, longest: Duration) -> Duration {
    Duration::from_millis(end_ms.saturating_sub(wall_ms)).min(longest)
}
