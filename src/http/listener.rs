//! The accept loop: bounded connections, slow clients cut, an ordered end.
//!
//! Written on hyper because `axum::serve` has no timers: a client that sends half a head would hold its connection for
//! ever.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::direct::{Answering, Routes};

/// The usual [`Limits::header_timeout`]: enough for any network, and idle connections of apps are still reused.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A head longer than this is refused; ours are a few hundred bytes. hyper looks between reads, so one that comes in
/// few large reads may be up to twice as long.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Headers of one request; more is answered 431.
const MAX_HEADERS: usize = 64;
/// The usual [`Limits::write_timeout`]: a client that takes nothing for so long holds a place that others wait for.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// When the service stops: how long a connection without a request in flight may still write.
const LAST_WRITES: Duration = Duration::from_millis(500);
/// After a failed accept (no file descriptors left) the loop waits instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much a listener takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections at most; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// From accepting (or the last answer) to a complete head; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// How long a client may take none of its answer.
    pub write_timeout: Duration,
    /// How long requests in flight may take once the service stops.
    pub drain: Duration,
}

/// Serves `routes` on `listener` until `stopping` is cancelled; then lets requests in flight finish. Gives whether all
/// of them did.
pub async fn serve(
    listener: TcpListener,
    routes: impl Into<Routes>,
    limits: Limits,
    stopping: CancellationToken,
) -> bool {
    let routes = Arc::new(routes.into());
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stopping.cancelled() => break,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (routes, stopping, cut) = (Arc::clone(&routes), stopping.clone(), cut.clone());
        connections.spawn(async move {
            let ended = cut.run_until_cancelled_owned(converse(stream, peer, routes, limits, stopping)).await;
            if let Some(Err(error)) = ended {
                tracing::debug!("a connection ended early: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    let finished = tokio::time::timeout(limits.drain, connections.wait()).await.is_ok();
    // Those that are left end here and not with the runtime: each request has its log line while there is a log.
    cut.cancel();
    connections.wait().await;
    finished
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, IpAddr, Option<tokio::sync::OwnedSemaphorePermit>)> {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer.ip(), place))
}

/// Serves one connection to its end. When the service stops, a request in flight is still answered; a connection without
/// one, be it idle or with half a head sent, gets a moment for what is being written and is closed.
async fn converse(
    stream: TcpStream,
    peer: IpAddr,
    routes: Arc<Routes>,
    limits: Limits,
    stopping: CancellationToken,
) -> hyper::Result<()> {
    let in_flight = Arc::new(AtomicUsize::new(0));
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    let service = Counted { routes, peer, in_flight: Arc::clone(&in_flight) };
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
    );
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    loop {
        match tokio::time::timeout(LAST_WRITES, connection.as_mut()).await {
            Ok(ended) => return ended,
            Err(_) if in_flight.load(Ordering::SeqCst) == 0 => return Ok(()),
            Err(_) => {}
        }
    }
}

/// The routes, counting the requests that are not answered yet.
struct Counted {
    routes: Arc<Routes>,
    peer: IpAddr,
    in_flight: Arc<AtomicUsize>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Counted {
    type Response = hyper::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        self.routes.answer(request, self.peer, || InFlight::one(&self.in_flight))
    }
}

/// One request that is not answered yet.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn one(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
