//! Replies that are wrong, broken, or never come.

use std::sync::Mutex;
use std::time::Duration;

use super::server::Act;
use super::{Malicious, harms_nobody, impatient, is_used_again, none_is_wrong, resp, upstream};

/// Does this about every command that reads or claims, and nothing about the others.
async fn replies_harm_nobody(what: &str, reply: impl Fn(Vec<u8>) -> Act + Send + Sync + 'static) {
    harms_nobody(what, move |asked| match asked.command {
        "GET" => reply(asked.honest),
        _ => Act::Reply(asked.honest),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_harms_nobody() {
    harms_nobody("no answer to anything", |_| Act::Hang(Vec::new())).await;
    replies_harm_nobody("no answer to a read", |_| Act::Hang(Vec::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_reply_harms_nobody_whether_the_rest_is_awaited_or_cut_off() {
    let half = |honest: &[u8]| honest[..honest.len() / 2].to_vec();
    replies_harm_nobody("half a reply and silence", move |honest| Act::Hang(half(&honest))).await;
    replies_harm_nobody("half a reply and the end", move |honest| Act::Close(half(&honest))).await;
}

/// Exchanges replies for some rounds; how many callers got no answer.
async fn unanswered_with_swapped_replies() -> usize {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let service = impatient(redis.setup(&upstream)).start().await;
    is_used_again(&service, "in order").await;
    redis.swaps_replies();
    let mut unanswered = 0;
    for _ in 0..2 {
        service.clock.advance(Duration::from_secs(4_000));
        unanswered += none_is_wrong(&service, "swapped").await;
    }
    assert!(redis.swapped() > 0, "replies were swapped");
    redis.behaves();
    is_used_again(&service, "in order again").await;
    unanswered
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_in_swapped_order_are_never_a_wrong_answer() {
    unanswered_with_swapped_replies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_in_swapped_order_cost_nobody_an_answer() {
    assert_eq!(unanswered_with_swapped_replies().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_every_kind_harm_nobody() {
    for error in [
        "ERR something",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "NOPERM this user has no permissions to run the 'get' command",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "MASTERDOWN Link with MASTER is down",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots",
        "BUSY Redis is busy running a script.",
        "NOSCRIPT No matching script.",
        "EXECABORT Transaction discarded because of previous errors.",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CROSSSLOT Keys in request don't hash to the same slot",
        "CLUSTERDOWN The cluster is down",
        "UNKNOWNKIND and what it says",
        "",
    ] {
        replies_harm_nobody(error, move |_| Act::Reply(resp::error(error))).await;
        // To a claim this one says that somebody else has it, if with a list.
        if !error.starts_with("WRONGTYPE") {
            harms_nobody(error, move |_| Act::Reply(resp::error(error))).await;
        }
    }
    replies_harm_nobody("a long error", |_| Act::Reply(b"!9\r\nERR what?\r\n".to_vec())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_every_other_type_harms_nobody() {
    for reply in [
        "+OK\r\n",
        ":7\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n$1\r\na\r\n_\r\n",
        "%1\r\n+a\r\n:1\r\n",
        "~1\r\n:1\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "(12345678901234567890\r\n",
        "=5\r\ntxt:a\r\n",
        "|1\r\n+a\r\n:1\r\n$1\r\na\r\n",
        ">2\r\n+message\r\n:1\r\n",
    ] {
        replies_harm_nobody(reply, move |_| Act::Reply(reply.as_bytes().to_vec())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_too_many_harm_nobody() {
    // From the second one on every reply is taken for that to another command.
    replies_harm_nobody("each reply twice", |honest| Act::Reply(honest.repeat(2))).await;
    replies_harm_nobody("pushes before each reply", |honest| {
        Act::Reply([b">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n".repeat(9), honest].concat())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_harm_nobody() {
    for seed in 0..12 {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        replies_harm_nobody(&format!("random bytes, seed {seed}"), move |honest| {
            let mut random = random.lock().expect("no panic");
            let mut bytes = honest;
            match seed % 3 {
                0 => bytes = (0..random.usize(1..2_000)).map(|_| random.u8(..)).collect(),
                1 => bytes.iter_mut().for_each(|byte| *byte ^= if random.u8(..) < 8 { random.u8(..) } else { 0 }),
                _ => {
                    let first = *random.choice(b"+-:$*%~>|_#,(!=").expect("a type");
                    bytes.splice(..1, [first]);
                }
            }
            Act::Reply(bytes)
        })
        .await;
    }
}
