//! How it stands with the upstream and the encryption keys: what `/status` says and what the gauges show.

use serde::Serialize;

/// How it stands with the upstream.
#[derive(Debug, Clone, Serialize)]
pub struct UpstreamReport {
    /// There is a key to ask OpenWeatherMap with.
    pub key: bool,
    /// The weather is made up by this process.
    pub simulated: bool,
    /// Whether it is called at all.
    pub breaker: BreakerReport,
    /// How many calls are left.
    pub budget: BudgetReport,
    /// By how much more a renewal has to be worth than when there are calls enough: 1 when there are.
    pub adaptive_factor: f64,
    /// What is in the vault; beside the upstream in `/status`.
    #[serde(skip)]
    pub credentials: Vec<CredentialReport>,
}

/// A credential of the vault, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CredentialReport {
    /// What it is called.
    pub id: String,
    /// What tells its secret from others, and nothing else of it.
    pub reference: String,
    /// Seconds until it ends.
    pub expires_in_secs: u64,
    /// `in_use`, `put_aside` (refused a moment ago) or `unused` (nothing here uses one of that id).
    pub state: &'static str,
}

/// Whether the upstream is called at all.
#[derive(Debug, Clone, Serialize)]
pub struct BreakerReport {
    /// `admitting`, `rejecting` or `probing`.
    pub state: &'static str,
    /// Why it does not admit: `failing`, `rate_limited` or `key_rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Seconds until the next probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_secs: Option<u64>,
}

/// How many calls are left to the fleet, as far as this replica knows.
#[derive(Debug, Clone, Serialize)]
pub struct BudgetReport {
    /// Of the last 60 seconds.
    pub minute: WindowReport,
    /// Of the day (UTC); `None` if it has no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<WindowReport>,
    /// Of the calendar month (UTC); `None` if it has no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<WindowReport>,
    /// Only this replica's own part can be used: the store is away, or has lost its counts.
    pub own_part_only: bool,
}

/// One window of the budget.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WindowReport {
    /// Calls that the whole fleet may make in it.
    pub limit: u64,
    /// How many of them are left.
    pub left: u64,
}

impl UpstreamReport {
    /// The windows that have a limit, by name.
    pub fn windows(&self) -> impl Iterator<Item = (&'static str, WindowReport)> {
        let budget = &self.budget;
        [("minute", Some(budget.minute)), ("day", budget.day), ("month", budget.month)]
            .into_iter()
            .filter_map(|(name, window)| Some((name, window?)))
    }
}

/// What an encryption key is used for. The counts are of this process, and of records only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// Its id.
    pub id: String,
    /// Whether it is the one that seals.
    pub seals: bool,
    /// Records that were sealed with it.
    pub records_sealed: u64,
    /// Records that were opened with it.
    pub records_opened: u64,
    /// Seconds until the last record ends that any replica has sealed or opened with it; 0 if there is none any more.
    pub last_record_ends_in_secs: u64,
}

/// A certificate that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateReport {
    /// Which one: `https`, `redis_client`, `redis_authority` or `redis_server`.
    pub name: &'static str,
    /// When it ends, Unix seconds.
    pub ends_at_secs: u64,
}

/// When consumers are without a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerEnds {
    /// The next end of a consumer's last key, Unix seconds; `None` if none of them ends.
    pub next_end_secs: Option<u64>,
    /// How many consumers' last keys end soon, or have ended.
    pub ending: usize,
}
