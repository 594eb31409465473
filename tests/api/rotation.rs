//! Keys and secrets are replaced while the service runs: nobody is refused, nothing is asked twice, and what is bad leaves
//! the last good one in use.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::upstream::Request;
use crate::harness::{Answer, Program, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body, program};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer is fresh.
const FRESH: Duration = Duration::from_secs(3);
const PLACES: usize = 40;
/// How many answers each step of a rotation is under load for, at least.
const LOAD: usize = 300;

fn place(number: usize) -> String {
    format!("Place {number}")
}

fn asked_for(request: &Request) -> String {
    request.query.iter().find(|(name, _)| name == "q").expect("a name").1.clone()
}

/// An upstream that notes when it was asked for what.
async fn noting() -> (ScriptedUpstream, Arc<Mutex<HashMap<String, Vec<Instant>>>>) {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    let asked = Arc::new(Mutex::new(HashMap::<String, Vec<Instant>>::new()));
    let notes = Arc::clone(&asked);
    upstream.reply_with(move |request| {
        let place = asked_for(request);
        notes.lock().expect("no panic").entry(place.clone()).or_default().push(Instant::now());
        Reply::json(200, body(&place))
    });
    (upstream, asked)
}

async fn status(program: &Program) -> Value {
    answer(program.admin_request(Method::GET, "/status")).await.json()
}

fn ids(keys: &Value) -> Vec<String> {
    let keys = keys.as_array().expect("keys");
    keys.iter().map(|key| key["id"].as_str().expect("an id").to_owned()).collect()
}

/// Waits until something is so; asks again and again, because only the other process knows.
async fn until<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async { while !so().await {} }).await;
    assert!(waited.is_ok(), "{what}");
}

/// Three replicas, each with a key file of its own: files do not change everywhere at once.
struct Fleet {
    files: Vec<PathBuf>,
    replicas: Vec<Program>,
    answered: AtomicUsize,
    done: AtomicBool,
}

impl Fleet {
    async fn start(upstream: &ScriptedUpstream, redis: &Redis) -> Self {
        let files: Vec<_> = (0..3).map(|number| redis.dir.path().join(format!("keys-{number}"))).collect();
        let start = async |file: &PathBuf| {
            std::fs::copy(redis.secret("encryption-keys"), file).expect("a file");
            let setup = Setup::redis(upstream, redis)
                .set("encryption.keys_file", file.display())
                .set("cache.fresh_secs", FRESH.as_secs())
                .set("cache.stale_while_revalidate_secs", 1)
                .set("cache.stale_if_error_secs", 1);
            let program = setup.program().await;
            program.logs("Redis is connected").await;
            program
        };
        let replicas = join_all(files.iter().map(start)).await;
        Self { files, replicas, answered: AtomicUsize::new(0), done: AtomicBool::new(false) }
    }

