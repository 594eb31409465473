//! The accept loop: bounded connections, shared fairly; slow clients cut; an ordered end.
//!
//! Written on hyper because `axum::serve` has no timers: a client that sends half a head would hold its connection for
//! ever.

mod conversation;
mod places;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::direct::Routes;
use super::tls::Tls;
use crate::telemetry::Metrics;
use crate::weather::Caller;
use conversation::Surroundings;
use places::{Load, Place, Places, Seat, Seating};

/// The usual [`Limits::header_timeout`]: enough for any network, and idle connections of apps are still reused.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The usual [`Limits::write_timeout`]: a client that takes nothing for so long holds a place that others wait for.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that may wait in the kernel to be accepted. With fewer, a crowd of newcomers keeps others out for a second:
/// that is when a client tries again.
pub const BACKLOG: u32 = 4_096;
/// Connections that may be accepted and wait while all places are taken: about as many as the kernel would keep waiting.
pub(super) const MAX_WAITING: usize = 1_024;

/// The usual [`Limits::handshake_timeout`]: a handshake takes two round trips and a millisecond of computing.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A head longer than this is refused; ours are a few hundred bytes. hyper looks between reads, so one that comes in
/// few large reads may be up to twice as long.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Headers of one request; more is answered 431.
const MAX_HEADERS: usize = 64;

// HTTP/2 (RFC 9113).

/// Requests of one connection that are not answered yet.
const MAX_STREAMS: u32 = 100;
/// All headers of a request, uncompressed. It bounds the frames that a head may be cut into, too (CVE-2024-27316).
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// The least that the standard allows.
const MAX_FRAME_BYTES: u32 = 16 * 1024;
/// What is kept of an answer that the connection does not take.
const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// What a client may send of bodies, which nobody reads: as little as the standard allows for a whole connection.
const STREAM_WINDOW: u32 = 65_535;
/// Requests that were taken back before they were looked at, at once: more is a flood (CVE-2023-44487), and ends the
/// connection.
const MAX_ABANDONED: usize = 20;
/// Requests that are refused for a mistake in the protocol: more ends the connection (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 100;
/// How often a peer is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The usual [`Limits::first_request`]: some round trips of a slow network.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
/// When the service stops: how long a connection without a request in flight may still write.
const LAST_WRITES: Duration = Duration::from_millis(500);
/// After a failed accept (no file descriptors left) the loop waits instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much a listener takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections at most. When all are taken, a newcomer takes one from the address that has most, if that has at
    /// least two more; else it waits.
    pub max_connections: usize,
    /// Of those for one address (IPv4, or /64 of IPv6) at most; more are closed at once.
    pub max_connections_per_address: usize,
    /// Requests that wait for their answer at most, on all connections; one more is refused, and one of an address that has
    /// more of them than are left for the others. Answers from memory do not wait.
    pub max_requests_in_flight: usize,
    /// From accepting to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From accepting (or the last answer) to a complete head, however it trickles in; also how long an idle connection is
    /// kept. With HTTP/2 up to twice as long.
    pub header_timeout: Duration,
    /// How long a client may take none of its answer.
    pub write_timeout: Duration,
    /// With HTTP/2, from a request's head to the last byte of its answer, as far as the client's window lets it go.
    pub stream_timeout: Duration,
    /// Once the service stops: how long a connection on which nothing was asked yet may take for its first request, and before
    /// that as long for its handshake. Its caller has come for something, and was told that somebody is there.
    pub first_request: Duration,
    /// How long all of that, and requests in flight, may take once the service stops.
    pub drain: Duration,
}

/// Ten thousand connections with the usual limits of time, and nothing else bounded.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: usize::MAX,
            max_requests_in_flight: usize::MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            header_timeout: HEADER_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            stream_timeout: Duration::from_secs(10) + WRITE_TIMEOUT,
            first_request: FIRST_REQUEST,
            drain: Duration::from_secs(10),
        }
    }
}

/// Whose connections stand for many callers (a proxy's), so that they are neither capped nor displaced, nor held to a share.
pub type Exempt = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What only the listener for apps has.
#[derive(Clone, Default)]
pub struct Front {
    /// HTTPS, with HTTP/2; without it HTTP/1.1 is spoken in the clear.
    pub tls: Option<Tls>,
    /// Whose connections are not counted by address.
    pub exempt: Option<Exempt>,
    /// Where connections are counted.
    pub metrics: Option<Arc<Metrics>>,
    /// Cancelled when each answer has to be the last one on its connection, some time before the listener stops: so that
    /// callers go elsewhere, and none of them loses a request. Without one: when the listener stops.
    pub last_answers: Option<CancellationToken>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

/// Why a connection was closed before its peer closed it.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("another address needed its place")]
    Displaced,
    #[error("its address has as many connections as one may have")]
    OverAddressCap,
    #[error("too many waited for a place")]
    TurnedAway,
    #[error("no handshake: {0}")]
    HandshakeFailed(io::Error),
    #[error("no handshake in time")]
    HandshakeTimeout,
    #[error("plain HTTP on a port for HTTPS")]
    NotTls,
    #[error("no complete head in time")]
    HeaderTimeout,
    #[error("it took nothing of its answer")]
    WriteTimeout,
    #[error("{0}")]
    Early(String),
}

impl Closed {
    /// The label in the metrics, if it is one of those that are worth counting.
    fn reason(&self) -> Option<&'static str> {
        Some(match self {
            Self::Displaced => "displaced",
            Self::OverAddressCap => "over_address_cap",
            Self::TurnedAway => "turned_away",
            Self::HandshakeFailed(_) => "handshake_failed",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::NotTls => "not_tls",
            Self::HeaderTimeout => "header_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Early(_) => return None,
        })
    }

    fn tell(&self, metrics: Option<&Metrics>) {
        tracing::debug!("a connection was closed: {self}");
        if let (Some(metrics), Some(reason)) = (metrics, self.reason()) {
            metrics.connection_closed(reason);
        }
    }
}

