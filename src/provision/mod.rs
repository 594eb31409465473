//! What a deployment needs before its first start: certificates, the user file of Redis, and secrets.
//!
//! [`init`] writes them into one folder. It never overwrites a file. Everything is computed before the first byte
//! is written, so a fault in what is already there leaves the folder as it was.

mod certificates;
mod files;
mod logins;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use certificates::{Authority, Role};
use files::Plan;

use crate::crypto::generate_key_line;

pub use crate::rights::Topology;
pub use logins::redis_acl;

const CA: &str = "ca";
const ENCRYPTION_KEYS: &str = "encryption-keys";
const ADMIN_TOKEN: &str = "admin-token";
/// Every leaf certificate, by the name of its files without `.crt` and `.key`.
const LEAVES: [(&str, Role); 3] =
    [("redis", Role::RedisServer), ("stratus", Role::RedisClient), ("https", Role::HttpsServer)];
/// What a Redis server reads, and a Sentinel, beside its logins. Nothing else is copied to it: it must never see what opens
/// its records.
const FOR_REDIS: [&str; 3] = ["ca.crt", "redis.crt", "redis.key"];
/// Length of a generated secret in bytes: 256 bits, the size of an AES-256 key.
const SECRET_BYTES: usize = 32;

/// What [`init`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were written, in the order in which they were put in place.
    pub written: Vec<PathBuf>,
    /// Files that existed already and were left alone.
    pub kept: Vec<PathBuf>,
}

