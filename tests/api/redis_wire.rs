//! Whatever is behind redis.url and is not our Redis: refused in time, with the reason, and answers come from upstream.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::version::{TLS12, TLS13};
use stratus::provision;
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Redis, Reply, ScriptedUpstream, Setup, body};
use crate::malicious::Malicious;

async fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await
}

/// How long it may take to refuse somebody, with limits of a second.
const IN_TIME: std::time::Duration = std::time::Duration::from_secs(10);

async fn is_refused(setup: Setup, reason: &str, what: &str) {
    let setup = setup.set("redis.connect_timeout_ms", 1_000).set("redis.command_timeout_ms", 1_000);
    // A service that starts waits for what becomes of the first attempt.
    let refused = async {
        let mut service = setup.start().await;
        service.store_down_because(reason).await;
        service
    };
    let refused = tokio::time::timeout(IN_TIME, refused).await;
    let service = refused.unwrap_or_else(|_| panic!("{what}: in time"));
    let store = service.admin_get("/status").await.json()["store"].clone();
    assert!(store["reason"].as_str().is_some_and(|told| told.contains(reason)), "{what}: {store}");
    assert!(store["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{what}: {store}");
    for _ in 0..2 {
        let answer = service.get("/weather/Oslo").await;
        let seen = (answer.status.as_u16(), answer.x_cache(), answer.text());
        assert_eq!(seen, (200, "MISS", body("Oslo").as_str()), "{what}");
    }
}

/// Gives Redis a certificate of the authority in that folder, for this host and these days from now.
fn sign(authority: &Path, secrets: &Path, host: &str, days: std::ops::Range<i64>) {
    let read = |name: &str| fs::read_to_string(authority.join(name)).expect("a PEM file");
    let authority_key = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let authority = Issuer::from_ca_cert_pem(&read("ca.crt"), authority_key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = params(host, days).signed_by(&key, &authority).expect("a certificate");
    write(secrets, &certificate.pem(), &key);
}

fn params(host: &str, days: std::ops::Range<i64>) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).expect("a host name");
    params.not_before = OffsetDateTime::now_utc() + Duration::days(days.start);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days.end);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn write(secrets: &Path, certificate: &str, key: &KeyPair) {
    fs::write(secrets.join("redis.crt"), certificate).expect("the certificate");
    fs::write(secrets.join("redis.key"), key.serialize_pem()).expect("the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_that_is_not_for_us_is_refused_with_the_reason() {
    let strangers = tempfile::tempdir().expect("a temporary folder");
    provision::init(strangers.path(), None, &[]).expect("secrets");
    let self_signed = |secrets: &Path| {
        let key = KeyPair::generate().expect("a key");
        let certificate = params("127.0.0.1", -1..30).self_signed(&key).expect("a certificate");
        write(secrets, &certificate.pem(), &key);
    };
    type Change<'a> = &'a dyn Fn(&Path);
    let changes: [(&str, &str, Change<'_>); 5] = [
        ("another authority's", "from another authority", &|secrets| {
            sign(strangers.path(), secrets, "127.0.0.1", -1..30)
        }),
        ("a self-signed one", "from another authority", &self_signed),
        ("an expired one", "expired or not yet valid", &|secrets| sign(secrets, secrets, "127.0.0.1", -20..-10)),
        ("one of tomorrow", "expired or not yet valid", &|secrets| sign(secrets, secrets, "127.0.0.1", 1..30)),
        ("another host's", "for another host name", &|secrets| sign(secrets, secrets, "redis.example", -1..30)),
    ];
    for (what, reason, change) in changes {
        let (upstream, redis) = (upstream().await, Malicious::start_with(&[&TLS13, &TLS12], change).await);
        is_refused(redis.setup(&upstream), reason, what).await;
    }
}

/// Says this to everybody who connects and sends something, and then stays or leaves.
async fn stranger(words: &[u8], stays: bool) -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let words: Arc<[u8]> = words.into();
    let serving = tokio::spawn(async move {
        let mut guests = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let words = Arc::clone(&words);
            guests.spawn(async move {
                // Guests leave when they have heard enough.
                let mut heard = Vec::with_capacity(4096);
                stream.read_buf(&mut heard).await.ok();
                stream.write_all(&words).await.ok();
                while stays && stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
            });
            while guests.try_join_next().is_some() {}
        }
    });
    (port, AbortOnDropHandle::new(serving))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_speak_tls_is_refused_with_the_reason() {
    let redis = Redis::start().await;
    let not_tls = "does not speak TLS on this port";
    for (what, words, stays, reason) in [
        ("a plain Redis", &b"-ERR Protocol error: unauthenticated multibulk length\r\n"[..], true, not_tls),
        ("a web server", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", false, not_tls),
        ("a shell", b"SSH-2.0-OpenSSH_9.6\r\n", true, not_tls),
        ("nonsense", &[0xff; 300], true, not_tls),
        ("zeros", &[0; 300], true, not_tls),
        ("a record that is too long", b"\x16\x03\x03\xff\xff", true, not_tls),
        ("silence", b"", true, "does not answer a connection in time"),
        ("half a record", b"\x16\x03\x03\x00\x7a\x02", true, "does not answer a connection in time"),
        ("somebody who hangs up", b"", false, "closed the connection"),
    ] {
        let (upstream, (port, _serving)) = (upstream().await, stranger(words, stays).await);
        is_refused(Setup::redis_through(&upstream, &redis, port), reason, what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_that_is_no_redis_is_refused_with_the_reason() {
    for (what, greeting, reason) in [
        ("a web server", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "sends what no Redis sends"),
        ("nonsense", &[0xff; 300], "sends what no Redis sends"),
        ("an endless login", b"%1000000000\r\n", "sends more than was asked for"),
        ("silence", b"", "does not answer a connection in time"),
        ("half a login", b"%7\r\n$6\r\nserver\r\n", "does not answer a connection in time"),
    ] {
        let (upstream, redis) = (upstream().await, Malicious::start().await);
        redis.greets_with(greeting);
        is_refused(redis.setup(&upstream), reason, what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_3_and_1_2_work_and_1_1_is_refused() {
    for version in [&TLS13, &TLS12] {
        let (upstream, redis) = (upstream().await, Malicious::speaking(&[version]).await);
        let setup = redis.setup(&upstream).set("redis.command_timeout_ms", 10_000);
        let service = setup.start().await;
        let used = async { while service.get("/weather/Oslo").await.x_cache() != "HIT" {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), used).await.expect("it is used");
    }
    // What a server says that knows nothing newer: a hello in TLS 1.1 with a cipher of it, or that it knows none of ours.
    let hello = [&b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02"[..], &[7; 32], b"\x00\xc0\x14\x00"].concat();
    for (what, words) in [("a hello of TLS 1.1", &hello[..]), ("an alert", b"\x15\x03\x02\x00\x02\x02\x46")] {
        let (upstream, redis) = (upstream().await, Redis::start().await);
        let (port, _serving) = stranger(words, true).await;
        is_refused(Setup::redis_through(&upstream, &redis, port), "failed the TLS handshake", what).await;
    }
}
