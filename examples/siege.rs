//! Hostile clients against the real program, while a good caller measures what becomes of its answers: `scripts/siege`.
//!
//! Each phase starts a server of its own on loopback, with 4 000 places for connections, and attacks it from 127.0.0.2. The
//! good caller comes from 127.0.0.1 with a consumer key and asks for one place, which memory has, every other time on a new
//! connection. Prints a line a phase, and exits with 1 if the good caller was not answered or waited longer than promised.
//! Linux only.

#![allow(clippy::print_stdout, reason = "the figures are the purpose")]

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stratus::consumers::{PER_MINUTE, entry, generate_key};
use stratus::demo::redis_server::RedisServer;
use stratus::demo::simulated;
use stratus::http::{Limits, serve};
use stratus::provision;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn Error + Send + Sync>;

/// Promised to the good caller.
const LONGEST_P99: Duration = Duration::from_millis(50);
/// How long each phase is measured, and how often the good caller asks in it.
const MEASURED: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(5);
/// Fewer than the attackers, so that all are taken.
const PLACES: usize = 4_000;
const ATTACKERS: usize = 5_000;
/// Connections that flood at once.
const FLOODERS: usize = 4;
/// From which one of them pretends to come.
const ADDRESSES: usize = 100_000;
const ATTACKED_FROM: &str = "127.0.0.2";
/// Nothing takes this long, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match siege() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the siege cannot be laid: {error}");
            ExitCode::FAILURE
        }
    }
}

