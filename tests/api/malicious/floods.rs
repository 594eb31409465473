//! Replies without end: the program cuts them off before they cost it memory.

use serde_json::Value;

use super::server::{Act, Malicious};
use super::{PLACES, upstream};
use crate::harness::program::peak_kib;
use crate::harness::{PATIENCE, Program, Reply, body};
use reqwest::Method;

/// More than the program takes for some requests, and far less than what is sent to it.
const MOST_GROWTH_KIB: u64 = 64 * 1024;
const CHUNK: usize = 1024 * 1024;

async fn all_are_answered(program: &Program, what: &str) {
    for place in PLACES {
        let answer = program.get(&format!("/weather/{place}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, body(place).as_str()), "{what}: {answer:?}");
    }
}

/// Waits for what `/status` says about the store.
async fn store(program: &Program, what: &str, wanted: impl Fn(&Value) -> bool) {
    let reached = async {
        loop {
            let status = crate::harness::answer(program.admin_request(Method::GET, "/status")).await.json();
            if wanted(&status["store"]) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{what}: in time"));
}

/// Sends this in answer to every read: the program has to name the trouble, and not to grow.
async fn is_cut_off(what: &'static str, head: &[u8], again: &[u8], times: usize, reason: Option<&str>) {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    // So long that the bytes would all arrive.
    let setup = redis.setup(&upstream).set("redis.command_timeout_ms", 5_000).set("redis.connect_timeout_ms", 5_000);
    let program = setup.program().await;
    store(&program, what, |store| store["state"] == "up").await;
    all_are_answered(&program, what).await;
    let before = peak_kib(program.pid());
    let (head, again) = (head.to_vec(), again.to_vec());
    redis.does(move |asked| match asked.command {
        "GET" => Act::Flood(head.clone(), again.clone(), times),
        _ => Act::Reply(asked.honest),
    });
    all_are_answered(&program, what).await;
    if let Some(reason) = reason {
        store(&program, what, |store| store["reason"].as_str().is_some_and(|told| told.contains(reason))).await;
    }
    all_are_answered(&program, what).await;
    let grown = peak_kib(program.pid()) - before;
    assert!(grown < MOST_GROWTH_KIB, "{what}: it grew by {grown} KiB");
    redis.behaves();
    store(&program, what, |store| store["state"] == "up").await;
    all_are_answered(&program, what).await;
    assert_eq!(program.get(&format!("/weather/{}", PLACES[0])).await.x_cache(), "HIT", "{what}");
    program.stop().await;
}

const EXCESS: Option<&str> = Some("sends more than was asked for");

#[tokio::test(flavor = "multi_thread")]
async fn a_string_of_512_mb_costs_no_memory() {
    is_cut_off("512 MB", b"$536870912\r\n", &vec![b'x'; CHUNK], 512, EXCESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_million_arrays_in_one_another_cost_no_memory() {
    is_cut_off("arrays in arrays", b"", &b"*1\r\n".repeat(100_000), 100, EXCESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_of_a_hundred_million_elements_costs_no_memory() {
    is_cut_off("a long array", b"*100000000\r\n", &b":1\r\n".repeat(100_000), 1_000, EXCESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_end_costs_no_memory() {
    is_cut_off("a long line", b"+", &vec![b'x'; CHUNK], 512, EXCESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_strings_in_one_reply_cost_no_memory() {
    let string = [&b"$262144\r\n"[..], &vec![b'x'; 262_144], b"\r\n"].concat();
    is_cut_off("many strings", b"*1000\r\n", &string, 1_000, EXCESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_without_end_cost_no_memory() {
    // Nothing is wrong with any of them, but the reply that is waited for never comes.
    let push = [&b">2\r\n+invalidate\r\n$32768\r\n"[..], &vec![b'x'; 32_768], b"\r\n"].concat();
    is_cut_off("pushes", b"", &push.repeat(32), 512, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_body_that_may_be_stored_is_read_again() {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let longest = 1_024 * 1_024;
    let setup = redis.setup(&upstream).set("upstream.max_body_bytes", longest).set("redis.command_timeout_ms", 20_000);
    let service = setup.set("redis.connect_timeout_ms", 20_000).start().await;
    let short = body("oslo");
    // As much after the first brace as there may be, and nothing that compressing would save much of.
    let (start, end) = (r#"{"noise":""#, r#"","#);
    let noise = incompressible(longest - short.len() + 1 - start.len() - end.len());
    let long = format!("{start}{noise}{end}{}", &short[1..]);
    assert_eq!(long.len(), longest);
    upstream.reply(Reply::json(200, long.clone()));
    for x_cache in ["MISS", "HIT"] {
        let answer = service.get("/weather/oslo").await;
        assert_eq!((answer.status.as_u16(), answer.x_cache()), (200, x_cache));
        assert!(answer.text() == long, "the whole body: {} bytes of {longest}", answer.body.len());
    }
}

/// Random letters, digits and signs, six bits and more in each: 18 % could be saved.
fn incompressible(length: usize) -> String {
    let signs: Vec<char> = (' '..='~').filter(|sign| !['"', '\\'].contains(sign)).collect();
    let mut random = fastrand::Rng::with_seed(1);
    (0..length).map(|_| signs[random.usize(..signs.len())]).collect()
}
