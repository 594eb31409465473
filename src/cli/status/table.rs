//! The table, row by row: what a look at a service should answer, the bad in red.

use serde_json::Value;

use super::super::paint::{Paint, Tone, is_shown};
use super::figures::{Period, bytes, duration, span};
use super::sample::Sample;

/// Where what is said begins.
const INDENT: usize = 11;
/// The characters of a bar.
const BAR: u64 = 20;
/// A window of the budget that is fuller than this, in percent, is worth a look.
const NEARLY: u64 = 80;

/// A row: what it is about, and what is said of it.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    subject: &'static str,
    parts: Vec<(Tone, String)>,
}

impl Row {
    fn new(subject: &'static str, tone: Tone, text: impl Into<String>) -> Self {
        Self { subject, parts: vec![(tone, text.into())] }
    }

    fn and(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.parts.push((tone, text.into()));
        self
    }

    /// Its lines of at most `columns`: words that do not fit stand on further ones.
    pub(super) fn lines(&self, columns: usize, paint: Paint) -> Vec<String> {
        let room = columns.saturating_sub(INDENT).max(1);
        let mut line = paint.on(Tone::Subject, &format!("{:INDENT$}", self.subject));
        let (mut lines, mut taken) = (Vec::new(), 0);
        for (tone, text) in &self.parts {
            // Whatever others have written into a reason or a name, a terminal must not obey it.
            for word in text.split_whitespace() {
                let word: String = word.chars().filter(|character| is_shown(*character)).take(room).collect();
                let length = word.chars().count();
                if taken > 0 && taken + 1 + length > room {
                    lines.push(std::mem::replace(&mut line, " ".repeat(INDENT)));
                    taken = 0;
                }
                if taken > 0 {
                    line.push(' ');
                    taken += 1;
                }
                line.push_str(&paint.on(*tone, &word));
                taken += length;
            }
        }
        lines.push(line);
        lines
    }
}

/// The service that cannot be reached.
pub(super) fn away(address: &str, why: &str) -> Vec<Row> {
    vec![
        Row::new("stratus", Tone::Plain, format!("at {address}")),
        Row::new("state", Tone::Bad, "away:").and(Tone::Plain, why),
    ]
}

/// All rows of a sample; rates are of the time since the one before.
pub(super) fn rows(address: &str, now: &Sample, before: Option<&Sample>) -> Vec<Row> {
    let (status, period) = (&now.status, Period::new(now, before));
    let version = status["version"].as_str().unwrap_or("?");
    let uptime = span(status["uptime_secs"].as_u64().unwrap_or(0));
    let mut rows = vec![
        Row::new("stratus", Tone::Plain, format!("{version} at {address}, up {uptime}")),
        state(status),
        requests(&period),
        latency(&period),
        answers(&period),
        upstream(status, &period),
    ];
    rows.extend(["minute", "day", "month"].into_iter().filter_map(|name| window(name, &status["upstream"]["budget"])));
    rows.extend([
        store(&status["store"]),
        Row::new(
            "memory",
            Tone::Plain,
            format!("{}, {}", counted(now.counts.memory_entries, "entry", "entries"), bytes(now.counts.memory_bytes)),
        ),
        oldest(status),
        keys(&status["keys"]),
        credentials(&status["credentials"]),
        files(&status["files"]),
    ]);
    rows
}

/// In a word, and what is wrong; the rows below say more.
fn state(status: &Value) -> Row {
    if status["stopping"] == true {
        return Row::new("state", Tone::Bad, "stopping");
    }
    let upstream = &status["upstream"];
    let refused = refused(&status["files"]);
    let mut wrong = Vec::new();
    if status["store"]["state"] == "down" {
        wrong.push("the store is down");
    }
    if upstream["key"] == false && upstream["simulated"] == false {
        wrong.push("there is no key for the upstream");
    }
    match upstream["breaker"]["state"].as_str() {
        Some("rejecting") => wrong.push("the upstream is left alone"),
        Some("probing") => wrong.push("the upstream is being probed"),
        _ => {}
    }
    if !refused.is_empty() {
        wrong.push("a file was refused");
    }
    if wrong.is_empty() {
        Row::new("state", Tone::Good, "ready")
    } else {
        Row::new("state", Tone::Warning, "degraded:").and(Tone::Plain, wrong.join(", "))
    }
}

fn requests(period: &Period) -> Row {
    let rate = period.rate().map_or_else(|| "none yet".to_owned(), |rate| format!("{rate:.1}/s"));
    let hits = period.hits().map_or_else(|| "nothing asked".to_owned(), |percent| format!("{percent:.1} % hits"));
    let of = if period.whole {
        format!("({:.0} since the start)", period.requests)
    } else {
        format!("(last {:.1} s)", period.secs)
    };
    Row::new("requests", Tone::Plain, format!("{rate}, {hits} {of}"))
}

