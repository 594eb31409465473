//! Purges by other replicas: each replica looks for their marks in the store, twice a second, and forgets what it has in
//! memory when there is a new one.
//!
//! Forgetting everything costs one read of Redis for each place that is asked for again, and needs no list of what was
//! purged that could lose an entry. A purge is something that a person does.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::MissedTickBehavior;

use super::Inner;
use super::shelf::Mark;

/// How often it is looked. With the time of one command a purge is everywhere within a second.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks for marks as long as the cache is in use. A store in this process has no other replicas.
pub(super) fn watch(inner: &Arc<Inner>) {
    if inner.shelf.store().is_shared() {
        tokio::spawn(look_again_and_again(Arc::downgrade(inner)));
    }
}

async fn look_again_and_again(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Vec::new();
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        inner.look_for_marks(&mut seen).await;
    }
}

impl Inner {
    /// Forgets what is in memory if there is a mark that was not `seen`. One that is gone says nothing: it was at its end,
    /// or Redis lost everything.
    async fn look_for_marks(&self, seen: &mut Vec<(Mark, Bytes)>) {
        let Ok(marks) = self.shelf.marks().await else { return };
        if marks.iter().any(|mark| !seen.contains(mark)) {
            self.hot.clear();
        }
        if !marks.is_empty() {
            *seen = marks;
        }
    }
}
