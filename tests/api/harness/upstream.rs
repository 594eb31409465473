//! An HTTP/1.1 server that answers as scripted and counts its calls, in place of the weather API. It works on raw
//! sockets because it must be able to misbehave.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::proxy::{Door, locked};

/// What the real API sends with every answer (but for the date).
const DEFAULT_HEADERS: [(&str, &str); 5] = [
    ("Server", "openresty"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Credentials", "true"),
    ("Access-Control-Allow-Methods", "GET, POST"),
];

/// The longest request head that is read.
const HEAD_LIMIT: usize = 64 * 1024;

/// How long `wait_for_calls` waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server; dropping it closes its port and all connections.
pub(crate) struct ScriptedUpstream {
    door: Door,
    script: Arc<Script>,
}

impl ScriptedUpstream {
    /// Starts a server that gives this reply to every request, until told otherwise.
    pub(crate) async fn start(default: Reply) -> Self {
        let script = Arc::new(Script {
            lines: Mutex::new(Lines { default: always(default), queued: VecDeque::new(), requests: Vec::new() }),
            calls: watch::Sender::new(0),
        });
        let served = Arc::clone(&script);
        let door = Door::open(move |stream| Box::pin(serve(Arc::clone(&served), stream)));
        Self { door, script }
    }

    /// The base address, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.door.port())
    }

    /// How many requests have come in: their heads were received in full.
    pub(crate) fn calls(&self) -> usize {
        *self.script.calls.borrow()
    }

    /// The requests that have come in, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        locked(&self.script.lines).requests.clone()
    }

    /// Gives this reply from now on.
    pub(crate) fn reply(&self, reply: Reply) {
        locked(&self.script.lines).default = always(reply);
    }

    /// Gives this reply to one request, after those queued before and ahead of the default.
    pub(crate) fn once(&self, reply: Reply) {
        locked(&self.script.lines).queued.push_back(reply);
    }

    /// Computes the reply from the request from now on.
    pub(crate) fn reply_with(&self, compute: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        locked(&self.script.lines).default = Arc::new(compute);
    }

    /// Waits until `n` requests have come in since the start.
    pub(crate) async fn wait_for_calls(&self, n: usize) {
        let mut calls = self.script.calls.subscribe();
        let waited = tokio::time::timeout(PATIENCE, calls.wait_for(|calls| *calls >= n)).await.is_ok();
        assert!(waited, "the upstream got {} of {n} calls within {PATIENCE:?}", self.calls());
    }

    /// Closes the listener and all connections: new connections are refused.
    pub(crate) fn stop(&self) {
        self.door.close();
    }

    /// Listens on the same port again; script and counts are kept.
    pub(crate) async fn restart(&self) {
        self.door.reopen().await;
    }
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Path and query as sent.
    pub(crate) target: String,
    /// The path as sent.
    pub(crate) path: String,
    /// The query's pairs, percent-decoded, in order.
    pub(crate) query: Vec<(String, String)>,
    /// Names and values as sent, in order.
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    /// Reads a head without its empty line; `None` if it is not HTTP.
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let target = lines.next()?.split(' ').nth(1)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        });
        Some(Self {
            target: target.to_owned(),
            path: path.to_owned(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: headers.collect::<Option<_>>()?,
        })
    }
}

/// Holds replies back until it is opened; clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate {
    opened: watch::Sender<bool>,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self { opened: watch::Sender::new(false) }
    }

    /// Lets through whoever waits and whoever comes later.
    pub(crate) fn open(&self) {
        self.opened.send_replace(true);
    }

    /// Waits until the gate is open.
    async fn passed(&self) {
        self.opened.subscribe().wait_for(|opened| *opened).await.expect("the gate is held here");
    }
}

/// What the server does with a request.
#[derive(Clone)]
pub(crate) struct Reply {
    manner: Manner,
    headers: Vec<(String, String)>,
}

/// The ways to reply.
#[derive(Clone)]
enum Manner {
    Whole { status: u16, body: Bytes },
    Raw(Bytes),
    Never,
    CloseMidBody { declared: usize, body: Bytes },
    Endless(Bytes),
    Gated(Gate, Arc<Reply>),
}

