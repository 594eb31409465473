//! `stratus check`: looks at everything the service needs and says, a line each, what is wrong and how to fix it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::pem::Pem;

use super::paint::{Paint, Tone};
use super::{Failed, faulty, say};
use crate::app::Listeners;
use crate::clock::Clock;
use crate::config::{Config, Sources};
use crate::credentials::Vault;
use crate::store::{Advice, Notebook, RedisConfig, Store, StoreConfig, StoreState, examine_redis};
use crate::telemetry::trace::{Unreachable, examine};
use crate::telemetry::{Metrics, TraceConfig};
use crate::upstream::{Examination, Key, Keys, OpenWeatherMap, single_permit};
use crate::weather::SourceError;

/// A certificate that ends sooner is reported.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// Seconds of a day.
const DAY_SECS: i64 = 86_400;
/// A clock that is further off makes ages and expiry wrong. HTTP dates have a resolution of a second.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// What a look gave: good, or bad with what to do.
type Verdict = Result<String, Advice>;

/// Prints as it goes, and remembers whether anything was bad.
struct Report {
    failed: bool,
    paint: Paint,
}

impl Report {
    fn add(&mut self, subject: &str, verdict: Verdict) {
        match verdict {
            Ok(what) => say(format!("{}    {subject}: {what}", self.paint.on(Tone::Good, "ok"))),
            Err(Advice { what, fix }) => {
                self.failed = true;
                let (fail, fix) = (self.paint.on(Tone::Bad, "FAIL"), self.paint.on(Tone::Fix, &fix));
                say(format!("{fail}  {subject}: {what}; {fix}"));
            }
        }
    }

    /// What is not bad, but good to know.
    fn note(&self, text: &str) {
        say(format!("{}  {text}", self.paint.on(Tone::Warning, "note")));
    }
}

pub(super) async fn check(sources: Sources, open: &[String]) -> Result<(), Failed> {
    let config = Config::load(&sources).map_err(|faults| faulty(&faults))?;
    let mut report = Report { failed: false, paint: Paint::of_stdout() };
    let files = match sources.files.len() {
        0 => "the defaults and the environment".to_owned(),
        1 => "the defaults, 1 file and the environment".to_owned(),
        count => format!("the defaults, {count} files and the environment"),
    };
    report.add("configuration", Ok(format!("{files} fit together, secret files are closed to other users")));
    for warning in &config.warnings {
        report.note(&format!("configuration: {warning}"));
    }
    for what in open {
        report.note(&format!("this process: {what}"));
    }
    report.add("addresses", addresses(&config).await);
    if let Some(tls) = &config.server.tls {
        report.add("server.tls_cert_file", validity(&tls.files.certificate, SystemTime::now()));
    }
    let ids = config.keyring.ids();
    report.add("encryption keys", Ok(format!("{} ({} seals)", ids.len(), ids[0])));
    consumers(&mut report, &config);
    match &config.store {
        StoreConfig::Memory | StoreConfig::Shared(_) => {
            report.add("store", Ok("memory: records end with the process".to_owned()))
        }
        StoreConfig::Redis(redis) => {
            certificates(&mut report, redis);
            for finding in examine_redis(redis).await {
                report.add(&finding.subject, finding.verdict);
                if let Some(Advice { what, fix }) = finding.note {
                    let fix = report.paint.on(Tone::Fix, &fix);
                    report.note(&format!("{}: {what}; {fix}", finding.subject));
                }
            }
        }
    }
    if let Some(traces) = &config.traces {
        report.add("telemetry.otlp_endpoint", collector(traces).await);
    }
    upstream(&mut report, config).await;
    if report.failed { Err(Failed(1)) } else { Ok(()) }
}

fn consumers(report: &mut Report, config: &Config) {
    let Some(consumers) = &config.access.consumers else { return };
    let (consumers, now) = (consumers.load(), SystemTime::now());
    let now_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().try_into().unwrap_or(u64::MAX);
    if consumers.is_empty() && config.access.required {
        let fix = "add an entry that `stratus consumer new NAME` prints, or set access.required = false";
        return report.add("consumers", Err(advice("nobody has a key, and nobody is answered without one", fix)));
    }
    report.add("consumers", Ok(format!("{} in the file", consumers.len())));
    let Some((name, end)) = consumers.next_end(now_ms) else { return };
    let left = Duration::from_millis(end - now_ms);
    if left < RENEW_BEFORE {
        let days = left.as_secs() / 86_400;
        report.note(&format!(
            "consumers: a key of {name} ends in {days} days; give it a second one with `stratus consumer new`"
        ));
    }
}

