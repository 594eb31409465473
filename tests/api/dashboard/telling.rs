//! What events tell, and what they never do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use stratus::consumers::entry;

use super::{Watch, weather};
use crate::harness::callers::HttpsFiles;
use crate::harness::{Canaries, Redis, Service, Setup, answer};

const KEY: &str = "canary-of-the-key-of-a-kiosk";
/// None of it can turn up by chance.
const PLACES: [&str; 2] = ["qanarytown", "83.27"];

fn consumers(dir: &Path) -> PathBuf {
    let file = dir.join("consumers.toml");
    let entries =
        entry("kiosk", 3, KEY.as_bytes(), Some("2026-09-30")) + &entry("spare", 60, b"another key", Some("2030-01-01"));
    std::fs::write(&file, entries).expect("a file");
    file
}

async fn ask(service: &Service, path: &str, key: Option<&str>) -> u16 {
    let request = service.request(Method::GET, path);
    answer(key.into_iter().fold(request, |request, key| request.bearer_auth(key))).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_follow_what_is_asked_how_it_is_answered_and_by_whom() {
    let (upstream, dir) = (weather().await, tempfile::tempdir().expect("a folder"));
    let setup = Setup::memory(&upstream).set("upstream.budget_per_day", 500);
    let service = setup.set("access.consumers_file", consumers(dir.path()).display()).start().await;
    let mut watch = Watch::begin(&service, None).await;
    let (_, quiet) = watch.next().await.expect("an event");
    for (name, expected) in [("requests", json!(0)), ("hit_ratio", json!(null)), ("requests_per_second", json!(null))] {
        assert_eq!(quiet["traffic"][name], expected, "{quiet:#}");
    }
    assert_eq!(quiet["traffic"]["latency_ms"]["p99"], json!(null));
    assert_eq!(quiet["upstream"]["budget"]["day"]["limit"], 500);

    for expected in [200, 200, 200, 429, 429] {
        assert_eq!(ask(&service, "/weather/London", Some(KEY)).await, expected);
    }
    assert_eq!(ask(&service, "/weather/London", None).await, 200);
    let told = watch.until("all are told", |event| event["traffic"]["requests"] == 6).await;
    let traffic = &told["traffic"];
    assert_eq!((&traffic["hit_ratio"], &traffic["refused"]), (&json!(0.75), &json!(2)), "{told:#}");
    assert_eq!((&traffic["answers"]["miss"], &traffic["upstream_calls"]), (&json!(1), &json!(1)), "{told:#}");
    assert!(traffic["requests_per_second"].as_f64().expect("a number") > 0.0, "{told:#}");
    let millis = |part: &str| traffic["latency_ms"][part].as_f64().expect("a number");
    assert!(0.0 < millis("p50") && millis("p50") <= millis("p90") && millis("p90") <= millis("p99"), "{told:#}");
    let consumers = &told["consumers"];
    assert_eq!((&consumers["known"], &consumers["ending"]), (&json!(2), &json!(1)), "{told:#}");
    let kiosk = &consumers["most"][0];
    assert_eq!((&kiosk["name"], &kiosk["limit_per_minute"]), (&json!("kiosk"), &json!(3)), "{told:#}");
    assert_eq!((&kiosk["admitted"], &kiosk["refused"]), (&json!(3), &json!(2)), "{told:#}");
    assert_eq!(consumers["most"][1]["admitted"], 0, "{told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_has_asked_is_not_forgotten_when_the_file_changes() {
    let (upstream, dir) = (weather().await, tempfile::tempdir().expect("a folder"));
    let file = consumers(dir.path());
    let service = Setup::memory(&upstream).set("access.consumers_file", file.display()).start().await;
    let mut watch = Watch::begin(&service, None).await;
    watch.next().await.expect("an event");
    assert_eq!(ask(&service, "/weather/London", Some(KEY)).await, 200);
    std::fs::write(&file, entry("kiosk", 30, KEY.as_bytes(), None)).expect("a file");
    service.reloading.look().await;
    let told = watch.until("the new limit", |event| event["consumers"]["most"][0]["limit_per_minute"] == 30).await;
    assert_eq!((&told["consumers"]["known"], &told["consumers"]["ending"]), (&json!(1), &json!(0)), "{told:#}");
    let kiosk = &told["consumers"]["most"][0];
    assert_eq!((&kiosk["admitted"], &kiosk["ends_in_secs"]), (&json!(1), &json!(null)), "{told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_a_redis_that_is_away_with_the_fix_and_never_of_a_place_or_a_secret() {
    let (upstream, mut redis) = (weather().await, Redis::start().await);
    let token = std::fs::read_to_string(redis.secret("admin-token")).expect("the token");
    let setup = Setup::redis(&upstream, &redis).set("access.consumers_file", consumers(redis.dir.path()).display());
    let mut service = setup.start().await;
    service.store_up().await;
    let mut watch = Watch::begin(&service, Some(token.trim())).await;
    for _ in 0..2 {
        assert_eq!(ask(&service, "/weather/Qanarytown", Some(KEY)).await, 200);
        assert_eq!(ask(&service, "/weather/83.27,12.5?units=imperial", None).await, 200);
    }
    let told = watch.until("all are told", |event| event["traffic"]["requests"] == 4).await;
    assert_eq!(told["store"], json!({"kind": "redis", "state": "up"}));
    assert!(told["keys"][0]["records_sealed"].as_u64() > Some(0), "{told:#}");
    redis.server.stop().await;
    let told = watch.until("Redis is away", |event| event["store"]["state"] == "down").await;
    let words = |name: &str| told["store"][name].as_str().expect("words").to_owned();
    assert!(!words("reason").is_empty() && !words("fix").is_empty(), "{told:#}");

    assert!(String::from_utf8_lossy(&watch.seen).contains("kiosk"), "it is told at all");
    Canaries::texts(PLACES).absent_from("events", &watch.seen);
    Canaries::secrets_and(&redis, [KEY]).absent_from("events", &watch.seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_certificates_and_consumers_end_is_told_before_they_do() {
    let (upstream, redis, https) = (weather().await, Redis::start().await, HttpsFiles::make());
    let setup = https.on(Setup::redis(&upstream, &redis));
    let mut service = setup.set("access.consumers_file", consumers(redis.dir.path()).display()).start().await;
    service.store_up().await;
    let status = service.admin_get("/status").await.json();
    for certificate in ["https", "redis_client", "redis_authority", "redis_server"] {
        let left = status["certificates_end_in_secs"][certificate].as_i64().unwrap_or_else(|| panic!("{status:#}"));
        let line = format!(r#"stratus_certificate_expiry_timestamp_seconds{{certificate="{certificate}"}}"#);
        let end = i64::try_from(service.metric(&line).await).expect("a time");
        let now = i64::try_from(service.clock.clock().now_ms() / 1_000).expect("a time");
        assert_eq!(end, now + left, "{certificate}");
        assert!(left > 800 * 86_400, "{certificate}: {left}");
    }
    // Midnight of 30 September 2026 and of 1 January 2030, UTC.
    let expected = [(1_790_726_400, 1), (1_893_456_000, 1), (0, 2)];
    for ((end, ending), days) in expected.into_iter().zip([0, 20, 1_300]) {
        service.clock.advance(Duration::from_secs(days * 86_400));
        let told = (
            service.metric("stratus_consumer_expiry_timestamp_seconds{}").await,
            service.metric("stratus_consumers_ending").await,
        );
        assert_eq!(told, (end, ending), "{days} days on");
    }
    assert_eq!(service.metric("stratus_upstream_simulated").await, 0);
}
