//! The files of the way to Redis while the service runs: what is renewed is used at once, and what turns bad leaves the last
//! good ones in use.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{CertificateParams, Issuer, KeyPair};
use reqwest::Method;
use stratus::provision;
use time::{Duration, OffsetDateTime};

use crate::harness::program::parsed;
use crate::harness::{PATIENCE, Program, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body};
use crate::malicious::Malicious;

const TOLD: &str = "the new content of a file is not used, the old one stays";
const NOT_PEM: &str = "nothing\n";

fn patient(setup: Setup) -> Setup {
    setup.set("redis.command_timeout_ms", 10_000).set("redis.connect_timeout_ms", 10_000)
}

async fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await
}

async fn ask(service: &Service, x_cache: &str) {
    let answer = service.get("/weather/Oslo").await;
    assert_eq!((answer.status.as_u16(), answer.x_cache(), answer.text()), (200, x_cache, body("Oslo").as_str()));
}

/// Has the service connect anew, which it is to manage.
async fn connects_anew(redis: &mut Redis, service: &mut Service) {
    redis.server.stop().await;
    service.store_down_because("cannot be reached").await;
    redis.restart().await;
    service.store_up().await;
    ask(service, "MISS").await;
    ask(service, "HIT").await;
}

/// In one step, as whoever replaces a file should do it: the service may look at any moment.
fn replace(file: &Path, content: impl AsRef<[u8]>) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("a file");
    fs::rename(&new, file).expect("the new file");
}

/// Another client certificate of the same authority for the same key, in date for these days from now.
pub(crate) fn renew(secrets: &Path, days: std::ops::Range<i64>) {
    let read = |name: &str| fs::read_to_string(secrets.join(name)).expect("a PEM file");
    let authority_key = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let authority = Issuer::from_ca_cert_pem(&read("ca.crt"), authority_key).expect("an authority");
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::now_utc() + Duration::days(days.start);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days.end);
    let key = KeyPair::from_pem(&read("stratus.key")).expect("a key");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    replace(&secrets.join("stratus.crt"), certificate.pem());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_turn_bad_leave_the_last_good_credentials_in_use() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    let mut service = patient(Setup::redis(&upstream, &redis)).start().await;
    ask(&service, "MISS").await;
    for name in ["redis-password", "stratus.crt", "stratus.key"] {
        let (file, elsewhere) = (redis.secret(name), redis.secret("elsewhere"));
        fs::rename(&file, &elsewhere).expect("a file");
        service.reloading.look().await;
        connects_anew(&mut redis, &mut service).await;
        // As a password it is well-formed, and wrong.
        fs::write(&file, NOT_PEM).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
        service.reloading.look().await;
        connects_anew(&mut redis, &mut service).await;
        fs::rename(&elsewhere, &file).expect("a file");
    }
    renew(&redis.secret(""), -20..-10);
    service.reloading.look().await;
    connects_anew(&mut redis, &mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_turns_bad_leaves_the_last_good_one_in_use() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    let ours = redis.secret("ours.crt");
    fs::copy(redis.secret("ca.crt"), &ours).expect("the authority");
    let setup = patient(Setup::redis(&upstream, &redis)).set("redis.ca_file", ours.display());
    let mut service = setup.start().await;
    ask(&service, "MISS").await;
    fs::write(&ours, NOT_PEM).expect("a file");
    service.reloading.look().await;
    connects_anew(&mut redis, &mut service).await;
    fs::remove_file(&ours).expect("a file");
    service.reloading.look().await;
    connects_anew(&mut redis, &mut service).await;
}

/// Waits until it is told how it stands with the files for Redis.
async fn told(program: &Program, state: &str, reason: &str) {
    let reached = async {
        loop {
            let status = answer(program.admin_request(Method::GET, "/status")).await.json();
            let redis = &status["files"]["redis"];
            if redis["state"] == state && redis["reason"].as_str().unwrap_or_default().contains(reason) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{state}: {reason} in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_turn_bad_are_told_once_until_they_change_or_are_mended() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let program = patient(Setup::redis(&upstream, &redis)).program().await;
    told(&program, "in_use", "").await;
    let certificate = fs::read(redis.secret("stratus.crt")).expect("the certificate");
    for change in ["is not a PEM file", "expired on", "", "is not a PEM file", ""] {
        match change {
            "is not a PEM file" => replace(&redis.secret("stratus.crt"), NOT_PEM),
            "expired on" => {
                replace(&redis.secret("stratus.crt"), &certificate);
                renew(&redis.secret(""), -20..-10);
            }
            _ => replace(&redis.secret("stratus.crt"), &certificate),
        }
        // Looked at several times.
        for _ in 0..3 {
            program.signal("HUP").await;
            told(&program, if change.is_empty() { "in_use" } else { "refused" }, change).await;
        }
    }
    let lines = program.stop().await;
    let told: Vec<_> = parsed(&lines)
        .iter()
        .filter_map(|line| Some(line["message"].as_str()?.strip_prefix(TOLD)?.to_owned()))
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    let faults = ["is not a PEM file", "expired on", "is not a PEM file"];
    assert!(told.iter().zip(faults).all(|(told, fault)| told.contains("redis.cert_file: ") && told.contains(fault)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_client_certificate_is_shown_at_once_on_a_connection_beside_the_old_one() {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let mut service = patient(redis.setup(&upstream)).start().await;
    service.store_up().await;
    let before = redis.peer();
    renew(redis.secrets(), -1..30);
    service.reloading.look().await;
    let renewed = fs::read_to_string(redis.secrets().join("stratus.crt")).expect("a PEM file");
    let (_, renewed) = x509_parser::pem::parse_x509_pem(renewed.as_bytes()).expect("a PEM file");
    assert_ne!(renewed.contents, before);
    let shown = async {
        while redis.peer() != renewed.contents {
            // It is never down meanwhile.
            assert_eq!(service.metric("stratus_store_up").await, 1);
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("the new one is shown in time");
    ask(&service, "MISS").await;
    ask(&service, "HIT").await;
    // And so it is on every later connection.
    redis.closes_connections();
    service.store_down_because("closed the connection").await;
    service.store_up().await;
    assert_eq!(redis.peer(), renewed.contents);
    ask(&service, "HIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_authority_and_all_that_it_signed_are_used_without_a_restart() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    let mut service = patient(Setup::redis(&upstream, &redis)).start().await;
    ask(&service, "MISS").await;
    let other = tempfile::tempdir().expect("a temporary folder");
    provision::init(other.path(), None, &[]).expect("secrets");
    // One after the other, as an operator does it: in between they do not fit together.
    for name in ["ca.crt", "stratus.crt", "stratus.key", "redis.crt", "redis.key"] {
        fs::copy(other.path().join(name), redis.secret(name)).expect("a file");
        service.reloading.look().await;
        ask(&service, "HIT").await;
    }
    connects_anew(&mut redis, &mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_replaced_vouches_for_no_later_connection() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    let ours = redis.secret("ours.crt");
    fs::copy(redis.secret("ca.crt"), &ours).expect("the authority");
    let mut service = patient(Setup::redis(&upstream, &redis).set("redis.ca_file", ours.display())).start().await;
    ask(&service, "MISS").await;
    let other = tempfile::tempdir().expect("a temporary folder");
    provision::init(other.path(), None, &[]).expect("secrets");
    fs::copy(other.path().join("ca.crt"), &ours).expect("the new authority");
    service.reloading.look().await;
    redis.server.stop().await;
    service.store_down_because("cannot be reached").await;
    // Its certificate is still of the authority that was replaced.
    redis.restart().await;
    service.store_down_because("has a certificate from another authority").await;
}
