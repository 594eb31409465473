//! A Redis of somebody who means harm: the commands that the service uses, over real TLS, on values that can be looked at
//! and changed, and replies that can be exchanged for others.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use stratus::provision;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::resp::{self, command};
use crate::harness::proxy::locked;
use crate::harness::{ScriptedUpstream, Setup, install_tls};

/// Nothing else that a service leaves in Redis is as long as a record of weather.
const SHORTEST_RECORD: usize = 400;

/// What the server does about a command.
pub(crate) enum Act {
    /// Sends this and goes on.
    Reply(Vec<u8>),
    /// Sends this, and never anything again on this connection.
    Hang(Vec<u8>),
    /// Sends this and closes the connection.
    Close(Vec<u8>),
    /// Sends the first part once and the second so many times, and then hangs.
    Flood(Vec<u8>, Vec<u8>, usize),
}

/// A command, and what an honest server replies.
pub(crate) struct Asked<'a> {
    /// In capital letters.
    pub(crate) command: &'a str,
    pub(crate) arguments: &'a [Vec<u8>],
    pub(crate) honest: Vec<u8>,
    pub(crate) values: &'a Values,
}

impl Asked<'_> {
    /// Whether this is `SET … NX GET`, as leases and slots are claimed.
    pub(crate) fn is_claim(&self) -> bool {
        self.command == "SET" && self.arguments.iter().any(|word| word == b"GET")
    }

    /// Whether it is a claim of the right to load, which lasts shorter than any other.
    pub(crate) fn is_claim_of_a_lease(&self) -> bool {
        self.is_claim() && self.arguments.iter().any(|word| word == b"1500")
    }
}

type Mischief = Arc<dyn Fn(Asked<'_>) -> Act + Send + Sync>;

/// What is in it: values, and when they end.
#[derive(Default)]
pub(crate) struct Values(HashMap<Vec<u8>, (Vec<u8>, Option<Instant>)>);

impl Values {
    /// The names and values of records, in the order of their names.
    pub(crate) fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let records = self.0.iter().filter(|(_, (value, _))| value.len() >= SHORTEST_RECORD);
        records.map(|(name, (value, _))| (name.clone(), value.clone())).collect()
    }

    fn get(&mut self, name: &[u8]) -> Option<&Vec<u8>> {
        if self.0.get(name)?.1.is_some_and(|end| end <= Instant::now()) {
            self.0.remove(name);
        }
        Some(&self.0.get(name)?.0)
    }

    fn set(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let [name, value, options @ ..] = words else { return resp::error("ERR wrong number of arguments") };
        let has = |option: &[u8]| options.iter().any(|word| word.eq_ignore_ascii_case(option));
        if has(b"NX") && has(b"XX") {
            return resp::error("ERR syntax error");
        }
        let before = self.get(name).cloned();
        if !has(b"NX") || before.is_none() {
            let ttl =
                options.iter().position(|word| word == b"PX").and_then(|place| resp::number(options.get(place + 1)?));
            let end = ttl.and_then(|ttl| Some(Instant::now() + Duration::from_millis(u64::try_from(ttl).ok()?)));
            self.0.insert(name.clone(), (value.clone(), end));
        }
        match (has(b"GET"), before) {
            (true, before) => before.map_or_else(resp::null, |value| resp::bulk(&value)),
            (false, Some(_)) if has(b"NX") => resp::null(),
            (false, _) => b"+OK\r\n".to_vec(),
        }
    }

    fn increase(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let by = words.get(1).and_then(|word| resp::number(word));
        let (Some(name), Some(by)) = (words.first(), by) else { return resp::error("ERR value is not an integer") };
        let now = self.get(name).map_or(Some(0), |value| resp::number(value)).unwrap_or_default() + by;
        self.0.entry(name.clone()).or_default().0 = now.to_string().into_bytes();
        resp::integer(now)
    }

    fn run(&mut self, command: &str, words: &[Vec<u8>]) -> Vec<u8> {
        match (command, words) {
            ("GET", [name]) => self.get(name).map_or_else(resp::null, |value| resp::bulk(value)),
            ("SET", words) => self.set(words),
            ("INCRBY", words) => self.increase(words),
            ("UNLINK", [_, ..]) => {
                let removed = words.iter().filter(|name| self.0.remove(*name).is_some()).count();
                resp::integer(i64::try_from(removed).expect("few names"))
            }
            _ => resp::error("ERR unknown command or wrong number of arguments"),
        }
    }
}

/// What all connections have in common.
struct Shared {
    password: String,
    values: Mutex<Values>,
    mischief: Mutex<Option<Mischief>>,
    /// Whether replies to commands that came together are exchanged.
    swapping: Mutex<bool>,
    swapped: AtomicUsize,
    /// What is said to a login, if not what Redis says.
    greeting: Mutex<Option<Vec<u8>>>,
    /// The certificate of the last client.
    peer: Mutex<Vec<u8>>,
    /// How often all connections were closed.
    closing: watch::Sender<u64>,
}

/// The server, on a port of its own.
pub(crate) struct Malicious {
    dir: TempDir,
    port: u16,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

impl Malicious {
    /// Honest until told otherwise.
    pub(crate) async fn start() -> Self {
        Self::speaking(&[&TLS13, &TLS12]).await
    }

    /// With these versions of TLS only.
    pub(crate) async fn speaking(versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::start_with(versions, |_| ()).await
    }