fn latency(period: &Period) -> Row {
    let text = match (period.quantile(0.5), period.quantile(0.99)) {
        (Some(half), Some(nearly_all)) => {
            format!("p50 up to {}, p99 up to {}", duration(half), duration(nearly_all))
        }
        _ => "no request ended".to_owned(),
    };
    Row::new("latency", Tone::Plain, text)
}

fn answers(period: &Period) -> Row {
    let kinds = period.answers.iter().filter(|(_, count)| **count > 0.0);
    let text = kinds.map(|(kind, count)| format!("{kind} {count:.0}")).collect::<Vec<_>>().join(", ");
    let failed = period.answers.get("failed").is_some_and(|count| *count > 0.0);
    let text = if text.is_empty() { "none".to_owned() } else { text };
    Row::new("answers", if failed { Tone::Warning } else { Tone::Plain }, text)
}

fn upstream(status: &Value, period: &Period) -> Row {
    let upstream = &status["upstream"];
    let breaker = &upstream["breaker"];
    let state = breaker["state"].as_str().unwrap_or("?");
    let mut row = match (upstream["simulated"] == true, upstream["key"] == true) {
        (true, _) => Row::new("upstream", Tone::Warning, "simulated,"),
        (false, true) => Row::new("upstream", Tone::Plain, "OpenWeatherMap,"),
        (false, false) => Row::new("upstream", Tone::Bad, "no key: give upstream.api_key_file,"),
    };
    row = row.and(if state == "admitting" { Tone::Good } else { Tone::Bad }, state);
    if let Some(reason) = breaker["reason"].as_str() {
        row = row.and(Tone::Plain, format!("({})", reason.replace('_', " ")));
    }
    if let Some(secs) = breaker["retry_in_secs"].as_u64() {
        row = row.and(Tone::Plain, format!("again in {}", span(secs)));
    }
    let of = if period.whole { "since the start" } else { "just now" };
    row.and(Tone::Plain, format!("· {} {of}", counted(period.calls, "call", "calls")))
}

/// A number of things; they are whole.
fn counted(number: f64, one: &str, more: &str) -> String {
    format!("{number:.0} {}", if number == 1.0 { one } else { more })
}

/// How much of a window of the budget is used.
fn window(name: &'static str, budget: &Value) -> Option<Row> {
    let window = &budget[name];
    let (limit, left) = (window["limit"].as_u64()?, window["left"].as_u64()?);
    let used = limit.saturating_sub(left);
    let percent = (used * 100).checked_div(limit).unwrap_or(100);
    let filled = (percent * BAR / 100).min(BAR);
    let bar: String = (0..BAR).map(|place| if place < filled { '#' } else { '.' }).collect();
    let tone = match percent {
        100.. => Tone::Bad,
        NEARLY.. => Tone::Warning,
        _ => Tone::Good,
    };
    let subject = match name {
        "minute" => "  minute",
        "day" => "  day",
        _ => "  month",
    };
    let row = Row::new(subject, tone, format!("[{bar}]")).and(Tone::Plain, format!("{used} of {limit} calls"));
    let own_part = name == "minute" && budget["own_part_only"] == true;
    Some(if own_part { row.and(Tone::Warning, "(this replica's part only)") } else { row })
}

fn store(store: &Value) -> Row {
    let text = |name: &str| store[name].as_str().unwrap_or("?");
    let kind = format!("{}:", text("kind"));
    match text("state") {
        "down" => Row::new("store", Tone::Plain, kind)
            .and(Tone::Bad, "down,")
            .and(Tone::Plain, format!("{};", text("reason")))
            .and(Tone::Fix, text("fix")),
        "up" => Row::new("store", Tone::Plain, kind).and(Tone::Good, "up"),
        other => Row::new("store", Tone::Plain, kind).and(Tone::Warning, other),
    }
}

fn oldest(status: &Value) -> Row {
    match status["oldest_answer_age_secs"].as_u64() {
        None | Some(0) => Row::new("stale", Tone::Plain, "none given of late"),
        Some(secs) => Row::new("stale", Tone::Warning, format!("the oldest answer of late was {} old", span(secs))),
    }
}

fn keys(keys: &Value) -> Row {
    let ids = keys.as_array().into_iter().flatten().filter_map(|key| {
        let id = key["id"].as_str()?;
        Some(if key["seals"] == true { format!("{id} seals") } else { format!("{id} opens") })
    });
    Row::new("keys", Tone::Plain, ids.collect::<Vec<_>>().join(", "))
}

fn credentials(credentials: &Value) -> Row {
    let all: Vec<_> = credentials.as_array().into_iter().flatten().collect();
    let tone = if all.iter().any(|entry| entry["state"] == "put_aside") { Tone::Warning } else { Tone::Plain };
    let told = all.iter().map(|entry| {
        let (id, state) = (entry["id"].as_str().unwrap_or("?"), entry["state"].as_str().unwrap_or("?"));
        format!("{id} {}, ends in {}", state.replace('_', " "), span(entry["expires_in_secs"].as_u64().unwrap_or(0)))
    });
    let text = if all.is_empty() { "no credentials".to_owned() } else { told.collect::<Vec<_>>().join("; ") };
    Row::new("vault", tone, text)
}

