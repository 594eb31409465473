//! Requests that are sent to us as to a proxy: those whose target is a whole URL (RFC 9112, section 3.2.2), of plain-HTTP
//! clients that were given `HTTP_PROXY`, and `CONNECT`.
//!
//! Nothing is ever forwarded: whatever host a request names is compared and forgotten, neither looked up nor connected
//! to, with `server.forward_proxy` or without. What is let in is answered by our own routes like any other request, from the
//! cache or by the one upstream of the configuration. So nobody reaches anything through us, and fields that concern
//! whoever forwards (`Proxy-Authorization`, `Max-Forwards`, `Via`) are left alone: we are always the last one to be asked.
//!
//! Nor does a loop go on, should `upstream.base_url` lead back here: the question that comes back is one that is being loaded,
//! so it waits for that load, and both end with `upstream.timeout_ms`.

use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::uri::{Authority, Scheme};
use axum::http::{self, Extensions, HeaderValue, Method, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::weather::Host;

/// Whether requests for other hosts than ours are answered, and for which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardProxy {
    /// For none: those for OpenWeatherMap's hosts are refused. What host another one names does not matter, since a server
    /// has to take its own in a whole URL, and does not know under what names it is reached.
    Off,
    /// For OpenWeatherMap's hosts and this one, by `http://`; those for any other are refused.
    On {
        /// That of `upstream.base_url`, in lower case, an IPv6 address in brackets.
        host: String,
        /// That of `upstream.base_url` if it says one. 80 is good, too.
        port: Option<u16>,
    },
}

/// Whom a request is for.
#[derive(Debug)]
pub(super) enum Addressee {
    /// Us.
    Us,
    /// The upstream; we answer in its place.
    Upstream,
    /// Somebody for whom we do not answer.
    Refused(Problem),
}

/// On a request that is for the upstream.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForUpstream;

/// On a request that is refused, whatever it asks for.
#[derive(Debug, Clone)]
pub(super) struct Refused(Problem);

impl Addressee {
    /// Notes on a request what its handlers have to know.
    pub(super) fn note(self, on: &mut Extensions) {
        match self {
            Self::Us => {}
            Self::Upstream => {
                on.insert(ForUpstream);
            }
            Self::Refused(problem) => {
                on.insert(Refused(problem));
            }
        }
    }
}

impl ForwardProxy {
    /// Whom a request is for whose URI has an authority. That counts, not the `Host` field (RFC 9112, section 3.2.2).
    pub(super) fn addressee<B>(&self, request: &http::Request<B>, authority: &Authority) -> Addressee {
        if *request.method() == Method::CONNECT {
            return Addressee::Refused(Problem::no_tunnels());
        }
        // There every request has one (RFC 9113, section 8.3.1).
        if request.version() >= Version::HTTP_2 {
            return Addressee::Us;
        }
        match self {
            Self::Off if is_openweathermap(authority.host()) => Addressee::Refused(Problem::forward_proxy_off()),
            Self::Off => Addressee::Us,
            Self::On { host, port } => {
                let is_theirs = Host::OF_THE_API.iter().any(|host| is_at(authority, host.name(), None))
                    || is_at(authority, host, *port);
                if is_theirs && request.uri().scheme() == Some(&Scheme::HTTP) {
                    Addressee::Upstream
                } else {
                    Addressee::Refused(Problem::forward_proxy_refused())
                }
            }
        }
    }
}

/// Whether somebody means OpenWeatherMap, however it is written.
fn is_openweathermap(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    Host::OF_THE_API.iter().any(|name| name.name().eq_ignore_ascii_case(host))
}

/// Whether an authority is this host, in any case of letters (RFC 9110, section 4.2.3), with no port, 80 or the one given, and
/// nothing else: no user, no dot at the end.
fn is_at(authority: &Authority, host: &str, port: Option<u16>) -> bool {
    let Some((name, rest)) = authority.as_str().split_at_checked(host.len()) else { return false };
    name.eq_ignore_ascii_case(host)
        && match rest.strip_prefix(':') {
            None => rest.is_empty(),
            // An empty port is none (RFC 3986, section 3.2.3).
            Some(digits) => matches!(digits, "" | "80") || port.is_some_and(|port| digits == port.to_string()),
        }
}

/// Keeps what is ours alone, its pages for people, from being given as the upstream's.
pub(super) async fn only_ours(request: Request, next: Next) -> Response {
    if request.extensions().get::<ForUpstream>().is_some() {
        return Problem::not_found().into_response();
    }
    next.run(request).await
}

/// Refuses what is not for us, before anything looks at what it asks for.
pub(super) async fn refuse(mut request: Request, next: Next) -> Response {
    let Some(Refused(problem)) = request.extensions_mut().remove() else { return next.run(request).await };
    let mut response = problem.into_response();
    // What follows a CONNECT is meant for the other end of a tunnel that there is not.
    if *request.method() == Method::CONNECT && request.version() < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whom a request of HTTP/1.1 is for that has this written before its path; `None` if it is no URL.
    fn addressee(proxy: &ForwardProxy, origin: &str) -> Option<Addressee> {
        let request = http::Request::get(format!("{origin}/data/2.5/weather?q=London")).body(()).ok()?;
        let authority = request.uri().authority()?;
        Some(proxy.addressee(&request, authority))
    }

    fn proxy() -> ForwardProxy {
        ForwardProxy::On { host: "[2001:db8::1]".to_owned(), port: Some(8_080) }
    }

    #[test]
    fn the_hosts_of_the_upstream_are_answered_for_with_their_ports_and_in_any_case_of_letters() {
        for (origin, is_theirs) in [
            ("http://api.openweathermap.org", true),
            ("HTTP://PRO.OpenWeatherMap.ORG:80", true),
            ("http://history.openweathermap.org:", true),
            ("http://[2001:DB8::1]:8080", true),
            ("http://[2001:db8::1]", true),
            ("http://[2001:db8::1]:8081", false),
            ("http://[2001:db8::1]x", false),
            ("http://api.openweathermap.org:8080", false),
            ("https://api.openweathermap.org", false),
        ] {
            let answered_for = matches!(addressee(&proxy(), origin), Some(Addressee::Upstream));
            assert_eq!(answered_for, is_theirs, "{origin}");
        }
    }

    /// What the names of hosts are made of, and what they are made to look like something else with.
    const PARTS: [&str; 19] = [
        "api.openweathermap.org",
        "PRO.openweathermap.org",
        "[2001:db8::1]",
        "other.example",
        "api",
        "openweathermap.org",
        ".",
        "@",
        ":",
        "80",
        "8080",
        "0",
        "%61",
        "%40",
        "user",
        "-",
        "[",
        "]",
        "127.0.0.1",
    ];

    proptest! {
        #[test]
        fn what_is_answered_for_is_the_same_host_to_another_reader_of_urls(
            parts in prop::collection::vec(prop::sample::select(&PARTS), 1..6),
        ) {
            let origin = format!("http://{}", parts.concat());
            if let Some(Addressee::Upstream) = addressee(&proxy(), &origin) {
                let url = url::Url::parse(&origin).unwrap();
                let host = url.host_str().unwrap();
                let own = host == "[2001:db8::1]";
                prop_assert!(own || ["api.openweathermap.org", "pro.openweathermap.org"].contains(&host), "{}", origin);
                prop_assert!(url.port().is_none_or(|port| own && port == 8_080), "{}", origin);
                prop_assert!(url.username().is_empty() && url.password().is_none(), "{}", origin);
            }
        }
    }
}