    /// Lets the folder of secrets be changed before the server reads it.
    pub(crate) async fn start_with(versions: &[&'static SupportedProtocolVersion], change: impl FnOnce(&Path)) -> Self {
        install_tls();
        let dir = tempfile::tempdir().expect("a temporary folder");
        provision::init(dir.path(), None, &[]).expect("secrets");
        change(dir.path());
        let password = std::fs::read_to_string(dir.path().join("redis-password")).expect("the password");
        let shared = Arc::new(Shared {
            password: password.trim().to_owned(),
            values: Mutex::default(),
            mischief: Mutex::default(),
            swapping: Mutex::default(),
            swapped: AtomicUsize::new(0),
            greeting: Mutex::default(),
            peer: Mutex::default(),
            closing: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = crate::harness::tls::server(dir.path(), versions);
        let serving = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Self { dir, port, shared, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn secrets(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on this is said to a login.
    pub(crate) fn greets_with(&self, greeting: &[u8]) {
        *locked(&self.shared.greeting) = Some(greeting.to_vec());
    }

    /// Closes all connections; new ones are taken.
    pub(crate) fn closes_connections(&self) {
        self.shared.closing.send_modify(|times| *times += 1);
    }

    /// The certificate that the last client showed, in DER.
    pub(crate) fn peer(&self) -> Vec<u8> {
        locked(&self.shared.peer).clone()
    }

    /// A service on it.
    pub(crate) fn setup(&self, upstream: &ScriptedUpstream) -> Setup {
        Setup::with_secrets(upstream, self.dir.path(), self.port)
    }

    /// From now on this is done about each command but the login, on every connection.
    pub(crate) fn does(&self, mischief: impl Fn(Asked<'_>) -> Act + Send + Sync + 'static) {
        *locked(&self.shared.mischief) = Some(Arc::new(mischief));
    }

    /// From now on replies to two commands that came together are exchanged.
    pub(crate) fn swaps_replies(&self) {
        *locked(&self.shared.swapping) = true;
    }

    /// How many pairs of replies were exchanged.
    pub(crate) fn swapped(&self) -> usize {
        self.shared.swapped.load(Ordering::SeqCst)
    }

    /// From now on it is a Redis like any other.
    pub(crate) fn behaves(&self) {
        *locked(&self.shared.mischief) = None;
        *locked(&self.shared.swapping) = false;
        *locked(&self.shared.greeting) = None;
    }

    /// The names and values of records.
    pub(crate) fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        locked(&self.shared.values).records()
    }

    /// Puts a value under a name, for ever.
    pub(crate) fn put(&self, name: &[u8], value: &[u8]) {
        locked(&self.shared.values).0.insert(name.to_vec(), (value.to_vec(), None));
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            // A client that leaves early is none of ours.
            stream.set_nodelay(true).ok();
            if let Ok(stream) = acceptor.accept(stream).await {
                let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                *locked(&shared.peer) = peer.expect("a certificate").to_vec();
                let mut closing = shared.closing.subscribe();
                tokio::select! {
                    _ = serve(stream, &shared) => {}
                    _ = closing.changed() => {}
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TlsStream<TcpStream>, shared: &Shared) -> std::io::Result<()> {
    let mut unread = Vec::new();
    loop {
        if stream.read_buf(&mut unread).await? == 0 {
            return Ok(());
        }
        let mut acts = Vec::new();
        while let Some(words) = command(&mut unread) {
            acts.push(shared.act(&words));
        }
        if *locked(&shared.swapping) {
            for pair in acts.chunks_exact_mut(2) {
                pair.swap(0, 1);
                shared.swapped.fetch_add(1, Ordering::SeqCst);
            }
        }
        for act in acts {
            let (bytes, again, times, closes) = match act {
                Act::Reply(bytes) => {
                    stream.write_all(&bytes).await?;
                    continue;
                }
                Act::Hang(bytes) => (bytes, Vec::new(), 0, false),
                Act::Close(bytes) => (bytes, Vec::new(), 0, true),
                Act::Flood(bytes, again, times) => (bytes, again, times, false),
            };
            stream.write_all(&bytes).await?;
            for _ in 0..times {
                stream.write_all(&again).await?;
            }
            stream.flush().await?;
            if closes {
                return stream.shutdown().await;
            }
            // Until the client has had enough.
            while stream.read(&mut [0; 1024]).await? > 0 {}
            return Ok(());
        }
        stream.flush().await?;
    }
}

impl Shared {
    fn act(&self, words: &[Vec<u8>]) -> Act {
        let Some((name, arguments)) = words.split_first() else { return Act::Close(Vec::new()) };
        let name = String::from_utf8_lossy(name).to_uppercase();
        if name == "HELLO" {
            let greeting = locked(&self.greeting).clone();
            return greeting.map_or_else(|| Act::Reply(self.hello(arguments)), Act::Hang);
        }
        let mischief = locked(&self.mischief).clone();
        let mut values = locked(&self.values);
        let honest = values.run(&name, arguments);
        match mischief {
            Some(mischief) => mischief(Asked { command: &name, arguments, honest, values: &values }),
            None => Act::Reply(honest),
        }
    }

    fn hello(&self, arguments: &[Vec<u8>]) -> Vec<u8> {
        match arguments {
            [three, auth, user, password] if three == b"3" && auth == b"AUTH" && user == b"stratus" => {
                if *password == self.password.as_bytes() {
                    b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n*0\r\n".to_vec()
                } else {
                    resp::error("WRONGPASS invalid username-password pair or user is disabled.")
                }
            }
            _ => resp::error("NOAUTH HELLO must be called with the client already authenticated"),
        }
    }
}
