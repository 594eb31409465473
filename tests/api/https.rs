//! HTTPS on the public listener: who speaks what, and what becomes of connections when the certificate is replaced.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::callers::{HttpsFiles, ask_h1, ask_h2, frame, h2, head, preface, shake};
use crate::harness::{Gate, PATIENCE, Reply, ScriptedUpstream, Service, Setup, body, raw};

const OSLO: &str = "/weather/Oslo";
const HSTS: &str = "strict-transport-security";

async fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await
}

async fn service(upstream: &ScriptedUpstream) -> (HttpsFiles, Service) {
    let files = HttpsFiles::make();
    let service = files.on(Setup::memory(upstream)).start().await;
    (files, service)
}

/// The certificate that a new handshake shows.
async fn shown(service: &Service, caller: &Arc<ClientConfig>) -> Vec<u8> {
    let stream = shake(service.public, caller).await.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

/// Replaces the certificate and its key by others of the same authority, in date for these days from now.
fn renew(secrets: &Path, days: std::ops::Range<i64>) {
    let read = |name: &str| fs::read_to_string(secrets.join(name)).expect("a PEM file");
    let authority = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let authority = Issuer::from_ca_cert_pem(&read("ca.crt"), authority).expect("an authority");
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    params.not_before = OffsetDateTime::now_utc() + Duration::days(days.start);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days.end);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    fs::write(secrets.join("https.crt"), certificate.pem()).expect("the certificate");
    fs::write(secrets.join("https.key"), key.serialize_pem()).expect("the key");
}

