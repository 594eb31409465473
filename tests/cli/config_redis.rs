//! The files of the way to Redis: what cannot work is refused at the start, by its key and with the fix.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{CertificateParams, Issuer, KeyPair, PKCS_ED25519};
use stratus::provision;
use time::{Duration, OffsetDateTime};

use super::harness::{Folder, Settings, text};

/// Good secrets, and a service on a Redis that it need not find.
struct Secrets(Folder);

impl Secrets {
    fn new() -> Self {
        let folder = Folder::new();
        provision::init(folder.path(), None, &[]).expect("a file, a key or a certificate");
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).expect("a file, a key or a certificate")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("a file, a key or a certificate");
    }

    fn settings(&self) -> Settings {
        Settings::memory()
            .set("store.backend", "redis")
            .set("redis.password_file", text(&self.file("redis-password")))
            .set("redis.ca_file", text(&self.file("ca.crt")))
            .set("redis.cert_file", text(&self.file("stratus.crt")))
            .set("redis.key_file", text(&self.file("stratus.key")))
            .set("encryption.keys_file", text(&self.file("encryption-keys")))
    }

    /// Refused for this one reason, and no line of the key file is in it.
    fn refused(&self, key: &str, fix: &str) {
        let ran = self.settings().run(&["serve"]);
        ran.refused(key, fix);
        for line in self.read("stratus.key").lines().filter(|line| line.len() > 20 && !line.starts_with("-----")) {
            assert!(!ran.stderr.contains(line), "{ran:?}");
        }
    }

    /// The client certificate anew, in date for these days from now.
    fn renew_certificate(&self, days: std::ops::Range<i64>) {
        let key = KeyPair::from_pem(&self.read("ca.key")).expect("a file, a key or a certificate");
        let authority = Issuer::from_ca_cert_pem(&self.read("ca.crt"), key).expect("a file, a key or a certificate");
        let key = KeyPair::from_pem(&self.read("stratus.key")).expect("a file, a key or a certificate");
        let certificate = dated(days).signed_by(&key, &authority).expect("a file, a key or a certificate");
        self.write("stratus.crt", &certificate.pem());
    }
}

fn dated(days: std::ops::Range<i64>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::now_utc() + Duration::days(days.start);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days.end);
    params
}

fn authority(days: std::ops::Range<i64>) -> String {
    dated(days)
        .self_signed(&KeyPair::generate().expect("a file, a key or a certificate"))
        .expect("a file, a key or a certificate")
        .pem()
}

#[test]
fn a_file_that_is_missing_or_no_pem_is_refused() {
    for (name, key) in [
        ("ca.crt", "redis.ca_file"),
        ("stratus.crt", "redis.cert_file"),
        ("stratus.key", "redis.key_file"),
        ("redis-password", "redis.password_file"),
    ] {
        let secrets = Secrets::new();
        let good = secrets.read(name);
        if name != "redis-password" {
            secrets.write(name, "canary\n");
            secrets.refused(key, "is not a PEM file");
        }
        fs::remove_file(secrets.file(name)).unwrap();
        let ran = secrets.settings().run(&["serve"]);
        ran.refused(key, &format!("cannot read {}", text(&secrets.file(name))));
        assert!(!ran.stderr.contains(good.trim()), "{ran:?}");
    }
}

#[test]
fn a_pem_file_of_something_else_is_refused() {
    let secrets = Secrets::new();
    let (certificate, key) = (secrets.read("stratus.crt"), secrets.read("stratus.key"));
    for name in ["ca.crt", "stratus.crt"] {
        let good = secrets.read(name);
        let damaged = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n";
        for bad in [key.as_str(), damaged, "-----BEGIN CERTIFICATE-----\ncanary"] {
            secrets.write(name, bad);
            let key = if name == "ca.crt" { "redis.ca_file" } else { "redis.cert_file" };
            secrets.refused(key, "holds no certificate, or one that is damaged");
        }
        secrets.write(name, &good);
    }
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for bad in [certificate.as_str(), &encrypted, "-----BEGIN PRIVATE KEY-----\ncanary"] {
        secrets.write("stratus.key", bad);
        secrets.refused("redis.key_file", "holds no private key in PEM that is not encrypted");
    }
    secrets.write("stratus.key", "-----BEGIN PRIVATE KEY-----\nbm90IG9uZQ==\n-----END PRIVATE KEY-----\n");
    secrets.refused("redis.key_file", "make an ECDSA (P-256, P-384), Ed25519 or RSA key");
}

