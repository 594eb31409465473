//! A circuit breaker for one upstream host: it keeps calls back while they would do no good.
//!
//! | state | a call |
//! |---|---|
//! | admitting | goes out, and its result is counted |
//! | rejecting | is refused until the pause is over; the first one after that is the probe |
//! | probing | is refused: the probe is out, and its result decides |
//!
//! What counts as a failure is the caller's business: a 404 is an answer, so a success. A call that was admitted before a
//! pause began says nothing about what comes after it: its success or failure is ignored. Its 429 or 401 is not, for
//! these concern the account. Of two pauses the one that ends later stands, with its reason.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Memory and precision of the sliding window: it forgets a sixth at a time.
const SUB_WINDOWS: u32 = 6;
/// The least that those are told to wait who meet a probe.
const LEAST_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longer than any pause that makes sense, and short enough to be added to an instant.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// When to open, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Failures in a row that open it. 5: one or two are chance, and each keeps a caller waiting.
    pub(super) consecutive_failures: u32,
    /// Share of the calls in the window whose failure opens it. 50: every other call is in vain.
    pub(super) failure_percent: u32,
    /// Calls in the window below which their share says too little. 20: chance alone seldom fails half of them.
    pub(super) least_calls: u32,
    /// How far back calls are counted. 60 s: 20 calls come together even when few are made.
    pub(super) window: Duration,
    /// After the opening. 1 s: many a failure is over by then.
    pub(super) first_pause: Duration,
    /// After many failed probes. 60 s: the end of an outage is noticed within a minute.
    pub(super) longest_pause: Duration,
    /// After a 429. 60 s: the upstream counts calls by the minute.
    pub(super) rate_limit_pause: Duration,
    /// After many a 429. 1 h: an account that is blocked stays so for long, and asking may prolong it.
    pub(super) longest_rate_limit_pause: Duration,
    /// After a 401. 60 s: a key does not get better by itself, but a new one takes a while to be known everywhere.
    pub(super) rejected_key_pause: Duration,
    /// After many a 401. 10 min: whoever puts the key right is not kept waiting for long.
    pub(super) longest_rejected_key_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 50,
            least_calls: 20,
            window: Duration::from_secs(60),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            rate_limit_pause: Duration::from_secs(60),
            longest_rate_limit_pause: Duration::from_secs(3_600),
            rejected_key_pause: Duration::from_secs(60),
            longest_rejected_key_pause: Duration::from_secs(600),
        }
    }
}

/// Why calls are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Too many calls failed.
    Failing,
    /// The upstream said 429.
    RateLimited,
    /// The upstream said 401.
    KeyRejected,
}

impl Reason {
    /// For metrics, logs and status.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::RateLimited => "rate_limited",
            Self::KeyRejected => "key_rejected",
        }
    }
}

/// What becomes of calls: the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// They go out.
    Admitting,
    /// They are refused.
    Rejecting,
    /// They are refused until one has come back.
    Probing,
}

impl State {
    /// For metrics, logs and status.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Admitting => "admitting",
            Self::Rejecting => "rejecting",
            Self::Probing => "probing",
        }
    }
}

/// A breaker as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// What becomes of calls.
    pub(super) state: State,
    /// Why, unless they are admitted.
    pub(super) reason: Option<Reason>,
    /// When rejecting: the time until a probe may go out; zero once it may.
    pub(super) reopens_in: Option<Duration>,
}

/// A call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejected {
    /// Why.
    pub(super) reason: Reason,
    /// When it is worth trying again.
    pub(super) retry_after: Duration,
}

/// What a result has changed, to be logged: each pause and its end is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Change {
    /// Nothing, or the pause that is on got longer.
    None,
    /// A pause of this length has begun: the first one, one after a probe, or one for another reason.
    Opened(Reason, Duration),
    /// Calls are admitted again.
    Closed,
}

