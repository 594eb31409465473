//! Three replicas, each a process of its own, on one Redis and one upstream: they share loads, failures and pauses, and
//! whatever is killed meanwhile costs no caller an answer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use tokio::task::JoinHandle;

use crate::harness::upstream::Request;
use crate::harness::{API_KEY, Answer, Gate, Inspector, Program, Redis, Reply, ScriptedUpstream, Setup, answer, body};

/// The replicas, by the path under which each calls the upstream.
const REPLICAS: [char; 3] = ['a', 'b', 'c'];
/// Callers who ask a replica at once.
const CALLERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a replica that loads may be silent before another one takes over.
const LEASE: Duration = Duration::from_millis(1_500);
const LOADS_DONE: &str = r#"stratus_cache_loads_total{outcome="done"}"#;

/// Replicas that have nothing but Redis in common.
struct Fleet {
    upstream: ScriptedUpstream,
    redis: Redis,
    replicas: Vec<Program>,
}

impl Fleet {
    async fn start(reply: Reply, settings: &[(&str, u64)]) -> Self {
        let (upstream, redis) = (ScriptedUpstream::start(reply).await, Redis::start().await);
        let start = async |name| {
            let setup = Setup::redis(&upstream, &redis).set("upstream.base_url", format!("{}/{name}", upstream.url()));
            // A call may be held for long, and nobody gives up meanwhile.
            let setup = setup.set("upstream.timeout_ms", 15_000).set("server.request_timeout_ms", 19_000);
            let program = settings.iter().fold(setup, |setup, (key, value)| setup.set(key, value)).program().await;
            program.logs("Redis is connected").await;
            program
        };
        let replicas = join_all(REPLICAS.map(start)).await;
        Self { upstream, redis, replicas }
    }

    /// Which replica has made each call, in order.
    fn calls(&self) -> Vec<usize> {
        let replica = |request: &Request| REPLICAS.iter().position(|name| request.path[1..].starts_with(*name));
        self.upstream.requests().iter().map(|request| replica(request).expect("a replica")).collect()
    }

    /// Has so many callers ask each of these replicas; they do so at once, whether or not they are waited for.
    fn ask(&self, replicas: &[usize], callers: usize, path: &str) -> Vec<JoinHandle<Answer>> {
        let requests = replicas.iter().flat_map(|replica| std::iter::repeat_n(&self.replicas[*replica], callers));
        requests.map(|replica| tokio::spawn(answer(replica.request(Method::GET, path)))).collect()
    }

    /// Waits until so many requests wait for an answer of each of these replicas.
    async fn all_wait(&self, replicas: &[usize], requests: usize) {
        for replica in replicas {
            let all = async {
                while metric(&self.replicas[*replica], "stratus_http_requests_in_flight").await != requests + 1 {}
            };
            tokio::time::timeout(PATIENCE, all).await.expect("so many requests in flight");
        }
    }
}

async fn metric(program: &Program, line: &str) -> usize {
    let metrics = answer(program.admin_request(Method::GET, "/metrics")).await;
    let value = metrics.text().lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}

async fn answers(asked: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    join_all(asked).await.into_iter().map(|answer| answer.expect("an answer")).collect()
}

/// Everybody got this body.
fn all_got(answers: &[Answer], text: &str) {
    for answer in answers {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, text), "{answer:?}");
    }
}

fn weather(name: &str) -> Reply {
    Reply::json(200, body(name))
}

