//! A node of a Redis Cluster that sends callers round in circles, names nodes that never were, or says all of it again and
//! again.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::version::TLS13;
use tokio::time::timeout;

use super::server::{Act, Asked};
use super::{Malicious, all_are_answered, impatient, resp, upstream};
use crate::harness::program::parsed;
use crate::harness::proxy::locked;
use crate::harness::{PATIENCE, ScriptedUpstream, Setup};
use crate::topology::examined;

const LAST_SLOT: u16 = 16_383;

fn on(node: &Malicious, upstream: &ScriptedUpstream) -> Setup {
    let seed = format!("127.0.0.1:{}", node.port());
    impatient(node.setup(upstream)).set("redis.topology", "cluster").set("redis.nodes", seed)
}

/// The answer to CLUSTER SLOTS: the first and the last slot of each range, and who has it.
fn slots(ranges: &[(u16, u16, &str, u16)]) -> Vec<u8> {
    let range = |(first, last, host, port): &(u16, u16, &str, u16)| {
        format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n${}\r\n{host}\r\n:{port}\r\n", host.len())
    };
    format!("*{}\r\n{}", ranges.len(), ranges.iter().map(range).collect::<String>()).into_bytes()
}

/// All of them are here.
fn all_at(port: u16) -> Vec<u8> {
    slots(&[(0, LAST_SLOT, "127.0.0.1", port)])
}

fn is_probe(asked: &Asked<'_>) -> bool {
    asked.arguments.first().is_some_and(|name| name == b"stratus:probe")
}

