//! `stratus check` and Redis: each trouble is one line with its fix, and nothing secret is in any line.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use stratus::provision;
use time::{Duration, OffsetDateTime};

use super::harness::{Folder, Ran, Running, Settings, free_address, text};
use super::redis::{API_KEY, Redis, change_users};

/// Runs the doctor, whose lines never hold a secret.
pub(crate) fn check(redis: &Redis, settings: &Settings) -> Ran {
    let ran = settings.run(&["check"]);
    ran.shows_no_secret();
    for secret in redis.secrets() {
        assert!(!ran.stdout.contains(&secret) && !ran.stderr.contains(&secret), "{ran:?}");
    }
    ran
}

/// The lines that begin with `FAIL`, without that word.
fn failed(ran: &Ran) -> Vec<&str> {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    ran.stdout.lines().filter_map(|line| line.strip_prefix("FAIL  ")).collect()
}

/// Exactly one thing is wrong: the subject, what it is, and the fix.
pub(crate) fn one_fault(ran: &Ran, subject: &str, what: &str, fix: &str) {
    let failed = failed(ran);
    assert_eq!(failed.len(), 1, "{ran:?}");
    let told = failed[0].strip_prefix(&format!("{subject}: ")).unwrap_or_else(|| panic!("{subject}: {ran:?}"));
    let (told_what, told_fix) = told.split_once("; ").unwrap_or_else(|| panic!("a fix: {ran:?}"));
    assert!(told_what.contains(what) && told_fix.contains(fix), "{what}, {fix}: {ran:?}");
}

#[test]
fn with_everything_well_each_check_has_one_good_line() {
    let redis = Redis::start();
    let ran = check(&redis, &redis.settings());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let subjects: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| {
            line.strip_prefix("ok    ")
                .and_then(|line| line.split_once(": "))
                .unwrap_or_else(|| panic!("a good line: {ran:?}"))
                .0
        })
        .collect();
    let expected = [
        "configuration",
        "addresses",
        "encryption keys",
        "redis.ca_file",
        "redis.cert_file",
        "redis",
        "redis rights",
        "redis default user",
        "upstream",
        "clock",
    ];
    assert_eq!(subjects, expected, "{ran:?}");
}

#[test]
fn another_authority_a_wrong_password_and_a_wrong_user_are_told() {
    let redis = Redis::start();
    let strangers = Folder::new();
    provision::init(strangers.path(), None, &[]).unwrap();
    let stranger = |name: &str| strangers.path().join(name).display().to_string();

    let ran = check(&redis, &redis.settings().set("redis.ca_file", stranger("ca.crt")));
    one_fault(&ran, "redis", "certificate from another authority", "redis.ca_file has to be the CA that signed");

    for settings in [
        redis.settings().set("redis.password_file", stranger("redis-password")),
        redis.settings().set("redis.username", "nobody"),
        redis.settings().set("redis.username", "default"),
    ] {
        let ran = check(&redis, &settings);
        one_fault(&ran, "redis", "refuses the login", "redis.username and redis.password_file");
    }
}

#[test]
fn a_missing_or_strange_client_certificate_is_told() {
    let redis = Redis::start();
    let strangers = Folder::new();
    provision::init(strangers.path(), None, &[]).unwrap();
    let stranger = |name: &str| strangers.path().join(name).display().to_string();

    let ran = check(&redis, &redis.settings().set("redis.cert_file", "").set("redis.key_file", ""));
    one_fault(&ran, "redis", "wants a client certificate", "set redis.cert_file and redis.key_file");

    let settings = redis.settings().set("redis.cert_file", stranger("stratus.crt"));
    let ran = check(&redis, &settings.clone().set("redis.key_file", stranger("stratus.key")));
    one_fault(&ran, "redis", "refuses our client certificate", "signed by its tls-ca-cert-file");

    // The certificate of one and the key of another.
    check(&redis, &settings).refused("redis.key_file", "has to be the key of redis.cert_file");
}

#[test]
fn an_expired_client_certificate_is_told_before_redis_is_asked() {
    let redis = Redis::start();
    reissue(&redis.secret(""), "stratus", "stratus", OffsetDateTime::now_utc() - Duration::days(1));
    check(&redis, &redis.settings()).refused("redis.cert_file", "expired on");
}

#[test]
fn a_certificate_of_redis_that_is_expired_or_for_another_name_is_told() {
    for (name, days, what, fix) in [
        ("127.0.0.1", -1, "expired or not yet valid", "renew it, and check this machine's clock"),
        ("elsewhere.example", 1, "for another host name", "stratus init --host NAME"),
    ] {
        let not_after = OffsetDateTime::now_utc() + Duration::days(days);
        let redis = Redis::start_with(|secrets| reissue(secrets, "redis", name, not_after));
        one_fault(&check(&redis, &redis.settings()), "redis", what, fix);
    }
}

#[test]
fn a_certificate_about_to_end_is_told() {
    let redis = Redis::start();
    reissue(&redis.secret(""), "stratus", "stratus", OffsetDateTime::now_utc() + Duration::days(29));
    let ran = check(&redis, &redis.settings());
    one_fault(&ran, "redis.cert_file", "expires on", "renew it now");
}

