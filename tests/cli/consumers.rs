//! Consumers: making a key, and what is wrong with the file of those who have one.

use stratus::consumers::{KeyDigest, is_well_formed, parse};

use super::harness::{Folder, Ran, Settings, run, stratus, text};

fn new(arguments: &[&str]) -> Ran {
    run(stratus(&["consumer", "new"]).args(arguments))
}

/// The key, and the entry for the file.
fn printed(ran: &Ran) -> (String, String) {
    let (key, entry) = ran.stdout.split_once("\n\n").unwrap_or_else(|| panic!("{ran:?}"));
    (key.to_owned(), entry.to_owned())
}

#[test]
fn a_new_key_is_printed_once_and_its_entry_holds_the_digest_only() {
    let ran = new(&["kiosk", "--per-minute", "60", "--expires", "2999-01-01"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (key, entry) = printed(&ran);
    assert!(is_well_formed(key.as_bytes()) && ran.stderr.contains("shown only now"), "{ran:?}");
    assert!(!entry.contains(&key) && !ran.stderr.contains(&key), "{ran:?}");
    let digest = KeyDigest::of(key.as_bytes());
    let expected = format!(
        "[[consumer]]\nname = \"kiosk\"\nper_minute = 60\nkeys = [{{ sha256 = \"{digest}\", expires = 2999-01-01 }}]\n"
    );
    assert_eq!(entry, expected);
    assert_ne!(printed(&new(&["kiosk"])).0, printed(&new(&["kiosk"])).0);
    assert!(printed(&new(&["kiosk"])).1.contains("per_minute = 600\n"));
}

#[test]
fn bad_arguments_are_told_all_at_once_and_no_key_is_made() {
    let ran = new(&["a b", "--per-minute", "0", "--expires", "2020-01-01"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    let faults = ran.faults();
    assert_eq!(faults.len(), 3, "{ran:?}");
    for (fault, expected) in faults.iter().zip([
        "NAME: has to be 1 to 64 letters",
        "--per-minute: has to be from 1",
        "--expires: is over already",
    ]) {
        assert!(fault.starts_with(expected), "{ran:?}");
    }
    for date in ["tomorrow", "2027-13-01", "2027-01-01T00:00:00"] {
        assert!(new(&["a", "--expires", date]).stderr.contains("--expires: has to be a date such as"), "{date}");
    }
}

#[test]
fn the_doctor_counts_consumers_and_tells_which_key_ends_soon() {
    let folder = Folder::new();
    let day = time::OffsetDateTime::now_utc().date() + time::Duration::days(10);
    let soon = printed(&new(&["kiosk", "--expires", &day.to_string()])).1;
    let file = folder.write("consumers.toml", &(soon + &printed(&new(&["wall"])).1));
    let settings = Settings::memory().set("access.consumers_file", text(&file)).set("access.required", "true");
    let ran = settings.run(&["check"]);
    assert!(ran.stdout.contains("\nok    consumers: 2 in the file\n"), "{ran:?}");
    assert!(ran.stdout.contains("\nnote  consumers: a key of kiosk ends in 9 days; give it a second one"), "{ran:?}");

    let nobody = folder.write("nobody.toml", "# nobody yet\n");
    let settings = Settings::memory().set("access.consumers_file", text(&nobody)).set("access.required", "true");
    let ran = settings.run(&["check"]);
    assert!(
        ran.stdout.contains("\nFAIL  consumers: nobody has a key, and nobody is answered without one; add"),
        "{ran:?}"
    );
}

#[test]
fn what_nobody_could_pass_and_a_bad_file_are_refused_at_start() {
    Settings::memory()
        .set("access.required", "true")
        .run(&["serve"])
        .refused("access.required", "access.consumers_file");
    let refused = |file: &str, expected: &str| {
        Settings::memory()
            .set("access.consumers_file", file)
            .run(&["serve"])
            .refused("access.consumers_file", expected);
    };
    let folder = Folder::new();
    refused("/nonexistent/consumers.toml", "cannot read /nonexistent/consumers.toml");
    refused("/dev/zero", "it is no regular file");
    let (key, entry) = printed(&new(&["kiosk"]));
    assert!(parse(&entry).is_ok());
    let open = folder.write_with_mode("open.toml", &entry, 0o666);
    refused(text(&open), "run `chmod o-w");
    // The whole output of the command, put into the file by mistake.
    let held = folder.write("held.toml", &format!("# {key}\n{entry}"));
    let ran = Settings::memory().set("access.consumers_file", text(&held)).run(&["serve"]);
    ran.refused("access.consumers_file", "line 1 holds a consumer key");
    assert!(!ran.stderr.contains(&key), "{ran:?}");
    let bad = folder.write("bad.toml", &entry.replace("per_minute = 600", "per_minute = 0\nkeyz = 1"));
    refused(text(&bad), "line 4: unknown field `keyz`");
}

#[test]
fn proxies_are_addresses_or_networks() {
    for good in ["10.0.0.0/8,::1", "2001:db8::/32", "192.0.2.1"] {
        let ran = Settings::memory().set("server.trusted_proxies", good).run(&["check"]);
        assert!(ran.stdout.contains("ok    configuration"), "{ran:?}");
    }
    for bad in ["proxy.example", "10.0.0.0/33", "10.0.0.1:80", "*"] {
        let ran = Settings::memory().set("server.trusted_proxies", bad).run(&["serve"]);
        ran.refused("server.trusted_proxies", "neither an address nor a network such as 10.0.0.0/8");
    }
    let ran = Settings::memory().set("server.forwarded_header", "x-real-ip").run(&["serve"]);
    ran.refused("server.forwarded_header", "has to be one of: x-forwarded-for, forwarded");
}

#[test]
fn the_operators_listener_is_not_opened_to_other_machines_without_a_token() {
    for open in ["0.0.0.0:0", "[::ffff:0.0.0.0]:0"] {
        let settings = Settings::memory().set("admin.listen", open);
        settings.run(&["serve"]).refused("admin.listen", "there is no token: give admin.token_file");
    }
    for closed in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let ran = Settings::memory().set("admin.listen", closed).run(&["check"]);
        assert!(ran.stdout.contains("ok    configuration"), "{closed}: {ran:?}");
    }
    let settings = Settings::memory().set("admin.listen", "0.0.0.0:0").set("admin.token", "a-token-of-tests");
    assert!(settings.run(&["check"]).stdout.contains("ok    configuration"));
}
