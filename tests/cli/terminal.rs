//! What a terminal gets: colours where they are wanted, completions, the manual.

use std::fs;
use std::process::{Command, Output};

use super::arguments::COMMANDS;
use super::harness::{Folder, Ran, Settings, run, run_with_input, stratus, text};

/// The doctor on a service that would start, without asking anybody.
fn check(variables: &[(&str, &str)]) -> Ran {
    run(Settings::memory().command(&["check"]).envs(variables.iter().copied()))
}

/// The same without what colours it.
fn plain(coloured: &str) -> String {
    regex::Regex::new("\u{1b}\\[[0-9;]*m").expect("a pattern").replace_all(coloured, "").into_owned()
}

#[test]
fn colours_are_for_who_wants_them_and_change_no_other_byte() {
    let without = check(&[]);
    assert!(without.stdout.contains("\nok    store: memory") && !without.stdout.contains('\u{1b}'), "{without:?}");
    let with = check(&[("CLICOLOR_FORCE", "1")]);
    for wanted in ["\u{1b}[32mok\u{1b}[0m    store: ", "\u{1b}[33mnote\u{1b}[0m  "] {
        assert!(with.stdout.contains(wanted), "{wanted:?}: {with:?}");
    }
    assert_eq!((plain(&with.stdout), with.code), (without.stdout.clone(), without.code));
    for never in [&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")][..], &[("TERM", "xterm-256color")]] {
        assert_eq!(check(never).stdout, without.stdout, "{never:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let failed = run(Settings::memory().set("server.listen", address).command(&["check"]).env("CLICOLOR_FORCE", "1"));
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stdout.contains("\u{1b}[1m\u{1b}[31mFAIL\u{1b}[0m  addresses: "), "{failed:?}");
    assert!(failed.stdout.contains("\u{1b}[36mif that is a running Stratus, all is well\u{1b}[0m"), "{failed:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_there_are_colours_unless_it_knows_none_or_nobody_wants_them() {
    for (before, coloured) in [("", true), ("NO_COLOR=1", false), ("TERM=dumb", false), ("NO_COLOR=", true)] {
        let commands = format!("{before} \"$STRATUS\" check; {before} \"$STRATUS\" --help");
        let ran = run_with_input(&mut super::harness::on_terminal(&Settings::memory(), &commands), "");
        assert_eq!(ran.stdout.contains("\u{1b}[32mok\u{1b}[0m    store: "), coloured, "{before}: {ran:?}");
        assert_eq!(ran.stdout.contains("\u{1b}["), coloured, "the help, too: {before}: {ran:?}");
    }
}

#[test]
fn every_shell_gets_completions_that_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&mut stratus(&["completions", shell]));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}: {ran:?}");
        for command in COMMANDS {
            assert!(ran.stdout.contains(command), "{shell}: {command}");
        }
        assert!(!ran.stdout.contains('\u{1b}'), "{shell}");
    }
    let ran = run(&mut stratus(&["completions", "tcsh"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("bash") && ran.stderr.contains("zsh"), "it says which there are: {ran:?}");
}

#[test]
fn bash_takes_the_script_and_completes_a_command() {
    let folder = Folder::new();
    let script = folder.write("stratus.bash", &run(&mut stratus(&["completions", "bash"])).stdout);
    let bash = |arguments: &[&str]| run(Command::new("bash").args(arguments));
    let read = bash(&["-n", text(&script)]);
    assert_eq!((read.code, read.stderr.as_str()), (Some(0), ""), "{read:?}");
    let completes = "source \"$0\"; COMP_WORDS=(stratus \"$1\"); COMP_CWORD=1; _stratus stratus \"$1\" stratus; \
                     echo \"${COMPREPLY[@]}\"";
    for (begun, wanted) in [("che", "check\n"), ("comp", "completions\n"), ("zz", "\n")] {
        let ran = bash(&["--norc", "-c", completes, text(&script), begun]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), wanted), "{begun}: {ran:?}");
    }
}

/// What groff says about a page; `None` if it is not installed.
fn formatted(path: &str) -> Option<Output> {
    Command::new("groff").args(["-man", "-Tutf8", "-ww", path]).output().ok()
}

#[test]
fn there_is_a_page_of_the_manual_for_every_command() {
    let folder = Folder::new();
    let pages = folder.path().join("man1");
    let ran = run(&mut stratus(&["man", text(&pages)]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), super::harness::names(&pages).len());
    let main = fs::read_to_string(pages.join("stratus.1")).expect("the page of the program");
    assert_eq!(run(&mut stratus(&["man"])).stdout, main);
    for section in ["NAME", "SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\"", "ENVIRONMENT", "\"SEE ALSO\""] {
        let bare = section.trim_matches('"');
        assert!(main.contains(&format!(".SH {section}")) || main.contains(&format!(".SH {bare}")), "{section}: {main}");
    }
    for command in COMMANDS {
        assert!(main.contains(&format!("stratus\\-{command}")), "{command}: {main}");
        let page = fs::read_to_string(pages.join(format!("stratus-{command}.1"))).expect("a page");
        assert!(page.contains(".SH EXAMPLES"), "{command}: {page}");
    }
    for name in super::harness::names(&pages) {
        let Some(output) = formatted(text(&pages.join(&name))) else { return };
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaints.is_empty(), "{name}: {complaints}");
        assert!(!output.stdout.is_empty(), "{name}");
    }
}

#[test]
fn pages_that_cannot_be_written_are_told() {
    let folder = Folder::new();
    let file = folder.write("file", "");
    let ran = run(&mut stratus(&["man", text(&file)]));
    assert_eq!((ran.code, ran.faults().len()), (Some(1), 1), "{ran:?}");
    assert!(ran.stderr.contains(text(&file)), "{ran:?}");
}
