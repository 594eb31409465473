//! How to reach Redis.

use std::time::SystemTime;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;
use crate::certificate::PairFiles;
use crate::crypto::longest_sealed;
use crate::reload::Live;
use crate::secret::Secret;
use crate::store::{CredentialFiles, Credentials, RedisConfig};
use crate::upstream::UpstreamConfig;

pub(super) fn redis(reader: &mut Reader, upstream: Option<&UpstreamConfig>) -> Option<RedisConfig> {
    let url = reader.parsed::<Url>("redis.url", "a URL such as rediss://127.0.0.1:6380");
    if let Some(url) = &url {
        if url.scheme() != "rediss" {
            reader.fault("redis.url", "has to begin with rediss:// (TLS): plain redis:// is never used");
        }
        if !url.username().is_empty() || url.password().is_some() {
            reader.fault("redis.url", "must not hold a user or password: use redis.username and redis.password_file");
        }
        if !url.has_host() || !matches!(url.path(), "" | "/" | "/0") || url.query().is_some() {
            reader.fault("redis.url", "has to be host and port only, for example rediss://127.0.0.1:6380");
        }
    }
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
        url: url?,
    })
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
