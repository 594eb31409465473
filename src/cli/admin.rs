//! `stratus purge` and `stratus healthcheck`: clients of the running service's admin listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Failed, fail, faulty, say};
use crate::config::{Config, Sources};

/// A probe that takes longer is a failed one; container engines give up sooner or later anyway.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn purge(sources: Sources, locations: Vec<String>, all: bool) -> Result<(), Failed> {
    let admin = Config::admin(&sources).map_err(|faults| faulty(&faults))?;
    let token = admin.token.ok_or_else(|| fail(2, "admin.token: a purge needs the token; give admin.token_file"))?;
    let token = token.get();
    let url = format!("http://{}/purge", reachable(admin.listen));
    let bodies: Vec<_> = if all {
        vec![("everything".to_owned(), json!({"all": true}))]
    } else {
        locations.into_iter().map(|location| (location.clone(), json!({ "location": location }))).collect()
    };
    let mut failed = false;
    for (what, body) in bodies {
        let sent = client()?.post(&url).bearer_auth(token.expose_secret()).json(&body).send().await;
        let response = sent.map_err(|error| unreachable(admin.listen, &error))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(fail(1, "the service has another token: admin.token_file has to be the one that it uses"));
        }
        let purged = response.status().is_success();
        let answer: Value = response.json().await.unwrap_or_default();
        if purged {
            say(format!("{what}: {} purged", answer["purged"].to_string().trim_matches('"')));
        } else {
            failed = true;
            fail(1, format!("{what}: {}", answer["detail"].as_str().unwrap_or("the service refused")));
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
fn reachable(listen: SocketAddr) -> SocketAddr {
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
    let why = if error.is_timeout() { "does not answer" } else { "cannot be reached" };
    fail(1, format!("the service {why} on admin.listen, {listen}: is it running with this configuration?"))
}
