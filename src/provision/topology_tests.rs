//! What `init` promises for Redis under Sentinel and for Redis Cluster. `tests/api/topologies.rs` has real servers use it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::logins::{
    REDIS_PASSWORD, REDIS_USERS, REPLICATION_CONF, REPLICATION_PASSWORD, SENTINEL_AUTH, SENTINEL_PASSWORD,
    SENTINEL_USERS,
};
use super::{Error, Topology, init, init_for};

const REPLICATION: [&str; 2] = [REPLICATION_PASSWORD, REPLICATION_CONF];
const SENTINEL: [&str; 3] = [SENTINEL_PASSWORD, SENTINEL_USERS, SENTINEL_AUTH];

fn folder() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("secrets");
    (root, dir)
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn contents(dir: &Path) -> Vec<(String, String)> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read_to_string(dir.join(name)).unwrap())).collect()
}

/// What there is beside what a single Redis needs.
fn more(dir: &Path) -> BTreeSet<String> {
    let (_root, single) = folder();
    init(&single, None, &[]).unwrap();
    let (all, usual) = (names(dir), names(&single));
    assert!(all.is_superset(&usual));
    all.difference(&usual).cloned().collect()
}

fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

fn password(dir: &Path, name: &str) -> String {
    text(dir, name).trim_end().to_owned()
}

/// A user of a user file, by the digest of the password in a file.
fn user(dir: &Path, name: &str, password_file: &str, rules: &str) -> String {
    let digest = Sha256::digest(password(dir, password_file).as_bytes());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("user {name} reset on #{hash} resetchannels -@all {rules}\n")
}

const OFF: &str = "user default reset off\n";

