//! A breaker for each of OpenWeatherMap's hosts: one that fails, or that cannot be reached from here, says nothing about the
//! others, and what callers ask of it must not close them. A 429 or a 401 is about the account and stands for all: these are
//! kept in the breaker of the API's own host, which every call has to pass.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Admission, Breaker, Change, Rejected, Settings};
use crate::weather::Host;

/// All but that of the API itself.
const OTHERS: [Host; 4] = [Host::Pro, Host::History, Host::Site, Host::Tile];

/// The breakers.
pub(super) struct Hosts {
    api: Arc<Breaker>,
    others: [Arc<Breaker>; OTHERS.len()],
}

impl Hosts {
    pub(super) fn new() -> Self {
        let breaker = || Arc::new(Breaker::new(Settings::default()));
        Self { api: breaker(), others: OTHERS.map(|_| breaker()) }
    }

    /// That of the API's own host, which knows of the account, too.
    pub(super) fn api(&self) -> &Arc<Breaker> {
        &self.api
    }

    /// Admits a call to `host`.
    ///
    /// # Errors
    /// The account or the host is left alone.
    pub(super) fn admit(&self, host: Host, now: Instant) -> Result<Leave, Rejected> {
        let api = self.api.admit(now)?;
        let other = OTHERS.iter().position(|other| *other == host).map(|place| self.others[place].admit(now));
        match other.transpose() {
            Ok(other) => Ok(Leave { host, api: Some(api), other }),
            Err(rejected) => {
                api.cancelled();
                Err(rejected)
            }
        }
    }
}

/// Leave for one call: see [`Admission`].
#[must_use = "a call that is not settled counts as failed"]
pub(super) struct Leave {
    host: Host,
    /// `None` once it is settled.
    api: Option<Admission>,
    other: Option<Admission>,
}

impl Leave {
    /// Whether the key goes with it.
    pub(super) fn is_with_key(&self) -> bool {
        self.host != Host::Site
    }

    /// The host answered.
    pub(super) fn succeeded(mut self, now: Instant) -> Change {
        let is_with_key = self.is_with_key();
        let closed = self.other.take().map_or(Change::None, |other| other.succeeded(now));
        match self.api.take() {
            // What takes no key says nothing about ours.
            Some(api) if !is_with_key => api.cancelled(),
            Some(api) => match api.succeeded(now) {
                Change::None => {}
                change => return change,
            },
            None => {}
        }
        closed
    }

    /// There was no answer, or none that is of use.
    pub(super) fn failed(mut self, now: Instant) -> Change {
        match (self.other.take(), self.api.take()) {
            (None, Some(api)) => api.failed(now),
            (Some(other), api) => {
                api.into_iter().for_each(Admission::cancelled);
                other.failed(now)
            }
            (None, None) => Change::None,
        }
    }

    /// 429.
    pub(super) fn rate_limited(self, now: Instant, retry_after: Duration) -> Change {
        self.of_the_account(|api| api.rate_limited(now, retry_after))
    }

    /// 401.
    pub(super) fn key_rejected(self, now: Instant) -> Change {
        self.of_the_account(|api| api.key_rejected(now))
    }

    /// The call was never made, or says nothing about the host.
    pub(super) fn cancelled(self) {
        let _ = self.of_the_account(|api| {
            api.cancelled();
            Change::None
        });
    }

    fn of_the_account(mut self, settle: impl FnOnce(Admission) -> Change) -> Change {
        self.other.take().into_iter().for_each(Admission::cancelled);
        self.api.take().map_or(Change::None, settle)
    }
}

/// Of a call that nobody settled, the host that it went to has failed.
impl Drop for Leave {
    fn drop(&mut self) {
        if let (Some(_), Some(api)) = (&self.other, self.api.take()) {
            api.cancelled();
        }
    }
}
