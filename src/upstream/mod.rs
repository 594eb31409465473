//! The upstream and what stands before it: nobody calls it without a [`Permit`], and not while it should be left alone.
//!
//! 1. `breaker`: is it to be called at all? It is left alone while it fails, after a 429 and after a 401; then one probe
//!    at a time finds out. `hosts` has one for each host. `hold` tells the other replicas of a 429 or a 401, which are about
//!    the account.
//! 2. `budget`: is a call left of those that the plan gives the whole fleet, and for this purpose? That is the permit.
//! 3. `client`: the call, which uses the permit up. `openweather` is the only file that knows that API's paths, parameters
//!    and bodies.
//! 4. `keys`: which key the call is made with. If the upstream refuses it, the same question is put with the next one.
//! 5. `retries`: at most one more, if no answer came at all, with a permit of its own.
//! 6. `plans`: an endpoint that the plan of a key does not have is not asked with it, and nothing else is left alone for it.

mod breaker;
mod budget;
mod client;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod hold;
mod hosts;
mod keys;
mod openweather;
mod plans;
mod retries;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::reload::Live;
use crate::store::Notebook;
use crate::telemetry::{BreakerReport, BudgetReport, Metrics, UpstreamReport, WindowReport, trace};
use crate::weather::{Failure, Fetched, Fetching, Host, Purpose, Query, Shape, Source, SourceError, Words};
use breaker::{Change, Reason, Rejected, State};
use budget::{Budget, Refused, RefusedBecause};
pub use budget::{BudgetConfig, Permit};
pub use client::{Authorities, ClientConfig, Examination, OpenWeatherMap, UpstreamError};
use hold::Hold;
use hosts::{Hosts, Leave};
use keys::Which;
pub use keys::{Key, Keys};
use plans::{Plans, Without};
use retries::RetryBudget;

/// The upstream: how to reach it, and how often.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// How to reach it.
    pub client: ClientConfig,
    /// The key to ask with when there is none in the vault.
    pub api_key: Option<Live<SecretString>>,
    /// Without either key at start, make the weather up and say so.
    pub simulate_without_key: bool,
    /// How often it may be called.
    pub budget: BudgetConfig,
}

/// Something that can be called for weather, once for each permit.
pub trait Call: Send + Sync + 'static {
    /// Makes one call with this key.
    fn call<'a>(&'a self, query: &'a Query, key: &'a SecretString, permit: Permit) -> Fetching<'a>;
}

/// After this time there are as many calls as there ever are at once.
const A_MINUTE: Duration = Duration::from_mins(1);

/// Further keys that one question is put with at most after one that was refused: each is a call.
const MORE_KEYS: usize = 3;

/// Why a call gave no weather.
enum Failed {
    /// The key was refused, and there is another one.
    ThisKey,
    /// The key's plan does not have the endpoint: another one's may.
    ThisPlan(Option<Words>),
    Because(Failure),
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Self::Because(error.into())
    }
}

/// A guarded upstream.
pub struct Upstream {
    call: Arc<dyn Call>,
    keys: Keys,
    hosts: Hosts,
    budget: Arc<Budget>,
    limits: BudgetConfig,
    hold: Hold,
    /// Whether this process has called already.
    has_asked: AtomicBool,
    retries: RetryBudget,
    plans: Plans,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// Puts the guards before `call`; needs a Tokio runtime. The budget is counted in the store of `notes`, for all
    /// replicas that share it.
    pub fn new(call: Arc<dyn Call>, keys: Keys, budget: BudgetConfig, notes: Notebook, metrics: Arc<Metrics>) -> Self {
        let (limits, clock) = (budget, notes.clock.clone());
        let budget = Budget::start(limits, notes.clone());
        Self {
            call,
            keys,
            hosts: Hosts::new(),
            budget,
            limits,
            hold: Hold::new(notes),
            has_asked: AtomicBool::new(false),
            retries: RetryBudget::default(),
            plans: Plans::default(),
            clock,
            metrics,
        }
    }

    /// Asks, and once more if that may help.
    async fn ask(&self, query: &Query, purpose: Purpose) -> Result<Fetched, Failure> {
        self.heed_new_keys();
        let fetched = self.ask_with_each_key(query, purpose).await;
        // No answer came, or one from a gateway on the way: the question may be put again.
        if error_of(&fetched) == Some(SourceError::Unavailable) && self.retries.take() {
            sleep(retries::pause()).await;
            self.metrics.upstream_retried();
            // What the first attempt said is better than that there is no second one.
            return self.ask_with_each_key(query, purpose).await.map_err(|failure| match failure.error {
                SourceError::Paused { .. } | SourceError::BudgetExhausted { .. } | SourceError::OverShare { .. } => {
                    SourceError::Unavailable.into()
                }
                _ => failure,
            });
        }
        fetched
    }