/// The breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    /// 0 to 1, for jitter.
    random: fn() -> f64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Why calls are refused, and until when; after that until a probe succeeds. `None`: they are admitted.
    pause: Option<(Reason, Instant)>,
    /// A probe has no result yet. It may be older than the pause.
    probe_is_out: bool,
    /// Counts pauses: tells what was admitted before this one.
    generation: u64,
    /// Pauses by reason since calls were last admitted, not counting those that only made one longer.
    pauses: [u32; 3],
    failures_in_a_row: u32,
    /// Oldest first.
    window: VecDeque<SubWindow>,
}

#[derive(Debug)]
struct SubWindow {
    began: Instant,
    calls: u64,
    failures: u64,
}

#[derive(Clone, Copy)]
enum Outcome {
    Succeeded,
    Failed,
    Barred(Reason, Duration),
    Cancelled,
}

impl Breaker {
    /// A breaker that admits.
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, random: fastrand::f64, inner: Mutex::default() }
    }

    /// Admits a call, or says when to try again.
    ///
    /// # Errors
    /// A pause is on, or the probe after it is out.
    pub(super) fn admit(self: &Arc<Self>, now: Instant) -> Result<Admission, Rejected> {
        let mut inner = self.lock();
        let mut probe = false;
        if let Some((reason, until)) = inner.pause {
            if now < until {
                return Err(Rejected { reason, retry_after: until - now });
            }
            if inner.probe_is_out {
                let next = self.step(Reason::Failing, inner.pauses[Reason::Failing as usize]);
                return Err(Rejected { reason, retry_after: next.max(LEAST_RETRY_AFTER) });
            }
            inner.probe_is_out = true;
            probe = true;
        }
        Ok(Admission { breaker: Arc::clone(self), generation: inner.generation, probe, settled: false })
    }

    /// Another replica was answered 429 or 401: refuses calls for that long, unless it does so for longer already.
    pub(super) fn hold(&self, now: Instant, reason: Reason, length: Duration) -> Change {
        let mut inner = self.lock();
        if length.is_zero() {
            return Change::None;
        }
        inner.next_step(reason, false);
        inner.begin(now, reason, length)
    }

    /// What was said for `reason` does not count any more: a probe may go out at once.
    pub(super) fn cut_short(&self, now: Instant, reason: Reason) {
        let mut inner = self.lock();
        if let Some((of, until)) = &mut inner.pause
            && *of == reason
        {
            *until = now.min(*until);
        }
    }

    /// What becomes of calls at `now`.
    pub(super) fn state(&self, now: Instant) -> Snapshot {
        let inner = self.lock();
        let Some((reason, until)) = inner.pause else {
            return Snapshot { state: State::Admitting, reason: None, reopens_in: None };
        };
        if inner.probe_is_out && until <= now {
            return Snapshot { state: State::Probing, reason: Some(reason), reopens_in: None };
        }
        let reopens_in = Some(until.saturating_duration_since(now));
        Snapshot { state: State::Rejecting, reason: Some(reason), reopens_in }
    }

    fn settle(&self, admission: &Admission, outcome: Outcome, now: Instant) -> Change {
        let mut inner = self.lock();
        if admission.probe {
            inner.probe_is_out = false;
        }
        let failed = matches!(outcome, Outcome::Failed);
        match outcome {
            Outcome::Cancelled => Change::None,
            Outcome::Barred(reason, least) => {
                let step = inner.next_step(reason, admission.probe);
                let step = self.step(reason, step).max(least);
                // Never less than what was asked for; a little more keeps replicas from coming back together.
                inner.begin(now, reason, step.saturating_add(step.mul_f64(0.1 * (self.random)())))
            }
            _ if admission.generation != inner.generation => Change::None,
            Outcome::Succeeded if admission.probe => {
                inner.close();
                Change::Closed
            }
            _ => {
                if !admission.probe && !inner.count(&self.settings, failed, now) {
                    return Change::None;
                }
                let step = inner.next_step(Reason::Failing, admission.probe);
                let pause = self.step(Reason::Failing, step).mul_f64(0.5 + 0.5 * (self.random)());
                inner.begin(now, Reason::Failing, pause)
            }
        }
    }

    /// A pause before its jitter: doubled `step` times, up to the longest.
    fn step(&self, reason: Reason, step: u32) -> Duration {
        let settings = &self.settings;
        let (first, longest) = match reason {
            Reason::Failing => (settings.first_pause, settings.longest_pause),
            Reason::RateLimited => (settings.rate_limit_pause, settings.longest_rate_limit_pause),
            Reason::KeyRejected => (settings.rejected_key_pause, settings.longest_rejected_key_pause),
        };
        first.saturating_mul(2_u32.saturating_pow(step)).min(longest)
    }

    /// A panic elsewhere does not spoil it: what is in there is whole whenever it is not locked.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Which step of its ladder the next pause takes: a probe goes up, what comes late stays where it is.
    fn next_step(&mut self, reason: Reason, probe: bool) -> u32 {
        let pauses = &mut self.pauses[reason as usize];
        let step = if probe { *pauses } else { pauses.saturating_sub(1) };
        *pauses = step.saturating_add(1);
        step
    }

    fn begin(&mut self, now: Instant, reason: Reason, length: Duration) -> Change {
        let end = now + length.min(YEAR);
        if self.pause.is_some_and(|(_, until)| end <= until) {
            return Change::None;
        }
        let known = self.pause.is_some_and(|(why, until)| why == reason && now < until);
        self.pause = Some((reason, end));
        self.generation += 1;
        if known { Change::None } else { Change::Opened(reason, length) }
    }

    fn close(&mut self) {
        *self = Self { generation: self.generation, ..Self::default() };
    }

    /// Counts a call; also whether too many have failed.
    fn count(&mut self, settings: &Settings, failed: bool, now: Instant) -> bool {
        self.failures_in_a_row = if failed { self.failures_in_a_row.saturating_add(1) } else { 0 };
        while self.window.front().is_some_and(|oldest| oldest.began + settings.window <= now) {
            self.window.pop_front();
        }
        if self.window.back().is_none_or(|newest| newest.began + settings.window / SUB_WINDOWS <= now) {
            self.window.push_back(SubWindow { began: now, calls: 0, failures: 0 });
        }
        if let Some(newest) = self.window.back_mut() {
            newest.calls += 1;
            newest.failures += u64::from(failed);
        }
        let sum = |number: fn(&SubWindow) -> u64| self.window.iter().map(number).sum::<u64>();
        let (calls, failures) = (sum(|part| part.calls), sum(|part| part.failures));
        self.failures_in_a_row >= settings.consecutive_failures
            || (calls >= settings.least_calls.into() && failures * 100 >= calls * u64::from(settings.failure_percent))
    }
}