/// The settings whose file is not used as it is, with the reason.
fn refused(files: &Value) -> Vec<String> {
    let states = files.as_object().into_iter().flatten().filter(|(_, file)| file["state"] == "refused");
    let refused = states.map(|(setting, file)| format!("{setting}: {}", file["reason"].as_str().unwrap_or("?")));
    refused.collect()
}

fn files(files: &Value) -> Row {
    let refused = refused(files);
    match refused.is_empty() {
        true => Row::new("files", Tone::Plain, "all are used as they are"),
        false => {
            Row::new("files", Tone::Bad, format!("{} refused,", refused.len())).and(Tone::Plain, refused.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::sample::Counts;
    use super::*;
    use serde_json::json;

    fn sample(change: impl FnOnce(&mut Value)) -> Sample {
        let mut status = json!({
            "version": "0.1.0", "uptime_secs": 11_520, "stopping": false,
            "store": {"kind": "redis", "state": "up"},
            "credentials": [],
            "upstream": {
                "key": true, "simulated": false, "breaker": {"state": "admitting"},
                "budget": {"minute": {"limit": 60, "left": 48}, "own_part_only": false},
            },
            "keys": [{"id": "2", "seals": true}, {"id": "1", "seals": false}],
            "files": {"admin.token_file": {"state": "in_use"}},
            "oldest_answer_age_secs": 0,
        });
        change(&mut status);
        Sample { at: Instant::now(), status, counts: Counts::default() }
    }

    fn shown(columns: usize, change: impl FnOnce(&mut Value)) -> String {
        let rows = rows("127.0.0.1:3001", &sample(change), None);
        rows.iter().flat_map(|row| row.lines(columns, Paint::none())).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_well_is_told_in_a_row_each() {
        let table = shown(80, |_| {});
        for row in [
            "stratus    0.1.0 at 127.0.0.1:3001, up 3 h 12 min",
            "state      ready",
            "upstream   OpenWeatherMap, admitting · 0 calls since the start",
            "  minute   [####................] 12 of 60 calls",
            "store      redis: up",
            "keys       2 seals, 1 opens",
        ] {
            assert!(table.lines().any(|line| line == row), "{row}:\n{table}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_reason_and_fix() {
        let down = json!({"kind": "redis", "state": "down", "reason": "it refuses the login", "fix": "see redis.password_file"});
        let breaker = json!({"state": "rejecting", "reason": "key_rejected", "retry_in_secs": 90});
        let table = shown(100, |status| {
            status["store"] = down;
            status["upstream"]["breaker"] = breaker;
            status["upstream"]["budget"]["minute"]["left"] = 0.into();
            status["upstream"]["budget"]["own_part_only"] = true.into();
            status["oldest_answer_age_secs"] = 700.into();
            status["files"]["admin.token_file"] = json!({"state": "refused", "reason": "it is empty"});
            status["credentials"] = json!([{"id": "openweathermap", "state": "put_aside", "expires_in_secs": 59}]);
        });
        for row in [
            "state      degraded: the store is down, the upstream is left alone, a file was refused",
            "upstream   OpenWeatherMap, rejecting (key rejected) again in 1 min 30 s · 0 calls since the start",
            "  minute   [####################] 60 of 60 calls (this replica's part only)",
            "store      redis: down, it refuses the login; see redis.password_file",
            "stale      the oldest answer of late was 11 min 40 s old",
            "vault      openweathermap put aside, ends in 59 s",
            "files      1 refused, admin.token_file: it is empty",
        ] {
            assert!(table.lines().any(|line| line == row), "{row}:\n{table}");
        }
        assert!(shown(80, |status| status["stopping"] = true.into()).contains("state      stopping"));
        assert!(
            shown(80, |status| status["upstream"]["key"] = false.into()).contains("no key: give upstream.api_key_file")
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_nothing_in_it_is_obeyed() {
        let reason = format!("\u{1b}[2J{} \u{7}{}", "x".repeat(200), "word ".repeat(40));
        for columns in [12, 40, 60, 80, 200] {
            let table = shown(columns, |status| {
                status["store"] = json!({"kind": "redis", "state": "down", "reason": reason, "fix": reason});
            });
            assert!(table.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{table}");
            assert!(!table.contains('\u{1b}') && !table.contains('\u{7}'));
        }
    }

    #[test]
    fn whatever_answers_there_is_a_table() {
        for said in [Value::Null, json!([]), json!({"files": 1, "keys": {}, "store": "x", "upstream": []})] {
            let sample = Sample { at: Instant::now(), status: said, counts: Counts::default() };
            assert!(rows("here", &sample, None).len() > 5);
        }
    }
}
