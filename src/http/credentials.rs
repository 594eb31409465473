//! The operators' routes of the vault. A secret goes in and never comes out: what is answered and logged is its reference.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::admin::AdminState;
use super::problem::Problem;
use crate::credentials::{BadId, Credential, DEFAULT_TTL, Id, Put as Kept, VaultError};

/// The body of a `PUT`. It has no `Debug`, and its errors are never shown: they repeat what was given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    secret: String,
    ttl_secs: Option<u64>,
}

/// What an operator is told who puts a key for OpenWeatherMap while the weather is made up.
const NOT_YET: &str =
    "the weather is SIMULATED until Stratus is started again; from then on a key of openweathermap is used";

type IdRejected = Result<Path<String>, PathRejection>;

fn id(path: IdRejected) -> Result<Id, Problem> {
    Ok(path.map_err(|_| BadId)?.0.parse::<Id>()?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    path: IdRejected,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let id = id(path)?;
    let form = "the body is {\"secret\":\"…\",\"ttl_secs\":3600}; without ttl_secs it is an hour";
    let body = body.map_err(|_| Problem::invalid_body(form))?;
    let put: Put = serde_json::from_slice(&body).map_err(|_| Problem::invalid_body(form))?;
    let given = Zeroizing::new(put.secret);
    let ttl = put.ttl_secs.map_or(DEFAULT_TTL, Duration::from_secs);
    let Kept { credential, replaced } = state.vault.put(id, SecretString::from(given.as_str()), ttl).await?;
    tracing::info!(
        id = %credential.id,
        reference = %credential.reference,
        replaced,
        "a credential was put by an operator"
    );
    let mut body = shown(&state, &credential);
    if (state.upstream)().simulated {
        tracing::warn!("{NOT_YET}");
        body["note"] = NOT_YET.into();
    }
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, private(body)).into_response())
}

pub(super) async fn look_up(State(state): State<AdminState>, path: IdRejected) -> Result<Response, Problem> {
    let found = state.vault.get(&id(path)?).await.map_err(VaultError::Store)?;
    let credential = found.ok_or_else(Problem::no_credential)?;
    Ok(private(shown(&state, &credential)))
}

pub(super) async fn remove(State(state): State<AdminState>, path: IdRejected) -> Result<Response, Problem> {
    let id = id(path)?;
    if !state.vault.remove(id.clone()).await? {
        return Err(Problem::no_credential());
    }
    tracing::info!(%id, "a credential was removed by an operator");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// All of them, with what this replica makes of each.
pub(super) async fn list(State(state): State<AdminState>) -> Result<Response, Problem> {
    state.vault.list().await.map_err(VaultError::Store)?;
    Ok(private(json!((state.upstream)().credentials)))
}

fn shown(state: &AdminState, credential: &Credential) -> Value {
    let expires_in_secs = credential.expires_in_secs(state.vault.now_ms());
    json!({"id": credential.id, "reference": credential.reference, "expires_in_secs": expires_in_secs})
}

fn private(body: Value) -> Response {
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response()
}