    /// Asks one replica for one place after the other until it is done; how many answers were wrong.
    async fn load(&self, replica: usize) -> Vec<Answer> {
        let mut wrong = Vec::new();
        for number in (0..).map(|step| (step * 7 + replica) % PLACES) {
            if self.done.load(Ordering::SeqCst) {
                break;
            }
            let place = place(number);
            let got = self.replicas[replica].get(&format!("/weather/{place}")).await;
            // Names are asked for in lower case.
            if got.status != StatusCode::OK || got.text() != body(&place.to_lowercase()) {
                wrong.push(got);
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
        wrong
    }

    async fn under_load(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        until("the load goes on", || async {
            tokio::task::yield_now().await;
            self.answered.load(Ordering::SeqCst) >= before + LOAD
        })
        .await;
    }

    /// Changes the key file, replica by replica, with load on each state of the fleet.
    async fn roll_out(&self, step: &[&str], id: &[&str]) {
        let first = self.files[0].to_str().expect("a path in UTF-8");
        program::run(&[step, &[first], id].concat()).await;
        let keys = std::fs::read_to_string(first).expect("a file");
        let expected: Vec<_> = keys.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
        for (file, replica) in self.files.iter().zip(&self.replicas) {
            write_whole(file, &keys);
            replica.signal("HUP").await;
            until("the replica has the new keys", || async { ids(&status(replica).await["keys"]) == expected }).await;
            self.under_load().await;
        }
    }
}

/// Puts a file in place at once, as operators should.
fn write_whole(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("a file");
    std::fs::rename(&new, path).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_rolled_out_over_three_replicas_under_load_refuses_nobody_and_asks_for_nothing_twice() {
    let ((upstream, asked), redis) = (noting().await, Redis::start().await);
    let fleet = Fleet::start(&upstream, &redis).await;
    let old = ids(&status(&fleet.replicas[0]).await["keys"]).remove(0);
    let rotation = async {
        fleet.under_load().await;
        fleet.roll_out(&["key", "add", "--standby"], &[]).await;
        let new = ids(&status(&fleet.replicas[0]).await["keys"]).remove(1);
        fleet.roll_out(&["key", "promote"], &[&new]).await;
        for replica in &fleet.replicas {
            until("nothing needs the old key any more", || async {
                let keys = &status(replica).await["keys"];
                assert_eq!((&keys[0]["id"], &keys[0]["seals"]), (&json!(new), &json!(true)));
                keys[1]["last_record_ends_in_secs"] == 0
            })
            .await;
        }
        fleet.roll_out(&["key", "retire"], &[&old]).await;
        fleet.under_load().await;
        fleet.done.store(true, Ordering::SeqCst);
    };
    let load = join_all((0..6).map(|loader| fleet.load(loader % 3)));
    let (wrong, ()) = tokio::join!(load, rotation);
    assert!(wrong.iter().all(Vec::is_empty), "{wrong:?}");

    // Nothing was asked for again before its answer had aged: the usual calls, and no more. 5 % are allowed for chance.
    let asked = asked.lock().unwrap();
    let calls: usize = asked.values().map(Vec::len).sum();
    let early = asked.values().flat_map(|times| times.windows(2)).filter(|pair| pair[1] - pair[0] < FRESH).count();
    assert_eq!(asked.len(), PLACES);
    assert!(calls > PLACES, "the rotation took longer than one answer is fresh");
    assert!(early * 20 <= calls, "{early} of {calls} calls came too early");
}

/// A service with a clock of its own, whose files are looked at on demand.
async fn on_redis(upstream: &ScriptedUpstream, redis: &Redis) -> Service {
    let key_file = redis.dir.path().join("api-key");
    write_whole(&key_file, "first0key");
    let setup =
        Setup::redis(upstream, redis).set("upstream.api_key", "").set("upstream.api_key_file", key_file.display());
    setup.set("cache.memory_max_bytes", 1 << 20).start().await
}

async fn purge(service: &Service, token: &str) -> Answer {
    answer(service.admin_request(Method::POST, "/purge").bearer_auth(token).body(r#"{"all":true}"#)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_leaves_the_last_good_one_in_use_and_is_told_until_it_is_mended() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("lima"))).await, Redis::start().await);
    let service = on_redis(&upstream, &redis).await;
    let token = std::fs::read_to_string(redis.secret("admin-token")).unwrap();
    let good: Vec<_> = ["encryption-keys", "admin-token"]
        .map(|name| (redis.secret(name), std::fs::read_to_string(redis.secret(name)).unwrap()))
        .into_iter()
        .chain([(redis.dir.path().join("api-key"), "first0key".to_owned())])
        .collect();
    assert_eq!(service.get("/weather/Lima").await.x_cache(), "MISS");

    for bad in ["", "\n", "k:c2hvcnQ=\n"] {
        for (path, _) in &good {
            // A token or a key of the upstream may be any text.
            let is_bad = bad.trim().is_empty() || path.ends_with("encryption-keys");
            write_whole(path, if is_bad { bad } else { "" });
        }
        service.reloading.look().await;
        let status = service.admin_get("/status").await.json();
        for key in ["encryption.keys_file", "admin.token_file", "upstream.api_key_file"] {
            assert_eq!(status["files"][key]["state"], "refused", "{bad:?}: {status}");
            assert!(!status["files"][key]["reason"].as_str().unwrap().is_empty());
        }
        assert_eq!(service.metric("stratus_files_refused").await, 3);
        assert_eq!(purge(&service, token.trim()).await.status, StatusCode::OK, "the old token is good");
        assert_eq!(
            service.get("/weather/Lima").await.x_cache(),
            "MISS",
            "the old keys seal, and the upstream is asked"
        );
        service.keeps("/weather/Lima").await;
    }
    for (path, text) in &good {
        write_whole(path, text);
    }
    service.reloading.look().await;
    assert_eq!(service.metric("stratus_files_refused").await, 0);
    assert_eq!(service.get("/weather/Lima").await.x_cache(), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_others_can_read_from_now_on_or_that_is_gone_is_refused_and_the_old_content_stays() {
    use std::os::unix::fs::PermissionsExt;
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("lima"))).await, Redis::start().await);
    let service = on_redis(&upstream, &redis).await;
    let file = redis.secret("admin-token");
    let token = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "another0token").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    service.reloading.look().await;
    assert_eq!(purge(&service, "another0token").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(purge(&service, token.trim()).await.status, StatusCode::OK);
    let reason = service.admin_get("/status").await.json()["files"]["admin.token_file"]["reason"].clone();
    assert!(reason.as_str().unwrap().contains("chmod 600"), "{reason}");

    std::fs::remove_file(&file).unwrap();
    service.reloading.look().await;
    assert_eq!(purge(&service, token.trim()).await.status, StatusCode::OK);

    write_whole(&file, "another0token");
    service.reloading.look().await;
    assert_eq!(purge(&service, "another0token").await.status, StatusCode::OK);
    assert_eq!(purge(&service, token.trim()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_becomes_another_keys_is_refused_since_its_records_could_not_be_told_from_changed_ones() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("lima"))).await, Redis::start().await);
    let service = on_redis(&upstream, &redis).await;
    let keys = std::fs::read_to_string(redis.secret("encryption-keys")).unwrap();
    let id = keys.split(':').next().unwrap();
    let other = program::run(&["key", "new"]).await;
    write_whole(&redis.secret("encryption-keys"), &format!("{id}:{}", other.split_once(':').unwrap().1));
    service.reloading.look().await;
    let reason = service.admin_get("/status").await.json()["files"]["encryption.keys_file"]["reason"].clone();
    assert!(reason.as_str().unwrap().contains(&format!("key `{id}`")), "{reason}");
    assert_eq!(service.get("/weather/Lima").await.x_cache(), "MISS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_for_the_upstream_is_tried_at_once_although_the_old_one_was_rejected() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::never()).await, Redis::start().await);
    upstream.reply_with(|request| {
        let is_good = request.query.iter().any(|(name, value)| name == "appid" && value == "second0key");
        if is_good {
            Reply::json(200, body("lima"))
        } else {
            Reply::json(401, r#"{"cod":401,"message":"Invalid API key"}"#)
        }
    });
    let service = on_redis(&upstream, &redis).await;
    for _ in 0..3 {
        assert_eq!(service.get("/weather/Lima").await.code(), "upstream-rejected-key");
    }
    assert_eq!(upstream.calls(), 1, "and it is left alone");
    write_whole(&redis.dir.path().join("api-key"), "second0key");
    service.reloading.look().await;
    let answer = service.get("/weather/Lima").await;
    assert_eq!((answer.status.as_u16(), answer.text(), upstream.calls()), (200, body("lima").as_str(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_tells_when_the_last_record_of_a_key_ends_also_if_another_one_sealed_it() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("lima"))).await, Redis::start().await);
    let one = on_redis(&upstream, &redis).await;
    let setup = Setup::redis(&upstream, &redis).clock(&one.clock);
    let other = setup.set("cache.memory_max_bytes", 1 << 20).start().await;
    let keys = async |service: &Service| service.admin_get("/status").await.json()["keys"].clone();
    assert_eq!(keys(&other).await[0]["last_record_ends_in_secs"], 0);
    one.get("/weather/Lima").await;
    let told = keys(&one).await;
    assert_eq!((&told[0]["records_sealed"], &told[0]["last_record_ends_in_secs"]), (&json!(1), &json!(3_960)));
    // It tells every few seconds.
    until("the other one has heard of it", || async { keys(&other).await[0]["last_record_ends_in_secs"] == 3_960 })
        .await;
    let heard = keys(&other).await;
    assert_eq!(heard[0]["records_sealed"], 0);
    let id = ids(&heard).remove(0);
    other.clock.advance(Duration::from_secs(3_959));
    let line = format!("stratus_encryption_key_needed_seconds{{key=\"{id}\"}}");
    assert_eq!(other.metric(&line).await, 1);
    other.clock.advance(Duration::from_secs(1));
    assert_eq!((keys(&other).await[0]["last_record_ends_in_secs"].clone(), other.metric(&line).await), (json!(0), 0));
    assert_eq!(other.metric(&format!("stratus_encryption_key_seals{{key=\"{id}\"}}")).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_of_a_rejected_key_holds_up_no_call_with_the_new_one() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(401, "{}")).await, Redis::start().await);
    let service = on_redis(&upstream, &redis).await;
    assert_ne!(service.get("/weather/Lima").await.status, 200);
    upstream.reply(Reply::json(200, body("anywhere")));
    write_whole(&redis.dir.path().join("api-key"), "second0key");
    service.reloading.look().await;
    let tried = async {
        while service.get("/weather/Oslo").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("the new key is tried at once");
    for place in ["Rome", "Paris", "Lima"] {
        assert_eq!(service.get(&format!("/weather/{place}")).await.status, 200, "{place}");
    }
}
