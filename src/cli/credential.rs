//! `stratus credential put|list|remove`: the vault of the running service, by way of its admin listener.

use std::ffi::OsString;
use std::io::{IsTerminal, Read, stdin};

use reqwest::{Method, StatusCode};
use serde_json::json;
use zeroize::Zeroizing;

use super::admin::{Operator, refused};
use super::{Failed, complain, fail, say};
use crate::config::Sources;
use crate::credentials::Id;

/// Bytes that are read of standard input: more than any secret has, so that what is too long is told by the service.
const MAX_INPUT_BYTES: u64 = 2_048;

pub(super) async fn put(sources: Sources, id: &str, ttl_secs: u64, arguments: &[OsString]) -> Result<(), Failed> {
    if !arguments.is_empty() {
        return Err(fail(
            2,
            "a secret is never an argument, since everybody on the machine can read those: give it on standard input, and \
             replace this one, which the shell may have kept",
        ));
    }
    let id = parse(id)?;
    let operator = Operator::new(&sources)?;
    let secret = read_secret()?;
    let body = json!({"secret": secret.as_str(), "ttl_secs": ttl_secs});
    let (status, answer) = operator.send(Method::PUT, &path(&id), Some(&body)).await?;
    if !status.is_success() {
        return Err(refused(&id, &answer));
    }
    let reference = answer["reference"].as_str().unwrap_or_default();
    say(format!("{id}: {reference}, ends in {} s", answer["expires_in_secs"]));
    if let Some(note) = answer["note"].as_str() {
        say(format!("note: {note}"));
    }
    Ok(())
}

pub(super) async fn list(sources: Sources) -> Result<(), Failed> {
    let (status, answer) = Operator::new(&sources)?.send(Method::GET, "/credentials", None).await?;
    let Some(credentials) = answer.as_array().filter(|_| status.is_success()) else {
        return Err(refused("credentials", &answer));
    };
    for credential in credentials {
        let text = |name: &str| credential[name].as_str().unwrap_or_default();
        let ends = &credential["expires_in_secs"];
        say(format!("{}: {}, {}, ends in {ends} s", text("id"), text("reference"), text("state").replace('_', " ")));
    }
    Ok(())
}

pub(super) async fn remove(sources: Sources, id: &str) -> Result<(), Failed> {
    let id = parse(id)?;
    let (status, answer) = Operator::new(&sources)?.send(Method::DELETE, &path(&id), None).await?;
    if status != StatusCode::NO_CONTENT {
        return Err(refused(&id, &answer));
    }
    say(format!("{id}: removed"));
    Ok(())
}

fn parse(id: &str) -> Result<Id, Failed> {
    id.parse().map_err(|error| fail(2, error))
}

fn path(id: &Id) -> String {
    format!("/credentials/{id}")
}

/// One line of standard input, without its end.
fn read_secret() -> Result<Zeroizing<String>, Failed> {
    let from = stdin();
    // Room for all: a growing String would leave parts of the secret behind in memory.
    let mut text = Zeroizing::new(String::with_capacity(2 * MAX_INPUT_BYTES as usize));
    let read = if from.is_terminal() {
        complain("Paste the secret and press Enter. It will be seen on this terminal.");
        from.read_line(&mut text)
    } else {
        from.lock().take(MAX_INPUT_BYTES).read_to_string(&mut text)
    };
    read.map_err(|_| fail(2, "what comes on standard input is no text"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(fail(2, "there is no secret on standard input: `stratus credential put ID < FILE`")),
        line if line.contains('\n') => Err(fail(2, "there is more than one line on standard input")),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}
