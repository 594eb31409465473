//! Who is at the other end, behind the proxies that are ours.
//!
//! Anybody can send a header that says where a request came from. It counts only if the connection comes from a proxy that
//! the operator trusts, and of what it says only what trusted proxies have added: it is read from its end, up to the first
//! address that is none of theirs.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The de-facto standard.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What goes with it: how the caller came.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// More proxies than this between an app and us are not believed.
const MAX_HOPS: usize = 32;

/// The header in which our proxies tell whom they speak for. Only one counts: proxies pass the other one on as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The proxies that are believed.
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    /// Where they connect from.
    pub networks: Vec<IpNet>,
    /// What they write.
    pub header: ForwardedHeader,
}

impl TrustedProxies {
    /// Whether one of them is at this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The address of whoever asks, given that of the connection.
    pub(super) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.to_canonical();
        if self.networks.is_empty() || !self.contains(address) {
            return address;
        }
        let name = match self.header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        // A list may be spread over several headers (RFC 9110, section 5.3). In the one that a proxy has added to there may be
        // bytes of the caller's that are no text.
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let values: Vec<_> = values.collect();
        let elements = values.iter().rev().flat_map(|value| self.elements(value).into_iter().rev());
        for element in elements.take(MAX_HOPS) {
            let text = match self.header {
                ForwardedHeader::XForwardedFor => Some(element),
                ForwardedHeader::Forwarded => forwarded(element, "for"),
            };
            // What a trusted proxy could not tell (`unknown`) ends what is known.
            let Some(told) = text.and_then(address_of) else { break };
            address = told;
            if !self.contains(address) {
                break;
            }
        }
        address
    }

    /// Whether the caller came by HTTPS, as the proxy at the other end tells it; `None` if there is none that is trusted, or it
    /// says nothing.
    pub(super) fn came_by_https(&self, peer: IpAddr, headers: &HeaderMap) -> Option<bool> {
        if !self.contains(peer) {
            return None;
        }
        let name = match self.header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_PROTO,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
        let last = self.elements(value).into_iter().next_back()?;
        let scheme = match self.header {
            ForwardedHeader::XForwardedFor => last,
            ForwardedHeader::Forwarded => forwarded(last, "proto")?,
        };
        Some(scheme.eq_ignore_ascii_case("https"))
    }

    fn elements<'a>(&self, value: &'a str) -> Vec<&'a str> {
        match self.header {
            ForwardedHeader::XForwardedFor => value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
            ForwardedHeader::Forwarded => split_quoted(value, ','),
        }
    }
}

/// The parts of a list with quoted strings left whole (RFC 9110, section 5.6.4). If one is not closed, it may be that a caller
/// opened it so that it swallows what our proxy added: then there is one part that says nothing.
fn split_quoted(list: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = list.split(|character| {
        let is_separator = character == separator && !quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        is_separator
    });
    let parts: Vec<_> = parts.map(str::trim).filter(|part| !part.is_empty()).collect();
    if quoted { vec![""] } else { parts }
}

/// What a parameter (`for`, `proto`) says in one element of `Forwarded`.
fn forwarded<'a>(element: &'a str, parameter: &str) -> Option<&'a str> {
    let pairs = split_quoted(element, ';');
    let mut values = pairs.iter().filter_map(|pair| pair.split_once('='));
    let (_, value) = values.find(|(name, _)| name.trim().eq_ignore_ascii_case(parameter))?;
    let value = value.trim();
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn caller(header: ForwardedHeader, peer: &str, values: &[&'static str]) -> String {
        let networks = ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|network| network.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for value in values {
            for name in [X_FORWARDED_FOR, FORWARDED] {
                headers.append(name, HeaderValue::from_static(value));
            }
        }
        TrustedProxies { networks, header }.caller(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn who_is_not_trusted_is_not_believed() {
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            assert_eq!(caller(header, "192.0.2.9", &["198.51.100.1", "for=198.51.100.1"]), "192.0.2.9");
            assert_eq!(caller(header, "10.0.0.1", &[]), "10.0.0.1");
        }
        let nobody = TrustedProxies { networks: vec![], header: ForwardedHeader::XForwardedFor };
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, HeaderValue::from_static("198.51.100.1"))]);
        assert_eq!(nobody.caller("127.0.0.1".parse().unwrap(), &headers).to_string(), "127.0.0.1");
    }

    #[test]
    fn a_list_is_read_from_its_end_up_to_the_first_address_that_is_no_proxy_of_ours() {
        for (values, expected) in [
            (&["198.51.100.1"][..], "198.51.100.1"),
            // What comes before it, anybody can have written.
            (&["203.0.113.7, 198.51.100.1"], "198.51.100.1"),
            (&["203.0.113.7", "198.51.100.1, 10.1.1.1 ,10.2.2.2"], "198.51.100.1"),
            (&["10.9.9.9, 10.1.1.1"], "10.9.9.9"),
            (&["198.51.100.1:4711"], "198.51.100.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]:4711, 2001:db8:ffff::2"], "2001:db8::1"),
            (&["::ffff:198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1, unknown"], "10.0.0.1"),
            (&["198.51.100.1, unknown, 10.1.1.1"], "10.1.1.1"),
            (&["", ",,"], "10.0.0.1"),
        ] {
            assert_eq!(caller(ForwardedHeader::XForwardedFor, "10.0.0.1", values), expected, "{values:?}");
            assert_eq!(caller(ForwardedHeader::XForwardedFor, "::ffff:10.0.0.1", values), expected, "{values:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (value, expected) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("for=203.0.113.7, For=\"198.51.100.1:47\";proto=http;by=10.0.0.1", "198.51.100.1"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("proto=https;for=198.51.100.1;host=\"a,b;c\\\"d\"", "198.51.100.1"),
            ("for=198.51.100.1, for=_hidden", "10.0.0.1"),
            ("for=198.51.100.1, proto=http", "10.0.0.1"),
            // A string that the caller opened must not swallow what the proxy adds.
            ("for=203.0.113.7;host=\"x, for=198.51.100.1", "10.0.0.1"),
            ("for=203.0.113.7;host=\"\\\", for=\"[2001:db8::1]\"", "10.0.0.1"),
        ] {
            assert_eq!(caller(ForwardedHeader::Forwarded, "10.0.0.1", &[value]), expected, "{value}");
        }
    }

    #[test]
    fn what_a_caller_wrote_that_is_no_text_hides_nothing_that_a_proxy_added() {
        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        for (header, name, values) in [
            (ForwardedHeader::XForwardedFor, X_FORWARDED_FOR, [&b"203.0.113.7"[..], b"\xff, 198.51.100.1"]),
            (ForwardedHeader::Forwarded, FORWARDED, [b"for=203.0.113.7", b"host=\xc3, for=198.51.100.1"]),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name.clone(), HeaderValue::from_bytes(value).unwrap());
            }
            let proxies = TrustedProxies { networks: networks.clone(), header };
            assert_eq!(proxies.caller("10.0.0.1".parse().unwrap(), &headers).to_string(), "198.51.100.1", "{header:?}");
        }
    }

    #[test]
    fn an_endless_list_is_not_read_to_its_end() {
        let value: &'static str = Box::leak(format!("198.51.100.1{}", ", 10.1.1.1".repeat(40)).into_boxed_str());
        assert_eq!(caller(ForwardedHeader::XForwardedFor, "10.0.0.1", &[value]), "10.1.1.1");
    }
}
