//! Hostile clients: whoever opens connections, drips, floods, takes nothing or sends without end harms no other caller and
//! costs no memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use futures_util::future::join_all;
use reqwest::Method;
use stratus::certificate::PairFiles;
use stratus::http::{Front, Limits, Tls, read_tls, serve_front};
use stratus::reload::Live;
use stratus::secret::Readers;
use stratus::telemetry::Metrics;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::callers::{HttpsFiles, ask_h2, frame, h2, head, preface, shake, shake_on};
use crate::harness::program::peak_kib;
use crate::harness::{Gate, PATIENCE, Reply, ScriptedUpstream, Setup, answer, body};

const OSLO: &str = "/weather/Oslo";
const QUESTION: &[u8] = b"GET /weather/Oslo HTTP/1.1\r\nHost: test\r\n\r\n";
/// Short, for what has to pass in a test.
const SHORT: Duration = Duration::from_millis(300);
/// More than the program takes for some requests, and far less than what is sent to it.
const MOST_GROWTH_KIB: u64 = 64 * 1024;
/// GOAWAY, and ENHANCE_YOUR_CALM in it (RFC 9113, section 7).
const GOAWAY: u8 = 7;
const CALM: u32 = 11;

fn closed(reason: &str) -> String {
    format!(r#"stratus_http_connections_closed_total{{reason="{reason}"}}"#)
}

/// A listener on its own, for limits that are no settings.
struct Listener {
    address: SocketAddr,
    files: HttpsFiles,
    metrics: Arc<Metrics>,
    _running: DropGuard,
}

impl Listener {
    async fn start(https: bool, limits: Limits) -> Self {
        Self::with(https, limits, Front::default()).await
    }

    async fn with(https: bool, limits: Limits, front: Front) -> Self {
        crate::harness::install_tls();
        let (files, metrics, stopping) = (HttpsFiles::make(), Metrics::new(), CancellationToken::new());
        let (certificate, key) = (files.dir().join("https.crt"), files.dir().join("https.key"));
        let settings = ["server.tls_cert_file", "server.tls_key_file"];
        let pair = PairFiles { settings, certificate, key, readers: Readers::Owner };
        let handshakes = read_tls(&pair, SystemTime::now()).map(|reading| Live::new(reading.value)).expect("a pair");
        let tls = https.then_some(Tls { handshakes, files: pair });
        let front = Front { tls, metrics: Some(Arc::clone(&metrics)), ..front };
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/much", get(|| async { "much".repeat(1 << 16) }));
        tokio::spawn(serve_front(socket, router, limits, front, stopping.clone()));
        Self { address, files, metrics, _running: stopping.drop_guard() }
    }

    /// Waits until so many connections were closed for this reason.
    async fn closes(&self, reason: &str, times: u64) {
        let line = format!("{} {times}\n", closed(reason));
        let told = async {
            while !self.metrics.render().contains(&line) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{line} is missing in {}", self.metrics.render()));
    }
}

/// A connection from this address of loopback.
async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("an address on loopback");
    timeout(PATIENCE, socket.connect(to)).await.expect("in time").expect("a connection")
}

/// Asks on a connection that stays, and waits for the answer.
async fn is_answered(stream: &mut TcpStream) {
    stream.write_all(QUESTION).await.expect("it is taken");
    read_answer(stream).await;
}

async fn read_answer(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\"cod\":200}") {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await.expect("an answer in time").expect("an answer");
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
    }
}

/// Waits until the other side closes, in order or not, and gives what it said.
async fn ends(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time").ok();
    bytes
}

/// Sends the same again and again, with a little pause, until the other side closes.
async fn drips_until_closed(stream: impl AsyncRead + AsyncWrite, drop: &[u8]) {
    let (reading, mut writing) = tokio::io::split(stream);
    let drip = async {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        while writing.write_all(drop).await.is_ok() && writing.flush().await.is_ok() {
            pause.tick().await;
        }
        // The end is for the reader to see.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = ends(reading) => {}
        () = drip => {}
    }
}

/// The codes of all GOAWAY frames in what a server of HTTP/2 sent.
fn goaways(mut sent: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while sent.len() >= 9 {
        let length = usize::from(sent[0]) << 16 | usize::from(sent[1]) << 8 | usize::from(sent[2]);
        if sent[3] == GOAWAY && sent.len() >= 17 {
            codes.push(u32::from_be_bytes([sent[13], sent[14], sent[15], sent[16]]));
        }
        sent = sent.get(9 + length..).unwrap_or_default();
    }
    codes
}

