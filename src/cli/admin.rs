//! `stratus purge`, `stratus healthcheck` and what `stratus status` asks by: clients of the running service's admin listener.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::paint::harmless;
use super::{Failed, fail, faulty, say};
use crate::config::{Config, Sources};

/// A probe that takes longer is a failed one; container engines give up sooner or later anyway.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longer is nothing that the service says: it would be read until there is no memory left.
const MAX_BYTES: usize = 4 * 1_024 * 1_024;
/// Somebody else listens there.
pub(super) const NO_STRATUS: &str = "what answers there is no Stratus: admin.listen has to be its address";

/// Who may change the state of the running service: knows its address and its token.
pub(super) struct Operator {
    listen: SocketAddr,
    token: Arc<SecretString>,
    client: Client,
}

impl Operator {
    pub(super) fn new(sources: &Sources) -> Result<Self, Failed> {
        let admin = Config::admin(sources).map_err(|faults| faulty(&faults))?;
        let token = admin.token.ok_or_else(|| fail(2, "admin.token: this needs the token; give admin.token_file"))?;
        Ok(Self { listen: admin.listen, token: token.get(), client: client()? })
    }

    /// Sends a request; the status and the body, which is null if it is no JSON.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Failed> {
        let url = format!("http://{}{path}", reachable(self.listen));
        let mut request = self.client.request(method, url).bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| unreachable(self.listen, &error))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(fail(1, "the service has another token: admin.token_file has to be the one that it uses"));
        }
        Ok((response.status(), response.json().await.unwrap_or_default()))
    }
}

/// Who looks at the running service, for which no token is needed.
pub(super) struct Watcher {
    listen: SocketAddr,
    client: Client,
}

impl Watcher {
    pub(super) fn new(sources: &Sources) -> Result<Self, Failed> {
        let admin = Config::admin(sources).map_err(|faults| faulty(&faults))?;
        Ok(Self { listen: admin.listen, client: client()? })
    }

    /// Where it looks.
    pub(super) fn address(&self) -> String {
        reachable(self.listen).to_string()
    }

    /// What is under this path; if nothing, why, and what to do.
    pub(super) async fn get(&self, path: &str) -> Result<String, String> {
        let url = format!("http://{}{path}", reachable(self.listen));
        let away = |error: reqwest::Error| away(self.listen, &error);
        let mut response = self.client.get(url).send().await.map_err(away)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("{path} answers {status}: is admin.listen, {}, the one of Stratus?", self.listen));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(away)? {
            body.extend_from_slice(&part);
            if body.len() > MAX_BYTES {
                return Err(NO_STRATUS.to_owned());
            }
        }
        String::from_utf8(body).map_err(|_| NO_STRATUS.to_owned())
    }
}

/// What a refusal says, after what it is about.
pub(super) fn refused(what: impl Display, answer: &Value) -> Failed {
    let why = answer["detail"].as_str().map_or_else(|| "the service refused".to_owned(), harmless);
    fail(1, format!("{what}: {why}"))
}

pub(super) async fn purge(sources: Sources, locations: Vec<String>, all: bool) -> Result<(), Failed> {
    let operator = Operator::new(&sources)?;
    let bodies: Vec<_> = if all {
        vec![("everything".to_owned(), json!({"all": true}))]
    } else {
        locations.into_iter().map(|location| (location.clone(), json!({ "location": location }))).collect()
    };
    let mut failed = false;
    for (what, body) in bodies {
        let (status, answer) = operator.send(Method::POST, "/purge", Some(&body)).await?;
        if status.is_success() {
            say(format!("{what}: {} purged", harmless(answer["purged"].to_string().trim_matches('"'))));
        } else {
            failed = true;
            refused(what, &answer);
        }
    }
    if failed { Err(Failed(1)) } else { Ok(()) }
}

pub(super) async fn healthcheck(sources: Sources) -> Result<(), Failed> {
    let admin = Config::admin(&sources).map_err(|faults| faulty(&faults))?;
    let url = format!("http://{}/readyz", reachable(admin.listen));
    let response = client()?.get(url).send().await.map_err(|error| unreachable(admin.listen, &error))?;
    if response.status().is_success() {
        say("ready");
        Ok(())
    } else {
        Err(fail(1, format!("not ready: {}", response.status())))
    }
}

/// An address that listens everywhere is reached on loopback.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn client() -> Result<Client, Failed> {
    Client::builder().timeout(TIMEOUT).no_proxy().build().map_err(|_| fail(1, "cannot make an HTTP client"))
}

fn unreachable(listen: SocketAddr, error: &reqwest::Error) -> Failed {
    fail(1, away(listen, error))
}

fn away(listen: SocketAddr, error: &reqwest::Error) -> String {
    let why = if error.is_timeout() { "does not answer" } else { "cannot be reached" };
    format!("the service {why} on admin.listen, {listen}: is it running with this configuration?")
}
