//! The accept loop: bounded connections, slow clients cut, an ordered end.
//!
//! Written on hyper because `axum::serve` has no timers: a client that sends half a head would hold its connection for
//! ever.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// The usual [`Limits::header_timeout`]: enough for any network, and idle connections of apps are still reused.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A head longer than this is refused; ours are a few hundred bytes. hyper looks between reads, so one that comes in
/// few large reads may be up to twice as long.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Headers of one request; more is answered 431.
const MAX_HEADERS: usize = 64;
/// After a failed accept (no file descriptors left) the loop waits instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much a listener takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections at most; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// From accepting (or the last answer) to a complete head; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// How long requests in flight may take once the service stops.
    pub drain: Duration,
}

/// Serves `router` on `listener` until `stopping` is cancelled; then lets requests in flight finish. Gives whether all
/// of them did.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stopping: CancellationToken) -> bool {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stopping.cancelled() => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = graceful.watch(connection(stream, router.clone(), limits.header_timeout));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended early: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_ok()
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

type Connection = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<IntoHyper>>;

fn connection(stream: TcpStream, router: Router, header_timeout: Duration) -> Connection {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(IntoHyper(router)))
}

/// The router with hyper's body type.
#[derive(Clone)]
struct IntoHyper(Router);

impl Service<hyper::Request<Incoming>> for IntoHyper {
    type Response = hyper::Response<Body>;
    type Error = Infallible;
    type Future = <Router as Service<hyper::Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        Service::<hyper::Request<Body>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: hyper::Request<Incoming>) -> Self::Future {
        self.0.call(request.map(Body::new))
    }
}
