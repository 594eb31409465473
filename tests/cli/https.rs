//! HTTPS as an operator sets it up: what is refused at start and by the doctor, with the fix, and what the doctor says.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use time::{Duration, OffsetDateTime};

use super::check::reissue;
use super::harness::{Folder, Settings, Upstream};

const CERTIFICATE: &str = "server.tls_cert_file";
const KEY: &str = "server.tls_key_file";

/// A folder with all secrets, and a service with HTTPS from it.
fn with_https() -> (Folder, Settings) {
    let folder = Folder::new();
    stratus::provision::init(&folder.path().join("s"), None, &[]).expect("secrets");
    let file = |name: &str| folder.path().join("s").join(name).display().to_string();
    let settings = Settings::memory().set(CERTIFICATE, file("https.crt")).set(KEY, file("https.key"));
    (folder, settings)
}

/// Refused by the service and by the doctor, in one line.
fn is_refused(settings: &Settings, key: &str, what: &str) {
    for command in ["serve", "check"] {
        settings.run(&[command]).refused(key, what);
    }
}

fn days_from_now(days: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::days(days)
}

#[test]
fn a_certificate_without_its_key_or_a_key_without_its_certificate_is_refused() {
    let (_folder, settings) = with_https();
    is_refused(&settings.clone().set(KEY, ""), KEY, "HTTPS needs the key, too");
    is_refused(&settings.set(CERTIFICATE, ""), CERTIFICATE, "HTTPS needs the certificate, too");
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_refused_with_the_fix() {
    let (folder, settings) = with_https();
    let file = |name: &str| folder.path().join("s").join(name);
    let missing = file("missing").display().to_string();
    is_refused(&settings.clone().set(CERTIFICATE, &missing), CERTIFICATE, "cannot read");
    is_refused(&settings.clone().set(KEY, &missing), KEY, "missing");
    let other = file("redis.key").display().to_string();
    is_refused(&settings.clone().set(KEY, other), KEY, "give the two that were made together");
    let certificate = file("https.crt").display().to_string();
    let no_key = settings.clone().set(KEY, certificate);
    std::fs::set_permissions(file("https.crt"), Permissions::from_mode(0o600)).expect("a mode");
    is_refused(&no_key, KEY, "holds no private key");
    std::fs::set_permissions(file("https.key"), Permissions::from_mode(0o644)).expect("a mode");
    is_refused(&settings, KEY, "chmod 600");
}

#[test]
fn a_certificate_that_is_out_of_date_is_refused() {
    let (folder, settings) = with_https();
    let reissue = |not_after| reissue(&folder.path().join("s"), "https", "127.0.0.1", not_after);
    reissue(days_from_now(-1));
    is_refused(&settings, CERTIFICATE, "expired on");
    reissue(days_from_now(100));
    is_refused(&settings, CERTIFICATE, "is not valid before");
}

#[test]
fn the_doctor_tells_how_long_the_certificate_is_valid_and_when_that_is_not_long() {
    let (folder, settings) = with_https();
    let upstream = Upstream::simulated();
    let settings = settings.set("upstream.base_url", upstream.url()).set("upstream.api_key", "a-key");
    let told = |settings: &Settings| {
        let ran = settings.run(&["check"]);
        let line = ran.stdout.lines().find(|line| line.contains(CERTIFICATE)).map(str::to_owned);
        (ran.code, line.unwrap_or_else(|| panic!("{ran:?}")))
    };
    let (code, line) = told(&settings);
    assert!(code == Some(0) && line.starts_with("ok    ") && line.ends_with("(824 days)"), "{code:?} {line}");
    reissue(&folder.path().join("s"), "https", "127.0.0.1", days_from_now(29));
    let (code, line) = told(&settings);
    assert!(code == Some(1) && line.starts_with("FAIL  ") && line.ends_with("renew it now"), "{code:?} {line}");
}