/// Sends every read in a circle, says always the same of where the slots are, and counts how often it was asked for that.
fn sends_in_circles(node: &Malicious) -> Arc<AtomicUsize> {
    let (asked_for_slots, port) = (Arc::new(AtomicUsize::new(0)), node.port());
    let counted = Arc::clone(&asked_for_slots);
    node.does(move |asked| match asked.command {
        "CLUSTER" => {
            counted.fetch_add(1, Ordering::SeqCst);
            Act::Reply(all_at(port))
        }
        "GET" if !is_probe(&asked) => Act::Reply(resp::error(&format!("MOVED 1 127.0.0.1:{port}"))),
        _ => Act::Reply(asked.honest),
    });
    asked_for_slots
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_cluster_is_as_it_was_is_told_to_nobody() {
    let (upstream, node) = (upstream().await, Malicious::start().await);
    let looks = sends_in_circles(&node);
    let store = on(&node, &upstream).notebook().await.store;
    let state = store.state();
    let looked = async {
        let before = looks.load(Ordering::SeqCst);
        while looks.load(Ordering::SeqCst) < before + 5 {
            assert!(store.read(&["stratus:a"]).await.is_err());
        }
    };
    timeout(PATIENCE, looked).await.expect("it is looked again");
    // Whoever is told takes it that the store was away.
    assert!(!state.has_changed().expect("a store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sends_everybody_in_circles_is_not_asked_for_its_map_all_the_time() {
    let (upstream, node) = (upstream().await, Malicious::start().await);
    let looks = sends_in_circles(&node);
    let store = on(&node, &upstream).notebook().await.store;
    let (began, before) = (Instant::now(), looks.load(Ordering::SeqCst));
    while began.elapsed() < Duration::from_secs(3) {
        assert!(store.read(&["stratus:a"]).await.is_err());
    }
    let (looks, at_most) = (looks.load(Ordering::SeqCst) - before, 8 + began.elapsed().as_millis() / 200);
    assert!(looks as u128 <= at_most, "{looks} looks, {at_most} at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_all_elsewhere_are_asked_for_there_at_once() {
    const KEYS: usize = 20;
    let (upstream, node) = (upstream().await, Malicious::start().await);
    let (moving, port) = (Arc::new(AtomicBool::new(false)), node.port());
    let (is_moving, asked_before, held) = (Arc::clone(&moving), Mutex::new(HashSet::new()), AtomicUsize::new(0));
    node.does(move |asked| match asked.command {
        "CLUSTER" => Act::Reply(all_at(port)),
        "GET" if is_moving.load(Ordering::SeqCst) => {
            if locked(&asked_before).insert(asked.arguments[0].clone()) {
                return Act::Reply(resp::error(&format!("ASK 1 127.0.0.1:{port}")));
            }
            // It answers nobody before everybody has asked.
            let all = held.fetch_add(1, Ordering::SeqCst) + 1 == KEYS;
            Act::Reply(if all { [b"+OK\r\n".to_vec(), resp::null()].concat().repeat(KEYS) } else { Vec::new() })
        }
        "ASKING" if is_moving.load(Ordering::SeqCst) => Act::Reply(Vec::new()),
        _ => Act::Reply(asked.honest),
    });
    let store = on(&node, &upstream).set("redis.command_timeout_ms", 4_000).notebook().await.store;
    moving.store(true, Ordering::SeqCst);
    let names: Vec<_> = (0..KEYS).map(|number| format!("stratus:{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(store.read(&names).await, Ok(vec![None; KEYS]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_names_ever_new_ones_keeps_no_service_from_starting() {
    let (upstream, node) = (upstream().await, Malicious::start().await);
    // Who connects there is never answered.
    let silent = TcpListener::bind("0.0.0.0:0").expect("a port");
    let (port, silent_port, told) = (node.port(), silent.local_addr().expect("an address").port(), AtomicUsize::new(1));
    node.does(move |asked| match asked.command {
        "CLUSTER" => {
            let number = told.fetch_add(1, Ordering::SeqCst);
            let other = format!("127.1.{}.{}", number / 250, 1 + number % 250);
            Act::Reply(slots(&[(0, 8_191, "127.0.0.1", port), (8_192, LAST_SLOT, &other, silent_port)]))
        }
        _ => Act::Reply(asked.honest),
    });
    let service = timeout(PATIENCE, on(&node, &upstream).start()).await.expect("it starts");
    all_are_answered(&service, "half a cluster").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirections_to_ever_new_nodes_leave_room_for_those_of_the_map() {
    const STRAYS: usize = 300;
    let (upstream, node) = (upstream().await, Malicious::start().await);
    let secrets = node.secrets().to_owned();
    let successor = Malicious::start_with(&[&TLS13], |own| {
        for name in ["ca.crt", "redis.crt", "redis.key", "redis-password"] {
            std::fs::copy(secrets.join(name), own.join(name)).expect("a file");
        }
    })
    .await;
    let (port, new_port) = (node.port(), successor.port());
    successor.does(move |asked| match asked.command {
        "CLUSTER" => Act::Reply(all_at(new_port)),
        _ => Act::Reply(asked.honest),
    });
    let (gone, redirected) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let is_gone = Arc::clone(&gone);
    node.does(move |asked| match asked.command {
        "CLUSTER" if is_gone.load(Ordering::SeqCst) => Act::Reply(all_at(new_port)),
        "CLUSTER" => Act::Reply(all_at(port)),
        "GET" if !is_probe(&asked) => {
            let number = redirected.fetch_add(1, Ordering::SeqCst);
            Act::Reply(resp::error(&format!("MOVED 1 127.2.{}.{}:1", number / 250, 1 + number % 250)))
        }
        _ => Act::Reply(asked.honest),
    });
    let store = on(&node, &upstream).notebook().await.store;
    let strays = (0..STRAYS).map(async |number| store.read(&[&format!("stratus:{number}")]).await);
    assert!(join_all(strays).await.iter().all(Result::is_err));
    gone.store(true, Ordering::SeqCst);
    let found = async { while store.read(&["stratus:a"]).await.is_err() {} };
    timeout(PATIENCE, found).await.expect("the node of the map is used");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_examines_a_server_that_hangs_after_the_login_is_told_so() {
    let (upstream, node) = (upstream().await, Malicious::start().await);
    let (port, asked_for_slots) = (node.port(), AtomicUsize::new(0));
    node.does(move |asked| match asked.command {
        // Once to prove that it is a node, and then never again.
        "CLUSTER" if asked_for_slots.fetch_add(1, Ordering::SeqCst) == 0 => Act::Reply(all_at(port)),
        "CLUSTER" | "COMMAND" => Act::Hang(Vec::new()),
        _ => Act::Reply(asked.honest),
    });
    for (setup, place) in [(on(&node, &upstream), 0), (impatient(node.setup(&upstream)), 1)] {
        let findings = timeout(PATIENCE, examined(setup)).await.expect("it ends");
        let wrong = findings[place].verdict.as_ref().expect_err("it hangs");
        assert_eq!(wrong.what, "Redis does not answer a command in time", "{findings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_some_writes_are_refused_and_some_are_not_is_told_once() {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let writes = AtomicUsize::new(0);
    redis.does(move |asked| match asked.command {
        // One of two nodes is full.
        "SET" if !asked.is_claim() && !is_probe(&asked) && writes.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => {
            Act::Reply(resp::error("OOM command not allowed when used memory > 'maxmemory'."))
        }
        _ => Act::Reply(asked.honest),
    });
    let program = redis.setup(&upstream).program().await;
    for number in 0..20 {
        assert_eq!(program.get(&format!("/weather/place{number}")).await.status, 200);
    }
    let lines = parsed(&program.stop().await);
    let about_writes = |line: &&serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("Redis refuses to store") || message.starts_with("Redis stores records")
    };
    assert_eq!(lines.iter().filter(about_writes).count(), 1);
}
