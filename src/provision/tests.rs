//! What `init` promises, tried on real folders.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::pem::parse_x509_pem;

use super::logins::{REDIS_PASSWORD, REDIS_USERS};
use super::*;

const ALL: [&str; 12] = [
    "ca.crt",
    "ca.key",
    "redis.crt",
    "redis.key",
    "stratus.crt",
    "stratus.key",
    "https.crt",
    "https.key",
    REDIS_PASSWORD,
    REDIS_USERS,
    ENCRYPTION_KEYS,
    ADMIN_TOKEN,
];

fn folder() -> (tempfile::TempDir, PathBuf) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("secrets");
    (root, dir)
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

fn certificate(dir: &Path, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(dir.join(name)).unwrap()
}

fn roots(dir: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(dir, "ca.crt")).unwrap();
    Arc::new(roots)
}

fn server_verifies(dir: &Path, name: &str, host: &str) -> Result<(), rustls::Error> {
    let verifier = WebPkiServerVerifier::builder(roots(dir)).build().unwrap();
    let host = ServerName::try_from(host).unwrap();
    verifier.verify_server_cert(&certificate(dir, name), &[], &host, &[], UnixTime::now()).map(|_| ())
}

fn client_verifies(dir: &Path, name: &str) -> Result<(), rustls::Error> {
    let verifier = WebPkiClientVerifier::builder(roots(dir)).build().unwrap();
    verifier.verify_client_cert(&certificate(dir, name), &[], UnixTime::now()).map(|_| ())
}

#[test]
fn a_new_folder_holds_everything_and_only_its_owner_may_look() {
    let (_root, dir) = folder();
    let report = init(&dir, None, &[]).unwrap();

    let expected: Vec<PathBuf> = ALL.iter().map(|name| dir.join(name)).collect();
    assert_eq!(report.written, expected);
    assert!(report.kept.is_empty());
    assert_eq!(names(&dir), ALL.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(mode(&dir), 0o700);
    for path in &report.written {
        assert_eq!(mode(path), 0o600, "{}", path.display());
        let content = fs::read_to_string(path).unwrap();
        assert!(content.ends_with('\n') && !content.ends_with("\n\n"), "{}", path.display());
    }
}

#[test]
fn secrets_have_256_bits_and_differ() {
    let (_root, dir) = folder();
    init(&dir, None, &[]).unwrap();

    let password = text(&dir, REDIS_PASSWORD);
    let token = text(&dir, ADMIN_TOKEN);
    for secret in [&password, &token] {
        assert_eq!(URL_SAFE_NO_PAD.decode(secret.trim_end()).unwrap().len(), 32);
    }
    assert_ne!(password, token);
    let line = text(&dir, ENCRYPTION_KEYS);
    let (id, key) = line.trim_end().split_once(':').unwrap();
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(key).unwrap().len(), 32);
    assert!(id.len() == 9 && id.starts_with('k') && id[1..].bytes().all(|b| b"0123456789abcdef".contains(&b)), "{id}");
    assert_eq!(text(&dir, REDIS_USERS), redis_acl(password.trim_end()));
}

#[test]
fn the_user_file_grants_what_is_used_on_our_keys_and_nothing_else() {
    // sha256("abc"), FIPS 180-2 appendix B.1
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let expected = format!(
        "user default reset off\nuser stratus reset on #{hash} resetchannels -@all \
         +get +set +unlink +incrby +command|info +acl|dryrun ~stratus:*\n"
    );
    assert_eq!(redis_acl("abc"), expected);
}

