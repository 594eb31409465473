//! What the stream costs others: nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reqwest::Method;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{Watch, weather};
use crate::harness::node::until;
use crate::harness::sockets::connect;
use crate::harness::{Gate, PATIENCE, Reply, Setup, answer, body};

/// As many as may watch at once.
const MOST: usize = 8;
/// Longer than any test waits.
const FOR_EVER: u64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn one_looks_for_all_who_watch_and_nobody_when_nobody_does() {
    let service = Setup::memory(&weather().await).start().await;
    let mut one = Watch::begin(&service, None).await;
    let (first, _) = one.next().await.expect("an event");
    assert_eq!(first, 1);
    while one.next().await.expect("a further event").0 < 3 {}
    let (joined, _) = Watch::begin(&service, None).await.next().await.expect("an event");
    assert!(joined >= 3, "who comes later is told what the others are told: {joined}");
    drop(one);
    // Whoever comes after the last has gone finds a count that begins anew.
    until("nobody looks", async || {
        let (id, _) = Watch::begin(&service, None).await.next().await.expect("an event");
        (id == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_may_watch_at_once_and_whoever_leaves_makes_room() {
    let service = Setup::memory(&weather().await).start().await;
    let mut watching = Vec::new();
    for _ in 0..MOST {
        watching.push(Watch::begin(&service, None).await);
    }
    let refused = service.admin_get("/events").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "overloaded"));
    assert!(!refused.header("retry-after").is_empty());
    for watch in &mut watching {
        assert!(watch.next().await.is_some());
    }
    watching.pop();
    until("a free place", async || {
        let request = service.admin_request(Method::HEAD, "/events");
        (answer(request).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_in_order_as_soon_as_the_service_stops_and_holds_up_nothing() {
    let (gate, upstream) = (Gate::new(), weather().await);
    let service = Setup::memory(&upstream).set("server.shutdown_delay_secs", FOR_EVER).start().await;
    upstream.reply(Reply::gated(gate.clone(), Reply::json(200, body("London"))));
    let mut watch = Watch::begin(&service, None).await;
    assert!(watch.next().await.is_some());
    let stopping = async {
        upstream.wait_for_calls(1).await;
        service.stopping.cancel();
        // The service goes on for a while, and answers; the stream does not.
        while watch.next().await.is_some() {}
        let late = service.admin_get("/events").await;
        assert_eq!((late.status.as_u16(), late.code().as_str()), (503, "draining"));
        assert_eq!(service.admin_get("/status").await.json()["stopping"], true);
        gate.open();
    };
    let (answered, ()) = tokio::join!(service.get("/weather/London"), stopping);
    assert_eq!(answered.status, 200);
    service.hurrying.cancel();
    assert!(timeout(PATIENCE, service.stop()).await.expect("it stops in time"), "every request was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_kept_nothing_for_and_holds_up_nobody() {
    let service = Setup::memory(&weather().await).start().await;
    let mut silent = connect(service.admin).await;
    silent.write_all(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("a request");
    silent.readable().await.expect("an answer");
    let mut watch = Watch::begin(&service, None).await;
    for _ in 0..3 {
        assert!(watch.next().await.is_some());
        assert_eq!(service.admin_get("/status").await.status, 200);
    }
    assert!(timeout(PATIENCE, service.stop()).await.expect("it stops in time"));
}

fn write_token(path: &Path, token: &str) {
    std::fs::write(path, token).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("for its owner only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_token_is_replaced() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("token");
    write_token(&file, "the-first-of-two-tokens");
    let service = Setup::memory(&weather().await).set("admin.token_file", file.display()).start().await;
    let mut watch = Watch::begin(&service, Some("the-first-of-two-tokens")).await;
    assert!(watch.next().await.is_some());
    write_token(&file, "the-second-of-two-tokens");
    service.reloading.look().await;
    while watch.next().await.is_some() {}
    assert!(Watch::begin(&service, Some("the-second-of-two-tokens")).await.next().await.is_some());
}