    /// Asks with one key, and with others as long as the upstream refuses them.
    async fn ask_with_each_key(&self, query: &Query, purpose: Purpose) -> Result<Fetched, Failure> {
        let Without { keys: mut tried, words } = self.plans.without(query.endpoint(), self.clock.instant());
        let most = tried.len() + MORE_KEYS;
        let mut not_in_plan = (!tried.is_empty()).then_some(words);
        while tried.len() <= most
            && let Some(key) = self.keys.next(&tried)
        {
            tried.push(key.which());
            match self.attempt(query, purpose, &key, &tried).await {
                Ok(fetched) => {
                    self.plans.answered(query.endpoint(), &key.which());
                    return Ok(fetched);
                }
                Err(Failed::Because(failure)) => return Err(failure),
                Err(Failed::ThisKey) => {}
                Err(Failed::ThisPlan(words)) => {
                    self.plans.refused(query.endpoint(), key.which(), words.clone(), self.clock.instant());
                    not_in_plan = Some(words);
                }
            }
        }
        if let Some(words) = not_in_plan {
            return Err(Failure { error: SourceError::NotInPlan, words });
        }
        Err(if tried.is_empty() { SourceError::NoKey } else { SourceError::RejectedKey }.into())
    }

    /// The permits for all that the question is: one in nearly every case.
    async fn permits(&self, query: &Query, purpose: Purpose) -> Result<Permit, SourceError> {
        // No permit can be given back: a question for which there are not enough would take them from all others.
        if query.calls() > 1 && self.calls_left() < query.calls() as u64 {
            self.metrics.permit_refused(RefusedBecause::Minute.as_str());
            return Err(SourceError::BudgetExhausted { retry_after: A_MINUTE });
        }
        let asked = trace::child("upstream.permit");
        self.budget.permits(purpose, query.calls()).await.map_err(|refused| {
            self.metrics.permit_refused(refused.reason.as_str());
            asked.fail(refused.reason.as_str());
            refusal(&refused)
        })
    }

    /// How many there are at most, now, of the minute, the day and the month.
    fn calls_left(&self) -> u64 {
        let left = self.budget.left();
        [left.day, left.month].into_iter().flatten().fold(u64::from(left.minute), u64::min)
    }

    /// One call with `key`, the last of the `tried` ones.
    async fn attempt(&self, query: &Query, purpose: Purpose, key: &Key, tried: &[Which]) -> Result<Fetched, Failed> {
        let breaker = self.hosts.api().state(self.clock.instant()).state;
        trace::current().set("stratus.upstream.breaker", breaker.as_str());
        let admission = self.admit(query.endpoint().host, key, tried).await?;
        let permit = match self.permits(query, purpose).await {
            Ok(permit) => permit,
            Err(refused) => {
                admission.cancelled();
                return Err(refused.into());
            }
        };
        self.retries.called();
        let began = Instant::now();
        let fetched = self.call.call(query, key.secret(), permit).await;
        let error = error_of(&fetched);
        self.metrics.upstream_called(error.map_or("ok", SourceError::as_str), began.elapsed());
        self.has_asked.store(true, Ordering::Relaxed);
        match error {
            Some(SourceError::RejectedKey) if self.has_better(key, tried) => {
                admission.cancelled();
                return Err(Failed::ThisKey);
            }
            Some(SourceError::NotInPlan) => {
                admission.cancelled();
                return Err(Failed::ThisPlan(fetched.err().and_then(|failure| failure.words)));
            }
            _ if is_of_the_question(query, &fetched) => admission.cancelled(),
            _ => self.settle(admission, error, key).await,
        }
        fetched.map_err(|mut failure| {
            // As long as it is left alone for it, which may be a little longer than it asked for.
            if let SourceError::BudgetExhausted { retry_after } = &mut failure.error {
                let pause = self.hosts.api().state(self.clock.instant()).reopens_in;
                *retry_after = pause.unwrap_or_default().max(*retry_after);
            }
            Failed::Because(failure)
        })
    }

    /// The upstream refused `key`, here or to another replica: whether there is one that it may take.
    fn has_better(&self, key: &Key, tried: &[Which]) -> bool {
        self.keys.refused(key);
        self.keys.has_other(tried)
    }

