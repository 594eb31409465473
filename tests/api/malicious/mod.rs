//! A Redis that lies, forges, floods or stalls: nobody gets a wrong answer or an error for it, and once there is a good
//! Redis again, it is used.

mod claims;
mod floods;
mod nodes;
mod replies;
mod resp;
mod server;
mod values;

use futures_util::future::join_all;

use crate::harness::upstream::Request;
use crate::harness::{PATIENCE, Reply, ScriptedUpstream, Service, Setup, body};
pub(crate) use server::Malicious;
use server::{Act, Asked};

/// Asked for in all of these tests: enough for records to be mistaken for each other.
const PLACES: [&str; 6] = ["oslo", "bergen", "tromso", "turku", "malmo", "aarhus"];

/// An upstream that answers everything, about the place that was asked for.
async fn upstream() -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| Reply::json(200, body(&place(request))));
    upstream
}

fn place(request: &Request) -> String {
    request.query.iter().find(|(name, _)| name == "q").expect("a place asked for by name").1.clone()
}

/// A service that waits so long for Redis as most of these servers let it wait.
fn impatient(setup: Setup) -> Setup {
    setup.set("redis.command_timeout_ms", 200).set("redis.connect_timeout_ms", 2_000)
}

/// Everybody who asks gets weather of the place that he asked for.
async fn all_are_answered(service: &Service, what: &str) {
    join_all(PLACES.map(async |place| {
        let answer = service.get(&format!("/weather/{place}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, body(place).as_str()), "{what}: {answer:?}");
    }))
    .await;
}

/// Nobody gets weather of another place; how many get none.
async fn none_is_wrong(service: &Service, what: &str) -> usize {
    let answers = join_all(PLACES.map(async |place| {
        let answer = service.get(&format!("/weather/{place}")).await;
        match answer.status.as_u16() {
            200 => assert_eq!(answer.text(), body(place), "{what}"),
            503 | 504 => assert!(!answer.code().is_empty(), "{what}: {answer:?}"),
            _ => panic!("{what}: {answer:?}"),
        }
        usize::from(answer.status != 200)
    }));
    answers.await.iter().sum()
}

/// The Redis is used, perhaps only after a while, and until then everybody is answered, too.
async fn is_used_again(service: &Service, what: &str) {
    let mut last = None;
    let used = async { while last.insert(service.get("/weather/oslo").await).x_cache() != "HIT" {} };
    if tokio::time::timeout(PATIENCE, used).await.is_err() {
        let last = last.as_ref().map(|answer| (answer.status, answer.text()));
        panic!("{what}: Redis is used again: {last:?}");
    }
    all_are_answered(service, what).await;
}

/// Lets a server do its mischief to a service that has had its records there, and look for them, for some rounds.
async fn harms_nobody(what: &str, mischief: impl Fn(Asked<'_>) -> Act + Send + Sync + 'static) {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let service = impatient(redis.setup(&upstream)).start().await;
    is_used_again(&service, what).await;
    redis.does(mischief);
    for _ in 0..4 {
        all_are_answered(&service, what).await;
    }
    redis.behaves();
    is_used_again(&service, what).await;
    assert!(service.stop().await);
}