fn siege() -> Result<bool, Failure> {
    let program = std::env::args().nth(1).ok_or("give the path of the program")?;
    // Already installed is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    rlimit::increase_nofile_limit(20_000)?;
    let folder = tempfile::tempdir()?;
    let secrets = folder.path().join("secrets");
    provision::init(&secrets, None, &[])?;
    let key = generate_key()?;
    let consumers = entry("good", *PER_MINUTE.end(), key.as_bytes(), None);
    std::fs::write(secrets.join("consumers.toml"), consumers)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let upstream = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let weather = upstream.local_addr()?;
    runtime.spawn(serve(upstream, simulated::router(), Limits::default(), CancellationToken::new()));
    // Where callers are counted, in all phases.
    let redis = runtime.block_on(RedisServer::start(folder.path(), 0))?;

    println!("| phase | answers | p50 ms | p99 ms | longest ms | peak MB | attacks |");
    println!("|---|---|---|---|---|---|---|");
    let phases = [
        ("calm, HTTP", false, Attack::None),
        ("5 000 half heads, a byte now and then", false, Attack::HalfHeads),
        ("calm, HTTPS", true, Attack::None),
        ("HTTP/2 rapid reset", true, Attack::RapidReset),
        ("5 000 handshakes not finished", true, Attack::HalfHandshakes),
        ("100 000 unknown addresses", false, Attack::UnknownAddresses),
    ];
    let mut kept = true;
    for (name, https, attack) in phases {
        let server = Server::start(&program, &secrets, https, attack.trusted(), weather, &redis.url())?;
        let tls = https.then(|| trusting(&secrets)).transpose()?;
        ask(&mut connect(server.public, tls.as_ref())?, &key, false)?;
        let attacks = Arc::new(AtomicUsize::new(0));
        let tasks = attack.begin(&runtime, server.public, tls.as_ref(), &attacks);
        server.wait_for_connections(attack.connections())?;
        let measured = measure(server.public, tls.as_ref(), &key)?;
        // What was measured is worth nothing if they had left.
        server.wait_for_connections(attack.connections())?;
        tasks.into_iter().for_each(|task| task.abort());
        let (p50, p99, longest) = (measured.part(50), measured.part(99), measured.part(100));
        let attacks = attacks.load(Ordering::Relaxed);
        if attacks < attack.fewest() {
            return Err(format!("{name}: only {attacks} attacks reached the server").into());
        }
        let peak = server.peak_kib()? / 1024;
        println!(
            "| {name} | {} | {:.2} | {:.2} | {:.1} | {peak} | {attacks} |",
            measured.0.len(),
            millis(p50),
            millis(p99),
            millis(longest)
        );
        kept &= p99 <= LONGEST_P99;
    }
    println!("\n{}: p99 of at most {} ms", if kept { "kept" } else { "BROKEN" }, LONGEST_P99.as_millis());
    Ok(kept)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The program, killed when dropped.
struct Server {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    fn start(
        program: &str,
        secrets: &Path,
        https: bool,
        trusted: &str,
        weather: SocketAddr,
        redis: &str,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.arg("serve").env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
        for (name, value) in [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__MAX_CONNECTIONS", &PLACES.to_string()),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
            ("UPSTREAM__BASE_URL", &format!("http://{weather}")),
            ("UPSTREAM__API_KEY", "simulated"),
            ("REDIS__URL", redis),
            ("CACHE__FRESH_SECS", "86400"),
            ("SERVER__TRUSTED_PROXIES", trusted),
        ] {
            command.env(format!("STRATUS__{name}"), value);
        }
        for (name, file) in [
            ("REDIS__PASSWORD_FILE", "redis-password"),
            ("REDIS__CA_FILE", "ca.crt"),
            ("REDIS__CERT_FILE", "stratus.crt"),
            ("REDIS__KEY_FILE", "stratus.key"),
            ("ENCRYPTION__KEYS_FILE", "encryption-keys"),
            ("ACCESS__CONSUMERS_FILE", "consumers.toml"),
        ] {
            command.env(format!("STRATUS__{name}"), secrets.join(file));
        }
        if https {
            command.env("STRATUS__SERVER__TLS_CERT_FILE", secrets.join("https.crt"));
            command.env("STRATUS__SERVER__TLS_KEY_FILE", secrets.join("https.key"));
        }
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let listening = lines.find_map(|line| line.ok().filter(|line| line.contains("\"listening\"")));
        let listening: serde_json::Value = serde_json::from_str(&listening.ok_or("the program does not start")?)?;
        // Somebody has to read its log.
        std::thread::spawn(move || lines.for_each(drop));
        let address = |name: &str| listening[name].as_str().and_then(|text| text.parse().ok()).ok_or("no address");
        Ok(Self { public: address("public")?, admin: address("admin")?, child })
    }

    /// Waits until that many connections are open.
    fn wait_for_connections(&self, connections: usize) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let mut stream = std::net::TcpStream::connect(self.admin)?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: siege\r\nConnection: close\r\n\r\n")?;
            let mut metrics = String::new();
            stream.read_to_string(&mut metrics)?;
            let open = metrics.lines().find_map(|line| line.strip_prefix("stratus_http_connections "));
            if open.and_then(|open| open.parse::<usize>().ok()).ok_or("no metrics")? >= connections {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err("the attackers do not get in".into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The most memory that it ever had, in KiB.
    fn peak_kib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak")?;
        Ok(peak.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// The good caller.

/// How long each answer took, sorted.
struct Measured(Vec<Duration>);

impl Measured {
    fn part(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last * percent).div_ceil(100)).copied().unwrap_or_default()
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn trusting(secrets: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(secrets.join("ca.crt"))? {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

fn loopback() -> ServerName<'static> {
    ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST))
}

fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Box<dyn Stream>, Failure> {
    let stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(match tls {
        None => Box::new(stream),
        Some(config) => Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(config), loopback())?, stream)),
    })
}

/// Asks once and reads the whole answer.
fn ask(stream: &mut Box<dyn Stream>, key: &str, last: bool) -> Result<(), Failure> {
    let close = if last { "Connection: close\r\n" } else { "" };
    write!(stream, "GET /weather/London HTTP/1.1\r\nHost: siege\r\nX-API-Key: {key}\r\n{close}\r\n")?;
    stream.flush()?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4_096]);
    while !answer.ends_with(b"\"cod\":200}") {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(format!("no whole answer: {}", String::from_utf8_lossy(&answer)).into());
        }
        answer.extend_from_slice(&chunk[..read]);
    }
    Ok(())
}

fn measure(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, key: &str) -> Result<Measured, Failure> {
    let mut kept = connect(address, tls)?;
    ask(&mut kept, key, false)?;
    let (mut times, began) = (Vec::new(), Instant::now());
    while began.elapsed() < MEASURED {
        for fresh in [true, false] {
            let asked = Instant::now();
            if fresh {
                ask(&mut connect(address, tls)?, key, true)?;
            } else {
                ask(&mut kept, key, false)?;
            }
            times.push(asked.elapsed());
            std::thread::sleep(PAUSE);
        }
    }
    times.sort_unstable();
    Ok(Measured(times))
}

// The attackers.

#[derive(Debug, Clone, Copy)]
enum Attack {
    None,
    HalfHeads,
    RapidReset,
    HalfHandshakes,
    UnknownAddresses,
}

impl Attack {
    /// How many connections of theirs are open before it is measured.
    fn connections(self) -> usize {
        match self {
            Self::None | Self::RapidReset | Self::UnknownAddresses => 0,
            Self::HalfHeads | Self::HalfHandshakes => PLACES,
        }
    }

