//! `stratus key`: making, adding and retiring encryption keys.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stratus::crypto::Keyring;

use super::harness::{Folder, Ran, run, stratus, text};

const OLD: &str = "old:PwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLDER: &str = "older:HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn key(arguments: &[&str]) -> Ran {
    run(stratus(&["key"]).args(arguments))
}

fn ids(path: &Path) -> Vec<String> {
    let ring = Keyring::parse(&std::fs::read_to_string(path).expect("a good file")).expect("a good file");
    ring.ids()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a good file").permissions().mode() & 0o7777
}

/// It failed and left the file as it was; gives what it said.
fn refused(path: &Path, before: &str, ran: Ran) -> String {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert_eq!(std::fs::read_to_string(path).expect("a good file"), before);
    assert!(before.lines().filter_map(|line| line.split_once(':')).all(|(_, key)| !ran.stderr.contains(key)));
    ran.stderr
}

#[test]
fn a_new_key_is_one_line_for_a_key_file_and_never_the_same() {
    let (first, second) = (key(&["new"]), key(&["new"]));
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
    assert_eq!(first.stdout.lines().count(), 1);
    let both = format!("{}{}", first.stdout, second.stdout);
    assert_eq!(Keyring::parse(&both).unwrap().ids().len(), 2);
    let keys: Vec<_> = both.lines().filter_map(|line| line.split_once(':')).map(|(_, key)| key).collect();
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn an_added_key_seals_and_what_was_there_stays_below_it() {
    let folder = Folder::new();
    let before = format!("# ours\n{OLD}\n\n# from last year\n{OLDER}\n");
    let path = folder.write_with_mode("keys", &before, 0o640);
    let ran = key(&["add", text(&path)]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let after = std::fs::read_to_string(&path).unwrap();
    assert_eq!(after.split_once('\n').unwrap().1, before);
    let ids = ids(&path);
    assert_eq!((ids.len(), &ids[1..]), (3, &["old".to_owned(), "older".to_owned()][..]));
    assert!(ran.stdout.contains(&ids[0]) && ran.stdout.lines().count() == 1, "{ran:?}");
    let added = after.lines().next().unwrap().split_once(':').unwrap().1;
    assert!(!ran.stdout.contains(added), "the key itself is not printed");
    assert_eq!(mode(&path), 0o640, "whoever could read it still can");
    assert_eq!(folder.names(), ["keys"]);
}

#[test]
fn a_link_to_a_key_file_is_followed_and_stays_a_link() {
    let folder = Folder::new();
    let path = folder.write_with_mode("keys", &format!("{OLD}\n"), 0o600);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(key(&["add", text(&link)]).code, Some(0));
    assert_eq!(ids(&path).len(), 2);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_missing_key_file_is_made_for_its_owner_only() {
    let folder = Folder::new();
    let ran = run(stratus(&["key", "add", "keys"]).current_dir(folder.path()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ids(&folder.path().join("keys")).len(), 1);
    assert_eq!(mode(&folder.path().join("keys")), 0o600);
    let empty = folder.write("empty", "# keys will come\n");
    assert_eq!(key(&["add", text(&empty)]).code, Some(0));
    assert_eq!(ids(&empty).len(), 1);
    let nowhere = folder.path().join("nowhere/keys");
    let ran = key(&["add", text(&nowhere)]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&format!("cannot write {}", text(&nowhere))), "{ran:?}");
}

#[test]
fn a_key_file_is_replaced_whole_so_that_no_reader_sees_half_of_it() {
    let folder = Folder::new();
    let before = format!("{OLD}\n{OLDER}\n");
    let path = folder.write("keys", &before);
    for arguments in [&["add", text(&path)][..], &["retire", text(&path), "older"]] {
        let mut opened_before = std::fs::File::open(&path).unwrap();
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(key(arguments).code, Some(0));
        let mut read = String::new();
        opened_before.read_to_string(&mut read).unwrap();
        assert_eq!(read, expected, "the old file was not written to");
        assert_ne!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(folder.names(), ["keys"], "nothing is left beside it");
    }
}

#[test]
fn a_retired_key_is_gone_and_all_else_stays() {
    let folder = Folder::new();
    let path = folder.write("keys", &format!("# new\n{OLD}\n\n# spare\n{OLDER}\n# end\n"));
    let ran = key(&["retire", text(&path), "older"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with("retired older: "), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("# new\n{OLD}\n\n# spare\n# end\n"));
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn an_unknown_id_is_refused_with_the_ids_that_are_there() {
    let folder = Folder::new();
    let before = format!("{OLD}\n{OLDER}\n");
    let path = folder.write("keys", &before);
    let told = refused(&path, &before, key(&["retire", text(&path), "oldest"]));
    assert!(told.contains("has no key `oldest`; it has: old, older"), "{told}");
    let missing = folder.path().join("nowhere");
    let ran = key(&["retire", text(&missing), "old"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains(&format!("cannot read {}", text(&missing))), "{ran:?}");
}

#[test]
fn the_key_that_seals_is_not_retired_and_so_the_last_one_stays() {
    let folder = Folder::new();
    for before in [format!("{OLD}\n{OLDER}\n"), format!("# the only one\n{OLD}\n")] {
        let path = folder.write("keys", &before);
        let told = refused(&path, &before, key(&["retire", text(&path), "old"]));
        assert!(told.contains("`old` is the key that seals") && told.contains("stratus key add"), "{told}");
    }
}

#[test]
fn a_broken_key_file_is_refused_with_all_its_faults_and_stays_as_it_is() {
    let folder = Folder::new();
    let before = format!("{OLD}\n{OLDER}\nno colon\nshort:AAECAwQFBgcICQoLDA0ODw==\n{OLD}\n");
    let path = folder.write("keys", &before);
    for arguments in [&["add", text(&path)][..], &["retire", text(&path), "older"]] {
        let told = refused(&path, &before, key(arguments));
        assert_eq!(told.lines().count(), 3, "{told}");
        assert!(told.lines().all(|line| line.starts_with(&format!("stratus: {}: ", text(&path)))), "{told}");
        for fault in ["line 3: expected", "key `short`: 16 bytes", "key `old` stands there twice"] {
            assert!(told.contains(fault), "{fault}: {told}");
        }
    }
    assert_eq!(folder.names(), ["keys"]);
}

#[test]
fn a_key_written_the_wrong_way_round_is_not_printed_as_an_id() {
    let folder = Folder::new();
    let (id, secret) = OLDER.split_once(':').unwrap();
    let before = format!("{OLD}\n{secret}:{id}\n");
    let path = folder.write("keys", &before);
    for wanted in ["older", "old", "none"] {
        let ran = key(&["retire", text(&path), wanted]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains("line 2: a key id is 1 to 32 letters") && !ran.stderr.contains(secret), "{ran:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    }
}

#[test]
fn a_key_on_standby_opens_until_it_is_promoted_and_the_other_one_still_opens_then() {
    let folder = Folder::new();
    let path = folder.write("keys", &format!("# ours\n{OLD}\n# spare\n{OLDER}\n"));
    let ran = key(&["add", "--standby", text(&path)]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let new = ids(&path)[1].clone();
    assert_eq!(ids(&path), ["old", &new, "older"]);
    assert!(ran.stdout.contains(&format!("added {new} ")) && ran.stdout.contains("once promoted"), "{ran:?}");

    let before = std::fs::read_to_string(&path).unwrap();
    let told = refused(&path, &before, key(&["promote", text(&path), "old"]));
    assert!(told.contains("`old` is the key that seals already"), "{told}");
    let told = refused(&path, &before, key(&["promote", text(&path), "oldest"]));
    assert!(told.contains("has no key `oldest`; it has: old, "), "{told}");

    let ran = key(&["promote", text(&path), &new]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with(&format!("promoted {new} ")), "{ran:?}");
    assert_eq!(ids(&path), [&new, "old", "older"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().filter(|line| line.starts_with('#')).count(), 2);
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn the_first_key_of_a_file_seals_also_if_it_was_to_stand_by() {
    let folder = Folder::new();
    let path = folder.path().join("keys");
    let ran = key(&["add", "--standby", text(&path)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("at the head"), "{ran:?}");
    assert_eq!(ids(&path).len(), 1);
}
