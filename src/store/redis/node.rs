//! Where a Redis, or a Sentinel, is to be found.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::ServerName;
use url::Host;

/// The port of Redis where none is given.
const PORT: u16 = 6379;

/// A host, by name or address, and a port. The certificate that it shows has to be for this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Node {
    /// One that somebody else has named, a Sentinel or another node. `None` if no certificate can be for that host: it would be
    /// dialled in vain, and told to people with whatever stands in it.
    pub(super) fn told(host: &str, port: u16) -> Option<Self> {
        (port > 0 && ServerName::try_from(host).is_ok()).then(|| Self::new(host, Some(port)))
    }

    /// A host and a port, that of Redis if there is none.
    pub fn new(host: &str, port: Option<u16>) -> Self {
        Self { host: host.trim_matches(['[', ']']).to_owned(), port: port.unwrap_or(PORT) }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What was given is not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has to be host:port, for example redis-1.example:6380 or [2001:db8::1]:6380")]
pub struct NotANode;

impl FromStr for Node {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        let (host, port) = text.rsplit_once(':').ok_or(NotANode)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(NotANode)?;
        // Without its brackets an IPv6 address would end in what may be a port.
        match Host::parse(host).map_err(|_| NotANode)? {
            Host::Domain(name) if name.is_empty() => Err(NotANode),
            host => Ok(Self::new(&host.to_string(), Some(port))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_no_certificate_can_be_for_is_none_that_somebody_has_named() {
        for host in ["127.0.0.1", "2001:db8::1", "redis-1.example", "redis_1", "localhost"] {
            assert_eq!(Node::told(host, 1), Some(Node::new(host, Some(1))));
            assert_eq!(Node::told(host, 0), None);
        }
        for host in ["", "a b", "a\nb", "\u{1b}[2Jredis", "[::1]", "a/b", "?", &"a".repeat(300)] {
            assert_eq!(Node::told(host, 1), None, "{host:?}");
        }
    }

    #[test]
    fn a_node_is_a_host_and_a_port_and_shows_as_it_was_given() {
        for text in ["127.0.0.1:6380", "redis-1.example:26379", "[2001:db8::1]:1", "localhost:65535"] {
            assert_eq!(text.parse::<Node>().unwrap().to_string(), text);
        }
        for text in
            ["", "redis", "redis:", ":6380", "redis:0", "redis:65536", "::1:6380", "a b:1", "rediss://redis:6380"]
        {
            assert_eq!(text.parse::<Node>(), Err(NotANode), "{text}");
        }
    }
}