async fn addresses(config: &Config) -> Verdict {
    let (public, admin) = (config.server.listen, config.admin.listen);
    match Listeners::open(Some(public), Some(admin)).await {
        Ok(_) => Ok(format!("{public} and {admin} are free")),
        Err(faults) => {
            let what = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Err(advice(what, "if that is a running Stratus, all is well"))
        }
    }
}

fn certificates(report: &mut Report, redis: &RedisConfig) {
    let client = redis.files.client.as_ref().map(|pair| ("redis.cert_file", &pair.certificate));
    for (key, path) in [("redis.ca_file", &redis.files.ca_file)].into_iter().chain(client) {
        report.add(key, validity(path, SystemTime::now()));
    }
}

/// Looks at the dates of every certificate in a PEM file.
fn validity(path: &Path, now: SystemTime) -> Verdict {
    let unusable = || advice(format!("{} holds no certificate", path.display()), "give a PEM file");
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let bytes = fs::read(path).map_err(|_| unusable())?;
    let mut ends = Vec::new();
    for pem in Pem::iter_from_buffer(&bytes) {
        let pem = pem.map_err(|_| unusable())?;
        let certificate = pem.parse_x509().map_err(|_| unusable())?;
        let validity = certificate.validity();
        if now < validity.not_before.timestamp() {
            let what = format!("{} is not valid before {}", path.display(), validity.not_before);
            return Err(advice(what, "check this machine's clock"));
        }
        ends.push((validity.not_after.timestamp(), validity.not_after.to_string()));
    }
    let (end, date) = ends.into_iter().min().ok_or_else(unusable)?;
    let renew_before = i64::try_from(RENEW_BEFORE.as_secs()).unwrap_or(i64::MAX);
    if now >= end {
        Err(advice(format!("{} expired on {date}", path.display()), "renew it"))
    } else if end - now < renew_before {
        Err(advice(format!("{} expires on {date}", path.display()), "renew it now"))
    } else {
        Ok(format!("valid until {date} ({} days)", (end - now) / DAY_SECS))
    }
}

async fn collector(traces: &TraceConfig) -> Verdict {
    let Err(error) = examine(traces).await else { return Ok("the collector takes traces".to_owned()) };
    let fix = match error {
        Unreachable::Status(401 | 403) => "no credential is sent: name a collector of yours that adds it on the way",
        Unreachable::Status(_) => "give the base address of OTLP over HTTP, usually of port 4318",
        Unreachable::Away | Unreachable::Slow => {
            "is it running, and is that OTLP over HTTP (usually port 4318; 4317 is gRPC's)?"
        }
    };
    Err(advice(format!("the collector {error}"), fix))
}

async fn upstream(report: &mut Report, config: Config) {
    let client = match OpenWeatherMap::new(config.upstream.client.clone(), Clock::system()) {
        Err(error) => return report.add("upstream", Err(advice(error.to_string(), "a PEM file of those to trust"))),
        Ok(client) => client,
    };
    let simulates = config.upstream.simulate_without_key;
    let (key, examined) = ask(&client, config).await;
    let verdict = match &examined {
        Ok(seen) if seen.is_weather => Ok("reachable, and it takes the key".to_owned()),
        Ok(seen) if seen.status == 200 => Err(advice(
            "answers with something that is not weather",
            "is upstream.base_url right, or is a proxy in between?",
        )),
        Ok(seen) if seen.status == 401 => Err(refused(key.as_ref())),
        Ok(seen) if seen.status == 429 => Err(advice(
            "the key's calls are used up",
            "wait, or get a plan with more: https://openweathermap.org/price",
        )),
        Ok(seen) => Err(advice(format!("answers with status {}", seen.status), "is upstream.base_url right?")),
        Err(SourceError::NoKey) if simulates => {
            Ok("there is no key, so the weather is SIMULATED; for the real one give \
             upstream.api_key_file: https://openweathermap.org/appid"
                .to_owned())
        }
        Err(SourceError::NoKey) => Err(advice(
            "there is no key to ask with",
            "give upstream.api_key_file; keys: https://openweathermap.org/appid",
        )),
        Err(SourceError::BudgetExhausted { .. }) => Ok("not asked: the calls of the budget are used up now".to_owned()),
        Err(SourceError::Timeout) => {
            Err(advice("does not answer in time", "see upstream.connect_timeout_ms and upstream.timeout_ms"))
        }
        Err(_) => Err(advice("cannot be reached", "check upstream.base_url, upstream.ca_file and the network")),
    };
    report.add("upstream", verdict);
    match examined.ok().and_then(|seen| seen.date) {
        Some(date) => report.add("clock", clock(&date, SystemTime::now())),
        None => report.note("clock: not compared, for want of an answer from upstream with a date"),
    }
}