/// Serves `routes` on `listener` until `stopping` is cancelled; then lets requests in flight finish, and answers once who had
/// connected and comes with a first request soon. Gives whether all of them did.
pub async fn serve(
    listener: TcpListener,
    routes: impl Into<Routes>,
    limits: Limits,
    stopping: CancellationToken,
) -> bool {
    serve_front(listener, routes, limits, Front::default(), stopping).await
}

/// The same for the listener of apps.
pub async fn serve_front(
    listener: TcpListener,
    routes: impl Into<Routes>,
    limits: Limits,
    front: Front,
    stopping: CancellationToken,
) -> bool {
    let around = Arc::new(Surroundings {
        routes: Arc::new(routes.into()),
        limits,
        load: Load::new(limits.max_requests_in_flight),
        tls: front.tls.clone(),
        // A child is cancelled before its parent is: who sees that the listener stops says so, too.
        last_answers: front.last_answers.clone().unwrap_or_else(|| stopping.child_token()),
        stopping: stopping.clone(),
        tasks: TaskTracker::new(),
    });
    let tasks = around.tasks.clone();
    let places = Places::new(limits.max_connections, limits.max_connections_per_address);
    let cut = CancellationToken::new();
    let mut door = Door { around, places, front, cut: cut.clone(), waiting: VecDeque::new() };
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            () = door.places.freed(), if !door.waiting.is_empty() => door.let_the_waiting_in(),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => door.receive(stream, peer.ip()),
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    door.receive_the_last(listener);
    tasks.close();
    let drained = async {
        door.let_all_the_waiting_in().await;
        tasks.wait().await;
    };
    let finished = tokio::time::timeout(limits.drain, drained).await.is_ok();
    drop(door);
    // Those that are left end here and not with the runtime: each request has its log line while there is a log.
    cut.cancel();
    tasks.wait().await;
    finished
}

/// Who comes in, who waits, who has to go.
struct Door {
    around: Arc<Surroundings>,
    places: Arc<Places>,
    front: Front,
    /// Cancelled when all connections have to end at once.
    cut: CancellationToken,
    /// Accepted while all places were taken, the longest waiting first.
    waiting: VecDeque<(TcpStream, IpAddr)>,
}

impl Door {
    fn receive(&mut self, stream: TcpStream, address: IpAddr) {
        let Some(newcomer) = self.seat(stream, address) else { return };
        // All places are taken by addresses that have no more than this one: it waits, and does not keep the loop from
        // seeing who comes behind it. Who waits longest has probably given up.
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
            Closed::TurnedAway.tell(self.front.metrics.as_deref());
        }
        self.waiting.push_back(newcomer);
    }

    /// Takes in who has connected already, as far as the kernel knows, and closes the listener: whoever was still in the
    /// kernel's queue then would be cut.
    fn receive_the_last(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        // Bounded, since newcomers could come as fast as they are taken.
        for _ in 0..BACKLOG {
            let accepted = listener.accept().and_then(|(stream, peer)| {
                stream.set_nonblocking(true)?;
                Ok((TcpStream::from_std(stream)?, peer))
            });
            match accepted {
                Ok((stream, peer)) => self.receive(stream, peer.ip()),
                // It left while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    /// Gives each who waits a place as soon as there is one.
    async fn let_all_the_waiting_in(&mut self) {
        self.let_the_waiting_in();
        while !self.waiting.is_empty() {
            self.places.freed().await;
            self.let_the_waiting_in();
        }
    }

    fn let_the_waiting_in(&mut self) {
        while let Some((stream, address)) = self.waiting.pop_front() {
            if let Some(waiting) = self.seat(stream, address) {
                self.waiting.push_front(waiting);
                return;
            }
        }
    }

    /// Gives it a place or closes it; gives it back if it has to wait.
    fn seat(&self, stream: TcpStream, address: IpAddr) -> Option<(TcpStream, IpAddr)> {
        let metrics = self.front.metrics.as_deref();
        let exempt = self.front.exempt.as_ref().is_some_and(|exempt| exempt(address));
        let caller = Caller::from(address);
        let last_answers = self.around.last_answers.child_token();
        let seat = Seat::new(self.cut.child_token(), last_answers, (!exempt).then_some(caller));
        match self.places.take(caller, exempt, &seat) {
            Seating::Place(place, displaced) => {
                if let Some(displaced) = displaced {
                    displaced.tell(metrics);
                }
                self.begin(stream, address, seat, place);
                None
            }
            Seating::Full => Some((stream, address)),
            Seating::OverCap => {
                Closed::OverAddressCap.tell(metrics);
                None
            }
        }
    }

    fn begin(&self, stream: TcpStream, address: IpAddr, seat: Arc<Seat>, place: Place) {
        let (around, metrics) = (Arc::clone(&self.around), self.front.metrics.clone());
        self.around.tasks.spawn(async move {
            let open = metrics.as_ref().map(|metrics| metrics.connection_opened());
            let leave = seat.leave.clone();
            let ended = async {
                stream.set_nodelay(true).map_err(|error| Closed::Early(error.to_string()))?;
                around.converse(stream, address, seat).await
            };
            if let Some(Err(closed)) = leave.run_until_cancelled_owned(ended).await {
                closed.tell(metrics.as_deref());
            }
            drop((open, place));
        });
    }
}
