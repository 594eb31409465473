//! `stratus init`: what a deployment needs, private, and never written over.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::harness::{Folder, Ran, names, run, stratus, text};

const FILES: [&str; 12] = [
    "admin-token",
    "ca.crt",
    "ca.key",
    "encryption-keys",
    "https.crt",
    "https.key",
    "redis-password",
    "redis-users.acl",
    "redis.crt",
    "redis.key",
    "stratus.crt",
    "stratus.key",
];

fn init(arguments: &[&str]) -> Ran {
    run(stratus(&["init"]).args(arguments))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a good file").permissions().mode() & 0o7777
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    names(dir).into_iter().map(|name| (name.clone(), std::fs::read(dir.join(name)).expect("a good file"))).collect()
}

/// The names and addresses that a server certificate is for.
fn hosts(certificate: &Path) -> Vec<String> {
    let (_, pem) = parse_x509_pem(&std::fs::read(certificate).expect("a good file")).expect("a good file");
    let certificate = pem.parse_x509().expect("a good file");
    let names = certificate.subject_alternative_name().expect("a good file").expect("names").value;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => format!("{bytes:?}"),
        other => panic!("{other:?}"),
    };
    names.general_names.iter().map(name).collect()
}

#[test]
fn every_file_is_written_for_its_owner_only_and_named_and_nothing_secret_is_printed() {
    let folder = Folder::new();
    let dir = folder.path().join("deep/secrets");
    let ran = init(&[text(&dir)]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(names(&dir), FILES);
    assert_eq!(mode(&dir), 0o700);
    for name in FILES {
        let path = dir.join(name);
        assert_eq!(mode(&path), 0o600, "{name}");
        assert!(ran.stdout.lines().any(|line| line == format!("written  {}", text(&path))), "{ran:?}");
        let content = std::fs::read_to_string(&path).unwrap();
        for word in content.split_whitespace().flat_map(|line| line.split([':', '#'])).filter(|word| word.len() > 30) {
            assert!(!ran.stdout.contains(word), "{name} was printed");
        }
    }
    assert_eq!(ran.stdout.lines().count(), FILES.len(), "{ran:?}");
}

#[test]
fn without_a_folder_it_writes_into_secrets_here() {
    let folder = Folder::new();
    let ran = run(stratus(&["init"]).current_dir(folder.path()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(names(&folder.path().join("secrets")), FILES);
    assert_eq!(mode(&folder.path().join("secrets")), 0o700);
}

#[test]
fn a_second_run_keeps_every_file_and_says_so() {
    let folder = Folder::new();
    let dir = folder.path().join("secrets");
    init(&[text(&dir)]);
    let before = contents(&dir);
    let ran = init(&[text(&dir)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(contents(&dir), before);
    let kept: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with("kept ")).collect();
    assert_eq!((kept.len(), ran.stdout.lines().count()), (FILES.len(), FILES.len()), "{ran:?}");
}

#[test]
fn only_what_is_missing_is_made_anew() {
    let folder = Folder::new();
    let dir = folder.path().join("secrets");
    init(&[text(&dir)]);
    let before = contents(&dir);
    std::fs::remove_file(dir.join("admin-token")).unwrap();
    let ran = init(&[text(&dir)]);
    let written: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with("written ")).collect();
    assert_eq!(written, [format!("written  {}", text(&dir.join("admin-token")))]);
    let after = contents(&dir);
    for name in FILES {
        assert_eq!(before[name] == after[name], name != "admin-token", "{name}");
    }
}

#[test]
fn further_hosts_stand_in_the_server_certificates() {
    let folder = Folder::new();
    let dir = folder.path().join("secrets");
    let ran = init(&[text(&dir), "--host", "weather.example", "--host", "192.0.2.7"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for name in ["redis.crt", "https.crt"] {
        let hosts = hosts(&dir.join(name));
        for wanted in ["localhost", "weather.example", "[192, 0, 2, 7]", "[127, 0, 0, 1]"] {
            assert!(hosts.iter().any(|host| host == wanted), "{wanted} in {hosts:?}");
        }
    }
    let ran = init(&[text(&dir), "--host", "another.example"]);
    assert!(ran.stdout.contains("kept certificates do not get the names given with --host"), "{ran:?}");
    assert!(!hosts(&dir.join("redis.crt")).iter().any(|host| host == "another.example"));
}

#[test]
fn a_host_that_is_none_is_a_bad_argument_and_nothing_is_written() {
    let folder = Folder::new();
    let dir = folder.path().join("secrets");
    for host in ["https://weather.example", "weather.example:443", "a b", ""] {
        let ran = init(&[text(&dir), "--host", host]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(&format!("host {host:?} is neither a host name nor an IP address")), "{ran:?}");
    }
    assert!(!dir.exists());
}

#[test]
fn half_a_pair_is_refused_with_both_names_and_nothing_is_written() {
    let folder = Folder::new();
    let dir = folder.path().join("secrets");
    init(&[text(&dir)]);
    std::fs::remove_file(dir.join("redis.key")).unwrap();
    std::fs::remove_file(dir.join("admin-token")).unwrap();
    let before = contents(&dir);
    let ran = init(&[text(&dir)]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("redis.crt exists but ") && ran.stderr.contains("redis.key does not"), "{ran:?}");
    assert!(ran.stderr.contains("restore the missing file"), "{ran:?}");
    assert_eq!(contents(&dir), before);
}

#[test]
fn the_folder_for_redis_gets_what_redis_reads_and_never_a_key_of_ours() {
    let folder = Folder::new();
    let (dir, redis) = (folder.path().join("secrets"), folder.path().join("redis"));
    let ran = init(&[text(&dir), "--redis-dir", text(&redis)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(names(&redis), ["ca.crt", "redis-users.acl", "redis.crt", "redis.key"]);
    for name in names(&redis) {
        assert_eq!(mode(&redis.join(&name)), 0o600);
        assert_eq!(std::fs::read(redis.join(&name)).unwrap(), std::fs::read(dir.join(&name)).unwrap());
    }
}

#[test]
fn what_servers_need_that_stand_together_is_written_for_them_and_for_no_others() {
    const SENTINEL: [&str; 4] =
        ["redis-replication-password", "redis-sentinel-password", "sentinel-auth.conf", "sentinel-users.acl"];
    for (topology, further) in [
        ("single", [].as_slice()),
        ("sentinel", &[SENTINEL.as_slice(), &["redis-replication.conf"]].concat()),
        ("cluster", &["redis-replication-password", "redis-replication.conf"]),
    ] {
        let folder = Folder::new();
        let (dir, redis) = (folder.path().join("secrets"), folder.path().join("redis"));
        let ran = init(&[text(&dir), "--topology", topology, "--redis-dir", text(&redis)]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let mut expected = [FILES.as_slice(), further].concat();
        expected.sort_unstable();
        assert_eq!(names(&dir), expected);
        assert!(names(&redis).iter().all(|name| !name.contains("password") && !name.contains("encryption")));
        let before = contents(&dir);
        let other = if topology == "cluster" { "single" } else { "cluster" };
        let ran = init(&[text(&dir), "--topology", other]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        let fault = format!("redis-users.acl was written for --topology {topology}, not {other}: give that one, or ");
        assert!(ran.stderr.contains(&fault), "{ran:?}");
        assert_eq!(contents(&dir), before);
    }
    let ran = init(&["--topology", "ring"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("[possible values: single, sentinel, cluster]"), "{ran:?}");
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let folder = Folder::new();
    let file = folder.write("file", "");
    let ran = init(&[text(&file.join("secrets"))]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.starts_with("stratus: cannot ") && ran.stderr.contains(text(&file)), "{ran:?}");
}