#[test]
fn servers_under_sentinel_get_users_of_their_own_with_what_the_documentation_of_redis_asks_for() {
    let (_root, dir) = folder();
    init_for(Topology::Sentinel, &dir, None, &[]).unwrap();
    assert_eq!(more(&dir), REPLICATION.into_iter().chain(SENTINEL).map(str::to_owned).collect());
    for name in names(&dir) {
        assert_eq!(fs::metadata(dir.join(&name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let own = "+get +set +unlink +incrby +command|info +acl|dryrun ~stratus:*";
    let watching = "+multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname \
                    +client|kill +script|kill &__sentinel__:hello";
    let users = OFF.to_owned()
        + &user(&dir, "stratus", REDIS_PASSWORD, own)
        + &user(&dir, "replication", REPLICATION_PASSWORD, "+psync +replconf +ping")
        + &user(&dir, "sentinel", SENTINEL_PASSWORD, watching);
    assert_eq!(text(&dir, REDIS_USERS), users);
    let among = "+ping +client|setname +publish +sentinel|is-master-down-by-addr &__sentinel__:hello";
    let users = OFF.to_owned()
        + &user(&dir, "stratus", REDIS_PASSWORD, "+sentinel|get-master-addr-by-name")
        + &user(&dir, "sentinel", SENTINEL_PASSWORD, among);
    assert_eq!(text(&dir, SENTINEL_USERS), users);
}

#[test]
fn a_node_of_a_cluster_lets_the_service_find_its_way_and_knows_no_sentinel() {
    let (_root, dir) = folder();
    init_for(Topology::Cluster, &dir, None, &[]).unwrap();
    assert_eq!(more(&dir), REPLICATION.map(str::to_owned).into());
    let own = "+get +set +unlink +incrby +command|info +acl|dryrun +cluster|slots +asking ~stratus:*";
    let users = OFF.to_owned()
        + &user(&dir, "stratus", REDIS_PASSWORD, own)
        + &user(&dir, "replication", REPLICATION_PASSWORD, "+psync +replconf +ping");
    assert_eq!(text(&dir, REDIS_USERS), users);
}

#[test]
fn servers_learn_their_passwords_from_files_beside_their_settings_also_passwords_with_quotes() {
    let (_root, dir) = folder();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(REPLICATION_PASSWORD), "by\"hand\\\n").unwrap();
    init_for(Topology::Sentinel, &dir, None, &[]).unwrap();
    let conf = text(&dir, REPLICATION_CONF);
    assert!(conf.ends_with("\nmasteruser replication\nmasterauth \"by\\\"hand\\\\\"\n"), "{conf}");
    let secret = password(&dir, SENTINEL_PASSWORD);
    let lines = format!(
        "sentinel auth-user stratus sentinel\nsentinel auth-pass stratus \"{secret}\"\n\
         sentinel sentinel-user sentinel\nsentinel sentinel-pass \"{secret}\"\n"
    );
    assert!(text(&dir, SENTINEL_AUTH).ends_with(&lines));
    let passwords =
        BTreeSet::from([REDIS_PASSWORD, REPLICATION_PASSWORD, SENTINEL_PASSWORD].map(|it| password(&dir, it)));
    assert_eq!(passwords.len(), 3, "each has its own");
}

#[test]
fn the_folder_for_servers_gets_what_redis_and_sentinel_read_and_no_key_or_password_file() {
    let usual = ["ca.crt", "redis.crt", "redis.key", REDIS_USERS, REPLICATION_CONF];
    for (topology, further) in
        [(Topology::Sentinel, [SENTINEL_USERS, SENTINEL_AUTH].as_slice()), (Topology::Cluster, &[])]
    {
        let (root, dir) = folder();
        let redis_dir = root.path().join("redis");
        init_for(topology, &dir, Some(&redis_dir), &[]).unwrap();
        assert_eq!(names(&redis_dir), usual.iter().chain(further).map(|name| (*name).to_owned()).collect());
        for (name, copy) in contents(&redis_dir) {
            assert_eq!(copy, text(&dir, &name));
        }
        // Users added by hand stay, another password for replication does not.
        fs::write(redis_dir.join(REDIS_USERS), text(&dir, REDIS_USERS) + "user ops reset off\n").unwrap();
        assert!(init_for(topology, &dir, Some(&redis_dir), &[]).unwrap().written.is_empty());
        fs::write(redis_dir.join(REPLICATION_CONF), "masterauth other\n").unwrap();
        let error = init_for(topology, &dir, Some(&redis_dir), &[]).unwrap_err();
        assert!(matches!(&error, Error::StaleCopy { copy, .. } if copy.ends_with(REPLICATION_CONF)), "{error}");
    }
}

#[test]
fn a_second_run_keeps_all_and_what_is_missing_is_made_from_the_kept_passwords() {
    for topology in Topology::ALL {
        let (_root, dir) = folder();
        init_for(topology, &dir, None, &[]).unwrap();
        let before = contents(&dir);
        let report = init_for(topology, &dir, None, &[]).unwrap();
        assert!(report.written.is_empty());
        assert_eq!(report.kept.iter().collect::<BTreeSet<_>>().len(), report.kept.len(), "each is named once");
        assert_eq!(report.kept.len(), before.len());
        for (name, _) in before.iter().filter(|(name, _)| name.ends_with(".acl") || name.ends_with(".conf")) {
            fs::remove_file(dir.join(name)).unwrap();
            let report = init_for(topology, &dir, None, &[]).unwrap();
            assert_eq!(report.written, [dir.join(name)]);
            assert_eq!(contents(&dir), before);
        }
    }
}

#[test]
fn a_user_file_for_other_servers_stops_everything_and_says_what_to_do() {
    for found in Topology::ALL {
        for wanted in Topology::ALL.into_iter().filter(|wanted| *wanted != found) {
            let (root, dir) = folder();
            let redis_dir = root.path().join("redis");
            init_for(found, &dir, Some(&redis_dir), &[]).unwrap();
            let before = contents(&dir);
            let error = init_for(wanted, &dir, None, &[]).unwrap_err();
            assert!(matches!(&error, Error::OtherTopology { users, .. } if *users == dir.join(REDIS_USERS)), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("--topology {}, not {}", found.name(), wanted.name())), "{text}");
            assert_eq!(contents(&dir), before);

            // With the file moved away, what is wrong is its copy. With both, all is well, and the password stays.
            fs::remove_file(dir.join(REDIS_USERS)).unwrap();
            let error = init_for(wanted, &dir, Some(&redis_dir), &[]).unwrap_err();
            assert!(matches!(&error, Error::OtherTopology { users, .. } if users.starts_with(&redis_dir)), "{error}");
            assert!(!dir.join(REDIS_USERS).exists());
            fs::remove_file(redis_dir.join(REDIS_USERS)).unwrap();
            let secret = password(&dir, REDIS_PASSWORD);
            init_for(wanted, &dir, Some(&redis_dir), &[]).unwrap();
            assert_eq!(password(&dir, REDIS_PASSWORD), secret);
        }
    }
}

#[test]
fn what_was_made_of_a_password_that_is_gone_stops_everything() {
    for (made, gone) in [
        (REDIS_USERS, REPLICATION_PASSWORD),
        (REPLICATION_CONF, REPLICATION_PASSWORD),
        (SENTINEL_USERS, SENTINEL_PASSWORD),
        (SENTINEL_AUTH, SENTINEL_PASSWORD),
    ] {
        let (_root, dir) = folder();
        init_for(Topology::Sentinel, &dir, None, &[]).unwrap();
        for name in names(&dir) {
            if name == gone || (name != made && (name.ends_with(".acl") || name.ends_with(".conf"))) {
                fs::remove_file(dir.join(name)).unwrap();
            }
        }
        let error = init_for(Topology::Sentinel, &dir, None, &[]).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, Error::UsersWithoutPassword { .. }) && text.contains(made) && text.contains(gone),
            "{text}"
        );
        assert!(!dir.join(gone).exists());
    }
}
