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
fn no_arguments_give_a_short_page_that_says_how_to_begin() {
    let ran = run(&mut stratus(&[]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    for wanted in [
        "stratus demo",
        "curl -i localhost:3000/weather/London",
        "http://localhost:3000/",
        "stratus init",
        "redis-server redis.conf",
        "openweathermap.org/appid",
        "stratus check",
        "stratus serve",
        "stratus --help",
    ] {
        assert!(ran.stdout.contains(wanted), "{wanted}: {}", ran.stdout);
    }
    assert!(ran.stdout.lines().count() < 30 && fits(&ran.stdout), "{}", ran.stdout);
}

/// Whether no line is wider than an old terminal.
fn fits(text: &str) -> bool {
    text.lines().all(|line| line.chars().count() <= 80)
}

#[test]
fn the_help_names_every_command_in_groups_and_has_an_example() {
    let ran = run(&mut stratus(&["--help"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    for wanted in
        ["Try it:", "Run it:", "Look at it:", "Look after it:", "Options:", "Examples:", "curl -i localhost:3000"]
    {
        assert!(ran.stdout.contains(wanted), "{wanted}: {}", ran.stdout);
    }
    for command in COMMANDS {
        assert!(ran.stdout.contains(&format!("\n  {command} ")), "{command}: {}", ran.stdout);
    }
    assert!(fits(&ran.stdout) && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    assert_eq!(run(&mut stratus(&["help"])).stdout, ran.stdout);
}

/// All of them.
pub(crate) const COMMANDS: [&str; 12] = [
    "demo",
    "init",
    "check",
    "serve",
    "status",
    "healthcheck",
    "purge",
    "key",
    "consumer",
    "credential",
    "completions",
    "man",
];

#[test]
fn the_help_of_every_command_fits_an_old_terminal_and_has_examples() {
    let below: [&[&str]; 8] = [
        &["key", "new"],
        &["key", "add"],
        &["key", "promote"],
        &["key", "retire"],
        &["consumer", "new"],
        &["credential", "put"],
        &["credential", "list"],
        &["credential", "remove"],
    ];
    let commands = COMMANDS.iter().map(std::slice::from_ref);
    for command in commands.chain(below) {
        let ran = run(stratus(command).arg("--help"));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command:?} {ran:?}");
        let wide: Vec<_> = ran.stdout.lines().filter(|line| !fits(line)).collect();
        assert!(wide.is_empty(), "{command:?}: {wide:#?}");
        assert!(command.len() > 1 || ran.stdout.contains("Examples:\n  "), "{command:?}: {}", ran.stdout);
    }
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
