//! Who may read a secret file: its owner, and its group only where that is allowed in so many words.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::harness::{CANARY, Folder, Ran, Settings, free_address, run, stratus, text};

const KEY: &str = "a:PwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ALLOW: &str = "insecure.allow_group_readable_secrets";
/// Every setting that names a secret file.
const FILES: [&str; 6] = [
    "admin.token_file",
    "upstream.api_key_file",
    "encryption.keys_file",
    "redis.password_file",
    "redis.key_file",
    "server.tls_key_file",
];

/// What is in such a file.
fn content(key: &str) -> String {
    match key {
        "encryption.keys_file" => format!("{KEY}\n"),
        "redis.key_file" => made("stratus.key"),
        "server.tls_key_file" => made("https.key"),
        _ => format!("{CANARY}\n"),
    }
}

/// One of the files that `stratus init` makes; the same each time.
fn made(name: &str) -> String {
    static SECRETS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        stratus::provision::init(dir.path(), None, &[]).expect("secrets");
        dir
    });
    std::fs::read_to_string(SECRETS.path().join(name)).expect("a file")
}

/// A service on a Redis that it need not find, whose secret files have this mode.
fn with_files(folder: &Folder, mode: u32) -> Settings {
    let (authority, certificate) =
        (folder.write("authority", &made("ca.crt")), folder.write("certificate", &made("stratus.crt")));
    let settings = Settings::memory()
        .set("store.backend", "redis")
        .set("redis.url", format!("rediss://{}", free_address()))
        .set("redis.ca_file", text(&authority))
        .set("redis.cert_file", text(&certificate))
        .set("server.tls_cert_file", text(&folder.write("https", &made("https.crt"))));
    FILES.into_iter().fold(settings, |settings, key| settings.set(key, text(&secret_file(folder, key, mode))))
}

fn secret_file(folder: &Folder, key: &str, mode: u32) -> PathBuf {
    folder.write_with_mode(key, &content(key), mode)
}

/// The lines of the log at this level, of a service that has started with these settings.
fn logged(settings: &Settings, level: &str) -> Vec<String> {
    let mut running = super::harness::Running::start(&mut settings.command(&["serve"]));
    running.line("\"listening\"");
    running.signal("TERM");
    let ran = running.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.shows_no_secret();
    ran.stdout.lines().filter(|line| line.contains(&format!("\"level\":\"{level}\""))).map(str::to_owned).collect()
}

fn notes(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().filter(|line| line.starts_with("note  configuration: ")).collect()
}

#[test]
fn a_secret_file_that_its_group_can_read_is_refused_with_the_fix_and_the_way_around() {
    for mode in [0o640, 0o440, 0o660, 0o610] {
        for key in FILES {
            let folder = Folder::new();
            let settings = with_files(&folder, 0o600);
            let path = secret_file(&folder, key, mode);
            let ran = settings.run(&["serve"]);
            ran.refused(key, &format!("run `chmod 600 {}`", text(&path)));
            assert!(ran.stderr.contains(&format!("{ALLOW} = true")), "{ran:?}");
        }
    }
}

/// Files as systemd leaves them for a service, 0440 for its one user, in the folder that it names.
#[test]
fn credentials_of_systemd_are_taken_in_its_folder_only_and_need_no_setting() {
    let folder = Folder::new();
    let settings = with_files(&folder, 0o440);
    let check = |directory: &Path| run(settings.command(&["check"]).env("CREDENTIALS_DIRECTORY", directory));
    let ran = check(folder.path());
    assert!(ran.stdout.starts_with("ok    configuration: "), "{ran:?}");
    assert!(notes(&ran).is_empty(), "nothing is weakened: {ran:?}");
    // A folder beside it, or above it, is another one.
    let beside = Folder::new();
    for other in [beside.path(), folder.path().parent().expect("a folder")] {
        let ran = check(other);
        assert_eq!((ran.code, ran.faults().len()), (Some(2), FILES.len()), "{ran:?}");
    }
    // And what its group may change, or everybody read, is none.
    for (mode, fix) in [(0o460, "run `chmod 640 "), (0o444, "run `chmod 600 ")] {
        secret_file(&folder, "redis.key_file", mode);
        let ran = check(folder.path());
        assert_eq!((ran.code, ran.faults().len()), (Some(2), 1), "{mode:o}: {ran:?}");
        assert!(ran.stderr.contains(fix), "{ran:?}");
        secret_file(&folder, "redis.key_file", 0o440);
    }
}

