//! The upstream and what stands before it: nobody calls it without a [`Permit`], and not while it should be left alone.
//!
//! 1. `breaker`: is it to be called at all? It is left alone while it fails, after a 429 and after a 401; then one probe
//!    at a time finds out. `hold` tells the other replicas of a 429 or a 401, which are about the account.
//! 2. `budget`: is a call left of those that the plan gives the whole fleet, and for this purpose? That is the permit.
//! 3. `client`: the call, which uses the permit up. `openweather` is the only file that knows that API's paths, parameters
//!    and bodies.
//! 4. `retries`: at most one more, if no answer came at all, with a permit of its own.

mod breaker;
mod budget;
mod client;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod hold;
mod openweather;
mod retries;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::clock::Clock;
use crate::store::Notebook;
use crate::telemetry::{BreakerReport, BudgetReport, Metrics, UpstreamReport, WindowReport};
use crate::weather::{Fetched, Fetching, Purpose, Query, Source, SourceError};
use breaker::{Admission, Breaker, Change, Reason, Rejected, Settings, State};
use budget::{Budget, Refused, RefusedBecause};
pub use budget::{BudgetConfig, Permit};
pub use client::{Authorities, ClientConfig, Examination, OpenWeatherMap, UpstreamError};
use hold::Hold;
use retries::RetryBudget;

/// The upstream: how to reach it, and how often.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// How to reach it.
    pub client: ClientConfig,
    /// How often it may be called.
    pub budget: BudgetConfig,
}

/// Something that can be called for weather, once for each permit.
pub trait Call: Send + Sync + 'static {
    /// Makes one call.
    fn call<'a>(&'a self, query: &'a Query, permit: Permit) -> Fetching<'a>;

    /// Whether it could be called: there is a key.
    fn is_ready(&self) -> bool;

    /// Tells keys apart, and nothing else of them. It leaves the process sealed only.
    fn key_tag(&self) -> u64 {
        0
    }
}

/// A guarded upstream.
pub struct Upstream {
    call: Arc<dyn Call>,
    breaker: Arc<Breaker>,
    budget: Arc<Budget>,
    limits: BudgetConfig,
    hold: Hold,
    /// Whether this process has called already.
    has_asked: AtomicBool,
    retries: RetryBudget,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// Puts the guards before `call`; needs a Tokio runtime. The budget is counted in the store of `notes`, for all
    /// replicas that share it.
    pub fn new(call: Arc<dyn Call>, budget: BudgetConfig, notes: Notebook, metrics: Arc<Metrics>) -> Self {
        let (limits, clock) = (budget, notes.clock.clone());
        let budget = Budget::start(limits, notes.clone());
        Self {
            call,
            breaker: Arc::new(Breaker::new(Settings::default())),
            budget,
            limits,
            hold: Hold::new(notes),
            has_asked: AtomicBool::new(false),
            retries: RetryBudget::default(),
            clock,
            metrics,
        }
    }

    /// Asks, and once more if that may help.
    async fn ask(&self, query: &Query, purpose: Purpose) -> Result<Fetched, SourceError> {
        if !self.call.is_ready() {
            return Err(SourceError::NoKey);
        }
        let fetched = self.attempt(query, purpose).await;
        // No answer came, or one from a gateway on the way: the question may be put again.
        if fetched == Err(SourceError::Unavailable) && self.retries.take() {
            sleep(retries::pause()).await;
            self.metrics.upstream_retried();
            // What the first attempt said is better than that there is no second one.
            return self.attempt(query, purpose).await.map_err(|error| match error {
                SourceError::Paused { .. } | SourceError::BudgetExhausted { .. } | SourceError::OverShare { .. } => {
                    SourceError::Unavailable
                }
                error => error,
            });
        }
        fetched
    }

    async fn attempt(&self, query: &Query, purpose: Purpose) -> Result<Fetched, SourceError> {
        let admission = self.admit().await?;
        let permit = match self.budget.permit(purpose).await {
            Ok(permit) => permit,
            Err(refused) => {
                admission.cancelled();
                self.metrics.permit_refused(refused.reason.as_str());
                return Err(refusal(&refused));
            }
        };
        self.retries.called();
        let began = Instant::now();
        let fetched = self.call.call(query, permit).await;
        let outcome = fetched.as_ref().map_or_else(|error| error.as_str(), |_| "ok");
        self.metrics.upstream_called(outcome, began.elapsed());
        self.settle(admission, fetched.as_ref().err().copied()).await;
        fetched.map_err(|error| match error {
            // As long as it is left alone for it, which may be a little longer than it asked for.
            SourceError::BudgetExhausted { retry_after } => {
                let pause = self.breaker.state(self.clock.instant()).reopens_in;
                SourceError::BudgetExhausted { retry_after: pause.unwrap_or_default().max(retry_after) }
            }
            error => error,
        })
    }

    /// Whether it is to be called at all, by what this replica and the others know.
    async fn admit(&self) -> Result<Admission, SourceError> {
        let now = self.clock.instant();
        let admission = self.breaker.admit(now).map_err(rejection)?;
        let Some((reason, left)) = self.hold.heard(self.call.key_tag()).await else { return Ok(admission) };
        // That was another process, which may have had another key: a restart with a new one has to show.
        if reason == Reason::KeyRejected && !self.has_asked.load(Ordering::Relaxed) {
            return Ok(admission);
        }
        admission.cancelled();
        log(self.breaker.hold(now, reason, left));
        Err(rejection(Rejected { reason, retry_after: left }))
    }

