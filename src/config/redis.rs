//! How to reach Redis.

use std::time::SystemTime;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;
use crate::certificate::PairFiles;
use crate::crypto::longest_sealed;
use crate::reload::Live;
use crate::secret::Secret;
use crate::store::{CredentialFiles, Credentials, Node, NotANode, RedisConfig, Servers, Topology};
use crate::upstream::UpstreamConfig;

pub(super) fn redis(reader: &mut Reader, upstream: Option<&UpstreamConfig>) -> Option<RedisConfig> {
    let servers = servers(reader);
    let (credentials, files) = credentials(reader)?;
    let longest_body = upstream.map_or(0, |upstream| upstream.client.max_body_bytes);
    Some(RedisConfig {
        username: reader.get("redis.username"),
        credentials,
        files,
        connect_timeout: reader.millis("redis.connect_timeout_ms"),
        command_timeout: reader.millis("redis.command_timeout_ms"),
        require_least_privilege: reader.get("redis.require_least_privilege"),
        // The body, and a byte that says that it is one.
        longest_value: longest_sealed(longest_body + 1),
        servers: servers?,
    })
}

/// `redis.topology`, also where there is no Redis: a word that nobody knows is a fault anywhere.
pub(super) fn topology(reader: &mut Reader) -> Option<Topology> {
    let word = reader.word("redis.topology", &Topology::ALL.map(Topology::name))?;
    Topology::named(word)
}

/// Which servers there are, by `redis.topology`. What another topology wants is a fault: somebody expects it to be used.
fn servers(reader: &mut Reader) -> Option<Servers> {
    let topology = topology(reader)?;
    let nodes = nodes(reader);
    let primary = reader.get::<String>("redis.sentinel_master");
    let is_shown = !primary.is_empty() && primary.bytes().all(|byte| byte.is_ascii_graphic());
    match topology {
        Topology::Sentinel if !is_shown => {
            let what = "has to be what the Sentinels call the primary (`sentinel monitor NAME …`)";
            reader.fault("redis.sentinel_master", what);
        }
        Topology::Single | Topology::Cluster if !primary.is_empty() => {
            reader.fault("redis.sentinel_master", "counts only with redis.topology = \"sentinel\": leave it out");
        }
        _ => {}
    }
    match topology {
        Topology::Single => {
            if nodes.as_ref().is_some_and(|nodes| !nodes.is_empty()) {
                let what = "counts only with redis.topology = \"sentinel\" or \"cluster\": leave it out, or set that";
                reader.fault("redis.nodes", what);
            }
            single(reader).map(Servers::Single)
        }
        Topology::Sentinel => {
            let sentinels = at_least_one(reader, nodes?, "the Sentinels")?;
            is_shown.then_some(Servers::Sentinel { sentinels, primary })
        }
        Topology::Cluster => at_least_one(reader, nodes?, "some nodes of the cluster").map(Servers::Cluster),
    }
}

fn single(reader: &mut Reader) -> Option<Node> {
    let url = reader.parsed::<Url>("redis.url", "a URL such as rediss://127.0.0.1:6380")?;
    if url.scheme() != "rediss" {
        reader.fault("redis.url", "has to begin with rediss:// (TLS): plain redis:// is never used");
    }
    if !url.username().is_empty() || url.password().is_some() {
        reader.fault("redis.url", "must not hold a user or password: use redis.username and redis.password_file");
    }
    if !url.has_host() || !matches!(url.path(), "" | "/" | "/0") || url.query().is_some() {
        reader.fault("redis.url", "has to be host and port only, for example rediss://127.0.0.1:6380");
    }
    Some(Node::new(url.host_str()?, url.port()))
}

/// `None` if one of them is none, which is told then.
fn nodes(reader: &mut Reader) -> Option<Vec<Node>> {
    let mut nodes = Some(Vec::new());
    for text in reader.list("redis.nodes") {
        match text.strip_prefix("rediss://").unwrap_or(&text).parse() {
            Ok(node) => nodes = nodes.map(|nodes: Vec<Node>| nodes.into_iter().chain([node]).collect()),
            // What was given may hold a password.
            Err(NotANode) => {
                reader.fault("redis.nodes", format!("each {NotANode}"));
                nodes = None;
            }
        }
    }
    nodes
}

fn at_least_one(reader: &mut Reader, nodes: Vec<Node>, whom: &str) -> Option<Vec<Node>> {
    if nodes.is_empty() {
        reader.fault("redis.nodes", format!("has to name {whom}, each as host:port"));
    }
    Some(nodes).filter(|nodes| !nodes.is_empty())
}

/// All that Redis is dialled with, read again when one of the files changes.
fn credentials(reader: &mut Reader) -> Option<(Live<Credentials>, CredentialFiles)> {
    let password = reader.secret("redis.password");
    if password.is_none() && !reader.is_faulty_secret("redis.password") {
        reader.fault("redis.password", "no password: give redis.password_file (`stratus init` makes one)");
    }
    let client = match (reader.path("redis.cert_file"), reader.path("redis.key_file")) {
        (Some(certificate), Some(key)) => {
            let settings = ["redis.cert_file", "redis.key_file"];
            let readers = reader.readers_of(settings[1], &key);
            Some(PairFiles { settings, certificate, key, readers })
        }
        (None, None) => None,
        _ => {
            reader.fault("redis.cert_file", "a client certificate needs both redis.cert_file and redis.key_file");
            None
        }
    };
    let Some(ca_file) = reader.path("redis.ca_file") else {
        reader.fault("redis.ca_file", "no authority to check Redis' certificate with (`stratus init` makes one)");
        return None;
    };
    // The fault of a password that is none is told already; those of the other files are told with it.
    let password = password.unwrap_or_else(|| Secret::Inline(SecretString::default()));
    let files = CredentialFiles { password, ca_file, client };
    match Credentials::read(&files, SystemTime::now()) {
        Ok(first) => {
            let (live, fingerprint) = (Live::new(first.value), first.fingerprint);
            let (in_use, watched) = (live.clone(), files.clone());
            let read = move || {
                let faults = |faults: Vec<_>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Credentials::read(&watched, SystemTime::now()).map_err(faults)
            };
            reader.watch("redis", fingerprint, read, move |value| {
                in_use.replace(value);
                Ok(())
            });
            Some((live, files))
        }
        Err(faults) => {
            for fault in faults {
                reader.fault(fault.key, fault.what);
            }
            None
        }
    }
}