#[test]
fn a_user_with_too_few_rights_is_told_which_one_is_missing() {
    for (command, fix) in [("+get", "+get"), ("+set", "+set"), ("+unlink", "+unlink"), ("+incrby", "+incrby")] {
        let redis =
            Redis::start_with(|secrets| change_users(secrets, |users| users.replace(&format!(" {command}"), "")));
        let command = command.trim_start_matches('+').to_uppercase();
        let ran = check(&redis, &redis.settings());
        one_fault(&ran, "redis", &format!("does not allow the user {command}"), fix);
    }
}

#[test]
fn a_user_with_too_many_rights_is_told_which() {
    let redis = Redis::start_with(|secrets| change_users(secrets, |users| users.replace("-@all", "+@all")));
    let ran = check(&redis, &redis.settings());
    one_fault(&ran, "redis rights", "may also run ACL CAT, ACL DELUSER, ", "redis-users.acl");
    assert!(!failed(&ran)[0].contains("GET outside"), "its keys are still limited: {ran:?}");

    let redis = Redis::start_with(|secrets| change_users(secrets, |users| users.replace("~stratus:*", "~*")));
    let ran = check(&redis, &redis.settings());
    one_fault(&ran, "redis rights", "may also run GET outside stratus:*", "redis-users.acl");
}

#[test]
fn a_default_user_who_is_on_is_told_whatever_he_may_do() {
    for rights in ["on nopass ~* &* +@all", "on nopass -@all", "on nopass +ping"] {
        let open = |users: String| users.replace("user default reset off", &format!("user default reset {rights}"));
        let redis = Redis::start_with(|secrets| change_users(secrets, open));
        let ran = check(&redis, &redis.settings());
        one_fault(&ran, "redis default user", "anybody in without a login", "user default reset off");
    }
}

#[test]
fn a_redis_that_does_not_run_is_told() {
    let redis = Redis::start();
    let nobody = free_address();
    let ran = check(&redis, &redis.settings().set("redis.url", format!("rediss://{nobody}")));
    one_fault(&ran, "redis", "cannot be reached", "start it, or correct redis.url or redis.nodes");
}

#[test]
fn a_port_without_tls_is_told() {
    let redis = Redis::start();
    let garbage = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = garbage.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in garbage.incoming().flatten() {
            // The client may be gone already.
            let _ = stream.write_all(b"-ERR this is not TLS\r\n");
        }
    });
    let ran = check(&redis, &redis.settings().set("redis.url", format!("rediss://{address}")));
    one_fault(&ran, "redis", "does not speak TLS", "point redis.url at its tls-port");
}

#[test]
fn the_plain_port_of_a_redis_is_told() {
    let redis = Redis::start();
    let (folder, plain) = (Folder::new(), free_address());
    let mut command = Command::new("redis-server");
    command.args(["--port", &plain.port().to_string(), "--bind", &plain.ip().to_string(), "--save", ""]);
    let mut server = Running::start(command.current_dir(folder.path()));
    server.line("Ready to accept connections");
    // It takes the first bytes of TLS for the beginning of a command and may wait for the rest of it.
    let settings = redis.settings().set("redis.connect_timeout_ms", 500);
    let ran = check(&redis, &settings.set("redis.url", format!("rediss://{plain}")));
    one_fault(&ran, "redis", "", "redis.url");
    assert!(failed(&ran)[0].contains("tls-port"), "{ran:?}");
}

#[test]
fn a_redis_that_is_silent_is_told_in_time() {
    let redis = Redis::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = redis.settings().set("redis.connect_timeout_ms", 200);
    let ran = check(&redis, &settings.set("redis.url", format!("rediss://{}", silent.local_addr().unwrap())));
    one_fault(&ran, "redis", "does not answer a connection in time", "redis.connect_timeout_ms");
}

#[test]
fn a_key_file_that_everybody_can_read_is_told() {
    let redis = Redis::start();
    for (file, key) in [
        ("stratus.key", "redis.key_file"),
        ("redis-password", "redis.password_file"),
        ("encryption-keys", "encryption.keys_file"),
        ("admin-token", "admin.token_file"),
    ] {
        let path = redis.secret(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        check(&redis, &redis.settings()).refused(key, &format!("chmod 600 {}", text(&path)));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn every_trouble_is_told_in_one_run() {
    let redis = Redis::start_with(|secrets| change_users(secrets, |users| users.replace("-@all", "+@all")));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = redis.settings().set("server.listen", taken.local_addr().unwrap()).set("upstream.api_key", "");
    let ran = check(&redis, &settings);
    let subjects: Vec<_> = failed(&ran).iter().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    assert_eq!(subjects, ["addresses", "redis rights", "upstream"], "{ran:?}");
    assert!(!ran.stdout.contains(API_KEY));
}

/// Replaces a leaf certificate by another from the same authority.
pub(crate) fn reissue(secrets: &Path, leaf: &str, name: &str, not_after: OffsetDateTime) {
    let read = |name: &str| std::fs::read_to_string(secrets.join(name)).expect("a file");
    let authority = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let authority = Issuer::from_ca_cert_pem(&read("ca.crt"), authority).expect("an authority");
    let key = KeyPair::from_pem(&read(&format!("{leaf}.key"))).expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = not_after - Duration::days(90);
    params.not_after = not_after;
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    std::fs::write(secrets.join(format!("{leaf}.crt")), certificate.pem()).expect("a file");
}