// Slow clients.

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_in_has_one_time_limit_as_a_whole() {
    let listener = Listener::start(false, Limits { header_timeout: SHORT, ..Limits::default() }).await;
    let mut stream = TcpStream::connect(listener.address).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.expect("it is taken");
    drips_until_closed(stream, b"x").await;
    listener.closes("header_timeout", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_http_2_neither_silence_nor_half_a_head_nor_pings_without_end_keep_a_connection() {
    let listener = Listener::start(true, Limits { header_timeout: SHORT, ..Limits::default() }).await;
    // A frame of 16 000 bytes of which hardly any come.
    let half = [preface(), frame(1, 5, 1, &[0; 16_000])[..20].to_vec()].concat();
    let ping = frame(6, 0, 0, &[7; 8]);
    for (number, (begin, again)) in
        [(vec![], vec![]), (preface(), vec![]), (half, vec![0]), (preface(), ping)].into_iter().enumerate()
    {
        let mut stream = shake(listener.address, &listener.files.h2_caller()).await.expect("TLS");
        stream.write_all(&begin).await.expect("it is taken");
        if again.is_empty() {
            ends(stream).await;
        } else {
            drips_until_closed(stream, &again).await;
        }
        listener.closes("header_timeout", number as u64 + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_a_time_limit_and_one_that_fails_is_counted() {
    let listener = Listener::start(true, Limits { handshake_timeout: SHORT, ..Limits::default() }).await;
    let hello = [22, 3, 1, 2, 0, 1, 0, 1];
    for (times, begin) in [&[][..], &hello].into_iter().enumerate() {
        let mut stream = TcpStream::connect(listener.address).await.expect("a connection");
        stream.write_all(begin).await.expect("it is taken");
        ends(stream).await;
        listener.closes("handshake_timeout", times as u64 + 1).await;
    }
    let mut stream = TcpStream::connect(listener.address).await.expect("a connection");
    stream.write_all(&[22; 100]).await.expect("it is taken");
    ends(stream).await;
    listener.closes("handshake_failed", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_window_stays_shut_is_reset_and_the_others_go_on() {
    // Long enough for the others, also on a machine that stands still for a while.
    let listener = Listener::start(true, Limits { stream_timeout: Duration::from_secs(5), ..Limits::default() }).await;
    let shut = h2::client::Builder::new().initial_window_size(0).to_owned();
    let send = h2(shake(listener.address, &listener.files.h2_caller()).await.expect("TLS"), &shut).await;
    let paths = ["/", "/much"];
    for (path, answer) in paths.iter().zip(join_all(paths.map(|path| ask_h2(&send, path))).await) {
        let error = answer.expect_err("nothing can be sent");
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{path}: {error}");
    }
    let open = h2::client::Builder::new();
    let send = h2(shake(listener.address, &listener.files.h2_caller()).await.expect("TLS"), &open).await;
    assert_eq!(ask_h2(&send, "/much").await.expect("an answer").body.len(), 4 << 16);
}

// Floods of HTTP/2.

/// Sends this on a connection of its own, and gives what the server said to its end.
async fn flood(program: &crate::harness::Program, files: &HttpsFiles, frames: &[u8]) -> Vec<u8> {
    let stream = shake(program.public(), &files.h2_caller()).await.expect("TLS");
    let (reading, mut writing) = tokio::io::split(stream);
    let flood = async move {
        // It may be cut off at any byte.
        writing.write_all(&[&preface(), frames].concat()).await.ok();
        writing.flush().await.ok();
        writing
    };
    let (said, _open) = tokio::join!(ends(reading), flood);
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_http_2_end_the_connection_cost_no_memory_and_leave_the_others_served() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let files = HttpsFiles::make();
    let program = files.on(Setup::memory(&upstream)).program().await;
    let good = h2(shake(program.public(), &files.h2_caller()).await.expect("TLS"), &h2::client::Builder::new()).await;
    ask_h2(&good, OSLO).await.expect("an answer");
    let before = peak_kib(program.pid());

    let cancel = [0, 0, 0, 8];
    // Asked and taken back (CVE-2023-44487), each for another place.
    let reset = |number: u32| {
        let stream = 2 * number + 1;
        [frame(1, 5, stream, &head(&format!("/weather/id:{stream}"))), frame(3, 0, stream, &cancel)].concat()
    };
    // A head in pieces without end (CVE-2024-27316), empty ones and full ones.
    let endless = |piece: &[u8]| {
        let pieces = frame(9, 0, 1, piece).repeat(20_000);
        [frame(1, 1, 1, &head(OSLO)), pieces].concat()
    };
    let literal = [&[0x00, 1, b'x', 127, 0x80 | 57, 22][..], &[b'x'; 3_000]].concat();
    for (what, frames) in [
        ("rapid reset", (0..50_000).flat_map(reset).collect::<Vec<u8>>()),
        ("empty pieces", endless(&[])),
        ("full pieces", endless(&literal)),
    ] {
        for _ in 0..5 {
            let said = flood(&program, &files, &frames).await;
            assert!(goaways(&said).contains(&CALM), "{what}: {:?}", goaways(&said));
            let answer = ask_h2(&good, OSLO).await.expect("an answer");
            assert_eq!((answer.status.as_u16(), answer.body), (200, body("Oslo")), "{what}");
        }
    }
    let grown = peak_kib(program.pid()) - before;
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
    assert!(upstream.calls() < 500, "{} of 250 000 that were taken back", upstream.calls());
}

// Places.

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn when_all_places_are_taken_a_newcomer_gets_one_of_the_greediest_address_an_idle_one_first() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = Setup::memory(&upstream).set("server.max_connections", 5).start().await;
    let mut greedy = Vec::new();
    for _ in 0..5 {
        greedy.push(connect_from("127.0.0.2", service.public).await);
    }
    let [mut busy, mut used, first, second, third] = <[TcpStream; 5]>::try_from(greedy).expect("five");
    is_answered(&mut used).await;
    upstream.reply(Reply::gated(gate.clone(), Reply::json(200, body("Bergen"))));
    busy.write_all(b"GET /weather/Bergen HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("it is taken");
    upstream.wait_for_calls(2).await;

    // None against five, none against four, one against three: those that never asked go, the one that is open longest first.
    let mut good = connect_from("127.0.0.1", service.public).await;
    is_answered(&mut good).await;
    ends(first).await;
    let mut other = connect_from("127.0.0.3", service.public).await;
    is_answered(&mut other).await;
    ends(second).await;
    let mut good_too = connect_from("127.0.0.1", service.public).await;
    is_answered(&mut good_too).await;
    ends(third).await;
    // Two against two: a third one waits.
    let mut waiting = connect_from("127.0.0.1", service.public).await;
    waiting.write_all(QUESTION).await.expect("it is taken");
    for _ in 0..50 {
        is_answered(&mut other).await;
    }
    let waits = waiting.try_read(&mut [0; 1]).expect_err("no answer yet");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(service.metric(&closed("displaced")).await, 3);
    assert_eq!(service.metric("stratus_http_connections").await, 5);

    // Who had a request in flight, and who asked of late, is still there.
    gate.open();
    read_answer(&mut busy).await;
    is_answered(&mut used).await;
    drop(good);
    read_answer(&mut waiting).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn two_greedy_addresses_do_not_take_turns_in_displacing_each_other() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = Setup::memory(&upstream).set("server.max_connections", 5).start().await;
    let mut open = Vec::new();
    // Four and one; the other's second displaces one, and with three and two nobody displaces anybody.
    for from in [2, 2, 2, 2, 3, 3, 3, 2, 3, 2, 3] {
        open.push(connect_from(&format!("127.0.0.{from}"), service.public).await);
    }
    // Behind all of them in the listener's queue, with none against three.
    let mut newcomer = connect_from("127.0.0.1", service.public).await;
    is_answered(&mut newcomer).await;
    assert_eq!(service.metric(&closed("displaced")).await, 2);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_no_more_connections_than_it_may_and_the_others_are_served() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = Setup::memory(&upstream).set("server.max_connections_per_address", 2).start().await;
    let mut first = connect_from("127.0.0.2", service.public).await;
    let mut second = connect_from("127.0.0.2", service.public).await;
    assert!(ends(connect_from("127.0.0.2", service.public).await).await.is_empty());
    is_answered(&mut first).await;
    is_answered(&mut second).await;
    assert_eq!(service.get(OSLO).await.status, 200);
    assert_eq!(service.metric(&closed("over_address_cap")).await, 1);
    drop(first);
    let again = async {
        loop {
            let mut stream = connect_from("127.0.0.2", service.public).await;
            stream.write_all(QUESTION).await.ok();
            if stream.read(&mut [0; 1]).await.is_ok_and(|read| read == 1) {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a place that is free is given");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_for_many_callers_has_no_cap() {
    let limits = Limits { max_connections_per_address: 1, ..Limits::default() };
    let front = Front { exempt: Some(Arc::new(|address| address.is_loopback())), ..Front::default() };
    let listener = Listener::with(false, limits, front).await;
    let _first = TcpStream::connect(listener.address).await.expect("a connection");
    let mut second = TcpStream::connect(listener.address).await.expect("a connection");
    second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("it is taken");
    assert!(ends(&mut second).await.ends_with(b"hello"));
}

// Too much at once.

fn for_two(upstream: &ScriptedUpstream) -> Setup {
    Setup::memory(upstream).set("server.max_requests_in_flight", 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_too_many_is_refused_at_once_and_what_memory_has_is_answered_all_the_same() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let (service, gate) = (for_two(&upstream).start().await, Gate::new());
    assert_eq!(service.get(OSLO).await.status, 200);
    upstream.reply(Reply::gated(gate.clone(), Reply::json(200, body("x"))));
    let meanwhile = async {
        upstream.wait_for_calls(3).await;
        let odd = service.request(Method::GET, "/weather/id:3").header("content-length", "0");
        for refused in [service.get("/weather/id:3").await, answer(odd).await] {
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "overloaded"));
            assert_eq!((refused.header("retry-after"), refused.x_cache()), ("1", "MISS"));
            assert_eq!(refused.header("cache-status"), "stratus; detail=overloaded");
            assert_eq!(refused.header("access-control-allow-origin"), "*");
        }
        let odd = service.request(Method::GET, OSLO).header("content-length", "0");
        for hit in [service.get(OSLO).await, answer(odd).await] {
            assert_eq!(hit.x_cache(), "HIT");
        }
        gate.open();
    };
    let (first, second, ()) = tokio::join!(service.get("/weather/id:1"), service.get("/weather/id:2"), meanwhile);
    assert_eq!((first.status.as_u16(), second.status.as_u16(), upstream.calls()), (200, 200, 3));
    assert_eq!(service.get("/weather/id:3").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_too_many_is_refused_at_once_and_what_memory_has_is_answered_all_the_same() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let files = HttpsFiles::make();
    let (service, gate) = (files.on(for_two(&upstream)).start().await, Gate::new());
    let send = h2(shake(service.public, &files.h2_caller()).await.expect("TLS"), &h2::client::Builder::new()).await;
    assert_eq!(ask_h2(&send, OSLO).await.expect("an answer").status, 200);
    upstream.reply(Reply::gated(gate.clone(), Reply::json(200, body("x"))));
    let meanwhile = async {
        upstream.wait_for_calls(3).await;
        let refused = ask_h2(&send, "/weather/id:3").await.expect("an answer");
        assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (503, &"1".parse().expect("a value")));
        assert!(refused.body.contains("\"code\":\"overloaded\""), "{refused:?}");
        assert_eq!(ask_h2(&send, OSLO).await.expect("an answer").headers["x-cache"], "HIT");
        gate.open();
    };
    let (first, second, ()) = tokio::join!(ask_h2(&send, "/weather/id:1"), ask_h2(&send, "/weather/id:2"), meanwhile);
    assert_eq!((first.expect("an answer").status.as_u16(), second.expect("an answer").status.as_u16()), (200, 200));
    assert_eq!(ask_h2(&send, "/weather/id:3").await.expect("an answer").status, 200);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_whose_windows_stay_shut_does_not_take_the_places_of_the_others_requests() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let files = HttpsFiles::make();
    let service = files.on(Setup::memory(&upstream).set("server.max_requests_in_flight", 8)).start().await;
    let good = h2(shake(service.public, &files.h2_caller()).await.expect("TLS"), &h2::client::Builder::new()).await;
    assert_eq!(ask_h2(&good, OSLO).await.expect("an answer").status, 200);

    // Answers that memory has, of which it takes the heads only.
    let shut = h2::client::Builder::new().initial_window_size(0).to_owned();
    let stream = connect_from("127.0.0.2", service.public).await;
    let greedy = h2(shake_on(stream, &files.h2_caller()).await.expect("TLS"), &shut).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        let request = axum::http::Request::get(format!("https://127.0.0.1{OSLO}")).body(()).expect("a request");
        let (response, _) =
            greedy.clone().ready().await.expect("a connection").send_request(request, true).expect("it");
        // One too many is reset.
        held.extend(timeout(PATIENCE, response).await.expect("in time"));
    }
    assert!(held.len() > 2, "it holds places at all");
    assert_eq!(ask_h2(&good, "/weather/id:3").await.expect("an answer").status, 200);
    assert_eq!(ask_h2(&good, OSLO).await.expect("an answer").headers["x-cache"], "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_a_gigabyte_costs_no_memory_and_gets_an_answer_or_an_end() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let program = Setup::memory(&upstream).program().await;
    assert_eq!(program.get(OSLO).await.status, 200);
    let before = peak_kib(program.pid());
    // Chunks of 64 KiB.
    let chunk = [&b"10000\r\n"[..], &[b'x'; 1 << 16], b"\r\n"].concat();
    for method in ["GET", "POST"] {
        let stream = TcpStream::connect(program.public()).await.expect("a connection");
        let (reading, mut writing) = stream.into_split();
        let head = format!("{method} {OSLO} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let upload = async {
            writing.write_all(head.as_bytes()).await.ok();
            for _ in 0..1 << 14 {
                if writing.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            writing
        };
        let (said, _open) = timeout(PATIENCE, async { tokio::join!(ends(reading), upload) }).await.expect("in time");
        let status = if method == "GET" { "200" } else { "405" };
        // A reset may overtake the answer.
        assert!(said.is_empty() || said.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{method}");
    }
    let grown = peak_kib(program.pid()) - before;
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
    assert_eq!(program.get(OSLO).await.status, 200);
}
