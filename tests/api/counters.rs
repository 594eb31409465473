//! What is counted adds up: the counters agree with each other, with what callers were told and with what the upstream saw;
//! and their labels say nothing of places.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Gate, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};

const UNKNOWN: &str = r#"{"cod":"404","message":"city not found"}"#;
const LEFT_ALONE: Duration = Duration::from_secs(1_000);
const MEMORY_BYTES: u64 = 1 << 20;

/// A service, and what it was asked and told its callers.
struct Counted {
    service: Service,
    upstream: ScriptedUpstream,
    /// HTTP requests, to both listeners.
    sent: u64,
    /// Answers to questions about weather, by how they came about.
    told: BTreeMap<&'static str, u64>,
    /// Lengths of the bodies that have to be in memory, by path.
    kept: BTreeMap<String, usize>,
    /// Calls to the upstream before there was this service.
    earlier: u64,
    /// Calls that never reached it.
    refused: u64,
}

/// One reading of `/metrics`: what stands before the value, and the value.
struct Reading(BTreeMap<String, f64>);

impl Reading {
    /// A line; 0 if it is not there.
    fn line(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |value| *value as u64)
    }

    /// The sum over a family's lines whose labels contain one of these.
    fn sum(&self, family: &str, of: &[&str]) -> u64 {
        let lines =
            self.0.iter().filter(|(name, _)| name.strip_prefix(family).is_some_and(|rest| rest.starts_with('{')));
        lines.filter(|(name, _)| of.iter().any(|label| name.contains(label))).map(|(_, value)| *value as u64).sum()
    }

    fn all(&self, family: &str) -> u64 {
        self.sum(family, &[""])
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Those that do not depend on how long the test takes: an idle connection is closed after half a minute, and counted.
    fn lasting_names(&self) -> BTreeSet<&str> {
        let mut names = self.names();
        names.retain(|name| !name.starts_with("stratus_http_connections_closed_total"));
        names
    }
}

/// How an answer came about, by its own word.
fn came_about(answer: &Answer) -> &'static str {
    let status = answer.header("cache-status");
    match answer.x_cache() {
        "STALE" => "stale",
        "HIT" if answer.status == 404 => "negative",
        "HIT" if status.ends_with("detail=memory") => "hit_memory",
        "HIT" if status.ends_with("detail=redis") => "hit_redis",
        "MISS" if status.ends_with("collapsed") => "collapsed",
        "MISS" if status.contains("fwd-status=") => "miss",
        "MISS" if status.contains("detail=") => "failed",
        other => panic!("{other}: {status}"),
    }
}

impl Counted {
    /// With both levels; what is about `shared-…` is in Redis already.
    async fn start(redis: &Redis) -> Self {
        let upstream = ScriptedUpstream::start(Reply::json(200, body("x"))).await;
        let setup = || Setup::redis(&upstream, redis).set("cache.memory_max_bytes", MEMORY_BYTES);
        let other = setup().start().await;
        for path in ["/weather/shared-a", "/weather/shared-b"] {
            assert_eq!(other.get(path).await.x_cache(), "MISS");
        }
        let clock = other.clock.clone();
        assert!(other.stop().await);
        let earlier = upstream.calls() as u64;
        let service = setup().set("cache.max_waiters", 4).clock(&clock).start().await;
        Self { service, upstream, sent: 0, told: BTreeMap::new(), kept: BTreeMap::new(), earlier, refused: 0 }
    }

    async fn send(&mut self, method: Method, path: &str) -> Answer {
        self.sent += 1;
        answer(self.service.request(method, path)).await
    }

    /// Takes down what a question was answered.
    fn note(&mut self, path: &str, answer: &Answer) {
        let how = came_about(answer);
        *self.told.entry(how).or_default() += 1;
        if how != "failed" {
            let length = if answer.status == 200 { answer.body.len() } else { 0 };
            self.kept.entry(path.to_owned()).and_modify(|known| *known = length.max(*known)).or_insert(length);
        }
    }

    async fn ask(&mut self, path: &str, expected: &str) -> Answer {
        let answer = self.send(Method::GET, path).await;
        self.note(path, &answer);
        assert_eq!(came_about(&answer), expected, "{path}: {answer:?}");
        answer
    }