#[test]
fn the_second_run_keeps_all() {
    let (root, dir) = folder();
    let redis_dir = root.path().join("redis");
    let first = init(&dir, Some(&redis_dir), &[]).unwrap();
    let before: Vec<String> = first.written.iter().map(|path| fs::read_to_string(path).unwrap()).collect();

    let second = init(&dir, Some(&redis_dir), &[]).unwrap();

    assert!(second.written.is_empty(), "{:?}", second.written);
    assert_eq!(BTreeSet::from_iter(&second.kept), BTreeSet::from_iter(&first.written));
    let after: Vec<String> = first.written.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn certificates_verify_for_their_names_and_their_use_only() {
    let (_root, dir) = folder();
    let hosts = ["Weather.example.org", "192.0.2.7", "2001:db8::7", "redis", "weather.example.org"].map(str::to_owned);
    init(&dir, None, &hosts).unwrap();

    for name in ["redis.crt", "https.crt"] {
        for host in
            ["localhost", "127.0.0.1", "::1", "redis", "stratus", "weather.example.org", "192.0.2.7", "2001:db8::7"]
        {
            server_verifies(&dir, name, host).unwrap_or_else(|error| panic!("{name} for {host}: {error}"));
        }
        server_verifies(&dir, name, "elsewhere.example.org").unwrap_err();
    }
    client_verifies(&dir, "stratus.crt").unwrap();
    client_verifies(&dir, "redis.crt").unwrap();
    client_verifies(&dir, "https.crt").unwrap_err();
    server_verifies(&dir, "stratus.crt", "stratus").unwrap_err();
    for name in ["redis", "stratus", "https"] {
        let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
        // Fails unless the key belongs to the certificate.
        let chain = vec![certificate(&dir, &format!("{name}.crt"))];
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    }
}

#[test]
fn certificates_follow_the_profile() {
    let (_root, dir) = folder();
    init(&dir, None, &["redis".to_owned(), "REDIS".to_owned()]).unwrap();

    for (name, days) in [("ca.crt", 3653), ("redis.crt", 825), ("stratus.crt", 825), ("https.crt", 825)] {
        let pem = text(&dir, name);
        let (_, block) = parse_x509_pem(pem.as_bytes()).unwrap();
        let parsed = block.parse_x509().unwrap();
        let validity = parsed.validity();
        assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), days * 86_400, "{name}");
        let age = OffsetDateTime::now_utc().unix_timestamp() - validity.not_before.timestamp();
        assert!((3600..3700).contains(&age), "{name}: {age}");
        let constraints = parsed.basic_constraints().unwrap().unwrap().value;
        assert_eq!(constraints.ca, name == "ca.crt");
        assert_eq!(constraints.path_len_constraint, (name == "ca.crt").then_some(0));
        let alternatives = parsed.subject_alternative_name().unwrap().map_or(0, |it| it.value.general_names.len());
        assert_eq!(alternatives, if name == "redis.crt" || name == "https.crt" { 5 } else { 0 }, "{name}");
    }
}

#[test]
fn a_missing_certificate_is_signed_by_the_kept_ca() {
    let (_root, dir) = folder();
    init(&dir, None, &[]).unwrap();
    fs::remove_file(dir.join("https.crt")).unwrap();
    fs::remove_file(dir.join("https.key")).unwrap();

    let report = init(&dir, None, &["new.example.org".to_owned()]).unwrap();

    assert_eq!(report.written, [dir.join("https.crt"), dir.join("https.key")]);
    assert_eq!(report.kept.len(), ALL.len() - 2);
    server_verifies(&dir, "https.crt", "new.example.org").unwrap();
}

#[test]
fn half_a_pair_stops_everything_and_names_the_missing_half() {
    for missing in ["ca.crt", "ca.key", "redis.key", "stratus.crt", "https.key"] {
        let (_root, dir) = folder();
        init(&dir, None, &[]).unwrap();
        fs::remove_file(dir.join(missing)).unwrap();
        fs::remove_file(dir.join(ADMIN_TOKEN)).unwrap();

        let error = init(&dir, None, &[]).unwrap_err();

        assert!(matches!(&error, Error::HalfPair { missing: path, .. } if *path == dir.join(missing)), "{error}");
        assert!(error.to_string().contains("restore"), "{error}");
        assert!(!dir.join(ADMIN_TOKEN).exists());
    }
}

#[test]
fn a_certificate_without_its_ca_stops_everything() {
    let (_root, dir) = folder();
    init(&dir, None, &[]).unwrap();
    fs::remove_file(dir.join("ca.crt")).unwrap();
    fs::remove_file(dir.join("ca.key")).unwrap();

    let error = init(&dir, None, &[]).unwrap_err();

    assert!(matches!(error, Error::LeafWithoutCa { .. }), "{error}");
    assert!(!dir.join("ca.crt").exists());
}

#[test]
fn a_kept_ca_that_cannot_sign_is_refused() {
    let (root, dir) = folder();
    init(&dir, None, &[]).unwrap();
    let other = root.path().join("other");
    init(&other, None, &[]).unwrap();
    fs::remove_file(dir.join("redis.crt")).unwrap();
    fs::remove_file(dir.join("redis.key")).unwrap();
    let (ca, key) = (dir.join("ca.crt"), dir.join("ca.key"));

    let faults: [(&Path, &Path, &str); 4] = [
        (&ca, &other.join("ca.crt"), "ca.key does not belong"),
        (&ca, &other.join("redis.crt"), "ca.crt is not a CA"),
        (&ca, &other.join(ADMIN_TOKEN), "ca.crt is not a certificate"),
        (&key, &other.join(ADMIN_TOKEN), "ca.key is not a private key"),
    ];
    for (target, replacement, expected) in faults {
        let original = fs::read(target).unwrap();
        fs::copy(replacement, target).unwrap();
        let message = init(&dir, None, &[]).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(text(&other, ADMIN_TOKEN).trim_end()), "{message}");
        assert!(!dir.join("redis.crt").exists());
        fs::write(target, original).unwrap();
    }
    init(&dir, None, &[]).unwrap();
}

