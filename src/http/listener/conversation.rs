//! One connection from its first byte to its last: the handshake, HTTP/1.1 or HTTP/2, and a limit for everything in which a
//! peer could take its time.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::{Entered, InFlight, Load, Seat};
use super::{
    Closed, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, LAST_WRITES, Limits, MAX_ABANDONED, MAX_FRAME_BYTES,
    MAX_HEAD_BYTES, MAX_HEADER_LIST_BYTES, MAX_HEADERS, MAX_LOCAL_RESETS, MAX_SEND_BUFFER_BYTES, MAX_STREAMS,
    STREAM_WINDOW,
};
use crate::http::direct::{Answering, Routes};
use crate::http::tls::{H2, Tls};

/// What a connection needs of its listener.
pub(super) struct Surroundings {
    pub(super) routes: Arc<Routes>,
    pub(super) limits: Limits,
    pub(super) load: Arc<Load>,
    pub(super) tls: Option<Tls>,
    /// Cancelled when each answer has to be the last one on its connection.
    pub(super) last_answers: CancellationToken,
    /// Cancelled when the service stops.
    pub(super) stopping: CancellationToken,
    /// All tasks of the listener.
    pub(super) tasks: TaskTracker,
}

/// A connection whose peer may not let us wait to write.
type Slow = Pin<Box<TimeoutStream<TcpStream>>>;

/// The first byte of a handshake (RFC 8446, section 5.1: a record of type 22).
const HANDSHAKE: u8 = 22;
/// To whom speaks HTTP where HTTPS is spoken; in the clear, since nothing else would be understood.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\
    content-length: 37\r\n\r\nthis port speaks HTTPS: use https://\r\n";
/// Of what such a one sends, so much is read, so that the answer is not lost with a reset.
const MAX_UNREAD: u64 = 64 * 1024;

impl Surroundings {
    /// Serves one connection to its end. When the service stops, a request in flight is still answered, and so is the first one
    /// of a connection on which nothing was asked yet, if it comes soon; any other connection gets a moment for what is being
    /// written and is closed.
    pub(super) async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        seat: Arc<Seat>,
    ) -> Result<(), Closed> {
        let service = Service { around: Arc::clone(&self), peer, seat, streams: false };
        // Boxed, each: a connection takes what its kind needs, not what all kinds together would.
        let Some(tls) = &self.tls else { return Box::pin(self.http1(slow(stream, &self.limits), service)).await };
        let handshake = Box::pin(timeout(self.limits.handshake_timeout, handshake(tls, stream, &self.limits)));
        let shaken = tokio::select! {
            biased;
            shaken = handshake => shaken,
            () = self.last_patience() => return Ok(()),
        };
        let stream = shaken.map_err(|_| Closed::HandshakeTimeout)??;
        if stream.get_ref().1.alpn_protocol() == Some(H2) {
            Box::pin(self.http2(stream, Service { streams: true, ..service })).await
        } else {
            Box::pin(self.http1(stream, service)).await
        }
    }

    async fn http1(&self, stream: impl AsyncRead + AsyncWrite + Unpin, service: Service) -> Result<(), Closed> {
        let seat = Arc::clone(&service.seat);
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header_timeout)
                .max_buf_size(MAX_HEAD_BYTES)
                .max_headers(MAX_HEADERS)
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended.map_err(|error| Closed::of(&error)),
            () = self.stopping.cancelled() => {}
        }
        if let Some(ended) = self.first_words(connection.as_mut(), &seat).await {
            return ended.map_err(|error| Closed::of(&error));
        }
        connection.as_mut().graceful_shutdown();
        last_words(connection, &seat).await
    }

    async fn http2(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        service: Service,
    ) -> Result<(), Closed> {
        let seat = Arc::clone(&service.seat);
        let streams = Streams { seat: Arc::clone(&seat), around: Arc::clone(self) };
        let mut connection = std::pin::pin!(
            http2::Builder::new(streams)
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(MAX_HEADER_LIST_BYTES)
                .max_frame_size(MAX_FRAME_BYTES)
                .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(STREAM_WINDOW)
                .max_pending_accept_reset_streams(MAX_ABANDONED)
                .max_local_error_reset_streams(MAX_LOCAL_RESETS)
                .keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
        );
        // hyper waits for the preface, for the rest of a head and for the next request without end.
        let period = self.limits.header_timeout;
        let mut ticks = interval_at(Instant::now() + period, period);
        let mut asked = 0;
        let (mut is_to_go, mut is_told) = (false, false);
        let closed = loop {
            // What is on its way when the peer hears of it is still answered (RFC 9113, section 6.8). Who has not asked yet has
            // come for something, and would have to come again.
            if is_to_go && !is_told && seat.asked() > 0 {
                connection.as_mut().graceful_shutdown();
                is_told = true;
            }
            tokio::select! {
                biased;
                polled = until_asked(connection.as_mut(), &seat, is_to_go && !is_told) => match polled {
                    Some(ended) => return ended.map_err(|error| Closed::of(&error)),
                    None => continue,
                },
                () = seat.last_answers.cancelled(), if !is_to_go => is_to_go = true,
                () = self.stopping.cancelled() => break Ok(()),
                _ = ticks.tick() => {
                    if !seat.is_busy() && seat.asked() == asked {
                        break Err(Closed::HeaderTimeout);
                    }
                    asked = seat.asked();
                }
            }
        };
        if closed.is_ok()
            && let Some(ended) = self.first_words(connection.as_mut(), &seat).await
        {
            return ended.map_err(|error| Closed::of(&error));
        }
        connection.as_mut().graceful_shutdown();
        last_words(connection, &seat).await?;
        closed
    }

    /// Ends when a handshake is not waited for any more, because the service stops.
    async fn last_patience(&self) {
        self.stopping.cancelled().await;
        sleep(self.limits.first_request).await;
    }

    /// When the service stops: polls a connection on which nothing was asked yet until something is, or it takes too long for
    /// that. What it is answered is the last answer on it. Gives how it ended if it did.
    async fn first_words<C: Future>(&self, connection: Pin<&mut C>, seat: &Seat) -> Option<C::Output> {
        seat.last_answers.cancel();
        timeout(self.limits.first_request, until_asked(connection, seat, true)).await.unwrap_or_default()
    }
}

