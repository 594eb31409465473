//! `stratus status`: through a pipe and on a terminal, with a service there and without one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use super::harness::{Ran, Running, Service, Settings, Upstream, free_address, get};

/// A service before an upstream that is well, and the settings of who looks at it.
fn service() -> (Service, Settings, Upstream) {
    let upstream = Upstream::simulated();
    let settings = Settings::memory().set("upstream.base_url", upstream.url()).set("upstream.api_key", "canary0key");
    let service = Service::start(&mut settings.command(&["serve"]));
    let watcher = Settings::memory().set("admin.listen", service.admin);
    (service, watcher, upstream)
}

/// What the table says about a subject.
fn row<'a>(ran: &'a Ran, subject: &str) -> &'a str {
    let mut rows = ran.stdout.lines().filter_map(|line| line.strip_prefix(&format!("{subject:11}")));
    rows.next().unwrap_or_else(|| panic!("{subject}: {ran:?}"))
}

#[test]
fn through_a_pipe_the_table_is_printed_once_with_all_that_the_service_has_done() {
    let (service, watcher, _upstream) = service();
    for _ in 0..3 {
        assert_eq!(get(service.public, "/weather/London").status, 200);
    }
    let ran = watcher.run(&["status"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
    assert!(row(&ran, "stratus").starts_with(&format!("{} at {}, up ", env!("CARGO_PKG_VERSION"), service.admin)));
    assert_eq!(row(&ran, "state"), "ready");
    assert!(row(&ran, "requests").ends_with("66.7 % hits (3 since the start)"), "{ran:?}");
    assert!(row(&ran, "latency").starts_with("p50 up to "), "{ran:?}");
    assert_eq!(row(&ran, "answers"), "hit_memory 2, miss 1");
    assert_eq!(row(&ran, "upstream"), "OpenWeatherMap, admitting · 1 call since the start");
    assert_eq!(row(&ran, "  minute"), "[....................] 1 of 60 calls");
    assert_eq!(row(&ran, "store"), "memory: up");
    assert!(row(&ran, "memory").starts_with("1 entry, "), "{ran:?}");
    assert_eq!(row(&ran, "stale"), "none given of late");
    assert_eq!(row(&ran, "vault"), "no credentials");
    assert_eq!(row(&ran, "files"), "all are used as they are");
    assert_eq!(watcher.run(&["status", "--once"]).code, Some(0));
}

#[test]
fn the_json_is_what_the_service_says() {
    let (_service, watcher, _upstream) = service();
    let ran = watcher.run(&["status", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&said["version"], &said["stopping"]), (&env!("CARGO_PKG_VERSION").into(), &false.into()));
    assert_eq!(watcher.run(&["status", "--json", "--watch"]).code, Some(2));
    assert_eq!(watcher.run(&["status", "--watch", "0"]).code, Some(2));
}

#[test]
fn without_a_service_one_line_says_what_to_do() {
    let nobody = free_address();
    for arguments in [&["status"][..], &["status", "--json"]] {
        let ran = Settings::memory().set("admin.listen", nobody).run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        let line =
            format!("the service cannot be reached on admin.listen, {nobody}: is it running with this configuration?");
        assert_eq!(ran.faults(), [line]);
    }
    let ran = Settings::memory().set("admin.listen", "here").run(&["status"]);
    ran.refused("admin.listen", "is not an address with a port such as 127.0.0.1:3000");
}

#[test]
fn who_watches_sees_the_service_come_and_go() {
    let admin = free_address();
    let settings = Settings::memory().set("admin.listen", admin).set("upstream.api_key", "canary0key");
    let mut watching = Running::start(&mut settings.command(&["status", "--watch"]));
    watching.line("state      away: the service cannot be reached");
    let service = Service::start(&mut settings.command(&["serve"]));
    watching.line("state      ready");
    watching.line(" s)");
    service.running.signal("TERM");
    assert_eq!(service.running.end().code, Some(0));
    watching.line("state      away:");
    let _again = Service::start(&mut settings.command(&["serve"]));
    watching.line("state      ready");
}

/// What ends a table on a terminal.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy)]
enum End {
    Key(&'static str),
    Signal(&'static str),
}

/// Watches until the end, and gives what was on the terminal, which has to be as it was before.
#[cfg(target_os = "linux")]
fn watched(settings: &Settings, end: End) -> Ran {
    // Ctrl-C and Ctrl-\ reach the shell, too, which has to go on. The inner one becomes the program, under its pid.
    let commands = "trap : INT QUIT; before=$(stty -g); sh -c 'echo \"pid $$.\"; exec \"$STRATUS\" status'; code=$?; \
                    [ \"$(stty -g)\" = \"$before\" ] && echo \"left with $code\"";
    let mut running = Running::with_keys(&mut super::harness::on_terminal(settings, commands));
    let line = running.line("pid ");
    let pid = line.trim().trim_start_matches("pid ").trim_end_matches('.');
    running.line("state");
    running.line("files");
    match end {
        End::Key(key) => running.press(key),
        End::Signal(name) => {
            let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
            assert!(sent.expect("a shell").success(), "{name}");
        }
    }
    running.line("left with 0");
    running.end()
}

/// A line as it is seen.
#[cfg(target_os = "linux")]
fn seen(line: &str) -> String {
    let sequence = regex::Regex::new("\u{1b}\\[[?0-9;]*[A-Za-z]").expect("a pattern");
    sequence.replace_all(line.trim_end_matches('\r'), "").into_owned()
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_is_left_as_it_was_whichever_way_the_table_ends() {
    let (_service, watcher, _upstream) = service();
    for end in [End::Key("q"), End::Key("\u{3}"), End::Key("\u{1c}"), End::Signal("TERM"), End::Signal("HUP")] {
        let ran = watched(&watcher, end);
        assert_eq!(ran.code, Some(0), "{end:?}: {ran:?}");
        let (enter, leave) = (ran.stdout.find("\u{1b}[?1049h"), ran.stdout.rfind("\u{1b}[?1049l"));
        assert!(enter.is_some() && enter < leave, "{end:?}: {ran:?}");
        assert!(
            ran.stdout.rfind("\u{1b}[?25l") < ran.stdout.rfind("\u{1b}[?25h"),
            "the cursor is back: {end:?}: {ran:?}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_narrow_terminal_is_not_written_over_its_edge_and_a_replica_that_is_away_does_not_end_it() {
    let nobody = Settings::memory().set("admin.listen", free_address());
    let commands = "\"$STRATUS\" status; echo \"left with $?\"";
    let mut running = Running::with_keys(&mut super::harness::on_terminal(&nobody, commands));
    running.line("cannot be reached");
    running.line("cannot be reached");
    running.press("q");
    running.line("left with 0");
    let ran = running.end();
    let wide: Vec<_> = ran.stdout.lines().map(seen).filter(|line| line.chars().count() > 60).collect();
    assert!(wide.is_empty(), "{wide:?}");

    let (_service, watcher, _upstream) = service();
    let ran = watched(&watcher, End::Key("q"));
    let wide: Vec<_> = ran.stdout.lines().map(seen).filter(|line| line.chars().count() > 60).collect();
    assert!(wide.is_empty(), "{wide:?}");
    assert!(ran.stdout.contains("\u{1b}[32mready\u{1b}[0m"), "{ran:?}");
}

/// Somebody else who listens where Stratus should, and answers everything with this and then `more` without end.
fn stranger(body: &'static str, more: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = client.read(&mut [0; 4_096]);
                let mut written =
                    client.write_all(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}").as_bytes());
                while written.is_ok() && !more.is_empty() {
                    written = client.write_all(more.as_bytes());
                }
            });
        }
    });
    address
}

#[test]
fn who_else_answers_there_cannot_reach_for_the_terminal() {
    let said = "{\"version\":\"\u{9b}2J\u{7f}\u{202e}\u{2066}1\u{200b}\",\"keys\":[]}\n";
    let watcher = Settings::memory().set("admin.listen", stranger(said, ""));
    for arguments in [&["status", "--json"][..], &["status"]] {
        let ran = watcher.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let obeyed = ['\u{9b}', '\u{7f}', '\u{202e}', '\u{2066}', '\u{200b}'];
        assert!(!ran.stdout.contains(obeyed), "{ran:?}");
    }
    let ran = watcher.run(&["status", "--json"]);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(json(&ran.stdout), json(said), "it says the same");
    let ran = Settings::memory().set("admin.listen", stranger("\u{1b}]0;owned\u{7}", "")).run(&["status", "--json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.faults()[0].contains("is no Stratus"), "{ran:?}");
}

#[test]
fn what_has_no_end_is_not_read_to_its_end() {
    let endless = "\"0123456789012345678901234567890123456789\",";
    for arguments in [&["status", "--json"][..], &["status"]] {
        let ran = Settings::memory().set("admin.listen", stranger("[", endless)).run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.faults()[0].contains("is no Stratus"), "{ran:?}");
    }
}
