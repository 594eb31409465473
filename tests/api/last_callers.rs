//! Whoever was told that it is connected before the listener closed is answered, once, although nobody is let in any more: it
//! cannot know, and would see an answer without a word.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use stratus::http::{Limits, serve};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::harness::callers::{HttpsFiles, ask_h2, h2, shake_on};
use crate::harness::sockets::{connect, read_answer, read_to_end, refused};
use crate::harness::{PATIENCE, Reply, ScriptedUpstream, Setup, body};

const QUESTION: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// A listener on its own, and whether all were answered in the end.
struct Listener {
    address: SocketAddr,
    stopping: CancellationToken,
    ended: JoinHandle<bool>,
}

impl Listener {
    async fn start(limits: Limits) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a port"), limits, CancellationToken::new())
    }

    fn on(socket: TcpListener, limits: Limits, stopping: CancellationToken) -> Self {
        let address = socket.local_addr().expect("an address");
        let routes = Router::new().route("/", get(|| async { "hello" }));
        let ended = tokio::spawn(serve(socket, routes, limits, stopping.clone()));
        Self { address, stopping, ended }
    }

    /// Begins the end, and waits until nobody is let in any more.
    async fn stop(&self) {
        self.stopping.cancel();
        refused(self.address).await;
    }

    /// Whether all were answered.
    async fn ended(self) -> bool {
        timeout(PATIENCE, self.ended).await.expect("an end in time").expect("no panic")
    }
}

/// Nobody is cut for want of time.
fn patient() -> Limits {
    Limits { first_request: PATIENCE, drain: 2 * PATIENCE, ..Limits::default() }
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(QUESTION).await.expect("a question");
    let (head, body) = read_answer(stream).await.expect("an answer");
    assert_eq!(body, "hello", "{head}");
    head
}

/// Asks, and sees that this was the last answer here.
async fn ask_last(stream: &mut TcpStream) {
    let head = ask(stream).await;
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert_eq!(read_to_end(stream).await, "", "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_connected_before_the_end_and_asks_after_it_has_begun_is_answered_once() {
    let listener = Listener::start(patient()).await;
    let mut early = connect(listener.address).await;
    let mut half = connect(listener.address).await;
    half.write_all(&QUESTION[..9]).await.expect("it is taken");
    let mut kept = connect(listener.address).await;
    // Those before it were accepted before it.
    ask(&mut kept).await;
    listener.stop().await;
    assert_eq!(read_to_end(&mut kept).await, "", "idle, and closed at once");
    ask_last(&mut early).await;
    half.write_all(&QUESTION[9..]).await.expect("the rest");
    assert!(read_to_end(&mut half).await.ends_with("\r\n\r\nhello"));
    assert!(listener.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_asks_does_not_hold_up_the_end() {
    let limits = Limits { first_request: Duration::from_millis(50), drain: 10 * PATIENCE, ..Limits::default() };
    let listener = Listener::start(limits).await;
    let mut silent = connect(listener.address).await;
    ask(&mut connect(listener.address).await).await;
    listener.stop().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(listener.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_the_kernels_queue_when_the_listener_closes_is_answered() {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let mut queued = Vec::new();
    for _ in 0..20 {
        queued.push(connect(address).await);
    }
    // Stopped before it has accepted anybody.
    let stopping = CancellationToken::new();
    stopping.cancel();
    let listener = Listener::on(socket, patient(), stopping);
    for stream in &mut queued {
        ask_last(stream).await;
    }
    assert!(listener.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_place_when_the_end_begins_gets_one_and_is_answered() {
    let listener = Listener::start(Limits { max_connections: 1, ..patient() }).await;
    let mut first = connect(listener.address).await;
    ask(&mut first).await;
    let mut waiting = [connect(listener.address).await, connect(listener.address).await];
    for stream in &mut waiting {
        stream.write_all(QUESTION).await.expect("it is taken");
    }
    // Time enough for them to be accepted.
    for _ in 0..50 {
        ask(&mut first).await;
    }
    listener.stop().await;
    for stream in &mut waiting {
        assert!(read_to_end(stream).await.ends_with("\r\n\r\nhello"));
    }
    assert!(listener.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_about_to_shake_hands_when_the_end_begins_is_answered_once_in_http_1_1_and_in_http_2() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let files = HttpsFiles::make();
    let service = files.on(Setup::memory(&upstream)).start().await;
    let (early, early_h2) = (connect(service.public).await, connect(service.public).await);
    // Those before it were accepted before it.
    let caller = files.h2_caller();
    shake_on(connect(service.public).await, &caller).await.expect("a handshake");
    service.stopping.cancel();
    refused(service.public).await;

    let mut stream = shake_on(early, &files.h1_caller()).await.expect("a handshake");
    let question = b"GET /weather/Oslo HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let http_1 = async {
        stream.write_all(question).await.expect("a question");
        let answer = read_to_end(&mut stream).await;
        assert!(answer.contains("connection: close\r\n") && answer.ends_with(&body("Oslo")), "{answer}");
    };
    let http_2 = async {
        let stream = shake_on(early_h2, &caller).await.expect("a handshake");
        let send = h2(stream, &h2::client::Builder::new()).await;
        assert_eq!(ask_h2(&send, "/weather/Oslo").await.expect("an answer").status, 200);
    };
    tokio::join!(http_1, http_2);
    assert!(timeout(PATIENCE, service.stop()).await.expect("an end in time"));
}