/// Polls a connection to its end, or if it `waits` for that, until something was asked on it: `None`.
async fn until_asked<C: Future>(mut connection: Pin<&mut C>, seat: &Seat, waits: bool) -> Option<C::Output> {
    poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if waits && seat.asked() > 0 => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Polls a connection that was told to end to its end: what is in flight is answered, nothing else is waited for.
async fn last_words(
    mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    seat: &Seat,
) -> Result<(), Closed> {
    loop {
        match timeout(LAST_WRITES, connection.as_mut()).await {
            Ok(ended) => return ended.map_err(|error| Closed::of(&error)),
            Err(_) if !seat.is_busy() => return Ok(()),
            Err(_) => {}
        }
    }
}

fn slow(stream: TcpStream, limits: &Limits) -> Slow {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    Box::pin(stream)
}

/// The handshake, for which the caller limits the time.
async fn handshake(tls: &Tls, stream: TcpStream, limits: &Limits) -> Result<Box<TlsStream<Slow>>, Closed> {
    let mut first = [0];
    let read = stream.peek(&mut first).await.map_err(Closed::HandshakeFailed)?;
    let mut stream = slow(stream, limits);
    if read == 1 && first[0] != HANDSHAKE {
        // Whatever becomes of it: the connection ends.
        let _ = refuse_plain(&mut stream).await;
        return Err(Closed::NotTls);
    }
    let shaken = TlsAcceptor::from(Arc::clone(&tls.handshakes.load().config)).accept(stream).await;
    shaken.map(Box::new).map_err(Closed::HandshakeFailed)
}

async fn refuse_plain(stream: &mut Slow) -> io::Result<()> {
    stream.write_all(NOT_TLS).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_UNREAD), &mut tokio::io::sink()).await?;
    Ok(())
}

impl Closed {
    fn of(error: &hyper::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(found) = cause {
            let io = found.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                return Self::WriteTimeout;
            }
            cause = found.source();
        }
        if error.is_timeout() { Self::HeaderTimeout } else { Self::Early(error.to_string()) }
    }
}

/// The routes, counting what is asked.
struct Service {
    around: Arc<Surroundings>,
    peer: IpAddr,
    seat: Arc<Seat>,
    /// Whether each request has a task of its own, which counts it to its last byte.
    streams: bool,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Service {
    type Response = hyper::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        self.seat.note_request();
        let load = &self.around.load;
        let answering = self.around.routes.answer(request, self.peer, || -> Option<Option<(Entered, InFlight)>> {
            if self.streams {
                return (!load.is_full(self.seat.sharer)).then_some(None);
            }
            load.enter(self.seat.sharer).map(|entered| Some((entered, InFlight::on(&self.seat))))
        });
        // Streams have no such header (RFC 9113, section 8.2.2): their connection is told.
        Answer { answering, seat: (!self.streams).then(|| Arc::clone(&self.seat)) }
    }
}

/// An answer, which says so if it is the last one on its connection (RFC 9112, section 9.6).
struct Answer {
    answering: Answering,
    /// Of a connection whose answers can say so.
    seat: Option<Arc<Seat>>,
}

impl Future for Answer {
    type Output = Result<hyper::Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = ready!(Pin::new(&mut self.answering).poll(context));
        // When it is ready, not when it was asked for: a request may take long.
        if let Ok(response) = &mut answer
            && self.seat.as_ref().is_some_and(|seat| seat.last_answers.is_cancelled())
        {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(answer)
    }
}

/// Runs the streams of one connection of HTTP/2.
#[derive(Clone)]
struct Streams {
    seat: Arc<Seat>,
    around: Arc<Surroundings>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut stream = Box::pin(stream);
        // What memory has is answered here and now, as are refusals: no task, no place.
        if (&mut stream).now_or_never().is_some() {
            return;
        }
        // Without a place it is reset. It was refused already, and its peer does not even take that.
        let Some(place) = self.around.load.enter(self.seat.sharer) else { return };
        let in_flight = InFlight::on(&self.seat);
        let (leave, limit) = (self.seat.leave.clone(), self.around.limits.stream_timeout);
        self.around.tasks.spawn(async move {
            // A peer that never opens its window takes nothing for ever, and no write shows that. Cut, it is reset.
            let _ = leave.run_until_cancelled_owned(timeout(limit, stream)).await;
            drop((in_flight, place));
        });
    }
}