/// Leave for one call. Its result is told by one of the methods below; without that (a panic, a deadline outside) the
/// call counts as failed.
#[derive(Debug)]
#[must_use = "a call that is not settled counts as failed"]
pub(super) struct Admission {
    breaker: Arc<Breaker>,
    generation: u64,
    probe: bool,
    settled: bool,
}

impl Admission {
    /// The upstream answered; "no such place" is an answer, too. Even this can open: the share is one of recent calls.
    pub(super) fn succeeded(self, now: Instant) -> Change {
        self.settle(Outcome::Succeeded, now)
    }

    /// There was no answer, or none that is of use.
    pub(super) fn failed(self, now: Instant) -> Change {
        self.settle(Outcome::Failed, now)
    }

    /// 429: the pause is at least `retry_after`.
    pub(super) fn rate_limited(self, now: Instant, retry_after: Duration) -> Change {
        self.settle(Outcome::Barred(Reason::RateLimited, retry_after), now)
    }

    /// 401.
    pub(super) fn key_rejected(self, now: Instant) -> Change {
        self.settle(Outcome::Barred(Reason::KeyRejected, Duration::ZERO), now)
    }

    /// The call was never made. If it was to be the probe, the next one is.
    pub(super) fn cancelled(self) {
        // Nothing changes that would have to be logged.
        let _ = self.settle(Outcome::Cancelled, Instant::now());
    }

    fn settle(mut self, outcome: Outcome, now: Instant) -> Change {
        self.settled = true;
        self.breaker.settle(&self, outcome, now)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.settled {
            // Nobody is left to log a change.
            let _ = self.breaker.settle(self, Outcome::Failed, Instant::now());
        }
    }
}
