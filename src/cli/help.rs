//! What the program says about itself: to who calls it with nothing, and to who asks for help.

use std::fmt::Write;

use clap::CommandFactory;
use clap::builder::StyledStr;

use super::arguments::Cli;

/// To who gives no argument at all, perhaps for the first time.
pub(super) const WELCOME: &str = "\
Stratus caches OpenWeatherMap for your apps: encrypted, and your key stays here.

Try it, with nothing to set up:
  stratus demo
  curl -i localhost:3000/weather/London              (in another terminal)
  curl 'localhost:3000/weather/London?format=text'   (for people)
  http://localhost:3000/                             (in a browser)

Run it, with a Redis:
  1. stratus init              makes certificates, keys and passwords, ./secrets
  2. redis-server redis.conf   starts a Redis that takes nobody else
  3. put your key of OpenWeatherMap (openweathermap.org/appid) into a file that
     only you can read, and name it: export STRATUS__UPSTREAM__API_KEY_FILE=FILE
  4. stratus check --config config/local.toml     says what is missing, and how
                                                  to mend it
  5. stratus serve --config config/local.toml

Help:
  stratus --help               all commands
  stratus help serve           about one of them
  stratus man | man -l -       the manual";

pub(super) const DEMO: &str = "\
Examples:
  stratus demo
  stratus demo --listen 127.0.0.1:8080
  stratus demo --redis         with TLS, a client certificate and an ACL user";

pub(super) const INIT: &str = "\
The topology is how the Redis servers stand together: users and passwords are
made for that.

Examples:
  stratus init
  stratus init /etc/stratus/secrets --host redis.internal --host 10.0.0.7
  stratus init --topology sentinel --redis-dir ./redis";

pub(super) const CHECK: &str = "\
Exit code 0 only if the service would start.

Examples:
  stratus check
  stratus check --config stratus.toml
  NO_COLOR=1 stratus check     without colours, on a terminal too";

pub(super) const SERVE: &str = "\
Settings come from the defaults, then from the files in their order, then from
the environment: STRATUS__SERVER__LISTEN is server.listen.

Examples:
  stratus serve --config stratus.toml
  STRATUS__SERVER__LISTEN=0.0.0.0:3000 stratus serve --config stratus.toml

SIGTERM and Ctrl-C end it in order, SIGHUP has it read its files again.";

pub(super) const STATUS: &str = "\
On a terminal the table is drawn anew until q or Ctrl-C, and its rates are of
the last interval. Elsewhere, and with --once, it is printed once, and its
figures are of all the time since the service started.

Examples:
  stratus status
  stratus status --watch 5
  stratus status --once --config stratus.toml
  stratus status --json";

pub(super) const HEALTHCHECK: &str = "\
Examples:
  stratus healthcheck
  stratus healthcheck --config stratus.toml";

pub(super) const PURGE: &str = "\
Needs admin.token or admin.token_file. Put -- before a place that begins with a
minus sign.

Examples:
  stratus purge London Paris,FR
  stratus purge -- -33.87,151.21
  stratus purge --all";

pub(super) const KEY: &str = "\
Examples:
  stratus key new
  stratus key add secrets/encryption-keys
  stratus key add --standby secrets/encryption-keys
  stratus key promote secrets/encryption-keys 2
  stratus key retire secrets/encryption-keys 1";

pub(super) const CONSUMER: &str = "\
Examples:
  stratus consumer new kitchen-display
  stratus consumer new website --per-minute 6000 --expires 2027-12-31";

pub(super) const CREDENTIAL: &str = "\
All need admin.token or admin.token_file.

Examples:
  stratus credential put openweathermap < key.txt
  stratus credential put openweathermap/second --ttl-secs 86400 < key.txt
  stratus credential list
  stratus credential remove openweathermap/second";

pub(super) const COMPLETIONS: &str = "\
Examples:
  stratus completions bash > ~/.local/share/bash-completion/completions/stratus
  stratus completions zsh > ~/.zfunc/_stratus
  stratus completions fish > ~/.config/fish/completions/stratus.fish";

pub(super) const MAN: &str = "\
Examples:
  stratus man | man -l -
  stratus man ~/.local/share/man/man1";

/// The commands, as people look for them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Try it", &["demo"]),
    ("Run it", &["init", "check", "serve"]),
    ("Look at it", &["status", "healthcheck"]),
    ("Look after it", &["purge", "key", "consumer", "credential"]),
    ("In your shell", &["completions", "man", "help"]),
];

/// The commands with their help in groups.
pub(super) fn command() -> clap::Command {
    let command = Cli::command();
    let styles = command.get_styles();
    let (heading, literal) = (*styles.get_header(), *styles.get_literal());
    let mut template = String::from("{about-with-newline}\n{usage-heading} {usage}\n\n");
    for (group, names) in GROUPS {
        // Into a string, which never fails.
        let _ = writeln!(template, "{heading}{group}:{heading:#}");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map_or_else(|| "All about one of these".to_owned(), ToString::to_string);
            let _ = writeln!(template, "  {literal}{name:<11}{literal:#}  {about}");
        }
        template.push('\n');
    }
    let _ = write!(template, "{heading}Options:{heading:#}\n{{options}}{{after-help}}");
    command
        .help_template(StyledStr::from(template))
        .after_help("Examples:\n  stratus demo\n  curl -i localhost:3000/weather/London\n  stratus help serve")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_one_group() {
        let grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let mut expected: Vec<_> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        expected.push("help".to_owned());
        assert_eq!(grouped, expected);
    }

    #[test]
    fn the_arguments_make_sense_to_clap() {
        command().debug_assert();
    }
}
