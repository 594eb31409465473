//! A Redis that is there but cannot be used: each trouble is named, answers come from upstream, and what an operator
//! puts right is found by itself.

use std::fs;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use stratus::provision;
use time::{Duration, OffsetDateTime};
use tokio::io::AsyncWriteExt;

use crate::harness::{Redis, Reply, ScriptedUpstream, Service, Setup, body};

/// With limits that a busy machine does not reach.
fn setup(upstream: &ScriptedUpstream, redis: &Redis) -> Setup {
    Setup::redis(upstream, redis).set("redis.command_timeout_ms", 10_000).set("redis.connect_timeout_ms", 10_000)
}

async fn parts() -> (ScriptedUpstream, Redis) {
    (ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await, Redis::start().await)
}

async fn ask(service: &Service, x_cache: &str) {
    let answer = service.get("/weather/Oslo").await;
    assert_eq!((answer.status.as_u16(), answer.x_cache(), answer.text()), (200, x_cache, body("Oslo").as_str()));
}

/// The trouble has this name, and answers come from upstream meanwhile.
async fn named(service: &mut Service, reason: &str) {
    service.store_down_because(reason).await;
    ask(service, "MISS").await;
    ask(service, "MISS").await;
}

/// The trouble is over, and this service has found out.
async fn healed(service: &mut Service) {
    service.store_up().await;
    ask(service, "MISS").await;
    ask(service, "HIT").await;
}

