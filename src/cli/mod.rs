//! The command line: one function a subcommand.
//!
//! Exit codes: 0 done; 1 it was tried and failed; 2 bad arguments or configuration, nothing was done.

mod admin;
mod check;
mod consumers;
mod credential;
mod keys;
mod run;
mod supervised;

use std::ffi::OsString;
use std::fmt::Display;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::config::{Fault, Sources};
use crate::credentials::DEFAULT_TTL;
use crate::hardening::harden;
use crate::provision::{self, Topology};
use crate::service_manager::inherited;

/// Caches OpenWeatherMap for your apps: encrypted, TLS-only, and the key stays here.
#[derive(Debug, Parser)]
#[command(name = "stratus", version, arg_required_else_help = true)]
#[command(after_help = "Try it with nothing to set up:\n  stratus demo\n  curl -i localhost:3000/weather/London")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole service with nothing to set up, on simulated weather
    Demo {
        /// Where apps ask
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
        /// Keep records in a private redis-server (TLS, client certificate, ACL user) instead of in memory
        #[arg(long)]
        redis: bool,
    },
    /// The service
    Serve(ConfigArgs),
    /// Write the certificates, keys and passwords that a deployment needs; never overwrites
    Init {
        /// Where to; only its owner can read it
        #[arg(default_value = "./secrets")]
        dir: PathBuf,
        /// Another name or address of the Redis and HTTPS servers, for their certificates (repeatable)
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
        /// How the Redis servers stand together: users and passwords are made for that
        #[arg(long, value_name = "KIND", default_value = Topology::Single.name(), value_parser = topologies())]
        topology: Topology,
        /// Copy what the Redis server needs, and nothing else, into this folder too
        #[arg(long, value_name = "DIR")]
        redis_dir: Option<PathBuf>,
    },
    /// Doctor: look at everything the service needs; one line each, with the fix
    Check(ConfigArgs),
    /// Encryption keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Keys for apps
    #[command(subcommand)]
    Consumer(ConsumerCommand),
    /// Forget what is cached about places, on the running service
    Purge {
        /// Places, as in /weather/{location}; put `--` before one that begins with a minus sign
        #[arg(required_unless_present = "all")]
        locations: Vec<String>,
        /// Everything
        #[arg(long, conflicts_with = "locations")]
        all: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Keys of the upstream that the running service and its replicas share, sealed and with an end
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Exit 0 if the running service says that it is ready
    Healthcheck(ConfigArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// A TOML file on top of the defaults (repeatable; later ones win, the environment wins over all)
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl ConfigArgs {
    fn sources(self) -> Sources {
        Sources::from_process(self.files)
    }
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print a new key, as a line for a key file
    New,
    /// Put a new key at the head of a key file: it seals, the older ones still open
    Add {
        /// The key file; made if it is not there
        file: PathBuf,
        /// Put it second instead: it opens, and seals only once it is promoted. For fleets whose files do not change at once
        #[arg(long)]
        standby: bool,
    },
    /// Let a key of a key file seal from now on: it moves to the head
    Promote {
        /// The key file
        file: PathBuf,
        /// The key's id, the part before the colon
        id: String,
    },
    /// Drop an old key from a key file: records that it sealed will count as absent
    Retire {
        /// The key file
        file: PathBuf,
        /// The key's id, the part before the colon
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConsumerCommand {
    /// Make a consumer key: print it once, and the entry for the consumers file, which holds only its digest
    New {
        /// What to call the app: letters, digits, dots, hyphens, underscores
        name: String,
        /// Requests that it may make in any minute, over all replicas
        #[arg(long, value_name = "N", default_value_t = 600)]
        per_minute: u32,
        /// From when on the key is none any more: 2027-01-01 (UTC) or 2027-01-01T12:00:00Z
        #[arg(long, value_name = "DATE")]
        expires: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum CredentialCommand {
    /// Keep a secret, read as one line from standard input, on all replicas within a second
    Put {
        /// What it is called: openweathermap, openweathermap/second
        id: String,
        /// How long it lives, in seconds; 30 days at most
        #[arg(long, value_name = "N", default_value_t = DEFAULT_TTL.as_secs())]
        ttl_secs: u64,
        /// Taken only to say that a secret does not belong here: clap would print what it does not know.
        #[arg(hide = true)]
        arguments: Vec<OsString>,
        /// The same
        #[arg(long, hide = true, num_args = 0.., allow_hyphen_values = true)]
        secret: Option<Vec<OsString>>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// List what there is; secrets are not shown
    List(ConfigArgs),
    /// Forget one, on all replicas within a second
    Remove {
        /// What it is called
        id: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

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
    let outcome = match Cli::parse().command {
        Command::Demo { listen, redis } => {
            // Those that somebody opened for it are of no use to it, and not meant for its redis-server.
            drop(inherited());
            block_on(run::demo(listen, redis, &open))
        }
        // Before there are threads: it takes what it has read out of the environment.
        Command::Serve(config) => match inherited() {
            Ok(sockets) => block_on(run::serve(config.sources(), sockets, &open)),
            Err(error) => Err(fail(2, error)),
        },
        Command::Init { dir, hosts, topology, redis_dir } => init(topology, &dir, redis_dir.as_deref(), &hosts),
        Command::Check(config) => block_on(check::check(config.sources(), &open)),
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
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(code)) => ExitCode::from(code),
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

/// The topologies by their names.
fn topologies() -> impl TypedValueParser<Value = Topology> {
    PossibleValuesParser::new(Topology::ALL.map(Topology::name)).map(|name| Topology::named(&name).unwrap_or_default())
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