impl Reply {
    /// A well-formed answer with the real API's headers, on a connection that is kept.
    pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::from(Manner::Whole { status, body: body.into() })
    }

    /// Exactly these bytes, then the connection is closed.
    pub(crate) fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::from(Manner::Raw(bytes.into()))
    }

    /// No answer: the connection is held until the client leaves or the server is stopped.
    pub(crate) fn never() -> Self {
        Self::from(Manner::Never)
    }

    /// A 200 that declares a longer body than it sends before the connection is closed.
    pub(crate) fn close_mid_body(declared: usize, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        assert!(body.len() < declared, "a body cut short is shorter than declared");
        Self::from(Manner::CloseMidBody { declared, body })
    }

    /// A 200 whose body repeats this chunk until the client leaves or the server is stopped.
    pub(crate) fn endless(chunk: impl Into<Bytes>) -> Self {
        let chunk = chunk.into();
        assert!(!chunk.is_empty(), "an empty chunk would be the end");
        Self::from(Manner::Endless(chunk))
    }

    /// Another reply, given once the gate is open.
    pub(crate) fn gated(gate: Gate, then: impl Into<Arc<Reply>>) -> Self {
        Self::from(Manner::Gated(gate, then.into()))
    }

    /// Adds a header, in place of the default of that name if there is one.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        match &mut self.manner {
            Manner::Raw(_) | Manner::Never => panic!("this reply has no headers of its own"),
            Manner::Gated(_, then) => *then = Arc::new(Self::clone(then).header(name, value)),
            _ => self.headers.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Status line and headers, with the one that frames the body.
    fn head(&self, status: u16, framing: (&str, &str)) -> Vec<u8> {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Unknown"));
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let defaults = DEFAULT_HEADERS.into_iter().chain([framing]);
        let defaults = defaults.filter(|(name, _)| own.clone().all(|(set, _)| !set.eq_ignore_ascii_case(name)));
        for (name, value) in defaults.chain(own.clone()) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Whether the reply itself says that the connection ends with it.
    fn closes(&self) -> bool {
        let says = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
        };
        self.headers.iter().any(says)
    }
}

impl From<Manner> for Reply {
    fn from(manner: Manner) -> Self {
        Self { manner, headers: Vec::new() }
    }
}

/// Chooses a reply for a request.
type Compute = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// The same reply to all requests.
fn always(reply: Reply) -> Compute {
    Arc::new(move |_| reply.clone())
}

/// What to reply, and what was asked.
struct Script {
    lines: Mutex<Lines>,
    calls: watch::Sender<usize>,
}

/// The parts of a script that change together.
struct Lines {
    default: Compute,
    queued: VecDeque<Reply>,
    requests: Vec<Request>,
}

impl Script {
    /// Notes a request and chooses its reply; whoever waits for the call learns of it after that.
    fn take(&self, request: &Request) -> Reply {
        let (queued, default) = {
            let mut lines = locked(&self.lines);
            lines.requests.push(request.clone());
            (lines.queued.pop_front(), Arc::clone(&lines.default))
        };
        let reply = queued.unwrap_or_else(|| default(request));
        self.calls.send_modify(|calls| *calls += 1);
        reply
    }
}

/// Serves one connection until a reply ends it or the client leaves.
async fn serve(script: Arc<Script>, mut stream: TcpStream) {
    // A client that has left already is noticed when its head is read.
    stream.set_nodelay(true).ok();
    let (mut reads, mut writes) = stream.split();
    let mut pending = Vec::new();
    while let Some(request) = next_request(&mut reads, &mut pending).await {
        let reply = script.take(&request);
        let Ok(true) = give(&reply, &mut reads, &mut writes).await else {
            break;
        };
    }
    // Failing means that the client has closed first.
    writes.shutdown().await.ok();
}

/// Reads one head (requests have no bodies); `None` if the client leaves before its end or sends something else.
async fn next_request(reads: &mut ReadHalf<'_>, pending: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = pending.drain(..end + 4).collect();
            return Request::parse(std::str::from_utf8(&head[..end]).ok()?);
        }
        if pending.len() > HEAD_LIMIT || reads.read_buf(pending).await.ok()? == 0 {
            return None;
        }
    }
}

/// Carries out a reply; whether the connection can be used again.
async fn give(reply: &Reply, reads: &mut ReadHalf<'_>, writes: &mut WriteHalf<'_>) -> std::io::Result<bool> {
    let mut reply = reply;
    while let Manner::Gated(gate, then) = &reply.manner {
        tokio::select! {
            () = gate.passed() => reply = then,
            () = left(reads) => return Ok(false),
        }
    }
    match &reply.manner {
        Manner::Whole { status, body } => {
            let head = reply.head(*status, ("Content-Length", &body.len().to_string()));
            writes.write_all(&[&head, &body[..]].concat()).await?;
            return Ok(!reply.closes());
        }
        Manner::Raw(bytes) => writes.write_all(bytes).await?,
        Manner::CloseMidBody { declared, body } => {
            let head = reply.head(200, ("Content-Length", &declared.to_string()));
            writes.write_all(&[&head, &body[..]].concat()).await?;
        }
        Manner::Endless(chunk) => {
            writes.write_all(&reply.head(200, ("Transfer-Encoding", "chunked"))).await?;
            let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
            tokio::select! {
                ended = repeat(&chunk, writes) => ended?,
                () = left(reads) => {}
            }
        }
        Manner::Never => left(reads).await,
        Manner::Gated(..) => unreachable!("gates were passed above"),
    }
    Ok(false)
}

/// Writes a chunk over and over until that fails.
async fn repeat(chunk: &[u8], writes: &mut WriteHalf<'_>) -> std::io::Result<()> {
    loop {
        writes.write_all(chunk).await?;
    }
}

/// Waits until the client closes its side or the connection breaks; what it sends meanwhile is dropped.
async fn left(reads: &mut (impl AsyncRead + Unpin)) {
    let mut dropped = [0; 1024];
    while matches!(reads.read(&mut dropped).await, Ok(read) if read > 0) {}
}
