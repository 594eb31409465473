//! Arguments that are no good, or none at all.

use super::harness::{run, stratus};

#[test]
fn an_unknown_command_flag_or_value_is_refused_with_help_on_standard_error() {
    let cases: [&[&str]; 8] = [
        &["sevre"],
        &["--frobnicate"],
        &["serve", "--frobnicate"],
        &["serve", "extra"],
        &["demo", "--listen", "everywhere"],
        &["key"],
        &["key", "retire", "file"],
        &["purge"],
    ];
    for arguments in cases {
        let ran = run(&mut stratus(arguments));
        assert_eq!(ran.code, Some(2), "{arguments:?} {ran:?}");
        assert!(ran.stdout.is_empty() && ran.stderr.contains("--help") || ran.stderr.contains("Usage:"), "{ran:?}");
    }
    let ran = run(&mut stratus(&["sevre"]));
    assert!(ran.stderr.contains("'serve'"), "it proposes the command that was meant: {ran:?}");
    let ran = run(&mut stratus(&["purge", "London", "--all"]));
    assert_eq!(ran.code, Some(2), "either places or everything: {ran:?}");
}

#[test]
fn no_arguments_give_a_short_help_that_lists_the_commands_and_a_first_step() {
    let ran = run(&mut stratus(&[]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let help = ran.stdout + &ran.stderr;
    for wanted in [
        "demo",
        "serve",
        "init",
        "check",
        "key",
        "purge",
        "credential",
        "healthcheck",
        "curl -i localhost:3000/weather",
    ] {
        assert!(help.contains(wanted), "{wanted}: {help}");
    }
    assert!(help.lines().count() < 30, "{help}");
}

#[test]
fn help_and_version_are_given_on_standard_output() {
    for (arguments, wanted) in [
        (&["--help"][..], "Usage: stratus"),
        (&["serve", "--help"], "--config <FILE>"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let ran = run(&mut stratus(arguments));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(wanted) && ran.stderr.is_empty(), "{ran:?}");
    }
}
