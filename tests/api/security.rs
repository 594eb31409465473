//! Whoever holds Redis can make the service ask again, and nothing else: no record is believed that the service did not
//! seal, for that place, with a key it has, for a time that is not over. And few get to hold Redis.

use std::time::Duration;

use regex::Regex;
use reqwest::Method;
use serde_json::json;
use stratus::config::{Config, Sources};
use stratus::store::{StoreConfig, examine_redis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::harness::upstream::Request;
use crate::harness::{Inspector, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body, program};

/// How long a record lives by default: fresh, stale while revalidating, stale if the upstream fails.
const LIFETIME: Duration = Duration::from_secs(300 + 60 + 3_600);

/// Weather about the place that was asked for by name.
fn about(request: &Request) -> Reply {
    let name = request.query.iter().find(|(key, _)| key == "q").expect("a place asked for by name");
    Reply::json(200, body(&name.1))
}

async fn parts() -> (ScriptedUpstream, Redis, Inspector) {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(about);
    let mut redis = Redis::start().await;
    let inspector = Inspector::enter(&mut redis).await;
    (upstream, redis, inspector)
}

/// A service for which a busy machine is not yet a broken Redis.
fn patient(upstream: &ScriptedUpstream, redis: &Redis) -> Setup {
    Setup::redis(upstream, redis).set("redis.connect_timeout_ms", 20_000).set("redis.command_timeout_ms", 20_000)
}

/// Asks for Oslo twice: the record there does not open, which is counted under `reason`, and another takes its place.
async fn misses_and_replaces(service: &Service, upstream: &ScriptedUpstream, reason: &str, what: &str) {
    let metric = format!(r#"stratus_records_not_opened_total{{reason="{reason}"}}"#);
    let (counted, calls) = (service.metric(&metric).await, upstream.calls());
    let first = service.get("/weather/Oslo").await;
    assert_eq!((first.status.as_u16(), first.x_cache(), first.text()), (200, "MISS", &*body("oslo")), "{what}");
    assert_eq!(first.header("cache-status"), "stratus; fwd=miss; fwd-status=200; stored", "{what}");
    assert_eq!(service.metric(&metric).await, counted + 1, "{what}: {metric}");
    let second = service.get("/weather/Oslo").await;
    assert_eq!((second.status.as_u16(), second.x_cache(), second.text()), (200, "HIT", &*body("oslo")), "{what}");
    assert_eq!(upstream.calls(), calls + 1, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_changed_is_a_counted_miss_and_is_replaced() {
    let (upstream, redis, mut inspector) = parts().await;
    let service = patient(&upstream, &redis).start().await;
    service.get("/weather/Oslo").await;
    let name = inspector.new_name(&[]).await;
    service.get("/weather/Bergen").await;
    let bergen = inspector.new_name(std::slice::from_ref(&name)).await;
    let bergen = inspector.value(&bergen).await;

    let header = 2 + usize::from(bergen[1]);
    let flip = |place: usize| {
        move |record: &[u8]| {
            let mut changed = record.to_vec();
            changed[place] ^= 1;
            changed
        }
    };
    let flip_last = |record: &[u8]| flip(record.len() - 1)(record);
    let (flip_version, flip_length, flip_key_id) = (flip(0), flip(1), flip(2));
    let (flip_nonce, flip_text) = (flip(header), flip(header + 24));
    type Spoil<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let spoils: [(&str, &str, Spoil<'_>); 14] = [
        ("a flipped bit of the key id", "unknown_key", &flip_key_id),
        ("a flipped bit of the length of the key id", "unknown_key", &flip_length),
        ("a flipped bit of the nonce", "not_authentic", &flip_nonce),
        ("a flipped bit of the text", "not_authentic", &flip_text),
        ("a flipped bit of the tag", "not_authentic", &flip_last),
        ("another version", "other_version", &flip_version),
        ("an older version", "other_version", &|record| [&[1], &record[1..]].concat()),
        ("the record of another place", "not_authentic", &|_| bergen.clone()),
        ("a record cut short", "not_authentic", &|record| record[..record.len() - 1].to_vec()),
        ("a record cut within its header", "truncated", &|record| record[..header + 3].to_vec()),
        ("a record with something behind it", "not_authentic", &|record| [record, b"\n"].concat()),
        ("garbage", "other_version", &|_| b"{\"temp\":12}".to_vec()),
        ("garbage that begins well", "not_authentic", &|_| [&[2, 255][..], &[7; 300]].concat()),
        ("nothing", "truncated", &|_| Vec::new()),
    ];
    for (what, reason, spoil) in spoils {
        let record = inspector.value(&name).await;
        inspector.put(&name, &spoil(&record)).await;
        misses_and_replaces(&service, &upstream, reason, what).await;
        assert_ne!(inspector.value(&name).await, record, "{what}: sealed anew");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_another_type_is_a_counted_miss_and_is_replaced() {
    let (upstream, redis, mut inspector) = parts().await;
    let service = patient(&upstream, &redis).start().await;
    service.get("/weather/Oslo").await;
    let name = inspector.new_name(&[]).await;
    for (command, arguments) in [("RPUSH", &["a"][..]), ("SADD", &["a"]), ("HSET", &["a", "b"])] {
        inspector.run::<()>("DEL", &name).await;
        inspector.run::<()>(command, (&name, arguments)).await;
        misses_and_replaces(&service, &upstream, "truncated", command).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_another_type_spoils_no_other_record() {
    let (upstream, redis, mut inspector) = parts().await;
    let service = patient(&upstream, &redis).start().await;
    let token = std::fs::read_to_string(redis.secret("admin-token")).unwrap();
    let purge = service.admin_request(Method::POST, "/purge").bearer_auth(token.trim()).json(&json!({"all": true}));
    assert_eq!(answer(purge).await.status, 200);
    let mark = inspector.new_name(&[]).await;
    service.clock.advance(Duration::from_millis(1));
    service.keeps("/weather/Oslo").await;

    // The marks of purges are looked for again and again.
    inspector.run::<()>("DEL", &mark).await;
    inspector.run::<()>("RPUSH", (&mark, "a")).await;
    let calls = upstream.calls();
    assert_eq!(service.get("/weather/Oslo").await.x_cache(), "HIT");
    assert_eq!(upstream.calls(), calls);
    let counted =
        async { while service.metric(r#"stratus_records_not_opened_total{reason="truncated"}"#).await == 0 {} };
    tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap();
    assert_eq!(service.get("/weather/Oslo").await.x_cache(), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_sealed_by_another_key_is_a_counted_miss_and_is_replaced() {
    let (upstream, redis, mut inspector) = parts().await;
    let first = patient(&upstream, &redis).start().await;
    first.get("/weather/Oslo").await;
    let old_name = inspector.new_name(&[]).await;
    assert!(first.stop().await);

    let keys = redis.secret("encryption-keys");
    let old_key = std::fs::read_to_string(&keys).unwrap();
    let other_id = program::run(&["key", "new"]).await;
    let (old_id, _) = old_key.split_once(':').unwrap();
    let same_id = format!("{old_id}:{}", program::run(&["key", "new"]).await.split_once(':').unwrap().1);
    let mut known = vec![old_name.clone()];
    for (key, reason) in [(other_id, "unknown_key"), (same_id, "not_authentic")] {
        std::fs::write(&keys, key).unwrap();
        let service = patient(&upstream, &redis).start().await;
        // Another key looks under another name, and finds nothing there until somebody puts the old record there.
        assert_eq!(service.get("/weather/Oslo").await.x_cache(), "MISS", "{reason}");
        let name = inspector.new_name(&known).await;
        assert_eq!(service.get("/weather/Oslo").await.x_cache(), "HIT", "{reason}");
        inspector.run::<()>("COPY", (&old_name, &name, "REPLACE")).await;
        misses_and_replaces(&service, &upstream, reason, "sealed by another key").await;
        known.push(name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_put_back_after_its_end_does_not_open() {
    let (upstream, redis, mut inspector) = parts().await;
    let service = patient(&upstream, &redis).start().await;
    service.get("/weather/Oslo").await;
    let name = inspector.new_name(&[]).await;
    let dump: Vec<u8> = inspector.run("DUMP", &name).await;
    inspector.run::<()>("DEL", &name).await;
    upstream.reply(Reply::json(500, "{}"));

    // In the last millisecond it still stands in for the upstream, a millisecond later it does not.
    service.clock.advance(LIFETIME - Duration::from_millis(1));
    inspector.run::<()>("RESTORE", (&name, 0, &dump)).await;
    let last = service.get("/weather/Oslo").await;
    assert_eq!((last.status.as_u16(), last.x_cache(), last.text()), (200, "STALE", body("oslo").as_str()));
    service.clock.advance(Duration::from_millis(1));
    let failed = service.get("/weather/Oslo").await;
    assert_eq!((failed.status.as_u16(), failed.code().as_str()), (502, "upstream-failed"));
    assert_eq!(service.metric(r#"stratus_records_not_opened_total{reason="expired"}"#).await, 1);

    upstream.reply_with(about);
    // Longer than the upstream is left alone for two failures.
    service.clock.advance(Duration::from_secs(3));
    misses_and_replaces(&service, &upstream, "expired", "put back after its end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_seals_while_the_old_one_opens_and_a_retired_one_costs_a_miss() {
    let (upstream, redis, mut inspector) = parts().await;
    let keys = redis.secret("encryption-keys");
    let sealing = || std::fs::read_to_string(&keys).unwrap().split(':').next().unwrap().to_owned();
    let file = keys.to_str().unwrap();
    let key_of = |record: &[u8]| String::from_utf8(record[2..][..usize::from(record[1])].to_vec()).unwrap();

    let service = patient(&upstream, &redis).start().await;
    service.get("/weather/Oslo").await;
    let old_name = inspector.new_name(&[]).await;
    let old = sealing();
    assert_eq!(key_of(&inspector.value(&old_name).await), old);
    assert!(service.stop().await);

    program::run(&["key", "add", file]).await;
    let new = sealing();
    assert_ne!(new, old);
    let service = patient(&upstream, &redis).start().await;
    let oslo = service.get("/weather/Oslo").await;
    assert_eq!((oslo.x_cache(), oslo.text()), ("HIT", body("oslo").as_str()));
    assert_eq!(upstream.calls(), 1, "the old record needs no call");
    service.get("/weather/Bergen").await;
    let new_name = inspector.new_name(&[old_name]).await;
    assert_eq!(key_of(&inspector.value(&new_name).await), new);
    assert!(service.stop().await);

    program::run(&["key", "retire", file, &old]).await;
    let service = patient(&upstream, &redis).start().await;
    assert_eq!(service.get("/weather/Bergen").await.x_cache(), "HIT");
    let oslo = service.get("/weather/Oslo").await;
    assert_eq!((oslo.status.as_u16(), oslo.x_cache(), oslo.text()), (200, "MISS", body("oslo").as_str()));
    assert_eq!(service.get("/weather/Oslo").await.x_cache(), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_in_redis_is_a_digest_with_an_end_and_depends_on_the_encryption_key() {
    let (upstream, redis, mut inspector) = parts().await;
    upstream.reply(Reply::json(200, body("somewhere")));
    let settings = |setup: Setup| {
        setup
            .set("cache.fresh_secs", 100)
            .set("cache.stale_while_revalidate_secs", 20)
            .set("cache.stale_if_error_secs", 3)
            .set("cache.not_found_secs", 50)
    };
    let service = settings(patient(&upstream, &redis)).start().await;
    for place in ["London", "London?units=imperial", "London?lang=de", "51.51,-0.13", "id:2643743", "zip:94040,US"] {
        assert_eq!(service.get(&format!("/weather/{place}")).await.x_cache(), "MISS", "{place}");
    }
    // Leaves a mark and takes nothing away. It comes last: what is loaded in the moment after a purge may be dropped.
    let token = std::fs::read_to_string(redis.secret("admin-token")).unwrap();
    let purge = service.admin_request(Method::POST, "/purge").bearer_auth(token.trim()).json(&json!({"all": true}));
    assert_eq!(answer(purge).await.status, 200);
    let names = inspector.records().await;
    assert_eq!(names.len(), 7, "{names:?}");
    let digest = Regex::new(r"^stratus:(\{[A-Za-z0-9_-]{8}\})?[A-Za-z0-9_-]{43}$").unwrap();
    let mut left = Vec::new();
    for name in &names {
        assert!(digest.is_match(name), "{name}");
        left.push(inspector.run::<i64>("PTTL", name).await);
    }
    left.sort_unstable();
    assert!(left[..6].iter().all(|left| (1..=123_000).contains(left)), "{left:?}");
    // What says that there was a purge lasts as long as the record that lasts longest: where a place is, a day.
    assert!((1..=86_400_000 + 23_000).contains(&left[6]), "{left:?}");
    // What is counted and told about the upstream: sealed, with an end.
    for name in inspector.names().await {
        assert!(digest.is_match(&name), "{name}");
        assert!(inspector.run::<i64>("PTTL", &name).await > 0, "{name} has no end");
    }
    assert!(service.stop().await);

    std::fs::write(redis.secret("encryption-keys"), program::run(&["key", "new"]).await).unwrap();
    let service = settings(patient(&upstream, &redis)).start().await;
    assert_eq!(service.get("/weather/London").await.x_cache(), "MISS");
    inspector.new_name(&names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_user_may_do_nothing_that_the_service_does_not_do() {
    let redis = Redis::start().await;
    for (command, expected) in [
        (&["SET", "stratus:a", "b", "PX", "60000"][..], "OK"),
        (&["GET", "stratus:a"], "b"),
        (&["UNLINK", "stratus:a"], "1"),
        (&["INCRBY", "stratus:n", "2"], "2"),
    ] {
        assert_eq!(redis.cli(command).await.trim(), expected, "{command:?}");
    }
    for command in [
        &["PING"][..],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["RANDOMKEY"],
        &["DBSIZE"],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["CONFIG", "GET", "*"],
        &["CONFIG", "SET", "maxmemory", "1"],
        &["EVAL", "return 1", "0"],
        &["FUNCTION", "LIST"],
        &["ACL", "LIST"],
        &["ACL", "WHOAMI"],
        &["CLIENT", "LIST"],
        &["INFO"],
        &["MODULE", "LIST"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["SHUTDOWN", "NOSAVE"],
        &["SAVE"],
        &["SELECT", "1"],
        &["DUMP", "stratus:a"],
        &["RENAME", "stratus:a", "stratus:b"],
        &["PERSIST", "stratus:a"],
        &["RPUSH", "stratus:a", "b"],
        &["PUBLISH", "a", "b"],
        &["GET", "elsewhere"],
        &["GET", "stratus"],
        &["SET", "elsewhere", "b"],
        &["UNLINK", "elsewhere"],
        &["INCRBY", "elsewhere", "1"],
        &["INCR", "stratus:n"],
        &["DECRBY", "stratus:n", "1"],
    ] {
        let answer = redis.cli(command).await;
        assert!(answer.starts_with("NOPERM"), "{command:?}: {answer}");
    }
    // Off for everybody, which Redis finds out before it looks at the user.
    let debug = redis.cli(&["DEBUG", "SLEEP", "0"]).await;
    assert!(debug.starts_with("ERR DEBUG command not allowed"), "{debug}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_is_content_with_the_redis_that_is_shipped() {
    let redis = Redis::start().await;
    let mut overrides = redis.settings(redis.server.port());
    overrides.push(("redis.connect_timeout_ms".to_owned(), "20000".to_owned()));
    let config = Config::load(&Sources { overrides, ..Sources::default() }).expect("a configuration without faults");
    let StoreConfig::Redis(config) = config.store else { panic!("{:?}", config.store) };
    let findings = examine_redis(&config).await;
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.verdict.is_ok()), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_a_word_out_of_redis() {
    let redis = Redis::start().await;
    let password = std::fs::read_to_string(redis.secret("redis-password")).unwrap();
    let password = password.trim();
    assert_eq!(redis.cli(&["SET", "stratus:a", "b", "PX", "60000"]).await.trim(), "OK");

    // Without a login, with a wrong password, with the right password of another user.
    for (user, password) in [("default", ""), ("default", password), ("stratus", "wrong"), ("admin", password)] {
        let answer = redis.cli_as(user, password, &["PING"]).await;
        assert!(answer.contains("NOAUTH") || answer.contains("WRONGPASS"), "{user}: {answer}");
        assert!(!answer.contains("PONG"), "{user}: {answer}");
    }

    // Without a certificate, and with one that another authority signed.
    let stranger = tempfile::tempdir().unwrap();
    stratus::provision::init(&stranger.path().join("secrets"), None, &[]).unwrap();
    let file = |name: &str| stranger.path().join("secrets").join(name).display().to_string();
    let strangers = ["--cert".to_owned(), file("stratus.crt"), "--key".to_owned(), file("stratus.key")];
    for certificate in [&[][..], &strangers] {
        let output = Command::new("redis-cli")
            .args(["-p", &redis.server.port().to_string(), "--tls", "--cacert"])
            .arg(redis.secret("ca.crt"))
            .args(certificate)
            .args(["--no-auth-warning", "--user", "stratus", "PING"])
            .env("REDISCLI_AUTH", password)
            .output()
            .await
            .unwrap();
        let printed = [&output.stdout[..], &output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert!(!output.status.success() && !printed.contains("PONG"), "{certificate:?}: {printed}");
    }

    // In plain text.
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", redis.server.port())).await.unwrap();
    stream.write_all(b"PING\r\nGET stratus:a\r\n").await.unwrap();
    let mut heard = Vec::new();
    // A connection that is reset has said what it had to say.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut heard)).await.expect("it is closed");
    let heard = String::from_utf8_lossy(&heard);
    assert!(!["PONG", "NOAUTH", "ERR", "$", "+", "-"].iter().any(|word| heard.contains(word)), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_record_ends_does_not_tell_whether_its_place_is_known() {
    let (upstream, redis, mut inspector) = parts().await;
    let service = patient(&upstream, &redis).set("cache.jitter_percent", 0).start().await;
    upstream.reply(Reply::json(200, body("London")));
    assert_eq!(service.get("/weather/London").await.status, 200);
    upstream.reply(Reply::json(404, r#"{"cod":"404","message":"city not found"}"#));
    assert_eq!(service.get("/weather/Nowhere").await.status, 404);
    let names = inspector.records().await;
    assert_eq!(names.len(), 2, "{names:?}");
    let mut left = Vec::new();
    for name in &names {
        left.push(inspector.run::<i64>("PTTL", name).await);
    }
    assert!((left[0] - left[1]).abs() < 60_000, "{left:?}");
}
