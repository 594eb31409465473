//! Between the signal to end and the end there is time for callers to go elsewhere (`server.shutdown_delay_secs`): nobody
//! loses a request by it.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::callers::{HttpsFiles, ask_h2, h2, shake};
use crate::harness::program::parsed;
use crate::harness::sockets::{connect, read_to_end, read_until, refused};
use crate::harness::{Gate, PATIENCE, Program, Reply, ScriptedUpstream, Service, Setup, answer, body};

const OSLO: &str = "/weather/Oslo";
/// The end of its answer.
const ANSWERED: &str = r#""cod":200}"#;
const CLOSES: &str = "connection: close\r\n";
/// Longer than any test waits.
const FOR_EVER: u64 = 600;

fn question(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

/// A connection on which somebody has asked, and may again.
async fn kept(service: &Service) -> TcpStream {
    let mut stream = connect(service.public).await;
    stream.write_all(&question(OSLO)).await.expect("a request");
    let answer = read_until(&mut stream, ANSWERED).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && !answer.contains(CLOSES), "{answer}");
    stream
}

/// Asks on a connection that the answer is the last one of.
async fn ask_last(stream: &mut TcpStream, path: &str, status: &str) {
    stream.write_all(&question(path)).await.expect("a request");
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    assert_eq!(answer.matches(CLOSES).count(), 1, "{path}: {answer}");
}

async fn is_draining(service: &Service) {
    let ready = service.admin_get("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.code().as_str()), (503, "draining"));
    for path in ["/livez", "/metrics", "/status"] {
        assert_eq!(service.admin_get(path).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_after_readiness_is_off_is_answered_once_more_on_old_and_new_connections_and_told_to_go() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = Setup::memory(&upstream).set("server.shutdown_delay_secs", FOR_EVER).start().await;
    let (mut idle, mut old) = (kept(&service).await, Vec::new());
    for _ in 0..4 {
        old.push(kept(&service).await);
    }
    let mut silent = connect(service.public).await;
    service.stopping.cancel();
    is_draining(&service).await;
    // From memory, from the upstream, refused, and no such address.
    let questions = [(OSLO, "200"), ("/weather/Bergen", "200"), ("/weather/%00", "400"), ("/nowhere", "404")];
    for ((path, status), old) in questions.into_iter().zip(&mut old) {
        ask_last(old, path, status).await;
        ask_last(&mut connect(service.public).await, path, status).await;
    }
    // Nobody was waited for, and nobody is hung up on before his next request.
    let waits = idle.try_read(&mut [0]).expect_err("it is open");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    ask_last(&mut silent, OSLO, "200").await;
    is_draining(&service).await;
    service.hurrying.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    refused(service.public).await;
    assert!(timeout(PATIENCE, service.stop()).await.expect("an end in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_waited_for_when_the_end_began_is_the_last_one_on_its_connection() {
    for delay_secs in [0, FOR_EVER] {
        let gate = Gate::new();
        let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Oslo")))).await;
        let service = Setup::memory(&upstream).set("server.shutdown_delay_secs", delay_secs).start().await;
        let mut asking = connect(service.public).await;
        let end = async {
            upstream.wait_for_calls(1).await;
            service.stopping.cancel();
            is_draining(&service).await;
            if delay_secs == 0 {
                refused(service.public).await;
            }
            gate.open();
        };
        tokio::join!(ask_last(&mut asking, OSLO, "200"), end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_http_2_are_told_to_go_once_they_have_asked_and_what_is_asked_till_then_is_answered() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let files = HttpsFiles::make();
    let service = files.on(Setup::memory(&upstream)).set("server.shutdown_delay_secs", FOR_EVER).start().await;
    let caller = files.h2_caller();
    let begin =
        async || h2(shake(service.public, &caller).await.expect("a handshake"), &h2::client::Builder::new()).await;
    let (old, busy, silent) = (begin().await, begin().await, begin().await);
    assert_eq!(ask_h2(&old, OSLO).await.expect("an answer").status, 200);
    upstream.once(Reply::gated(gate.clone(), Reply::json(200, body("Lima"))));
    let waiting = tokio::spawn({
        let busy = busy.clone();
        async move { ask_h2(&busy, "/weather/Lima").await }
    });
    upstream.wait_for_calls(2).await;
    service.stopping.cancel();
    is_draining(&service).await;
    let told = async |send: &h2::client::SendRequest<bytes::Bytes>| {
        // The standard's way of saying so is a frame, GOAWAY, after which no request is begun.
        let told = async {
            loop {
                match send.clone().ready().await {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(told) => return told,
                }
            }
        };
        let told = timeout(PATIENCE, told).await.expect("it is told in time");
        assert!(told.is_go_away() && told.reason() == Some(h2::Reason::NO_ERROR), "{told}");
    };
    told(&old).await;
    told(&busy).await;
    gate.open();
    assert_eq!(waiting.await.expect("no panic").expect("an answer").body, body("Lima"));
    for send in [silent, begin().await] {
        assert_eq!(ask_h2(&send, OSLO).await.expect("an answer").body, body("Oslo"));
        told(&send).await;
    }
    service.hurrying.cancel();
    assert!(timeout(PATIENCE, service.stop()).await.expect("an end in time"));
}

async fn program(upstream: &ScriptedUpstream) -> Program {
    Setup::memory(upstream).set("server.shutdown_delay_secs", FOR_EVER).program().await
}

/// Waits until it is not ready.
async fn is_not_ready(program: &Program) {
    let not_ready =
        async { while answer(program.admin_request(reqwest::Method::GET, "/readyz")).await.status != 503 {} };
    timeout(PATIENCE, not_ready).await.expect("it is told in time");
}

async fn has_ended_well(program: Program) {
    let (status, log) = program.ended().await;
    assert_eq!(status.code(), Some(0), "{log:#?}");
    let told = parsed(&log).iter().any(|line| line["message"] == "stopped: every request in flight was answered");
    assert!(told, "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_the_program_goes_on_until_a_second_signal_ends_the_delay() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    for second in ["TERM", "INT"] {
        let program = program(&upstream).await;
        program.signal("TERM").await;
        is_not_ready(&program).await;
        let late = program.get(OSLO).await;
        assert_eq!((late.status.as_u16(), late.header("connection")), (200, "close"));
        program.signal(second).await;
        has_ended_well(program).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_no_time_to_go_elsewhere() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let program = program(&upstream).await;
    program.signal("INT").await;
    has_ended_well(program).await;
}