#[test]
fn where_it_is_allowed_a_group_may_read_every_secret_file_and_each_start_and_the_doctor_say_so() {
    for mode in [0o640, 0o440] {
        let folder = Folder::new();
        let settings = with_files(&folder, mode).set(ALLOW, true);
        let warnings = logged(&settings, "WARN");
        let told: Vec<_> = warnings.iter().filter(|line| line.contains(ALLOW)).collect();
        assert_eq!(told.len(), 1, "{warnings:#?}");
        let ran = settings.run(&["check"]);
        assert_eq!(notes(&ran).len(), 1, "{ran:?}");
        for said in [told[0], notes(&ran)[0]] {
            assert!(said.contains("can read ") && FILES.iter().all(|key| said.contains(key)), "{said}");
        }
        ran.shows_no_secret();
    }
}

#[test]
fn where_nothing_is_weakened_nothing_is_said_and_a_setting_without_need_is() {
    let folder = Folder::new();
    let settings = with_files(&folder, 0o600);
    assert!(logged(&settings, "WARN").iter().all(|line| !line.contains("insecure.")));
    assert!(notes(&settings.run(&["check"])).is_empty());
    let needless = settings.set(ALLOW, true);
    assert!(logged(&needless, "WARN").iter().any(|line| line.contains("no secret file needs it")));
}

#[test]
fn a_secret_file_that_its_group_can_change_or_others_can_read_is_refused_all_the_same() {
    for (mode, fix) in [(0o660, "run `chmod 640 "), (0o644, "run `chmod 600 "), (0o604, "run `chmod 600 ")] {
        for key in FILES {
            let folder = Folder::new();
            let settings = with_files(&folder, 0o600).set(ALLOW, true);
            secret_file(&folder, key, mode);
            settings.run(&["serve"]).refused(key, fix);
        }
    }
}

#[test]
fn the_commands_that_only_ask_a_running_service_hold_to_it_too() {
    let folder = Folder::new();
    let token = |mode| secret_file(&folder, "admin.token_file", mode);
    let settings = Settings::memory().set("admin.listen", free_address());
    let purge = |settings: &Settings| settings.run(&["purge", "--all"]);
    let settings = settings.set("admin.token_file", text(&token(0o640)));
    purge(&settings).refused("admin.token_file", "chmod 600");
    // Allowed, it goes on to ask, and nobody listens there.
    assert_eq!(purge(&settings.set(ALLOW, true)).code, Some(1));
}

/// The mode of a key file after a key was put into it.
fn mode_after_add(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(run(&mut stratus(&["key", "add", text(path)])).code, Some(0));
    std::fs::metadata(path).expect("the file").permissions().mode() & 0o7777
}

#[test]
fn a_changed_key_file_is_closed_as_far_as_the_service_asks_for() {
    let folder = Folder::new();
    for (before, after) in [(0o600, 0o600), (0o640, 0o640), (0o664, 0o640), (0o777, 0o640), (0o440, 0o440)] {
        let path = folder.write_with_mode("keys", &format!("{KEY}\n"), before);
        assert_eq!(mode_after_add(&path), after, "{before:o}");
        std::fs::remove_file(&path).expect("it is there");
    }
    assert_eq!(mode_after_add(&folder.path().join("new")), 0o600);
}
