//! The command line: one function a subcommand.
//!
//! Exit codes: 0 done; 1 it was tried and failed; 2 bad arguments or configuration, nothing was done. No argument at all is
//! no bad one: who is new here is told how to go on.

mod admin;
mod arguments;
mod check;
mod consumers;
mod credential;
mod help;
mod keys;
mod manual;
mod paint;
mod run;
mod status;
mod supervised;

use std::ffi::OsString;
use std::fmt::Display;
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::FromArgMatches;

use arguments::{Cli, Command, ConsumerCommand, CredentialCommand, KeyCommand};

use crate::config::Fault;
use crate::hardening::harden;
use crate::provision::{self, Topology};
use crate::service_manager::inherited;

/// How long what is left in the background may take at the very end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a command ended without success; already told to the user.
struct Failed(u8);

/// Runs the program on this process's arguments.
pub fn main() -> ExitCode {
    // Before anything secret is read, be it from the environment.
    let open = harden();
    // Fails only if one is installed already, and then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match asked() {
        None => {
            say(help::WELCOME);
            Ok(())
        }
        Some(command) => run(command, &open),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(code)) => ExitCode::from(code),
    }
}

/// What the arguments ask for; ends the process if they are bad or ask for help.
fn asked() -> Option<Command> {
    let mut command = help::command();
    let mut matches = command.get_matches_mut();
    Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut command).exit()).command
}

/// Does it; `open` is what of this process's memory others can still read.
fn run(command: Command, open: &[String]) -> Result<(), Failed> {
    match command {
        Command::Demo { listen, redis } => {
            // Those that somebody opened for it are of no use to it, and not meant for its redis-server.
            drop(inherited());
            block_on(run::demo(listen, redis, open))
        }
        // Before there are threads: it takes what it has read out of the environment.
        Command::Serve(config) => match inherited() {
            Ok(sockets) => block_on(run::serve(config.sources(), sockets, open)),
            Err(error) => Err(fail(2, error)),
        },
        Command::Init { dir, hosts, topology, redis_dir } => init(topology, &dir, redis_dir.as_deref(), &hosts),
        Command::Check(config) => block_on(check::check(config.sources(), open)),
        Command::Key(KeyCommand::New) => keys::new(),
        Command::Key(KeyCommand::Add { file, standby }) => keys::add(&file, standby),
        Command::Key(KeyCommand::Promote { file, id }) => keys::promote(&file, &id),
        Command::Key(KeyCommand::Retire { file, id }) => keys::retire(&file, &id),
        Command::Consumer(ConsumerCommand::New { name, per_minute, expires }) => {
            consumers::new(&name, per_minute, expires.as_deref())
        }
        Command::Purge { locations, all, config } => block_on(admin::purge(config.sources(), locations, all)),
        Command::Credential(CredentialCommand::Put { id, ttl_secs, mut arguments, secret, config }) => {
            // The option is one argument too many by itself.
            arguments.extend(secret.map(|_| OsString::new()));
            block_on(credential::put(config.sources(), &id, ttl_secs, &arguments))
        }
        Command::Credential(CredentialCommand::List(config)) => block_on(credential::list(config.sources())),
        Command::Credential(CredentialCommand::Remove { id, config }) => {
            block_on(credential::remove(config.sources(), &id))
        }
        Command::Healthcheck(config) => block_on(admin::healthcheck(config.sources())),
        Command::Status(arguments) => block_on(status::status(arguments)),
        Command::Completions { shell } => {
            manual::completions(shell);
            Ok(())
        }
        Command::Man { dir } => manual::man(dir.as_deref()),
    }
}

fn block_on(command: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(command);
            // A name look-up that hangs must not hold up the end.
            runtime.shutdown_timeout(END_TIMEOUT);
            outcome
        }
        Err(error) => Err(fail(1, format!("cannot start: {error}"))),
    }
}

fn init(topology: Topology, dir: &Path, redis_dir: Option<&Path>, hosts: &[String]) -> Result<(), Failed> {
    let report = provision::init_for(topology, dir, redis_dir, hosts).map_err(|error| match error {
        provision::Error::BadHost { .. } => fail(2, error),
        _ => fail(1, error),
    })?;
    for path in &report.kept {
        say(format!("kept     {}", path.display()));
    }
    for path in &report.written {
        say(format!("written  {}", path.display()));
    }
    let certificate_kept = report.kept.iter().any(|path| path.ends_with("redis.crt") || path.ends_with("https.crt"));
    if !hosts.is_empty() && certificate_kept {
        say("The kept certificates do not get the names given with --host: move them and their keys away first.");
    }
    Ok(())
}

/// A line on standard output. A reader that went away (`| head`) is no error.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error.
fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn fail(code: u8, error: impl Display) -> Failed {
    complain(format!("stratus: {error}"));
    Failed(code)
}

/// Every fault on its own line.
fn faulty(faults: &[Fault]) -> Failed {
    for fault in faults {
        complain(format!("stratus: {fault}"));
    }
    Failed(2)
}