/// How many calls a load that all have waited for has cost at most, if it took so long: a replica that stood still for longer
/// than its lease lasts has lost it, and another one loads beside it.
pub(crate) fn calls_of_a_load(took: Duration) -> usize {
    if took < LEASE { 1 } else { REPLICAS.len() }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_that_are_asked_for_one_cold_place_at_once_make_one_call() {
    let gate = Gate::new();
    let fleet = Fleet::start(Reply::gated(gate.clone(), weather("Lima")), &[]).await;
    let began = Instant::now();
    let asked = fleet.ask(&[0, 1, 2], CALLERS, "/weather/Lima");
    fleet.all_wait(&[0, 1, 2], CALLERS).await;
    fleet.upstream.wait_for_calls(1).await;
    gate.open();
    let answers = answers(asked).await;
    let at_most = calls_of_a_load(began.elapsed());
    all_got(&answers, &body("Lima"));
    assert!(answers.iter().all(|answer| answer.header("etag") == answers[0].header("etag")));
    assert_eq!((answers.len(), (1..=at_most).contains(&fleet.calls().len())), (3 * CALLERS, true), "{at_most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_replica_that_loads_is_killed_another_one_takes_over_and_the_others_wait_for_it() {
    let fleet = Fleet::start(weather("Lima"), &[]).await;
    fleet.upstream.once(Reply::never());
    let request = || fleet.replicas[0].request(Method::GET, "/weather/Lima");
    let lost: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(request().send())).collect();
    fleet.upstream.wait_for_calls(1).await;
    let asked = fleet.ask(&[1, 2], CALLERS, "/weather/Lima");
    fleet.all_wait(&[1, 2], CALLERS).await;
    fleet.replicas[0].signal("KILL").await;
    all_got(&answers(asked).await, &body("Lima"));
    let calls = fleet.calls();
    assert_eq!((calls.len(), calls[0]), (2, 0), "{calls:?}");
    for lost in join_all(lost).await {
        assert!(lost.expect("no panic").is_err(), "nobody answers for the dead");
    }
    // What it has brought is there for all.
    all_got(&answers(fleet.ask(&[1, 2], 1, "/weather/Lima")).await, &body("Lima"));
    assert_eq!(fleet.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_and_soon_back_during_a_load_costs_nobody_an_answer_and_at_most_one_more_call() {
    let gate = Gate::new();
    let mut fleet = Fleet::start(Reply::gated(gate.clone(), weather("Lima")), &[]).await;
    let asked = fleet.ask(&[0, 1, 2], CALLERS, "/weather/Lima");
    fleet.all_wait(&[0, 1, 2], CALLERS).await;
    fleet.upstream.wait_for_calls(1).await;
    // Ended by SIGKILL.
    let killed = Instant::now();
    fleet.redis.restart().await;
    for replica in &fleet.replicas {
        let up = async { while metric(replica, "stratus_store_up").await != 1 {} };
        tokio::time::timeout(PATIENCE, up).await.expect("Redis is used again");
    }
    // Who waits for a load gives Redis the length of a lease to come back since it saw the lease last, which on a busy machine
    // was a while before the kill; and then loads for itself.
    let at_most = if killed.elapsed() < LEASE / 3 { 2 } else { 3 };
    gate.open();
    all_got(&answers(asked).await, &body("Lima"));
    let calls = fleet.calls();
    assert!(calls.len() <= at_most, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_for_good_during_a_load_costs_nobody_an_answer_and_one_call_a_replica() {
    let gate = Gate::new();
    let mut fleet = Fleet::start(Reply::gated(gate.clone(), weather("Lima")), &[]).await;
    let asked = fleet.ask(&[0, 1, 2], CALLERS, "/weather/Lima");
    fleet.all_wait(&[0, 1, 2], CALLERS).await;
    fleet.upstream.wait_for_calls(1).await;
    fleet.redis.server.stop().await;
    // The others stop waiting for a lease that nobody can see any more.
    fleet.upstream.wait_for_calls(3).await;
    gate.open();
    all_got(&answers(asked).await, &body("Lima"));
    let mut calls = fleet.calls();
    calls.sort_unstable();
    assert_eq!(calls, [0, 1, 2]);
}

/// How often a place may have been tried this long after it failed first: pauses double from a second, less a quarter.
fn tries_after(since: Duration) -> usize {
    (0..).take_while(|step| Duration::from_millis(750) * (2_u32.pow(*step) - 1) <= since).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_fails_is_tried_by_one_replica_and_all_tell_its_failure() {
    let gate = Gate::new();
    let fleet = Fleet::start(Reply::gated(gate.clone(), Reply::json(500, "")), &[]).await;
    let asked = fleet.ask(&[0, 1], CALLERS, "/weather/Lima");
    fleet.all_wait(&[0, 1], CALLERS).await;
    fleet.upstream.wait_for_calls(1).await;
    let failed = Instant::now();
    gate.open();
    let mut answers = answers(asked).await;
    // The third has not even waited for it.
    for _ in 0..20 / CALLERS + 1 {
        answers.extend(self::answers(fleet.ask(&[0, 1, 2], CALLERS, "/weather/Lima")).await);
    }
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream-failed"), "{answer:?}");
    }
    let (calls, since) = (fleet.calls(), failed.elapsed());
    assert!(calls.len() <= tries_after(since), "{calls:?} within {since:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_that_one_replica_is_told_stops_all_of_them() {
    let fleet = Fleet::start(weather("x"), &[]).await;
    for id in 1..=5 {
        all_got(&answers(fleet.ask(&[id % 3], 1, &format!("/weather/id:{id}"))).await, &body("x"));
    }
    fleet.upstream.reply(Reply::json(429, r#"{"cod":429}"#));
    let refused = async |replica: usize, id: usize| {
        let refused = fleet.replicas[replica].get(&format!("/weather/id:{id}")).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "upstream-budget-exhausted"));
        let wait: u64 = refused.header("retry-after").parse().expect("a Retry-After");
        assert!((50..=66).contains(&wait), "replica {replica}, place {id}: {wait}");
    };
    refused(0, 10).await;
    for id in 11..=15 {
        for replica in [2, 1, 0] {
            refused(replica, id).await;
        }
    }
    assert_eq!(fleet.calls().len(), 6);
    for id in 1..=5 {
        all_got(&answers(fleet.ask(&[0, 1, 2], 2, &format!("/weather/id:{id}"))).await, &body("x"));
    }
    assert_eq!(fleet.calls().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_place_is_renewed_once_and_all_replicas_see_it() {
    const FRESH: Duration = Duration::from_secs(5);
    // Each has a copy of its own in memory, too.
    let settings = [("cache.fresh_secs", FRESH.as_secs()), ("cache.memory_max_bytes", 1 << 20)];
    let fleet = Fleet::start(weather("old"), &settings).await;
    let asked = Instant::now();
    let everywhere = async || answers(fleet.ask(&[0, 1, 2], 3, "/weather/Lima")).await;
    all_got(&answers(fleet.ask(&[0], 1, "/weather/Lima")).await, &body("old"));
    all_got(&everywhere().await, &body("old"));
    assert!(fleet.calls().len() == 1 || asked.elapsed() >= FRESH, "{:?}", fleet.calls());

    let gate = Gate::new();
    fleet.upstream.reply(Reply::gated(gate.clone(), weather("new")));
    let stale = async { while !everywhere().await.iter().all(|answer| answer.x_cache() == "STALE") {} };
    tokio::time::timeout(PATIENCE, stale).await.expect("it becomes stale");
    fleet.upstream.wait_for_calls(2).await;
    all_got(&everywhere().await, &body("old"));
    gate.open();
    let renewed = async { while !everywhere().await.iter().all(|answer| answer.text() == body("new")) {} };
    tokio::time::timeout(PATIENCE, renewed).await.expect("all see it");
    let at_most = 1 + calls_of_a_load(asked.elapsed().saturating_sub(FRESH));
    assert!((2..=at_most).contains(&fleet.calls().len()), "{:?}", fleet.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_replicas_leave_each_other_in_redis_are_opaque_names_that_end_sealed_notes_and_numbers() {
    let upstream = ScriptedUpstream::start(weather("x")).await;
    let mut redis = Redis::start().await;
    let mut inspector = Inspector::enter(&mut redis).await;
    let setup = Setup::redis(&upstream, &redis).set("upstream.budget_per_day", 1_000);
    let setup = setup.set("upstream.budget_per_month", 5_000).set("access.anonymous_per_minute", 60);
    let mut service = setup.start().await;
    service.store_up().await;
    for (place, reply) in [("Qanarytown", None), ("Qanardbroken", Some(500)), ("Qanardlimited", Some(429))] {
        reply.into_iter().for_each(|status| upstream.once(Reply::json(status, "")));
        service.get(&format!("/weather/{place}")).await;
    }
    let (mut numbers, mut sealed) = (Vec::new(), 0);
    let form = regex::Regex::new(r"^stratus:(\{[A-Za-z0-9_-]{8}\})?[A-Za-z0-9_-]{43}$").expect("a form");
    for name in inspector.names().await {
        assert!(form.is_match(&name), "{name}");
        // One of them may end meanwhile.
        let Some(value) = inspector.run::<Option<Vec<u8>>>("GET", &name).await else { continue };
        assert_ne!(inspector.run::<i64>("PTTL", &name).await, -1, "{name} has no end");
        let text = String::from_utf8_lossy(&value).to_lowercase();
        match text.parse::<u64>() {
            Ok(number) => numbers.push(number),
            // The version of what is sealed.
            Err(_) if value[0] == 2 => sealed += 1,
            Err(_) => panic!("{name}: {text}"),
        }
        for canary in [API_KEY, "qanar", "127.0.0.1", "budget", "lease", "hold"] {
            assert!(!text.contains(canary), "{canary} is under {name}");
        }
    }
    // Three calls of the day and of the month, and three requests of one address; a record, a pause, a slot, and two notes of a
    // new fleet.
    assert_eq!((numbers.as_slice(), sealed >= 5), (&[3, 3, 3][..], true), "{sealed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_after_a_401_asks_once_for_itself_since_it_may_have_another_key() {
    let refused = Reply::json(401, r#"{"cod":401, "message": "Invalid API key."}"#);
    let (upstream, redis) = (ScriptedUpstream::start(refused).await, Redis::start().await);
    let mut old = Setup::redis(&upstream, &redis).start().await;
    old.store_up().await;
    for place in 1..=3 {
        assert_eq!(old.get(&format!("/weather/id:{place}")).await.code(), "upstream-rejected-key");
    }
    assert_eq!(upstream.calls(), 1);
    upstream.reply(Reply::json(200, body("x")));
    let mut new = Setup::redis(&upstream, &redis).clock(&old.clock).start().await;
    new.store_up().await;
    assert_eq!((new.get("/weather/id:4").await.status.as_u16(), upstream.calls()), (200, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_ask_itself_finds_what_another_one_has_renewed() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("old"))).await, Redis::start().await);
    let setup = || Setup::redis(&upstream, &redis).set("cache.memory_max_bytes", 1 << 20);
    let mut one = setup().start().await;
    one.store_up().await;
    let mut other = setup().set("upstream.api_key", "").clock(&one.clock).start().await;
    other.store_up().await;
    assert_eq!(one.get("/weather/Rome").await.x_cache(), "MISS");
    assert_eq!(other.get("/weather/Rome").await.text(), body("old"));
    upstream.reply(Reply::json(200, body("new")));
    for age in [310, 400] {
        // A little stale, and too stale: in both cases its own copy would do, if there were no better one.
        one.clock.advance(Duration::from_secs(age));
        let calls = upstream.calls();
        one.get("/weather/Rome").await;
        // Its memory has the new answer before Redis does.
        while one.metric(LOADS_DONE).await != u64::try_from(calls).expect("few") + 1 {}
        let found = other.get("/weather/Rome").await;
        assert_eq!(
            (found.x_cache(), found.text(), upstream.calls()),
            ("HIT", body("new").as_str(), calls + 1),
            "{age}"
        );
    }
}
