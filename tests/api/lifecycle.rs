//! The end is orderly and bounded, and no client can hold more of the service than it is allowed.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use stratus::http::{Limits, serve};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::program::{parsed, signal};
use crate::harness::sockets::{connect, read_to_end, read_until, refused};
use crate::harness::{Gate, PATIENCE, Redis, Reply, ScriptedUpstream, Setup, body, raw};

const QUESTION: &[u8] = b"GET /weather/Oslo HTTP/1.1\r\nHost: test\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_after_the_end_has_begun() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Oslo")))).await;
    let service = Setup::memory(&upstream).start().await;
    let idle = connect(service.public).await;
    let end = async {
        upstream.wait_for_calls(1).await;
        assert_eq!(service.admin_get("/readyz").await.status, 200);
        service.stopping.cancel();
        let ready = service.admin_get("/readyz").await;
        assert_eq!((ready.status.as_u16(), ready.code().as_str()), (503, "draining"));
        assert_eq!(service.admin_get("/livez").await.status, 200);
        refused(service.public).await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(service.get("/weather/Oslo"), end);
    assert_eq!((answer.status.as_u16(), answer.text()), (200, body("Oslo").as_str()));
    let admin = service.admin;
    assert!(timeout(PATIENCE, service.stop()).await.expect("an end in time"));
    refused(admin).await;
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_the_end() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    // Far longer than the test waits.
    let service = Setup::memory(&upstream).set("server.drain_secs", 600).start().await;
    let mut silent = connect(service.public).await;
    let mut kept = connect(service.public).await;
    kept.write_all(QUESTION).await.expect("a request");
    read_until(&mut kept, r#""cod":200}"#).await;
    assert!(timeout(PATIENCE, service.stop()).await.expect("an end in time"));
    assert_eq!((read_to_end(&mut kept).await, read_to_end(&mut silent).await), (String::new(), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_nobody_longer_than_it_may() {
    for drain_secs in [0, 1] {
        let upstream = ScriptedUpstream::start(Reply::never()).await;
        let setup = Setup::memory(&upstream).set("upstream.timeout_ms", 600_000);
        let setup = setup.set("server.request_timeout_ms", 600_000).set("server.drain_secs", drain_secs);
        let service = setup.start().await;
        let mut asking = connect(service.public).await;
        asking.write_all(QUESTION).await.expect("a request");
        upstream.wait_for_calls(1).await;
        assert!(!timeout(PATIENCE, service.stop()).await.expect("an end in time"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_request_that_hangs_does_not_hold_up_the_end() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    let setup = Setup::memory(&upstream).set("admin.token", TOKEN).set("server.drain_secs", 600);
    let service = setup.set("server.request_timeout_ms", 600_000).start().await;
    let mut hanging = connect(service.admin).await;
    let head = format!("POST /purge HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n");
    let half = format!("{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{");
    hanging.write_all(half.as_bytes()).await.expect("it is taken");
    // It has been taken in once what came behind it is answered.
    assert_eq!(service.admin_get("/livez").await.status, 200);
    timeout(PATIENCE, service.stop()).await.expect("an end in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_well_on_sigterm_and_sigint_and_answers_what_is_in_flight() {
    for name in ["TERM", "INT"] {
        let gate = Gate::new();
        let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Oslo")))).await;
        let program = Setup::memory(&upstream).run();
        let listening = program.logs("listening").await;
        let address = listening["public"].as_str().expect("an address").parse().expect("an address");
        let mut asking = connect(address).await;
        asking.write_all(QUESTION).await.expect("a request");
        upstream.wait_for_calls(1).await;
        program.signal(name).await;
        refused(address).await;
        gate.open();
        let answer = read_to_end(&mut asking).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(&body("Oslo")), "{answer}");
        let (status, log) = program.ended().await;
        assert_eq!(status.code(), Some(0), "{log:#?}");
        assert!(
            parsed(&log).iter().any(|line| line["message"] == "stopped: every request in flight was answered"),
            "{log:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_program_listens_is_not_lost() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::never()).await, Redis::start().await);
    // A Redis that takes connections and never speaks: the start waits for it.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let program = Setup::redis_through(&upstream, &redis, port).set("redis.connect_timeout_ms", 200).run();
    let held = timeout(PATIENCE, silent.accept()).await.expect("a connection in time").expect("a connection");
    program.signal("TERM").await;
    let (status, log) = program.ended().await;
    assert_eq!(status.code(), Some(0), "{log:#?}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_has_a_time_limit_of_its_own() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    let setup = Setup::memory(&upstream).set("upstream.timeout_ms", 600_000).set("server.request_timeout_ms", 200);
    let answer = setup.start().await.get("/weather/Oslo").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (504, "upstream-timeout"));
    assert_eq!(
        (answer.header("cache-status"), answer.x_cache()),
        ("stratus; fwd=miss; detail=upstream-timeout", "MISS")
    );
    assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
}

/// A listener on its own, for limits that are no settings.
async fn listener(limits: Limits) -> (SocketAddr, DropGuard) {
    let stopping = CancellationToken::new();
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let router =
        Router::new().route("/", get(|| async { "hello" })).route("/much", get(|| async { "much".repeat(4 << 20) }));
    tokio::spawn(serve(socket, router, limits, stopping.clone()));
    (address, stopping.drop_guard())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_head_is_cut_off() {
    // Who sends the whole of it needs some time for that on a busy machine.
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(5));
    let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (sent, answered, header_timeout) in [("", "", short), ("GET / HT", "", short), (whole, "hello", long)] {
        let limits = Limits { header_timeout, write_timeout: PATIENCE, ..Limits::default() };
        let (address, _running) = listener(limits).await;
        let mut slow = connect(address).await;
        slow.write_all(sent.as_bytes()).await.expect("it is taken");
        let answer = read_to_end(&mut slow).await;
        assert!(answer.ends_with(answered), "{sent:?}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_of_its_answer_gives_its_place_to_the_next() {
    let write_timeout = Duration::from_millis(200);
    let limits = Limits { max_connections: 1, header_timeout: PATIENCE, write_timeout, ..Limits::default() };
    let (address, _running) = listener(limits).await;
    let mut greedy = connect(address).await;
    greedy.write_all(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is taken");
    let mut next = connect(address).await;
    next.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("it is taken");
    assert!(read_to_end(&mut next).await.ends_with("hello"));
    drop(greedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_does_not_hold_up_the_end() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = Setup::memory(&upstream).set("server.drain_secs", 600).start().await;
    let mut half = connect(service.public).await;
    half.write_all(&QUESTION[..20]).await.expect("it is taken");
    // The half head has been taken in once a whole question behind it is answered.
    assert_eq!(service.get("/weather/Oslo").await.status, 200);
    assert!(timeout(PATIENCE, service.stop()).await.expect("an end in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_neither_answers_nor_the_end() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let address = TcpListener::bind("127.0.0.1:0").await.and_then(|free| free.local_addr()).expect("a free port");
    let mut program = Setup::memory(&upstream).set("server.listen", address).unread();
    let asking = async {
        // More lines than a pipe holds.
        let mut answered = 0;
        while answered < 500 {
            let Ok(mut stream) = TcpStream::connect(address).await else { continue };
            let question = QUESTION.repeat(100);
            stream.write_all(&question).await.expect("it is taken");
            for _ in 0..100 {
                read_until(&mut stream, "\"cod\":200}").await;
                answered += 1;
            }
        }
    };
    timeout(PATIENCE, asking).await.expect("all answers in time");
    signal(program.id().expect("it runs"), "TERM").await;
    let status = timeout(PATIENCE, program.wait()).await.expect("an end in time").expect("a status");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_long_or_has_too_many_headers_is_refused() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = Setup::memory(&upstream).start().await;
    let head = |headers: String| format!("GET /weather/Oslo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: x\r\n")).collect::<String>();
    let long = |length: usize| format!("X-Long: {}\r\n", "x".repeat(length));
    // The limit on the length is checked from read to read, so it may be passed once.
    for (headers, status) in [(many(62), "200"), (many(63), "431"), (long(30_000), "200"), (long(70_000), "431")] {
        let mut stream = connect(service.public).await;
        let head = head(headers);
        stream.write_all(head.as_bytes()).await.ok();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status} for {} bytes: {answer}", head.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_closed_and_pipelined_requests_are_answered_in_order() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = Setup::memory(&upstream).start().await;
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, say\r\n\r\n"[..], b"hello\r\n\r\n", b"\0\0\0\0"]
    {
        let mut stream = connect(service.public).await;
        stream.write_all(garbage).await.expect("it is taken");
        let answer = read_to_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let last = "GET /weather/%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = raw(&service, &[QUESTION, QUESTION, last.as_bytes()].concat()).await;
    let statuses: Vec<_> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_waits_for_a_place() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await;
    let service = Setup::memory(&upstream).set("server.max_connections", 2).start().await;
    let mut first = connect(service.public).await;
    let mut second = connect(service.public).await;
    for stream in [&mut first, &mut second] {
        stream.write_all(QUESTION).await.expect("a request");
        read_until(stream, r#""cod":200}"#).await;
    }
    let mut third = connect(service.public).await;
    third.write_all(QUESTION).await.expect("a request");
    // Time enough for the third, if it had a place.
    for _ in 0..50 {
        second.write_all(QUESTION).await.expect("a request");
        read_until(&mut second, r#""cod":200}"#).await;
    }
    let waits = third.try_read(&mut [0; 1]).expect_err("no answer yet");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    read_until(&mut third, r#""cod":200}"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_end_cuts_off_has_its_log_line() {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    let setup = Setup::memory(&upstream).set("server.request_timeout_ms", 600_000).set("upstream.timeout_ms", 600_000);
    let program = setup.set("server.drain_secs", 0).program().await;
    let cut =
        tokio::spawn(program.request(reqwest::Method::GET, "/weather/London").header("x-request-id", "cut-off").send());
    upstream.wait_for_calls(1).await;
    let lines = program.stop().await;
    assert!(cut.await.expect("no panic").is_err());
    let told = lines.iter().any(|line| line.contains("cut-off") && line.contains("\"status\":499"));
    assert!(told, "{lines:#?}");
}