/// Gives the user `stratus` another password, on the server only.
async fn change_password(redis: &mut Redis, password: &str) {
    fs::write(redis.secret("redis-users.acl"), provision::redis_acl(password)).expect("the users");
    redis.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_changed_in_redis_is_named_and_works_once_it_is_in_the_password_file() {
    let (upstream, mut redis) = parts().await;
    let mut service = setup(&upstream, &redis).start().await;
    ask(&service, "MISS").await;
    change_password(&mut redis, "another").await;
    named(&mut service, "refuses the login").await;
    fs::write(redis.secret("redis-password"), "another\n").expect("the password");
    healed(&mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_taken_back_in_redis_works_without_a_restart() {
    let (upstream, mut redis) = parts().await;
    let users = fs::read(redis.secret("redis-users.acl")).expect("the users");
    change_password(&mut redis, "another").await;
    let mut service = setup(&upstream, &redis).start().await;
    named(&mut service, "refuses the login").await;
    fs::write(redis.secret("redis-users.acl"), users).expect("the users");
    redis.restart().await;
    healed(&mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_is_named_and_used_again_when_it_is_back() {
    let (upstream, mut redis) = parts().await;
    redis.restart_with_inspector().await;
    let mut service = setup(&upstream, &redis).start().await;
    for (command, reason) in [
        ("get", "does not allow the user GET"),
        ("set", "does not allow the user SET"),
        ("unlink", "does not allow the user UNLINK"),
        ("incrby", "does not allow the user INCRBY"),
    ] {
        assert_eq!(redis.inspect(&["ACL", "SETUSER", "stratus", &format!("-{command}")]).await, "OK\n");
        // A right that is not used now is missed at the next connection.
        redis.inspect(&["CLIENT", "KILL", "USER", "stratus"]).await;
        named(&mut service, reason).await;
        assert_eq!(redis.inspect(&["ACL", "SETUSER", "stratus", &format!("+{command}")]).await, "OK\n");
        service.store_up().await;
        service.clock.advance(std::time::Duration::from_secs(361));
        healed(&mut service).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_under_a_live_connection_is_named() {
    let (upstream, mut redis) = parts().await;
    redis.restart_with_inspector().await;
    let mut service = setup(&upstream, &redis).start().await;
    assert_eq!(redis.inspect(&["ACL", "SETUSER", "stratus", "resetkeys"]).await, "OK\n");
    ask(&service, "MISS").await;
    named(&mut service, "does not allow the user GET").await;
    assert_eq!(redis.inspect(&["ACL", "SETUSER", "stratus", "~stratus:*"]).await, "OK\n");
    healed(&mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_of_another_authority_is_named_and_used_once_the_right_authority_is_in_the_file() {
    let (upstream, redis) = parts().await;
    let other = tempfile::tempdir().expect("a temporary folder");
    provision::init(other.path(), None, &[]).expect("secrets");
    let authority = other.path().join("ca.crt");
    let mut service = setup(&upstream, &redis).set("redis.ca_file", authority.display()).start().await;
    named(&mut service, "has a certificate from another authority").await;
    fs::copy(redis.secret("ca.crt"), authority).expect("the authority");
    healed(&mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_client_certificate_is_named() {
    let (upstream, redis) = parts().await;
    let setup = setup(&upstream, &redis).set("redis.cert_file", "").set("redis.key_file", "");
    named(&mut setup.start().await, "wants a client certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_another_authority_is_named() {
    let (upstream, redis) = parts().await;
    let other = tempfile::tempdir().expect("a temporary folder");
    provision::init(other.path(), None, &[]).expect("secrets");
    let setup = setup(&upstream, &redis)
        .set("redis.cert_file", other.path().join("stratus.crt").display())
        .set("redis.key_file", other.path().join("stratus.key").display());
    named(&mut setup.start().await, "refuses our client certificate").await;
}

/// Gives Redis another certificate of its own authority, for this host name and these days from now.
async fn change_certificate(redis: &mut Redis, host: &str, days: std::ops::Range<i64>) {
    let read = |name: &str| fs::read_to_string(redis.secret(name)).expect("a PEM file");
    let authority_key = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let authority = Issuer::from_ca_cert_pem(&read("ca.crt"), authority_key).expect("an authority");
    let mut params = CertificateParams::new([host.to_owned()]).expect("a host name");
    params.not_before = OffsetDateTime::now_utc() + Duration::days(days.start);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days.end);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    fs::write(redis.secret("redis.crt"), certificate.pem()).expect("the certificate");
    fs::write(redis.secret("redis.key"), key.serialize_pem()).expect("the key");
    redis.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_out_of_date_or_for_another_host_is_named_until_it_is_replaced() {
    let (upstream, mut redis) = parts().await;
    let mut service = setup(&upstream, &redis).start().await;
    for (host, days, reason) in [
        ("127.0.0.1", -20..-10, "has a certificate that is expired or not yet valid"),
        ("127.0.0.1", 10..20, "has a certificate that is expired or not yet valid"),
        ("redis.example", -10..10, "has a certificate for another host name"),
    ] {
        change_certificate(&mut redis, host, days).await;
        named(&mut service, reason).await;
    }
    change_certificate(&mut redis, "127.0.0.1", -10..10).await;
    healed(&mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_tls_is_named() {
    let (upstream, redis) = parts().await;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("rediss://{}", plain.local_addr().expect("an address"));
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = plain.accept().await.expect("a connection");
            // What Redis says on its plain port to something that is no command.
            stream.write_all(b"-ERR Protocol error: unauthenticated multibulk length\r\n").await.ok();
        }
    });
    let mut service = setup(&upstream, &redis).set("redis.url", url).start().await;
    named(&mut service, "does not speak TLS on this port").await;
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_exist_is_not_taken_for_a_redis_that_hangs_up() {
    let (upstream, redis) = parts().await;
    // No resolver has to be asked about a name that is too long to be one.
    let url = format!("rediss://{}:6380", "x".repeat(64));
    let mut service = setup(&upstream, &redis).set("redis.url", url).start().await;
    named(&mut service, "cannot be reached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_longest_body_leaves_room_for_what_redis_says_of_its_commands() {
    let (upstream, redis) = parts().await;
    let setup = setup(&upstream, &redis).set("upstream.max_body_bytes", 2_048);
    let mut service = setup.set("redis.require_least_privilege", true).start().await;
    service.store_up().await;
    ask(&service, "MISS").await;
}