async fn state(service: &Service) -> serde_json::Value {
    service.admin_get("/status").await.json()["files"]["server.tls_cert_file"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_tls_1_3_or_1_2_with_http_2_or_1_1_as_the_caller_likes() {
    let upstream = upstream().await;
    let (files, service) = service(&upstream).await;
    for (version, name) in [(&TLS13, rustls::ProtocolVersion::TLSv1_3), (&TLS12, rustls::ProtocolVersion::TLSv1_2)] {
        for protocols in [&[&b"h2"[..], b"http/1.1"][..], &[b"http/1.1"], &[]] {
            let mut stream = shake(service.public, &files.caller(&[version], protocols)).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.protocol_version(), Some(name));
            let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(chosen.as_deref(), protocols.first().copied());
            if chosen.as_deref() == Some(b"h2") {
                let answer = ask_h2(&h2(stream, &h2::client::Builder::new()).await, OSLO).await.expect("an answer");
                assert_eq!((answer.status.as_u16(), answer.body), (200, body("Oslo")));
                assert_eq!(answer.headers[HSTS], "max-age=31536000");
            } else {
                let answer = ask_h1(&mut stream, OSLO).await;
                assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(&body("Oslo")), "{answer}");
                assert!(answer.contains("strict-transport-security: max-age=31536000\r\n"), "{answer}");
            }
        }
    }
    // A protocol that is neither is told so in the handshake (RFC 7301, section 3.2).
    assert!(shake(service.public, &files.caller(&[&TLS13], &[b"h3"])).await.is_err());
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_knows_only_tls_1_1_is_refused() {
    let upstream = upstream().await;
    let (_files, service) = service(&upstream).await;
    // The same hello, once as of TLS 1.2: its suites, then groups, points and signatures that we take.
    let hello = |minor: u8| {
        let extensions = b"\x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x0b\x00\x02\x01\x00\x00\x0d\x00\x04\x00\x02\x04\x03";
        let length = [0, u8::try_from(extensions.len()).expect("short")];
        let suites = b"\x00\x00\x04\xc0\x2b\xc0\x13\x01\x00";
        let hello = [&[3, minor][..], &[7; 32], suites, &length, extensions].concat();
        let length = u8::try_from(hello.len()).expect("short");
        [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat()
    };
    // A record of the handshake (22), its first message the server's hello (2); a fatal alert (21), protocol_version (70).
    for (minor, kind, message) in [(3, 22, 2), (2, 21, 2)] {
        let mut stream = TcpStream::connect(service.public).await.expect("a connection");
        stream.write_all(&hello(minor)).await.expect("it is taken");
        let mut told = [0; 7];
        timeout(PATIENCE, stream.read_exact(&mut told)).await.expect("in time").expect("an answer");
        assert_eq!((told[0], told[5]), (kind, message), "TLS 1.{}: {told:?}", minor - 1);
        assert_eq!(told[6] == 70, minor == 2, "TLS 1.{}: {told:?}", minor - 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_over_https_says_that_https_is_to_be_used_and_none_in_the_clear_does() {
    let upstream = upstream().await;
    let (files, service) = service(&upstream).await;
    let send = h2(shake(service.public, &files.h2_caller()).await.expect("TLS"), &h2::client::Builder::new()).await;
    for path in [OSLO, OSLO, "/", "/weather/%00", "/weather/Oslo?unit=x"] {
        let answer = ask_h2(&send, path).await.expect("an answer");
        assert_eq!(answer.headers.get_all(HSTS).iter().collect::<Vec<_>>(), ["max-age=31536000"], "{path}");
    }
    let plain = Setup::memory(&upstream).start().await;
    for path in [OSLO, OSLO, "/"] {
        assert_eq!(plain.get(path).await.header(HSTS), "", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_port_of_https_is_told_so_and_closed() {
    let upstream = upstream().await;
    let (_files, service) = service(&upstream).await;
    let answer = raw(&service, b"GET /weather/Oslo HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("this port speaks HTTPS: use https://\r\n"),
        "{answer}"
    );
    let told =
        async { while service.metric(r#"stratus_http_connections_closed_total{reason="not_tls"}"#).await != 1 {} };
    timeout(PATIENCE, told).await.expect("it is counted once the caller has gone");
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_https_only_http_1_1_is_spoken() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).start().await;
    let request = [preface(), frame(1, 5, 1, &head(OSLO))].concat();
    let answer = raw(&service, &request).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer:?}");
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_by_its_ticket() {
    let upstream = upstream().await;
    let (files, service) = service(&upstream).await;
    for version in [&TLS13, &TLS12] {
        let caller = files.caller(&[version], &[b"http/1.1"]);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = shake(service.public, &caller).await.expect("a handshake");
            // The tickets come before the answer.
            ask_h1(&mut stream, OSLO).await;
            kinds.extend(stream.get_ref().1.handshake_kind());
        }
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_new_callers_while_open_connections_go_on() {
    let upstream = upstream().await;
    let (files, service) = service(&upstream).await;
    let mut old_h1 = shake(service.public, &files.h1_caller()).await.expect("a handshake");
    let old_h2 = h2(shake(service.public, &files.h2_caller()).await.expect("TLS"), &h2::client::Builder::new()).await;
    ask_h1(&mut old_h1, OSLO).await;
    let caller = files.h1_caller();
    let before = shown(&service, &caller).await;

    renew(&files.dir(), -1..90);
    service.reloading.look().await;

    // The same caller has a ticket of the old certificate, which is worth nothing now.
    let after = shown(&service, &caller).await;
    assert_ne!(after, before);
    assert_eq!(state(&service).await["state"], "in_use");
    assert!(ask_h1(&mut old_h1, OSLO).await.starts_with("HTTP/1.1 200"));
    assert_eq!(ask_h2(&old_h2, OSLO).await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_that_is_bad_leaves_the_old_one_in_use_and_is_told() {
    let upstream = upstream().await;
    let (files, service) = service(&upstream).await;
    let dir = files.dir();
    let before = shown(&service, &files.h1_caller()).await;
    let good = ["https.crt", "https.key"].map(|name| (name, fs::read(dir.join(name)).expect("a file")));
    let key_of_another = fs::read(dir.join("redis.key")).expect("a key");
    let spoils: [(&str, &dyn Fn()); 5] = [
        ("has to be the key of server.tls_cert_file", &|| {
            fs::write(dir.join("https.key"), &key_of_another).expect("it")
        }),
        ("is not a PEM file", &|| fs::write(dir.join("https.crt"), "nothing").expect("it")),
        ("cannot read", &|| fs::remove_file(dir.join("https.crt")).expect("it")),
        ("expired on", &|| renew(&dir, -90..-1)),
        ("is not valid before", &|| renew(&dir, 1..90)),
    ];
    for (why, spoil) in spoils {
        spoil();
        service.reloading.look().await;
        let state = state(&service).await;
        assert_eq!(state["state"], "refused", "{why}: {state}");
        assert!(state["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{why}: {state}");
        assert_eq!(shown(&service, &files.h1_caller()).await, before, "{why}");
        for (name, content) in &good {
            fs::write(dir.join(name), content).expect("a file");
        }
        service.reloading.look().await;
        assert_eq!(self::state(&service).await["state"], "in_use", "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http_2_in_flight_is_answered_after_the_end_has_begun() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Oslo")))).await;
    let (files, service) = service(&upstream).await;
    let send = h2(shake(service.public, &files.h2_caller()).await.expect("TLS"), &h2::client::Builder::new()).await;
    let end = async {
        upstream.wait_for_calls(1).await;
        service.stopping.cancel();
        let closed = async { while TcpStream::connect(service.public).await.is_ok() {} };
        timeout(PATIENCE, closed).await.expect("the listener closes");
        // It says that it goes (GOAWAY), so nothing new is begun.
        gate.open();
    };
    let (answer, ()) = tokio::join!(ask_h2(&send, OSLO), end);
    let answer = answer.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.body), (200, body("Oslo")));
    assert!(timeout(PATIENCE, service.stop()).await.expect("an end in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_of_https_do_not_hold_up_the_end() {
    let upstream = upstream().await;
    let files = HttpsFiles::make();
    let service = files.on(Setup::memory(&upstream)).set("server.drain_secs", 600).start().await;
    let half = TcpStream::connect(service.public).await.expect("a connection");
    let idle = shake(service.public, &files.h2_caller()).await.expect("TLS");
    let used = h2(shake(service.public, &files.h2_caller()).await.expect("TLS"), &h2::client::Builder::new()).await;
    ask_h2(&used, OSLO).await.expect("an answer");
    assert!(timeout(PATIENCE, service.stop()).await.expect("an end in time"));
    drop((half, idle));
}
