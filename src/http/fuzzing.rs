//! What the fuzz targets reach of this module and nobody else does: requests without a connection (docs/fuzzing.md).

use std::net::IpAddr;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;

use super::Routes;

/// Answers as a listener does.
pub async fn answer(routes: &Routes, request: Request<Body>, peer: IpAddr) -> Response {
    match routes.answer(request, peer, || Some(())).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
