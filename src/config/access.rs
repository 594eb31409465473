//! Who may ask: the settings of `access`, and the proxies whose word counts about where a request comes from.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::reader::Reader;
use crate::consumers::{Consumers, Entry, is_origin, parse};
use crate::http::{AccessConfig, ForwardedHeader, TrustedProxies};
use crate::reload::{Live, Reading, fingerprint, read_regular};

/// Others than the owner and the group may change a file.
const WRITABLE_BY_OTHERS: u32 = 0o002;

pub(super) fn access(reader: &mut Reader) -> AccessConfig {
    let required = reader.get("access.required");
    let file = reader.path("access.consumers_file");
    if required && file.is_none() {
        let what = "nobody could ask: give access.consumers_file (`stratus consumer new NAME` makes an entry)";
        reader.fault("access.required", what);
    }
    AccessConfig {
        required,
        consumers: file.and_then(|file| consumers(reader, file)),
        anonymous_per_minute: u32::try_from(reader.number("access.anonymous_per_minute", 0..=10_000_000))
            .unwrap_or(u32::MAX),
        proxies: proxies(reader),
    }
}

/// Everybody in the file, which is read again when it changes.
fn consumers(reader: &mut Reader, file: PathBuf) -> Option<Live<Consumers>> {
    let key = "access.consumers_file";
    let first = read(&file).map_err(|what| reader.fault(key, what)).ok()?;
    let entries = understand(&file, &first.value)
        .map_err(|faults| faults.into_iter().for_each(|what| reader.fault(key, what)))
        .ok()?;
    let live = Live::new(Consumers::new(entries, None));
    let in_use = live.clone();
    let path = file.clone();
    // Understood only if it is new: ten thousand consumers take a while.
    let take = move |bytes: Vec<u8>| {
        let entries = understand(&path, &bytes).map_err(|faults| faults.join("; "))?;
        in_use.replace(Consumers::new(entries, Some(&in_use.get())));
        Ok(())
    };
    reader.watch(key, first.fingerprint, move || read(&file), take);
    Some(live)
}

fn read(file: &Path) -> Result<Reading<Vec<u8>>, String> {
    let path = file.display();
    let unreadable = |error| format!("cannot read {path}: {error}");
    let value = read_regular(file).map_err(unreadable)?;
    let mode = fs::metadata(file).map_err(unreadable)?.permissions().mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(format!("{path} can be changed by everybody on this machine: run `chmod o-w {path}`"));
    }
    Ok(Reading { fingerprint: fingerprint([value.as_slice()]), value })
}

fn understand(file: &Path, bytes: &[u8]) -> Result<Vec<Entry>, Vec<String>> {
    let path = file.display();
    let text = std::str::from_utf8(bytes).map_err(|_| vec![format!("{path} is not UTF-8")])?;
    parse(text).map_err(|faults| faults.iter().map(|fault| format!("{path}: {fault}")).collect())
}

fn proxies(reader: &mut Reader) -> TrustedProxies {
    let key = "server.trusted_proxies";
    let mut networks = Vec::new();
    for text in reader.list(key) {
        match network(&text) {
            Some(network) => networks.push(network),
            None => reader.fault(key, "has an entry that is neither an address nor a network such as 10.0.0.0/8"),
        }
    }
    let header = match reader.word("server.forwarded_header", &["x-forwarded-for", "forwarded"]) {
        Some("forwarded") => ForwardedHeader::Forwarded,
        _ => ForwardedHeader::XForwardedFor,
    };
    TrustedProxies { networks, header }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<std::net::IpAddr>().ok()?)))
}

/// Origins whose pages may read the answers; `*` is any.
pub(super) fn allow_origins(reader: &mut Reader) -> Vec<String> {
    let origins = reader.list("server.allow_origins");
    for origin in &origins {
        if origin != "*" && !is_origin(origin) {
            let what = "has an entry that is neither \"*\" nor an origin such as https://app.example";
            reader.fault("server.allow_origins", what);
        }
    }
    origins
}
