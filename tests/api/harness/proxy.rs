//! A TCP proxy that records what passes and can hurt: cut, refuse, freeze. Also the door it (and the scripted upstream)
//! takes connections by, which can be closed and opened again on the same port.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long a port just closed may take to become free (a child process being started holds it for a moment).
const RELEASE: Duration = Duration::from_secs(5);

/// Locks, also after a panic elsewhere: that panic is the one to be reported.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A proxy on 127.0.0.1 before a port of the same machine.
pub(crate) struct TcpProxy {
    door: Door,
    wire: Arc<Wire>,
}

impl TcpProxy {
    /// Starts a proxy that forwards to the port `target`.
    pub(crate) async fn start(target: u16) -> Self {
        let wire = Arc::new(Wire {
            target,
            frozen: watch::Sender::new(false),
            from_client: Mutex::default(),
            from_server: Mutex::default(),
        });
        let served = Arc::clone(&wire);
        let door = Door::open(move |client| Box::pin(Arc::clone(&served).forward(client)));
        Self { door, wire }
    }

    /// The port clients connect to.
    pub(crate) fn port(&self) -> u16 {
        self.door.port()
    }

    /// Everything read so far on all connections: first client to server, then server to client.
    pub(crate) fn bytes_seen(&self) -> Vec<u8> {
        let mut seen = locked(&self.wire.from_client).clone();
        seen.extend_from_slice(&locked(&self.wire.from_server));
        seen
    }

    /// Closes all connections and the listener: nothing more is forwarded, new connections are refused.
    pub(crate) fn cut(&self) {
        self.door.close();
    }

    /// Accepts connections again, on the same port.
    pub(crate) async fn mend(&self) {
        self.door.reopen().await;
    }

    /// Keeps all connections and accepts new ones, but forwards nothing (neither bytes nor closings) until `thaw`.
    pub(crate) fn freeze(&self) {
        self.wire.frozen.send_replace(true);
    }

    /// Forwards again, beginning with what was held back.
    pub(crate) fn thaw(&self) {
        self.wire.frozen.send_replace(false);
    }
}

/// What all connections of a proxy have in common.
struct Wire {
    target: u16,
    frozen: watch::Sender<bool>,
    from_client: Mutex<Vec<u8>>,
    from_server: Mutex<Vec<u8>>,
}

impl Wire {
    /// Joins one client to the target until both sides have ended or one of them fails.
    fn forward(self: Arc<Self>, client: TcpStream) -> impl Future<Output = ()> + Send {
        let target = self.target;
        async move {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
                return;
            };
            for side in [&client, &server] {
                // A peer that has left already is noticed when its side is read.
                side.set_nodelay(true).ok();
            }
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            let up = self.pump(client_reads, server_writes, &self.from_client);
            let down = self.pump(server_reads, client_writes, &self.from_server);
            tokio::try_join!(up, down).ok();
        }
    }

    /// Copies one direction to its end, recording it; while frozen, holds what was read.
    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        record: &Mutex<Vec<u8>>,
    ) -> std::io::Result<()> {
        let mut frozen = self.frozen.subscribe();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            locked(record).extend_from_slice(&buffer[..read]);
            frozen.wait_for(|frozen| !frozen).await.expect("the wire lives as long as its pumps");
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..read]).await?;
        }
    }
}

