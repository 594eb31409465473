//! Lies about who may load and how often: they may cost time or calls, and are never a wrong answer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::server::{Act, Asked};
use super::{Malicious, harms_nobody, impatient, is_used_again, none_is_wrong, resp, upstream};
use crate::harness::{ScriptedUpstream, Service};

/// Lets a server lie to a service whose records are dead, for one round; how many callers got no answer. A good Redis is
/// used afterwards.
async fn unanswered(what: &str, lie: impl Fn(Asked<'_>) -> Act + Send + Sync + 'static) -> usize {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let (service, unanswered) = lied_to(&upstream, &redis, what, lie).await;
    redis.behaves();
    is_used_again(&service, what).await;
    unanswered
}

async fn lied_to(
    upstream: &ScriptedUpstream,
    redis: &Malicious,
    what: &str,
    lie: impl Fn(Asked<'_>) -> Act + Send + Sync + 'static,
) -> (Service, usize) {
    // So large that the replica's own part suffices for all calls, without any help from the store.
    let setup = impatient(redis.setup(upstream))
        .set("upstream.budget_per_minute", 1_000_000)
        .set("upstream.budget_per_month", 1_000_000_000);
    let service = setup.start().await;
    is_used_again(&service, what).await;
    redis.does(lie);
    service.clock.advance(Duration::from_secs(4_000));
    let unanswered = none_is_wrong(&service, what).await;
    (service, unanswered)
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_always_granted_harm_nobody() {
    harms_nobody("always granted", |asked| Act::Reply(if asked.is_claim() { resp::null() } else { asked.honest }))
        .await;
}

fn garbage_has_it(asked: Asked<'_>) -> Act {
    Act::Reply(if asked.is_claim_of_a_lease() { resp::bulk(b"not a note") } else { asked.honest })
}

fn a_list_has_it(asked: Asked<'_>) -> Act {
    Act::Reply(if asked.is_claim_of_a_lease() { resp::error("WRONGTYPE a list") } else { asked.honest })
}

/// Says of each claim that the one before it still holds.
fn replayed() -> impl Fn(Asked<'_>) -> Act {
    let notes = Mutex::new(HashMap::<Vec<u8>, Vec<u8>>::new());
    move |asked| match asked.arguments {
        [name, note, ..] if asked.is_claim_of_a_lease() => {
            let mut notes = notes.lock().expect("no panic");
            Act::Reply(resp::bulk(notes.entry(name.clone()).or_insert_with(|| note.clone())))
        }
        _ => Act::Reply(asked.honest),
    }
}

fn all_slots_are_taken(asked: Asked<'_>) -> Act {
    let is_slot = asked.is_claim() && !asked.is_claim_of_a_lease();
    Act::Reply(if is_slot { resp::bulk(b"not a note") } else { asked.honest })
}

fn counts(count: i64) -> impl Fn(Asked<'_>) -> Act {
    move |asked| Act::Reply(if asked.command == "INCRBY" { resp::integer(count) } else { asked.honest })
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_leases_are_never_a_wrong_answer() {
    unanswered("garbage", garbage_has_it).await;
    unanswered("a list", a_list_has_it).await;
    unanswered("a replayed note", replayed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_are_all_taken_and_counts_that_are_too_low_harm_nobody() {
    assert_eq!(unanswered("all slots taken", all_slots_are_taken).await, 0);
    for count in [i64::MIN, -1, 0] {
        assert_eq!(unanswered(&format!("a count of {count}"), counts(count)).await, 0, "{count}");
    }
}

/// Says once that more calls were made than anybody may make; how many callers got no answer, then and with a good Redis.
async fn unanswered_with_a_count_too_high() -> (usize, usize) {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let (service, meanwhile) = lied_to(&upstream, &redis, "a huge count", counts(i64::MAX)).await;
    redis.behaves();
    service.clock.advance(Duration::from_secs(4_000));
    (meanwhile, none_is_wrong(&service, "after a huge count").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_too_high_is_never_a_wrong_answer() {
    unanswered_with_a_count_too_high().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_too_high_costs_nobody_an_answer_within_the_own_part() {
    assert_eq!(unanswered_with_a_count_too_high().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_place_of_a_lease_costs_nobody_an_answer() {
    assert_eq!(unanswered("garbage", garbage_has_it).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_place_of_a_lease_costs_nobody_an_answer() {
    assert_eq!(unanswered("a list", a_list_has_it).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_replayed_costs_nobody_an_answer() {
    assert_eq!(unanswered("a replayed note", replayed()).await, 0);
}