fn refused(key: Option<&Key>) -> Advice {
    match key {
        Some(Key::Entry(entry)) => advice(
            format!("OpenWeatherMap refuses a key of the vault, {} ({})", entry.id, entry.reference),
            "put another one with `stratus credential put`; a new key works after up to two hours",
        ),
        _ => advice(
            "OpenWeatherMap refuses the key",
            "correct upstream.api_key_file; a new key works after up to two hours",
        ),
    }
}

/// Makes one call, out of the budget of the fleet, with the key that the service would use.
async fn ask(client: &OpenWeatherMap, config: Config) -> (Option<Key>, Result<Examination, SourceError>) {
    let clock = Clock::system();
    let store = Store::start(config.store, clock.clone(), Metrics::new());
    let notes = Notebook { store, keyring: config.keyring, clock: clock.clone() };
    // An error would mean that the store is gone, and it is held here.
    let _ = notes.store.state().wait_for(|state| *state != StoreState::Connecting).await;
    let vault = Vault::start(notes.clone());
    // What is wrong with the store is told by its own line.
    let _ = vault.list().await;
    let Some(key) = Keys::new(Some(vault), config.upstream.api_key, clock).first() else {
        return (None, Err(SourceError::NoKey));
    };
    let examined = match single_permit(config.upstream.budget, notes).await {
        Ok(permit) => client.examine(key.secret(), permit).await,
        Err(error) => Err(error),
    };
    (Some(key), examined)
}

fn clock(date: &str, now: SystemTime) -> Verdict {
    let Ok(theirs) = httpdate::parse_http_date(date) else {
        return Ok("not compared: the upstream's date is not one".to_owned());
    };
    let off = now.duration_since(theirs).unwrap_or_else(|error| error.duration());
    if off > CLOCK_TOLERANCE {
        Err(advice(format!("is {} s from the upstream's", off.as_secs()), "turn on time synchronisation"))
    } else {
        Ok("agrees with the upstream's".to_owned())
    }
}

fn advice(what: impl Into<String>, fix: &str) -> Advice {
    Advice { what: what.into(), fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told() {
        let date = "Sat, 21 Nov 2026 12:00:00 GMT";
        let then = httpdate::parse_http_date(date).unwrap();
        assert!(clock(date, then + Duration::from_secs(59)).is_ok());
        assert!(clock(date, then + Duration::from_secs(61)).is_err());
        assert!(clock(date, then - Duration::from_secs(3_600)).unwrap_err().what.contains("3600 s"));
    }

    #[test]
    fn certificates_are_told_before_they_end_and_after() {
        let dir = tempfile::tempdir().unwrap();
        crate::provision::init(&dir.path().join("s"), None, &[]).unwrap();
        let path = dir.path().join("s/stratus.crt");
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        assert!(validity(&path, now).unwrap().ends_with("(824 days)"));
        assert!(validity(&path, now - 2 * day).unwrap_err().what.contains("not valid before"));
        assert!(validity(&path, now + 800 * day).unwrap_err().what.contains("expires on"));
        assert!(validity(&path, now + 900 * day).unwrap_err().what.contains("expired on"));
        fs::write(&path, "nothing").unwrap();
        assert!(validity(&path, now).unwrap_err().what.contains("no certificate"));
    }
}
