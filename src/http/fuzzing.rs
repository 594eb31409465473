//! What the fuzz targets reach of this module and nobody else does: requests without a connection (docs/fuzzing.md).

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;

use super::Routes;
use crate::weather::Caller;

/// Answers as a listener does.
pub async fn answer(routes: &Routes, request: Request<Body>, caller: Caller) -> Response {
    match routes.answer(request, caller, || ()).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
