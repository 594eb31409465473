//! What callers ask about and what the service holds in trust stays where it belongs: not in Redis, not on the wire to
//! it, not in the log, not in an answer.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::json;
use stratus::consumers::entry;

use crate::harness::canaries::everything_of;
use crate::harness::program::parsed;
use crate::harness::upstream::Request;
use crate::harness::{
    API_KEY, Answer, Canaries, Inspector, Program, Redis, Reply, ScriptedUpstream, Setup, TcpProxy, answer, body,
};

/// Tokens that callers present and that nobody should print, right or wrong.
const WRONG_TOKEN: &str = "canary-wrong-admin-token";
const CALLERS_KEY: &str = "canary-callers-own-key";
const WRONG_KEY: &str = "canary-that-is-nobodys-key";
const EXPIRED_KEY: &str = "canary-of-a-key-of-last-year";

/// What was asked about; none of it can turn up by chance (as part of a time of day, say).
const PLACES: [&str; 7] = ["qanarytown", "qanáry", "83.27", "171.93", "76543219876", "qz98vx", "qanard"];

fn path(place: &str) -> String {
    format!("/weather/{place}")
}

/// Every form in which a place can be named.
const ASKED: [&str; 6] =
    ["Qanarytown", "QANARYTOWN,GB", "Qan%C3%A1ry", "83.27,-171.93", "id:76543219876", "zip:QZ98VX,GB"];

/// A service for which a busy machine is not yet a broken Redis.
fn patient(upstream: &ScriptedUpstream, redis: &Redis, port: u16) -> Setup {
    Setup::redis_through(upstream, redis, port)
        .set("redis.connect_timeout_ms", 20_000)
        .set("redis.command_timeout_ms", 20_000)
}

/// The secrets of a deployment, and those that callers bring.
fn secrets(redis: &Redis) -> Canaries {
    Canaries::secrets_and(redis, [WRONG_TOKEN, CALLERS_KEY, WRONG_KEY, EXPIRED_KEY])
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_the_wire_to_it_show_neither_place_nor_weather_nor_password() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Qanarytown"))).await;
    let mut redis = Redis::start().await;
    let mut inspector = Inspector::enter(&mut redis).await;
    let proxy = TcpProxy::start(redis.server.port()).await;
    let service = patient(&upstream, &redis, proxy.port()).start().await;
    for place in ASKED {
        assert_eq!(service.get(&path(place)).await.x_cache(), "MISS", "{place}");
        assert_eq!(service.get(&path(place)).await.x_cache(), "HIT", "{place}");
    }

    let mut inside = Vec::new();
    assert_eq!(inspector.records().await.len(), ASKED.len());
    let names = inspector.names().await;
    for name in &names {
        inside.extend_from_slice(name.as_bytes());
        inside.extend(inspector.value(name).await);
        inside.extend(inspector.run::<Vec<u8>>("DUMP", name).await);
    }
    let wire = proxy.bytes_seen();
    assert!(inside.len() > ASKED.len() * body("Qanarytown").len(), "the records are in there");
    assert!(wire.len() > ASKED.len() * body("Qanarytown").len() * 2, "the records passed here, both ways");

    let weather = ["clear sky", "feels_like", "stations", "2643743", "51.5085", "\"cod\":200", "metric"];
    let asked_and_answered = Canaries::texts(PLACES.into_iter().chain(weather));
    for canaries in [secrets(&redis), asked_and_answered] {
        canaries.absent_from("Redis", &inside);
        canaries.absent_from("the wire to Redis", &wire);
    }
    // Names are no secret to Redis, but they are to the wire.
    let names = Canaries::texts(names);
    names.absent_from("the wire to Redis", &wire);
    names.all_in("Redis", &inside);
}