#[test]
fn a_key_that_everybody_can_read_is_refused() {
    let secrets = Secrets::new();
    let file = secrets.file("stratus.key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    secrets.refused("redis.key_file", &format!("chmod 600 {}", text(&file)));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let secrets = Secrets::new();
    for other in [KeyPair::generate().unwrap(), KeyPair::generate_for(&PKCS_ED25519).unwrap()] {
        secrets.write("stratus.key", &other.serialize_pem());
        secrets.refused("redis.key_file", "has to be the key of redis.cert_file");
    }
}

#[test]
fn a_client_certificate_that_is_out_of_date_is_refused() {
    let secrets = Secrets::new();
    secrets.renew_certificate(-20..-10);
    secrets.refused("redis.cert_file", "expired on");
    secrets.renew_certificate(10..20);
    secrets.refused("redis.cert_file", "is not valid before");
}

#[test]
fn an_authority_has_to_be_in_date_and_one_that_is_suffices() {
    let secrets = Secrets::new();
    let (past, future) = (authority(-20..-10), authority(10..20));
    secrets.write("ca.crt", &past);
    secrets.refused("redis.ca_file", "expired on");
    secrets.write("ca.crt", &future);
    secrets.refused("redis.ca_file", "is not valid before");
    secrets.write("ca.crt", &[past.as_str(), &future].concat());
    secrets.refused("redis.ca_file", "check this machine's clock");

    // The only fault is then another one.
    secrets.write("ca.crt", &[past.as_str(), &authority(-10..10), &future].concat());
    let ran = secrets.settings().set("redis.url", "redis://127.0.0.1:6379").run(&["serve"]);
    ran.refused("redis.url", "has to begin with rediss://");
}

#[test]
fn all_files_that_are_bad_are_told_together() {
    let secrets = Secrets::new();
    for name in ["redis-password", "ca.crt", "stratus.crt", "stratus.key"] {
        secrets.write(name, "");
    }
    let ran = secrets.settings().run(&["serve"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let mut keys: Vec<_> = ran.faults().iter().map(|fault| fault.split(':').next().unwrap().to_owned()).collect();
    keys.sort();
    assert_eq!(keys, ["redis.ca_file", "redis.cert_file", "redis.key_file", "redis.password_file"], "{ran:?}");
}

#[test]
fn each_topology_wants_its_own_settings_and_says_which() {
    let secrets = Secrets::new();
    let with = |settings: &[(&str, &str)]| {
        settings.iter().fold(secrets.settings(), |all, (key, value)| all.set(key, value)).run(&["serve"])
    };
    let sentinel = ("redis.topology", "sentinel");
    let cluster = ("redis.topology", "cluster");
    let (nodes, name) = (("redis.nodes", "127.0.0.1:1,127.0.0.1:2"), ("redis.sentinel_master", "stratus"));
    for (settings, key, fix) in [
        (&[nodes][..], "redis.nodes", "counts only with redis.topology = \"sentinel\" or \"cluster\""),
        (&[name], "redis.sentinel_master", "counts only with redis.topology = \"sentinel\""),
        (&[sentinel, nodes], "redis.sentinel_master", "has to be what the Sentinels call the primary"),
        (&[sentinel, name], "redis.nodes", "has to name the Sentinels, each as host:port"),
        (&[cluster], "redis.nodes", "has to name some nodes of the cluster, each as host:port"),
        (&[cluster, nodes, name], "redis.sentinel_master", "counts only with redis.topology = \"sentinel\""),
        (&[cluster, ("redis.nodes", "127.0.0.1:1,redis://b")], "redis.nodes", "each has to be host:port"),
        (&[cluster, ("redis.nodes", "me:pass@b:1")], "redis.nodes", "each has to be host:port"),
    ] {
        let ran = with(settings);
        ran.refused(key, fix);
        assert!(!ran.stderr.contains("pass@"), "{ran:?}");
    }
}
