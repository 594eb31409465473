//! The arguments, as clap reads them. Their help has at most 80 columns; `help` adds groups and examples.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::help;
use crate::config::Sources;
use crate::credentials::DEFAULT_TTL;
use crate::provision::Topology;

/// Caches OpenWeatherMap for your apps: encrypted, and the key stays here.
#[derive(Debug, Parser)]
#[command(name = "stratus", version)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The whole service with nothing to set up, on simulated weather
    #[command(after_help = help::DEMO)]
    Demo {
        /// Where apps ask
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
        /// Keep records in a private redis-server, not in memory
        #[arg(long)]
        redis: bool,
    },
    /// Write certificates, keys and passwords; never overwrites
    #[command(after_help = help::INIT)]
    Init {
        /// Where to; only its owner can read it
        #[arg(default_value = "./secrets")]
        dir: PathBuf,
        /// Another server name for the certificates (repeatable)
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
        /// single, sentinel or cluster
        #[arg(long, value_name = "KIND", default_value = Topology::Single.name(), value_parser = topologies())]
        #[arg(hide_possible_values = true)]
        topology: Topology,
        /// Also copy what the Redis server needs to this folder
        #[arg(long, value_name = "DIR")]
        redis_dir: Option<PathBuf>,
    },
    /// Look at everything it needs; one line each, with the fix
    #[command(after_help = help::CHECK)]
    Check(ConfigArgs),
    /// The service
    #[command(after_help = help::SERVE)]
    Serve(ConfigArgs),
    /// How the running service is: a live table
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// Exit 0 if the running service says that it is ready
    #[command(after_help = help::HEALTHCHECK)]
    Healthcheck(ConfigArgs),
    /// Forget what is cached about places, on the running service
    #[command(after_help = help::PURGE)]
    Purge {
        /// Places, as in /weather/{location}
        #[arg(required_unless_present = "all")]
        locations: Vec<String>,
        /// Everything
        #[arg(long, conflicts_with = "locations")]
        all: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Encryption keys
    #[command(subcommand, after_help = help::KEY)]
    Key(KeyCommand),
    /// Keys for apps
    #[command(subcommand, after_help = help::CONSUMER)]
    Consumer(ConsumerCommand),
    /// Upstream keys that all replicas share, sealed and with an end
    #[command(subcommand, after_help = help::CREDENTIAL)]
    Credential(CredentialCommand),
    /// Print a script that completes these commands in a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(hide_possible_values = true)]
        shell: Shell,
    },
    /// Print the manual page, or write all of them into a folder
    #[command(after_help = help::MAN)]
    Man {
        /// Write stratus.1, stratus-serve.1 and the others here
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// A TOML file over the defaults (repeatable, last wins)
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl ConfigArgs {
    pub(super) fn sources(self) -> Sources {
        Sources::from_process(self.files)
    }
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Look again every so many seconds [default: 1]
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "1")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=3_600))]
    pub(super) watch: Option<u16>,
    /// Print it once and end, also on a terminal
    #[arg(long, conflicts_with = "watch")]
    pub(super) once: bool,
    /// Print what GET /status says, and end
    #[arg(long, conflicts_with_all = ["watch", "once"])]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Print a new key, as a line for a key file
    New,
    /// Put a new key first: it seals, the older ones still open
    Add {
        /// The key file; made if it is not there
        file: PathBuf,
        /// Put it second: it opens, and seals once promoted
        #[arg(long)]
        standby: bool,
    },
    /// Let a key seal from now on: it moves to the head of its file
    Promote {
        /// The key file
        file: PathBuf,
        /// The key's id, the part before the colon
        id: String,
    },
    /// Drop an old key: records that it sealed will count as absent
    Retire {
        /// The key file
        file: PathBuf,
        /// The key's id, the part before the colon
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConsumerCommand {
    /// Print a new key, once, and the entry for the consumers file
    New {
        /// What to call the app: letters, digits, dots, hyphens, underscores
        name: String,
        /// Requests in any minute, over all replicas
        #[arg(long, value_name = "N", default_value_t = 600)]
        per_minute: u32,
        /// When it ends: 2027-01-01 or 2027-01-01T12:00:00Z
        #[arg(long, value_name = "DATE")]
        expires: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CredentialCommand {
    /// Keep a secret, read as one line from standard input
    Put {
        /// What it is called: openweathermap, openweathermap/second
        id: String,
        /// How long it lives, 30 days at most
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

/// The topologies by their names.
fn topologies() -> impl TypedValueParser<Value = Topology> {
    PossibleValuesParser::new(Topology::ALL.map(Topology::name)).map(|name| Topology::named(&name).unwrap_or_default())
}