    /// Tells the breaker what came of a call, and the other replicas what they should know.
    async fn settle(&self, admission: Admission, error: Option<SourceError>) {
        self.has_asked.store(true, Ordering::Relaxed);
        let now = self.clock.instant();
        let change = match error {
            // An unknown place is an answer.
            None | Some(SourceError::UnknownLocation) => admission.succeeded(now),
            Some(SourceError::BudgetExhausted { retry_after }) => admission.rate_limited(now, retry_after),
            Some(SourceError::RejectedKey) => admission.key_rejected(now),
            Some(SourceError::NoKey) => {
                admission.cancelled();
                return;
            }
            Some(error) => {
                tracing::warn!(outcome = error.as_str(), "the upstream gave no weather");
                admission.failed(now)
            }
        };
        log(change);
        match change {
            Change::Opened(reason, pause) => self.hold.tell(reason, pause, self.call.key_tag()).await,
            Change::Closed | Change::None => {}
        }
    }

    /// The upstream's key was replaced: what was said about the old one, to whichever replica, says nothing about it.
    pub fn key_replaced(&self) {
        self.has_asked.store(false, Ordering::Relaxed);
        self.breaker.cut_short(self.clock.instant(), Reason::KeyRejected);
    }

    /// How it stands with the upstream, for operators.
    pub fn report(&self) -> UpstreamReport {
        let breaker = self.breaker.state(self.clock.instant());
        let left = self.budget.left();
        UpstreamReport {
            key: self.call.is_ready(),
            breaker: BreakerReport {
                state: breaker.state.as_str(),
                reason: breaker.reason.map(Reason::as_str),
                retry_in_secs: breaker.reopens_in.map(whole_secs),
            },
            budget: BudgetReport {
                minute: WindowReport { limit: u64::from(self.limits.per_minute), left: u64::from(left.minute) },
                day: left.day.map(|left| WindowReport { limit: self.limits.per_day, left }),
                month: left.month.map(|left| WindowReport { limit: self.limits.per_month, left }),
                own_part_only: left.store_away || left.quiet,
            },
            adaptive_factor: left.thrift,
        }
    }
}

/// A permit for one call beside the service, out of the same budget: for `stratus check`.
///
/// # Errors
/// There is none left now.
pub async fn single_permit(budget: BudgetConfig, notes: Notebook) -> Result<Permit, SourceError> {
    let budget = Budget::start(budget, notes);
    budget.permit(Purpose::Renewal).await.map_err(|refused| refusal(&refused))
}

impl Source for Upstream {
    fn fetch<'a>(&'a self, query: &'a Query, purpose: Purpose) -> Fetching<'a> {
        Box::pin(self.ask(query, purpose))
    }

    fn thrift(&self) -> f64 {
        self.budget.thrift()
    }

    fn rejects_key(&self) -> bool {
        self.breaker.state(self.clock.instant()).reason == Some(Reason::KeyRejected)
    }

    fn is_short(&self) -> bool {
        self.budget.is_short()
    }

    fn refusal(&self, purpose: Purpose) -> Option<SourceError> {
        if !self.call.is_ready() {
            return Some(SourceError::NoKey);
        }
        let breaker = self.breaker.state(self.clock.instant());
        // When its pause is over somebody has to probe.
        if breaker.state != State::Admitting
            && let (Some(reason), Some(retry_after)) = (breaker.reason, breaker.reopens_in)
            && !retry_after.is_zero()
        {
            return Some(rejection(Rejected { reason, retry_after }));
        }
        let refused = self.budget.refusal(purpose)?;
        if let Purpose::Miss(_) = purpose {
            self.metrics.permit_refused(refused.reason.as_str());
        }
        Some(refusal(&refused))
    }
}

fn rejection(rejected: Rejected) -> SourceError {
    let retry_after = rejected.retry_after;
    match rejected.reason {
        Reason::Failing => SourceError::Paused { retry_after },
        Reason::RateLimited => SourceError::BudgetExhausted { retry_after },
        Reason::KeyRejected => SourceError::RejectedKey,
    }
}

fn refusal(refused: &Refused) -> SourceError {
    let retry_after = refused.retry_after;
    match refused.reason {
        RefusedBecause::Share => SourceError::OverShare { retry_after },
        _ => SourceError::BudgetExhausted { retry_after },
    }
}

/// Rounded up, as for callers.
fn whole_secs(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// One line when it changes, not one for each call.
fn log(change: Change) {
    let secs = |pause: Duration| pause.as_secs();
    match change {
        Change::None => {}
        Change::Closed => tracing::info!("the upstream answers again"),
        Change::Opened(Reason::Failing, pause) => {
            tracing::warn!(pause_secs = secs(pause), "the upstream keeps failing and is left alone for a while");
        }
        Change::Opened(Reason::RateLimited, pause) => tracing::error!(
            pause_secs = secs(pause),
            "the upstream says that our account has made too many calls (429): does something else use its key? \
             see upstream.budget_per_minute"
        ),
        Change::Opened(Reason::KeyRejected, pause) => tracing::error!(
            pause_secs = secs(pause),
            "the upstream refuses our key (401): replace upstream.api_key; a new key can take two hours to work"
        ),
    }
}