    /// Whether it is to be called with this key at all, by what this replica and the others know.
    async fn admit(&self, host: Host, key: &Key, tried: &[Which]) -> Result<Leave, Failed> {
        let now = self.clock.instant();
        let admission = self.hosts.admit(host, now).map_err(rejection)?;
        let Some((reason, left)) = self.hold.heard(key.tag()).await else { return Ok(admission) };
        // That was another process, which may have had another key: a restart with a new one has to show.
        if reason == Reason::KeyRejected && !self.has_asked.load(Ordering::Relaxed) {
            return Ok(admission);
        }
        admission.cancelled();
        if reason == Reason::KeyRejected && self.has_better(key, tried) {
            return Err(Failed::ThisKey);
        }
        log(self.hosts.api().hold(now, reason, left));
        Err(rejection(Rejected { reason, retry_after: left }).into())
    }

    /// Tells the breaker what came of a call, and the other replicas what they should know.
    async fn settle(&self, admission: Leave, error: Option<SourceError>, key: &Key) {
        let now = self.clock.instant();
        let change = match error {
            // An unknown place is an answer.
            None | Some(SourceError::UnknownLocation) => {
                if admission.is_with_key() {
                    self.keys.taken(key);
                }
                admission.succeeded(now)
            }
            Some(SourceError::BudgetExhausted { retry_after }) => admission.rate_limited(now, retry_after),
            Some(SourceError::RejectedKey) => admission.key_rejected(now),
            Some(error) => {
                tracing::warn!(outcome = error.as_str(), "the upstream gave no weather");
                admission.failed(now)
            }
        };
        log(change);
        match change {
            Change::Opened(reason, pause) => self.hold.tell(reason, pause, key.tag()).await,
            Change::Closed | Change::None => {}
        }
    }

    /// What was said about other keys, to whichever replica, says nothing about a new one: it is tried at once.
    fn heed_new_keys(&self) {
        if self.keys.has_new() {
            self.plans.forget();
            self.has_asked.store(false, Ordering::Relaxed);
            self.hosts.api().cut_short(self.clock.instant(), Reason::KeyRejected);
        }
    }

    /// How it stands with the upstream, for operators.
    pub fn report(&self) -> UpstreamReport {
        self.heed_new_keys();
        let breaker = self.hosts.api().state(self.clock.instant());
        let left = self.budget.left();
        UpstreamReport {
            key: self.keys.any() && !self.keys.is_simulated(),
            simulated: self.keys.is_simulated(),
            credentials: self.keys.report(),
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
        self.hosts.api().state(self.clock.instant()).reason == Some(Reason::KeyRejected)
    }

    fn is_short(&self) -> bool {
        self.budget.is_short()
    }

    fn refusal(&self, purpose: Purpose) -> Option<SourceError> {
        if !self.keys.any() {
            return Some(SourceError::NoKey);
        }
        self.heed_new_keys();
        let breaker = self.hosts.api().state(self.clock.instant());
        // When its pause is over somebody has to probe.
        if breaker.state != State::Admitting
            && let (Some(reason), Some(retry_after)) = (breaker.reason, breaker.reopens_in)
            && !retry_after.is_zero()
        {
            trace::current().set("stratus.upstream.paused", reason.as_str());
            return Some(rejection(Rejected { reason, retry_after }));
        }
        let refused = self.budget.refusal(purpose)?;
        trace::current().set("stratus.upstream.refused", refused.reason.as_str());
        if let Purpose::Miss(_) = purpose {
            self.metrics.permit_refused(refused.reason.as_str());
        }
        Some(refusal(&refused))
    }
}

fn error_of(fetched: &Result<Fetched, Failure>) -> Option<SourceError> {
    fetched.as_ref().err().map(|failure| failure.error)
}

/// Whether a failure says nothing about the upstream, which works: it told an error of its own in a 200, or did not answer in
/// a page, for which callers may say what they like, as it has to be. To be left alone for that, somebody would only have to
/// ask for it.
fn is_of_the_question(query: &Query, fetched: &Result<Fetched, Failure>) -> bool {
    let Err(failure) = fetched else { return false };
    let told = failure.words.as_ref().is_some_and(|words| words.status == 200);
    match failure.error {
        SourceError::Failed | SourceError::InvalidResponse => told || query.endpoint().shape == Shape::Pages,
        _ => false,
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
            "the upstream refuses our last key (401): put another one with `stratus credential put openweathermap`, or \
             replace upstream.api_key; a new key can take two hours to work"
        ),
    }
}