/// Why nothing was written. The messages name files and the fix, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host is neither a DNS name nor an IP address.
    #[error("host {host:?} is neither a host name nor an IP address: give it bare, without scheme, port or path")]
    BadHost {
        /// What was given.
        host: String,
    },
    /// Of a certificate and its key only one exists.
    #[error(
        "{} exists but {} does not: restore the missing file, or move the other away to have both made anew",
        present.display(), missing.display()
    )]
    HalfPair {
        /// The half that is there.
        present: PathBuf,
        /// The half that is not.
        missing: PathBuf,
    },
    /// A certificate exists without the CA that signed it, and a new CA would not match it.
    #[error(
        "{} exists but the CA that signed it does not: restore ca.crt and ca.key, \
         or move {} and its key away to have them made anew",
        leaf.display(), leaf.display()
    )]
    LeafWithoutCa {
        /// The certificate.
        leaf: PathBuf,
    },
    /// A user file, or another file made of a password, exists without it; it cannot be had from its hash.
    #[error(
        "{} exists but {} does not: restore the password, or move {} away to have both made anew",
        acl.display(), password.display(), acl.display()
    )]
    UsersWithoutPassword {
        /// The user file.
        acl: PathBuf,
        /// The missing password file.
        password: PathBuf,
    },
    /// The kept user file grants what servers that stand together otherwise need.
    #[error(
        "{} was written for --topology {}, not {}: give that one, or another folder, or move the file and its copies away \
         to have it made anew (the passwords stay)",
        users.display(), found.name(), wanted.name()
    )]
    OtherTopology {
        /// The user file.
        users: PathBuf,
        /// What it was written for.
        found: Topology,
        /// What was asked for.
        wanted: Topology,
    },
    /// A kept file that is needed to make a missing one is of no use for that.
    #[error("{} {reason}", path.display())]
    Unusable {
        /// The kept file.
        path: PathBuf,
        /// What is wrong and what to do about it.
        reason: &'static str,
    },
    /// The copy for Redis is not what the folder of Stratus has.
    #[error("{} differs from {}: move the copy away to have it made anew", copy.display(), original.display())]
    StaleCopy {
        /// The file in the folder for Redis.
        copy: PathBuf,
        /// The file in the folder for Stratus.
        original: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate {name}.crt: {source}")]
    Certificate {
        /// The name of its file without `.crt`.
        name: &'static str,
        /// The cause.
        source: rcgen::Error,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Writes into `dir` what a deployment with a single Redis needs: [`init_for`] it.
///
/// # Errors
///
/// See [`Error`]. Nothing has been written then, at most empty folders were made.
pub fn init(dir: &Path, redis_dir: Option<&Path>, hosts: &[String]) -> Result<Report, Error> {
    init_for(Topology::Single, dir, redis_dir, hosts)
}

/// Writes into `dir` what a deployment needs whose Redis servers stand together like this, and reports what was written and
/// what was kept.
///
/// Missing folders are made with mode 0700, files with mode 0600; the mode of an existing folder is left alone.
/// `hosts` are further names or IP addresses for the server certificates, beside `localhost`, `127.0.0.1`, `::1`,
/// `redis` and `stratus`; they do not change a certificate that is kept.
///
/// With `redis_dir`, that folder receives copies of the only files that a server needs: `ca.crt`, `redis.crt`, `redis.key`,
/// `redis-users.acl`; to follow others also `redis-replication.conf`; and a Sentinel's `sentinel-users.acl` and
/// `sentinel-auth.conf`. Mount this one into a Redis container, so that it never holds the encryption keys.
///
/// # Errors
///
/// See [`Error`]. Nothing has been written then, at most empty folders were made.
pub fn init_for(topology: Topology, dir: &Path, redis_dir: Option<&Path>, hosts: &[String]) -> Result<Report, Error> {
    let names = certificates::server_names(hosts)?;
    let mut plan = Plan::default();
    plan_certificates(&mut plan, dir, &names)?;
    logins::plan(&mut plan, dir, topology)?;
    plan.add_unless_kept(dir.join(ENCRYPTION_KEYS), encryption_key_line)?;
    plan.add_unless_kept(dir.join(ADMIN_TOKEN), random_secret)?;
    if let Some(redis_dir) = redis_dir.filter(|redis_dir| !files::same_folder(dir, redis_dir)) {
        plan_redis_copies(&mut plan, topology, dir, redis_dir)?;
    }
    plan.write()
}

fn plan_certificates(plan: &mut Plan, dir: &Path, names: &[rcgen::SanType]) -> Result<(), Error> {
    let now = OffsetDateTime::now_utc();
    let kept_ca = files::pair_exists(dir, CA)?;
    let mut missing = Vec::new();
    for (name, role) in LEAVES {
        match (files::pair_exists(dir, name)?, kept_ca) {
            (true, false) => return Err(Error::LeafWithoutCa { leaf: dir.join(format!("{name}.crt")) }),
            (true, true) => {}
            (false, _) => missing.push((name, role)),
        }
    }
    // A CA that has nothing left to sign is not even read, so its key may stay encrypted or on a token.
    let authority = if !kept_ca {
        let (authority, pair) = Authority::create(now).map_err(|source| Error::Certificate { name: CA, source })?;
        plan.add_pair(dir, CA, pair);
        Some(authority)
    } else {
        plan.keep_pair(dir, CA);
        if missing.is_empty() { None } else { Some(Authority::load(&dir.join("ca.crt"), &dir.join("ca.key"), now)?) }
    };
    for (name, role) in LEAVES {
        match &authority {
            Some(authority) if missing.contains(&(name, role)) => {
                let pair = authority.issue(role, names, now).map_err(|source| Error::Certificate { name, source })?;
                plan.add_pair(dir, name, pair);
            }
            _ => plan.keep_pair(dir, name),
        }
    }
    Ok(())
}

fn plan_redis_copies(plan: &mut Plan, topology: Topology, dir: &Path, redis_dir: &Path) -> Result<(), Error> {
    logins::refuse_another_topology(&redis_dir.join(logins::REDIS_USERS), topology)?;
    for name in FOR_REDIS.into_iter().chain(logins::for_servers(topology)) {
        let (original, copy) = (dir.join(name), redis_dir.join(name));
        let content = plan.content(&original)?;
        if !files::exists(&copy)? {
            plan.add(copy, content);
            continue;
        }
        // Certificates that differ never work together. An operator may have added users to the copy of a user
        // file, which is fine unless the password has just been made anew.
        let must_match = !logins::may_differ(name) || plan.is_new(&original);
        if must_match && *files::read(&copy)? != *content {
            return Err(Error::StaleCopy { copy, original });
        }
        plan.keep(copy);
    }
    Ok(())
}

/// 256 random bits in base64url without padding (RFC 4648 section 5), which needs no quoting anywhere.
fn random_secret() -> Result<Zeroizing<String>, Error> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(bytes.as_mut_slice())?;
    let mut line = Zeroizing::new(String::with_capacity(64));
    URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut line);
    line.push('\n');
    Ok(line)
}

/// A key file of one fresh key.
fn encryption_key_line() -> Result<Zeroizing<String>, Error> {
    let mut line = generate_key_line()?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod redis_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod topology_tests;