#[test]
fn a_certificate_never_outlives_its_ca() {
    let now = OffsetDateTime::now_utc();
    let (authority, _) = Authority::create(now - time::Duration::days(3600)).unwrap();
    let pair = authority.issue(Role::RedisClient, &[], now).unwrap();
    let (_, block) = parse_x509_pem(pair.certificate.as_bytes()).unwrap();
    let end = block.parse_x509().unwrap().validity().not_after.to_datetime();
    assert!(end < now + time::Duration::days(54), "{end}");
}

#[test]
fn the_user_file_follows_a_kept_password_but_not_the_other_way() {
    let (_root, dir) = folder();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(REDIS_PASSWORD), "chosen-by-hand\r\n").unwrap();
    init(&dir, None, &[]).unwrap();
    assert_eq!(text(&dir, REDIS_USERS), redis_acl("chosen-by-hand"));

    fs::remove_file(dir.join(REDIS_PASSWORD)).unwrap();
    let error = init(&dir, None, &[]).unwrap_err();
    assert!(matches!(error, Error::UsersWithoutPassword { .. }), "{error}");

    fs::remove_file(dir.join(REDIS_USERS)).unwrap();
    for bad in ["", "\n", "two words\n", "two\nlines\n"] {
        fs::write(dir.join(REDIS_PASSWORD), bad).unwrap();
        let error = init(&dir, None, &[]).unwrap_err();
        assert!(matches!(error, Error::Unusable { .. }), "{error}");
        assert!(!error.to_string().contains("two"), "{error}");
    }
}

#[test]
fn the_folder_for_redis_gets_what_redis_reads_and_no_more() {
    let (root, dir) = folder();
    let redis_dir = root.path().join("redis");
    let report = init(&dir, Some(&redis_dir), &[]).unwrap();

    let for_redis = ["ca.crt", "redis.crt", "redis.key", REDIS_USERS];
    assert_eq!(names(&redis_dir), for_redis.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(mode(&redis_dir), 0o700);
    for name in for_redis {
        assert_eq!(text(&redis_dir, name), text(&dir, name));
        assert_eq!(mode(&redis_dir.join(name)), 0o600);
        assert!(report.written.contains(&redis_dir.join(name)));
    }

    // Only what is missing is copied, and users added by hand stay.
    fs::remove_file(redis_dir.join("redis.key")).unwrap();
    let users = text(&redis_dir, REDIS_USERS) + "user ops reset off\n";
    fs::write(redis_dir.join(REDIS_USERS), &users).unwrap();
    let report = init(&dir, Some(&redis_dir), &[]).unwrap();
    assert_eq!(report.written, [redis_dir.join("redis.key")]);
    assert_eq!(text(&redis_dir, REDIS_USERS), users);

    // One folder for both needs no copies.
    assert_eq!(init(&dir, Some(&dir.join(".")), &[]).unwrap().kept.len(), ALL.len());
}

#[test]
fn a_stale_copy_for_redis_is_named() {
    let (root, dir) = folder();
    let redis_dir = root.path().join("redis");
    init(&dir, Some(&redis_dir), &[]).unwrap();

    // A new password would not open the old copy of the user file.
    fs::remove_file(dir.join(REDIS_PASSWORD)).unwrap();
    fs::remove_file(dir.join(REDIS_USERS)).unwrap();
    let error = init(&dir, Some(&redis_dir), &[]).unwrap_err();
    assert!(matches!(&error, Error::StaleCopy { copy, .. } if *copy == redis_dir.join(REDIS_USERS)), "{error}");
    assert!(!dir.join(REDIS_PASSWORD).exists());

    fs::remove_dir_all(&dir).unwrap();
    let error = init(&dir, Some(&redis_dir), &[]).unwrap_err();
    assert!(matches!(&error, Error::StaleCopy { copy, .. } if *copy == redis_dir.join("ca.crt")), "{error}");
    assert!(!dir.exists());
}

#[test]
fn a_bad_host_is_named_and_nothing_is_written() {
    for host in
        ["", "https://weather.example.org", "weather.example.org:443", "a b", "-a", "a..b", "a.", "[::1]", "ä.de", "*"]
    {
        let (_root, dir) = folder();
        let error = init(&dir, None, &["fine.example.org".to_owned(), host.to_owned()]).unwrap_err();
        assert!(matches!(&error, Error::BadHost { host: named } if named == host), "{error}");
        assert!(!dir.exists());
    }
}

#[test]
fn an_existing_folder_keeps_its_mode() {
    let (_root, dir) = folder();
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    init(&dir, None, &[]).unwrap();
    assert_eq!(mode(&dir), 0o755);
    assert_eq!(mode(&dir.join(ENCRYPTION_KEYS)), 0o600);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (root, _) = folder();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let message = init(&file, None, &[]).unwrap_err().to_string();
    assert!(message.contains(&*file.to_string_lossy()), "{message}");
}