/// What is done with each accepted connection.
type Serve = Box<dyn Fn(TcpStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// A port of 127.0.0.1 that can be closed and opened again, and the connections that came in by it.
pub(crate) struct Door {
    port: u16,
    inside: Arc<Inside>,
}

impl Door {
    /// Listens on a free port; every connection is served by a future of its own, dropped when the door is closed.
    pub(crate) fn open(serve: impl Fn(TcpStream) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        let socket = bound(0).expect("a free port");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let door = Self { port, inside: Arc::new(Inside { serve: Box::new(serve), state: Mutex::default() }) };
        door.listen(&mut locked(&door.inside.state), socket);
        door
    }

    /// The port, the same for all of the door's life.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Closes the listener and all connections (so a connection cannot call this for its own door); until `reopen`
    /// the port refuses connections and stays taken.
    pub(crate) fn close(&self) {
        let mut state = locked(&self.inside.state);
        if state.shut() {
            state.reserved = Some(reserve(self.port));
        }
    }

    /// Listens again after `close`, once everything from before is gone; an open door stays as it is.
    pub(crate) async fn reopen(&self) {
        let (socket, accepting, mut connections) = {
            let mut state = locked(&self.inside.state);
            let Some(socket) = state.reserved.take() else {
                return;
            };
            (socket, state.accepting.take(), std::mem::take(&mut state.connections))
        };
        if let Some(accepting) = accepting {
            // Either it was cancelled or it has found the listener gone.
            accepting.await.ok();
        }
        connections.shutdown().await;
        self.listen(&mut locked(&self.inside.state), socket);
    }

    /// Begins to accept connections on a bound socket.
    fn listen(&self, state: &mut State, socket: TcpSocket) {
        state.listener = Some(socket.listen(BACKLOG).expect("a bound port can be listened on"));
        let inside = Arc::clone(&self.inside);
        state.accepting = Some(tokio::spawn(async move { poll_fn(|context| inside.poll_accept(context)).await }));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        locked(&self.inside.state).shut();
    }
}

/// The part of a door that accepting needs.
struct Inside {
    serve: Serve,
    state: Mutex<State>,
}

impl Inside {
    /// Accepts what is waiting; ready once the listener is gone.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            // Accepting and serving happen under one lock, so that `close` misses no connection.
            let mut state = locked(&self.state);
            let Some(listener) = &state.listener else {
                return Poll::Ready(());
            };
            // An error concerns one connection whose client has left already.
            if let Ok((stream, _)) = ready!(listener.poll_accept(context)) {
                state.admit((self.serve)(stream));
            }
        }
    }
}

/// An open door has a listener, a closed one a reserved port.
#[derive(Default)]
struct State {
    listener: Option<TcpListener>,
    reserved: Option<TcpSocket>,
    accepting: Option<JoinHandle<()>>,
    connections: JoinSet<()>,
    served: Vec<Weak<Served>>,
}

/// What serves a connection, until it is taken away.
type Served = Mutex<Option<BoxFuture<'static, ()>>>;

impl State {
    /// Serves one connection, and forgets those that have ended.
    fn admit(&mut self, serve: BoxFuture<'static, ()>) {
        while self.connections.try_join_next().is_some() {}
        self.served.retain(|served| served.strong_count() > 0);
        let served: Arc<Served> = Arc::new(Mutex::new(Some(serve)));
        self.served.push(Arc::downgrade(&served));
        self.connections.spawn(poll_fn(move |context| match &mut *locked(&served) {
            Some(serve) => serve.as_mut().poll(context),
            None => Poll::Ready(()),
        }));
    }

    /// Drops the listener and all connections, here and now; whether there was a listener.
    fn shut(&mut self) -> bool {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
        // Aborting alone would let a connection that is being polled go on for a while.
        for served in self.served.drain(..).filter_map(|served| served.upgrade()) {
            locked(&served).take();
        }
        self.connections.abort_all();
        self.listener.take().is_some()
    }
}

/// Takes a port just closed without listening on it, so that nobody else gets it meanwhile.
fn reserve(port: u16) -> TcpSocket {
    let begun = Instant::now();
    loop {
        match bound(port) {
            Ok(socket) => return socket,
            Err(error) => assert!(begun.elapsed() < RELEASE, "port {port} cannot be taken again: {error}"),
        }
        std::thread::yield_now();
    }
}

/// A socket bound to a port of 127.0.0.1 (0 for any), not listening.
fn bound(port: u16) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}
