//! What lies in Redis of the vault, what whoever holds Redis can do to it, and what nobody finds anywhere.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use stratus::crypto::{Keyring, generate_key_line};

use super::{FIRST, Gatekeeper, SECOND, count, put_with, run, status, token_of, until_asked_with};
use crate::harness::canaries::everything_of;
use crate::harness::{API_KEY, Canaries, Inspector, Redis, Service, Setup, TcpProxy, answer};

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_the_vault_is_in_redis_in_a_log_in_an_answer_or_in_a_metric() {
    let (gatekeeper, mut redis) = (Gatekeeper::start(&[SECOND]).await, Redis::start().await);
    let mut inspector = Inspector::enter(&mut redis).await;
    let secrets = Canaries::secrets_and(&redis, [FIRST, SECOND]);
    let program = Setup::redis(&gatekeeper.upstream, &redis).set("log.filter", "trace").program().await;
    program.logs("Redis is connected").await;
    let token = token_of(&redis);
    let admin = |method: Method, path: &str| program.admin_request(method, path).bearer_auth(&token);
    let mut answers = Vec::new();
    for (id, secret) in [("openweathermap/1", FIRST), ("openweathermap/2", SECOND), ("openweathermap/3", FIRST)] {
        for body in [json!({"secret": secret}), json!({"secret": secret, "ttl_secs": 0}), json!({"sekret": secret})] {
            answers.push(answer(admin(Method::PUT, &format!("/credentials/{id}")).json(&body)).await);
        }
    }
    // Refused keys among them.
    for place in ["Oslo", "Bergen", "Lima"] {
        answers.push(program.get(&format!("/weather/{place}")).await);
    }
    for path in ["/credentials", "/credentials/openweathermap/1", "/credentials/none", "/status", "/metrics"] {
        answers.push(answer(admin(Method::GET, path)).await);
    }
    answers.push(answer(admin(Method::DELETE, "/credentials/openweathermap/3")).await);
    assert!(gatekeeper.keys().contains(&FIRST.to_owned()) && gatekeeper.keys().contains(&SECOND.to_owned()));

    let mut dump = Vec::new();
    for name in inspector.names().await {
        dump.extend_from_slice(name.as_bytes());
        dump.extend(inspector.run::<Option<Vec<u8>>>("GET", &name).await.unwrap_or_default());
        assert!(inspector.run::<i64>("PTTL", &name).await > 0, "{name} has no end");
    }
    let log = program.stop().await.join("\n");
    assert!(log.contains(r#""level":"TRACE""#) && log.contains("put aside") && log.contains("ref_"), "{log}");
    for (place, bytes) in [("Redis", dump), ("the log", log.into_bytes()), ("answers", everything_of(&answers))] {
        secrets.absent_from(place, &bytes);
    }
    Canaries::texts(["openweathermap/1", "openweathermap/2"])
        .absent_from("the metrics", &answers[answers.len() - 2].body);
}

/// The names of slots that are taken.
async fn slots(redis: &Redis, inspector: &mut Inspector) -> Vec<String> {
    let keys = std::fs::read_to_string(redis.secret("encryption-keys")).expect("the keys");
    let ring = Keyring::parse(&keys).expect("good keys");
    let slots: Vec<_> = (0..32).flat_map(|slot| ring.names(&format!("credential slot {slot}"))).collect();
    let mut names = inspector.names().await;
    names.retain(|name| slots.iter().any(|slot| slot.as_str() == name));
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_changed_or_moved_in_redis_is_absent() {
    let (gatekeeper, mut redis) = (Gatekeeper::start(&[API_KEY]).await, Redis::start().await);
    let mut inspector = Inspector::enter(&mut redis).await;
    let mut service = Setup::redis(&gatekeeper.upstream, &redis).start().await;
    service.store_up().await;
    let token = token_of(&redis);
    for (id, secret) in [("openweathermap", FIRST), ("openweathermap/2", SECOND)] {
        put_with(&service, &token, id, &json!({"secret": secret, "ttl_secs": 86_400})).await;
    }
    let names = slots(&redis, &mut inspector).await;
    let [one, other] = &names[..] else { panic!("two slots: {names:?}") };
    let (first, second) = (inspector.value(one).await, inspector.value(other).await);
    assert_eq!(first.len(), second.len());
    let mut flipped = first.clone();
    flipped[500] ^= 1;
    for (at_one, at_other, left) in [(&flipped, &second, 1), (&second, &first, 0), (&first, &second, 2)] {
        inspector.put(one, at_one).await;
        inspector.put(other, at_other).await;
        let listed = run(&service, &token, Method::GET, "/credentials").await.json();
        assert_eq!(listed.as_array().map(Vec::len), Some(left), "{listed}");
    }
    inspector.put(one, b"").await;
    inspector.put(other, &first).await;
    assert_eq!(run(&service, &token, Method::GET, "/credentials/openweathermap").await.status, 404);
    assert_eq!(service.get("/weather/Lima").await.status, 200);
    assert_eq!(gatekeeper.keys(), [API_KEY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_emptied_gets_the_credentials_back_and_one_that_was_removed_stays_away() {
    let (gatekeeper, mut redis) = (Gatekeeper::start(&[FIRST]).await, Redis::start().await);
    let mut inspector = Inspector::enter(&mut redis).await;
    let mut service = Setup::redis(&gatekeeper.upstream, &redis).start().await;
    service.store_up().await;
    let token = token_of(&redis);
    for (id, secret) in [("openweathermap", FIRST), ("openweathermap/2", SECOND)] {
        put_with(&service, &token, id, &json!({"secret": secret, "ttl_secs": 86_400})).await;
    }
    run(&service, &token, Method::DELETE, "/credentials/openweathermap/2").await;
    inspector.run::<()>("FLUSHALL", &[] as &[&str]).await;
    let listed = run(&service, &token, Method::GET, "/credentials").await.json();
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["id"]), (Some(1), &json!("openweathermap")));
    let names = slots(&redis, &mut inspector).await;
    assert_eq!(names.len(), 1);
    assert!(inspector.run::<i64>("PTTL", &names[0]).await > 86_000_000, "with its own end");
    assert_eq!(service.get("/weather/Lima").await.status, 200);
    assert_eq!(gatekeeper.keys(), [FIRST]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_vault_says_so_and_what_is_there_can_be_replaced() {
    let gatekeeper = Gatekeeper::start(&[]).await;
    let service = super::alone(&gatekeeper).await;
    for number in 0..32 {
        assert_eq!(super::put(&service, &format!("id/{number}"), "s").await.status, 201);
    }
    let refused = super::put(&service, "id/32", FIRST).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (507, "vault-full"));
    assert_eq!(super::put(&service, "id/7", "other").await.status, 200);
    assert_eq!(count(&service, "unused").await, 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_the_keys_that_are_known_stay_in_use_and_changes_are_refused() {
    let (gatekeeper, redis) = (Gatekeeper::start(&[FIRST]).await, Redis::start().await);
    let proxy = TcpProxy::start(redis.server.port()).await;
    let mut service = Setup::redis_through(&gatekeeper.upstream, &redis, proxy.port()).start().await;
    service.store_up().await;
    let token = token_of(&redis);
    put_with(&service, &token, "openweathermap", &json!({"secret": FIRST, "ttl_secs": 86_400})).await;
    proxy.cut();
    service.store_down().await;
    let body = json!({"secret": SECOND});
    let refused = [
        put_with(&service, &token, "openweathermap", &body).await,
        run(&service, &token, Method::GET, "/credentials/openweathermap").await,
        run(&service, &token, Method::GET, "/credentials").await,
        run(&service, &token, Method::DELETE, "/credentials/openweathermap").await,
    ];
    for refused in refused {
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "store-unavailable"));
        assert!(!refused.header("retry-after").is_empty() && !refused.text().contains("purge"), "{}", refused.text());
    }
    assert_eq!(status(&service).await[0]["state"], "in_use");
    assert_eq!(service.get("/weather/Lima").await.status, 200);
    assert_eq!(gatekeeper.keys(), [FIRST]);
    proxy.mend().await;
    service.store_up().await;
    assert_eq!(put_with(&service, &token, "openweathermap", &body).await.status, 200);
}

fn write_keys(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a key file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("for its owner only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_outlives_a_rotation_of_the_encryption_keys_with_its_reference() {
    let (gatekeeper, redis) = (Gatekeeper::start(&[API_KEY, FIRST]).await, Redis::start().await);
    let (file, token) = (redis.secret("encryption-keys"), token_of(&redis));
    let old = std::fs::read_to_string(&file).expect("the keys");
    let new = generate_key_line().expect("a key");
    let mut service = Setup::redis(&gatekeeper.upstream, &redis).start().await;
    service.store_up().await;
    let made = put_with(&service, &token, "openweathermap", &json!({"secret": FIRST})).await.json();
    for ring in [format!("{old}{}", new.as_str()), format!("{}\n{old}", new.as_str()), new.to_string()] {
        write_keys(&file, &ring);
        service.reloading.look().await;
        let seen = run(&service, &token, Method::GET, "/credentials/openweathermap").await;
        assert_eq!((seen.status.as_u16(), seen.json()), (200, made.clone()));
    }
    // One that has never had the old key.
    let after: Service = Setup::redis(&gatekeeper.upstream, &redis).clock(&service.clock).start().await;
    until_asked_with(FIRST, &after, &gatekeeper, "after").await;
    assert_eq!(status(&after).await[0]["reference"], made["reference"]);
}