/// Misbehaves as the place says, and gives away the key with which it was asked wherever it can.
fn treacherous(request: &Request) -> Reply {
    let place = request.query.iter().find(|(key, _)| key == "q").map_or("", |(_, value)| value.as_str());
    let echo = format!(r#"{{"cod":"500","message":"{}"}}"#, request.target);
    match place {
        "qanardmissing" => Reply::json(404, r#"{"cod":"404","message":"city not found"}"#),
        "qanardbroken" => Reply::json(500, echo),
        "qanardrefused" => Reply::json(401, echo),
        "qanardlimited" => Reply::json(429, echo),
        "qanardhtml" => Reply::json(200, format!("<html>{echo}")),
        "qanardinside" => Reply::json(200, echo),
        "qanardslow" => Reply::never(),
        "qanardclosed" => Reply::raw(""),
        "qanardnohttp" => Reply::raw(format!("{echo}\r\n\r\n")),
        "qanardcut" => Reply::close_mid_body(1_000, echo),
        "qanardendless" => Reply::endless(echo),
        "qanardmoved" => Reply::json(302, "").header("Location", &request.target),
        _ => Reply::json(200, body("Qanarytown")).header("X-Echo", &request.target),
    }
}

/// Has the program go through everything that can happen to a request; gives all answers.
async fn everything(
    program: &Program,
    upstream: &ScriptedUpstream,
    redis: &Redis,
    proxy: &TcpProxy,
    last: &str,
) -> Vec<Answer> {
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    let mut answers: Vec<Answer> = Vec::new();
    // An id of its own for each, so that no random one is in the log.
    let id = |answers: &[Answer]| format!("request-{}", answers.len());
    let misbehaving = ["missing", "broken", "html", "inside", "slow", "closed", "nohttp", "cut", "endless", "moved"];
    // After each of them something that goes well: an upstream that does nothing else but fail is left alone, and one that
    // refuses the key or the account at once.
    let misbehaving = misbehaving.into_iter().flat_map(|how| [format!("Qanard{how}"), format!("Qanarytown{how}")]);
    let misbehaving = misbehaving.chain([format!("Qanard{last}")]);
    let refused = [
        "Qanarytown;drop",
        "Qanarytown,,GB",
        "83.27,-1711.93",
        "83.27,171.93.1",
        "id:76543219876x",
        "zip:QZ98VX!",
        "Qanarytown%FF",
        "Qanarytown?units=Qanarytown",
        "Qanarytown?lang=Qanarytown",
        "Qanarytown?q=Qanarytown",
        "Qanarytown/Qanarytown",
    ];
    let places = ASKED.into_iter().chain(ASKED).map(str::to_owned);
    for place in places.chain(misbehaving).chain(refused.map(str::to_owned)) {
        let request = program.request(Method::GET, &path(&place)).header("x-request-id", id(&answers));
        let request = request.header("referer", format!("https://app.example/{place}"));
        let is_even = answers.len().is_multiple_of(2);
        let with_key =
            if is_even { request.header("x-api-key", CALLERS_KEY) } else { request.bearer_auth(CALLERS_KEY) };
        answers.push(answer(with_key).await);
    }
    for key in [WRONG_KEY, EXPIRED_KEY] {
        let request = program.request(Method::GET, &path("Qanarytown")).header("x-request-id", id(&answers));
        answers.push(answer(request.bearer_auth(key)).await);
    }
    for (method, path) in [(Method::POST, "/weather/Qanarytown"), (Method::GET, "/Qanarytown"), (Method::HEAD, "/")] {
        answers.push(answer(program.request(method, path).header("x-request-id", id(&answers))).await);
    }
    let bodies = [
        json!({"location": "Qanarytown"}),
        json!({"location": "83.27,-171.93"}),
        json!({"location": "Qanarytown;"}),
        json!({"city": "Qanarytown"}),
        json!({"all": true}),
    ];
    for token in [token.trim(), WRONG_TOKEN, ""] {
        for body in &bodies {
            let request = program.admin_request(Method::POST, "/purge").header("x-request-id", id(&answers));
            answers.push(answer(request.bearer_auth(token).json(body)).await);
        }
    }
    upstream.stop();
    proxy.cut();
    for place in ["Qanarytown", "83.27,-171.93"] {
        answers.push(answer(program.request(Method::GET, &path(place)).header("x-request-id", id(&answers))).await);
    }
    for path in ["/livez", "/readyz", "/status", "/metrics"] {
        let request = program.admin_request(Method::GET, path).header("x-request-id", id(&answers));
        let answer = answer(request).await;
        Canaries::texts(PLACES).absent_from(path, &answer.body);
        answers.push(answer);
    }

    let statuses: HashSet<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    for status in [200, 400, 401, 403, 404, 405, 502, 503, 504] {
        assert!(statuses.contains(&status), "{status} did not happen: {statuses:?}");
    }
    let words: HashSet<&str> = answers.iter().map(Answer::x_cache).collect();
    assert!(words.contains("HIT") && words.contains("MISS"), "{words:?}");
    answers
}

/// Goes through everything at this level of the log, `last` at the end; gives all that the program printed, and the answers.
async fn printed_at(filter: &str, redis: &Redis, last: &str) -> (String, Vec<Answer>) {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(treacherous);
    let proxy = TcpProxy::start(redis.server.port()).await;
    let consumers = redis.secret("consumers.toml");
    let entries = entry("app", 600, CALLERS_KEY.as_bytes(), None)
        + &entry("old", 600, EXPIRED_KEY.as_bytes(), Some("2025-01-01"));
    std::fs::write(&consumers, entries).expect("a file");
    let setup = patient(&upstream, redis, proxy.port()).set("upstream.timeout_ms", 1_500);
    let setup = setup.set("access.consumers_file", consumers.display());
    let program = setup.set("log.filter", filter).program().await;
    let answers = everything(&program, &upstream, redis, &proxy, last).await;
    let lines = program.stop().await;
    assert!(lines.iter().any(|line| line.contains("stopped: every request")), "the log goes to its end");
    assert!(lines.iter().any(|line| line.contains("until it is back")), "Redis went away meanwhile");
    (lines.join("\n"), answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_printed_or_answered_whatever_happens_and_at_whatever_level() {
    let redis = Redis::start().await;
    let (log, answers) = printed_at("trace", &redis, "refused").await;
    assert!(log.contains(r#""level":"TRACE""#), "everything is printed: {log}");
    secrets(&redis).absent_from("the log", log.as_bytes());
    secrets(&redis).absent_from("answers", &everything_of(&answers));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_default_level_no_place_is_printed_whatever_happens() {
    let redis = Redis::start().await;
    let (log, _) = printed_at("info", &redis, "limited").await;
    Canaries::texts(PLACES).absent_from("the log", log.as_bytes());
    secrets(&redis).absent_from("the log", log.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_one_log_line_with_the_id_of_its_answer() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(treacherous);
    let program = Setup::memory(&upstream).program().await;
    let weather = "/weather/{location}";
    let public = [
        (Method::GET, "/weather/Qanarytown", weather, "MISS"),
        (Method::GET, "/weather/Qanarytown", weather, "HIT"),
        (Method::HEAD, "/weather/Qanarytown", weather, "HIT"),
        (Method::GET, "/weather/Qanardmissing", weather, "MISS"),
        (Method::GET, "/weather/Qanardbroken", weather, "MISS"),
        (Method::GET, "/weather/", weather, ""),
        (Method::GET, "/weather/Qanarytown?units=x", weather, ""),
        (Method::POST, "/weather/Qanarytown", weather, ""),
        (Method::GET, "/Qanarytown", "other", ""),
    ];
    let admin = [(Method::GET, "/status", "/status", ""), (Method::POST, "/purge", "/purge", "")];
    let requests =
        public.map(|(method, path, route, cache)| (program.request(method.clone(), path), method, route, cache));
    let admin =
        admin.map(|(method, path, route, cache)| (program.admin_request(method.clone(), path), method, route, cache));
    let mut expected = Vec::new();
    for (number, (request, method, route, cache)) in requests.into_iter().chain(admin).enumerate() {
        // Every second caller brings an id.
        let own = (number % 2 == 0).then(|| format!("own-{number}"));
        let answer = answer(own.iter().fold(request, |request, own| request.header("x-request-id", own))).await;
        let id = answer.header("x-request-id").to_owned();
        assert!(own.is_none_or(|own| own == id));
        expected.push((id, method, route, cache, answer.status.as_u16()));
    }

    // Probes would bury the rest, so they have their lines at debug.
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(answer(program.admin_request(Method::GET, path)).await.status, 200);
    }

    let lines = program.stop().await;
    let lines = parsed(&lines);
    let lines: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (id, method, route, cache, status)) in lines.iter().zip(expected) {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        assert_eq!((text("request_id"), text("level")), (id.as_str(), "INFO"), "{line}");
        assert_eq!((text("method"), text("route"), text("cache")), (method.as_str(), route, cache), "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(line["duration_us"].is_u64(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_repeats_our_key_is_not_passed_on() {
    let telling = body("London").replace("stations", API_KEY);
    let upstream = ScriptedUpstream::start(Reply::json(200, telling)).await;
    let service = Setup::memory(&upstream).start().await;
    let refused = service.get("/weather/London").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (502, "upstream-invalid-response"));
    assert!(!refused.text().contains(API_KEY));
    upstream.reply(Reply::json(200, body("London")));
    assert_eq!(service.get("/weather/London").await.x_cache(), "MISS");
}