    /// Whose word counts about where a request comes from: who is believed can come from everywhere.
    fn trusted(self) -> &'static str {
        if matches!(self, Self::UnknownAddresses) { ATTACKED_FROM } else { "" }
    }

    /// How many times the server has to have been attacked for a phase to count.
    fn fewest(self) -> usize {
        match self {
            Self::None => 0,
            Self::RapidReset => FLOODERS,
            Self::HalfHeads | Self::HalfHandshakes => PLACES,
            Self::UnknownAddresses => ADDRESSES,
        }
    }

    fn begin(
        self,
        runtime: &tokio::runtime::Runtime,
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        attacks: &Arc<AtomicUsize>,
    ) -> Vec<tokio::task::JoinHandle<()>> {
        let attackers = match self {
            Self::None => 0,
            Self::RapidReset | Self::UnknownAddresses => FLOODERS,
            Self::HalfHeads | Self::HalfHandshakes => ATTACKERS,
        };
        let config = tls.map(|config| {
            let mut config = ClientConfig::clone(config);
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        });
        let one = |_| runtime.spawn(self.again_and_again(address, config.clone(), Arc::clone(attacks)));
        (0..attackers).map(one).collect()
    }

    async fn again_and_again(self, address: SocketAddr, tls: Option<Arc<ClientConfig>>, attacks: Arc<AtomicUsize>) {
        loop {
            let begun = || {
                attacks.fetch_add(1, Ordering::Relaxed);
            };
            // However it ends, there is another one.
            let _ = match (self, &tls) {
                (Self::RapidReset, Some(tls)) => rapid_reset(address, tls, begun).await,
                (Self::UnknownAddresses, _) => unknown_addresses(address, &attacks).await,
                (Self::HalfHandshakes, _) => drip(address, &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], &[], begun).await,
                _ => drip(address, b"GET /weather/London HTTP/1.1\r\nHost: siege\r\nX-Slow: ", b"x", begun).await,
            };
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn attacker(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let from: IpAddr = ATTACKED_FROM.parse().map_err(io::Error::other)?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(address).await
}

/// Sends a beginning and then hardly anything, until the server closes.
async fn drip(address: SocketAddr, begin: &[u8], drop: &[u8], begun: impl FnOnce()) -> io::Result<()> {
    let mut stream = attacker(address).await?;
    stream.write_all(begin).await?;
    begun();
    let mut byte = [0];
    loop {
        match tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte)).await {
            Ok(_) => return Ok(()),
            Err(_) => stream.write_all(drop).await?,
        }
    }
}

/// Asks as fast as it goes, each time for another of many callers, in turn.
async fn unknown_addresses(address: SocketAddr, attacks: &AtomicUsize) -> io::Result<()> {
    let (mut answers, mut stream) = attacker(address).await?.into_split();
    let taken = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
    while !taken.is_finished() {
        let requests: String = (0..16)
            .map(|_| {
                let caller = attacks.fetch_add(1, Ordering::Relaxed) % ADDRESSES;
                let [_, a, b, c] = u32::try_from(caller).unwrap_or_default().to_be_bytes();
                format!("GET /weather/London HTTP/1.1\r\nHost: siege\r\nX-Forwarded-For: 10.{a}.{b}.{c}\r\n\r\n")
            })
            .collect();
        stream.write_all(requests.as_bytes()).await?;
    }
    Ok(())
}

/// Asks and takes back as fast as it goes, until the server closes.
async fn rapid_reset(address: SocketAddr, config: &Arc<ClientConfig>, begun: impl FnOnce()) -> io::Result<()> {
    let stream = attacker(address).await?;
    let mut stream = TlsConnector::from(Arc::clone(config)).connect(loopback(), stream).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    begun();
    // GET, https, `:path: /weather/Oslo`, `:authority: siege` (RFC 7541), and CANCEL (RFC 9113).
    let head = [&[0x82, 0x87, 0x04, 13][..], b"/weather/Oslo", &[0x01, 5], b"siege"].concat();
    for batch in 0..1_000_u32 {
        let mut frames = Vec::new();
        for number in 0..100 {
            let stream = (2 * (100 * batch + number) + 1).to_be_bytes();
            frames.extend([&[0, 0, 24, 1, 5][..], &stream, &head, &[0, 0, 4, 3, 0], &stream, &[0, 0, 0, 8]].concat());
        }
        stream.write_all(&frames).await?;
    }
    // Whoever was not cut off takes what is left.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}