    async fn read(&mut self) -> Reading {
        self.sent += 1;
        let metrics = self.service.admin_get("/metrics").await;
        let lines = metrics.text().lines().filter(|line| !line.starts_with('#'));
        let split = lines.map(|line| line.rsplit_once(' ').expect("a name and a value"));
        Reading(split.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect())
    }

    /// Reads until something is so.
    async fn read_until(&mut self, what: &str, so: impl Fn(&Reading) -> bool) -> Reading {
        let reading = async {
            loop {
                let reading = self.read().await;
                if so(&reading) {
                    return reading;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap_or_else(|_| panic!("{what}"))
    }

    /// Some of everything that can be asked and answered.
    async fn everything(&mut self, prefix: &str) {
        let place = |name: &str| format!("/weather/{prefix}{name}");
        self.failures(&place).await;
        self.hits(&place).await;
        self.crowd(&place("crowd")).await;
        self.refusals(&place("refused")).await;
        // Not new, not old: given, and asked anew behind it.
        self.service.clock.advance(Duration::from_secs(310));
        for name in ["a", "b"] {
            self.ask(&place(name), "stale").await;
        }
        // Too old, but better than nothing.
        self.service.clock.advance(Duration::from_secs(100));
        self.upstream.reply(Reply::json(500, ""));
        self.ask(&place("crowd"), "stale").await;
        self.upstream.reply(Reply::json(200, body("x")));
        self.service.clock.advance(LEFT_ALONE);
    }

    async fn hits(&mut self, place: &impl Fn(&str) -> String) {
        for name in ["a", "b", "a?units=imperial"] {
            self.ask(&place(name), "miss").await;
        }
        let tag = self.ask(&place("a"), "hit_memory").await.header("etag").to_owned();
        let head = self.send(Method::HEAD, &place("b")).await;
        assert_eq!(came_about(&head), "hit_memory");
        *self.told.entry("hit_memory").or_default() += 1;
        self.sent += 1;
        let unchanged = answer(self.service.request(Method::GET, &place("a")).header("if-none-match", tag)).await;
        assert_eq!((unchanged.status.as_u16(), came_about(&unchanged)), (304, "hit_memory"));
        *self.told.entry("hit_memory").or_default() += 1;
        self.upstream.once(Reply::json(404, UNKNOWN));
        for how in ["miss", "negative"] {
            self.ask(&place("atlantis"), how).await;
        }
    }

    async fn failures(&mut self, place: &impl Fn(&str) -> String) {
        for status in [500, 503, 401, 429, 200] {
            self.upstream.reply(Reply::json(status, "no weather"));
            self.ask(&place("fails"), "failed").await;
            // However long the upstream is left alone for it.
            self.service.clock.advance(LEFT_ALONE);
        }
        self.upstream.reply(Reply::json(200, body("x")));
        self.upstream.stop();
        self.ask(&place("fails"), "failed").await;
        self.refused += 1;
        self.upstream.restart().await;
        self.service.clock.advance(LEFT_ALONE);
    }

    /// As many as may wait ask the same at once, and one more. In one thread, where a request that is in flight waits.
    async fn crowd(&mut self, path: &str) {
        let gate = Gate::new();
        self.upstream.once(Reply::gated(gate.clone(), Reply::json(200, body("x"))));
        let asking: Vec<_> = (0..4).map(|_| tokio::spawn(answer(self.service.request(Method::GET, path)))).collect();
        self.sent += 4;
        let waiting = |reading: &Reading| reading.line("stratus_http_requests_in_flight") == 5;
        self.read_until("all wait", waiting).await;
        self.ask(path, "failed").await;
        gate.open();
        for answer in join_all(asking).await {
            self.note(path, &answer.expect("an answer"));
        }
    }

    /// What is no question.
    async fn refusals(&mut self, path: &str) {
        for (method, path, status) in [
            (Method::GET, "/weather/91,0".to_owned(), 400),
            (Method::GET, format!("{path}?units=kelvin"), 400),
            (Method::GET, path.replace("/weather", "/nothing"), 404),
            (Method::POST, path.to_owned(), 405),
            (Method::from_bytes(b"BREW").expect("a method"), path.to_owned(), 405),
        ] {
            assert_eq!(self.send(method, &path).await.status, status, "{path}");
        }
    }
}

#[tokio::test]
async fn the_counters_agree_with_each_other_and_with_what_callers_were_told() {
    let redis = Redis::start().await;
    let mut counted = Counted::start(&redis).await;
    for path in ["/weather/shared-a", "/weather/shared-b"] {
        counted.ask(path, "hit_redis").await;
    }
    counted.everything("place-").await;

    // Renewals go on behind their answers.
    let calls = counted.upstream.calls() as u64 - counted.earlier + counted.refused;
    let ended = |reading: &Reading| reading.all("stratus_cache_loads_total") >= calls;
    let reading = counted.read_until("all loads end", ended).await;
    let (answers, loads) = ("stratus_cache_answers_total", "stratus_cache_loads_total");
    let told: Vec<_> = counted.told.keys().copied().collect();
    assert_eq!(told, ["collapsed", "failed", "hit_memory", "hit_redis", "miss", "negative", "stale"]);
    for (how, times) in &counted.told {
        assert_eq!(reading.line(&format!(r#"{answers}{{result="{how}"}}"#)), *times, "{how}");
    }
    assert_eq!(reading.all(answers), counted.told.values().sum::<u64>());
    assert_eq!(reading.all("stratus_cache_failures_total"), counted.told["failed"]);
    assert_eq!(reading.line(r#"stratus_cache_failures_total{reason="overloaded"}"#), 1);

    assert_eq!(reading.all("stratus_upstream_calls_total"), calls);
    assert_eq!(reading.sum(loads, &["done", "failed"]), calls);
    assert_eq!(reading.line("stratus_upstream_call_duration_seconds_count"), calls);
    assert_eq!(reading.line("stratus_cache_load_duration_seconds_count"), reading.all(loads));

    // Less the reading itself.
    assert_eq!(reading.all("stratus_http_requests_total"), counted.sent - 1);
    assert_eq!(reading.line("stratus_http_request_duration_seconds_count"), counted.sent - 1);
    assert_eq!(reading.line("stratus_http_requests_in_flight"), 1);
    let client_errors = [r#"status="400""#, r#"status="405""#];
    assert_eq!(reading.sum("stratus_http_requests_total", &client_errors), 4);
}

#[tokio::test]
async fn the_size_of_memory_is_that_of_what_was_answered_and_nothing_after_a_purge_of_everything() {
    let redis = Redis::start().await;
    let mut counted = Counted::start(&redis).await;
    counted.everything("place-").await;
    let entries = counted.kept.len() as u64;
    let reading = counted.read().await;
    let (bytes, bodies) = (reading.line("stratus_memory_size_bytes"), counted.kept.values().sum::<usize>() as u64);
    assert_eq!(reading.line("stratus_memory_entries"), entries);
    assert!((bodies + entries..=MEMORY_BYTES).contains(&bytes), "{bytes} bytes for {bodies} of bodies");

    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    let purge = counted.service.admin_request(Method::POST, "/purge").bearer_auth(token.trim());
    assert_eq!(answer(purge.json(&json!({"all": true}))).await.status, 200);
    let reading = counted.read().await;
    assert_eq!((reading.line("stratus_memory_entries"), reading.line("stratus_memory_size_bytes")), (0, 0));
}

#[tokio::test]
async fn the_labels_are_the_same_however_many_places_are_asked_about_and_name_none() {
    let redis = Redis::start().await;
    let mut counted = Counted::start(&redis).await;
    counted.everything("zzyzx-").await;
    let before = counted.read().await;
    for number in 0..500 {
        let path = match number % 5 {
            0 => format!("/weather/zzyzx {number}"),
            1 => format!("/weather/id:7777{number}"),
            2 => format!("/weather/zip:zzyzx{number},gb"),
            3 => format!("/weather/7.77,{}?units=imperial", number % 90),
            _ => format!("/weather/zzyzx {number},state,de?lang=de"),
        };
        let answer = counted.send(Method::GET, &path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    counted.everything("zzyzx-again-").await;
    let after = counted.read().await;
    assert_eq!(before.lasting_names(), after.lasting_names());
    let values = after.names().into_iter().flat_map(|name| name.split('"').skip(1).step_by(2).map(str::to_lowercase));
    for value in values {
        assert!(!value.contains("zzyzx") && !value.contains("777") && !value.contains("7.77"), "{value}");
    }
}
