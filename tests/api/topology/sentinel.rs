//! A primary that is found by Sentinels, and lost.

use std::time::Instant;

use tokio::time::timeout;

use super::{Fleet, examined, setup, told, weather};
use crate::harness::node::{Node, until};
use crate::harness::sentinel::{MASTER, Sentinels, named};
use crate::harness::{PATIENCE, ScriptedUpstream, Setup};

fn on(redis: &Sentinels) -> impl Fn(&ScriptedUpstream) -> Setup {
    let (secrets, nodes) = (redis.secrets(), redis.addresses());
    move |upstream| setup(upstream, &secrets, "sentinel", &nodes).set("redis.sentinel_master", MASTER)
}

/// How many keys a server has.
async fn keys(server: &Node) -> usize {
    server.run(&["DBSIZE"]).await.expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_used_and_after_an_orderly_fail_over_the_new_one_with_all_that_the_old_one_had() {
    let redis = Sentinels::start().await;
    let upstream = weather().await;
    let mut service = on(&redis)(&upstream).start().await;
    service.store_up().await;
    assert_eq!(service.get("/weather/London").await.header("x-cache"), "MISS");
    let first = redis.primary().await;
    redis.server(first).copied_to(2).await;

    let second = redis.fail_over().await;

    // It was connected before, so it is connected again once it is seen down or what it reads comes from the new one.
    let before = keys(redis.server(second)).await;
    let written = async {
        loop {
            let answer = service.get(&format!("/weather/Paris{}", fastrand::u64(..))).await;
            assert_eq!(answer.status, 200);
            if keys(redis.server(second)).await > before && answer.header("cache-status").contains("stored") {
                break;
            }
        }
    };
    timeout(PATIENCE, written).await.expect("the new primary is written to");
    service.store_up().await;
    let london = service.get("/weather/London").await;
    assert!(london.header("cache-status").contains("detail=redis"), "{london:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_under_load_costs_nobody_an_answer_and_no_call_beyond_the_budget() {
    let mut redis = Sentinels::start().await;
    let mut fleet = Fleet::start(on(&redis)).await;
    let load = fleet.load();
    load.more(500).await;

    let old = redis.kill_primary().await;
    let killed = Instant::now();
    fleet.store_down().await;
    let new = redis.wait_promoted(old).await;
    told("Sentinel: from the kill until all name another primary", killed);
    let promoted = Instant::now();
    fleet.store_up().await;
    told("Sentinel: from then until all replicas use it", promoted);

    let names_it = redis.server(new).log();
    fleet.ends_well(load).await;
    assert!(!names_it.contains("NOAUTH"), "{names_it}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_under_load_is_left_for_the_new_one_and_not_used_when_it_wakes_up() {
    let redis = Sentinels::start().await;
    let mut fleet = Fleet::start(on(&redis)).await;
    let load = fleet.load();
    load.more(500).await;

    let old = redis.pause_primary().await;
    fleet.store_down().await;
    let new = redis.wait_promoted(old).await;
    let promoted = Instant::now();
    fleet.store_up().await;
    told("Sentinel: from the promotion until all replicas use the new primary (the old one hangs)", promoted);
    redis.server(old).resume();

    let before: u64 = calls(redis.server(new), "set").await;
    load.more(500).await;
    assert!(calls(redis.server(new), "set").await > before, "what is renewed is written to the new one");
    fleet.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_hangs_holds_up_neither_the_start_nor_a_fail_over() {
    let mut redis = Sentinels::start().await;
    redis.sentinels[0].pause();
    let upstream = weather().await;
    // So long the one that hangs is waited for, at least.
    let setup = on(&redis)(&upstream).set("redis.connect_timeout_ms", 600_000);
    let mut service = timeout(PATIENCE, setup.start()).await.expect("it starts");
    service.store_up().await;

    let (_, old) = named(&redis.sentinels[1]).await.expect("a primary");
    redis.server_mut(old).kill();
    service.store_down().await;
    for sentinel in &redis.sentinels[1..] {
        until("another primary", async || {
            let (_, port) = named(sentinel).await.ok()?;
            (port != old).then_some(())
        })
        .await;
    }
    service.store_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_are_shown_to_sentinels_on_lines_beside_which_the_old_ones_end() {
    let redis = Sentinels::start().await;
    let upstream = weather().await;
    let mut service = on(&redis)(&upstream).start().await;
    service.store_up().await;
    // Who is logged in there as the service, by the number of the connection.
    let lines = async |sentinel: &Node| -> Option<Vec<String>> {
        let clients: String = sentinel.run(&["CLIENT", "LIST"]).await.ok()?;
        let ours = clients.lines().filter(|line| line.contains(" user=stratus "));
        let ids: Vec<_> = ours.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        (!ids.is_empty()).then_some(ids)
    };
    let before = until("a line", async || lines(&redis.sentinels[0]).await).await;
    // The same authority has signed it.
    crate::redis_credentials::renew(&redis.secrets(), -1..30);
    service.reloading.look().await;
    until("another line", async || {
        let now = lines(&redis.sentinels[0]).await?;
        (now.len() == 1 && !before.contains(&now[0])).then_some(())
    })
    .await;
    service.store_up().await;
}

/// How often a server has run a command.
async fn calls(server: &Node, command: &str) -> u64 {
    let line = server.field(&["INFO", "commandstats"], &format!("cmdstat_{command}")).await.unwrap_or_default();
    let calls = line.split(',').next().and_then(|first| first.strip_prefix("calls="));
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_sentinels_is_said_with_the_fix() {
    let mut redis = Sentinels::start().await;
    let upstream = weather().await;
    let findings = examined(on(&redis)(&upstream)).await;
    let subjects: Vec<_> = findings.iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(subjects[3..], ["redis", "redis rights", "redis default user"], "{findings:?}");
    assert!(findings.iter().all(|finding| finding.verdict.is_ok() && finding.note.is_none()), "{findings:?}");
    let names = format!("names 127.0.0.1:{} as the primary", redis.primary().await);
    assert!(findings[..3].iter().all(|finding| finding.verdict.as_ref().is_ok_and(|said| *said == names)));

    let unknown = || on(&redis)(&upstream).set("redis.sentinel_master", "another");
    let advice = examined(unknown()).await[0].verdict.clone().unwrap_err();
    assert!(advice.what.contains("know no such primary") && advice.fix.contains("redis.sentinel_master"), "{advice:?}");
    let mut service = unknown().set("redis.require_least_privilege", false).start().await;
    service.store_down_because("know no such primary").await;

    for sentinel in &mut redis.sentinels {
        sentinel.kill();
    }
    let findings = examined(on(&redis)(&upstream)).await;
    let wrong = |place: usize| findings[place].verdict.as_ref().unwrap_err().what.as_str();
    assert_eq!((wrong(0), wrong(3)), ("Redis cannot be reached", "Redis has no Sentinel that answers"));
    let mut service = on(&redis)(&upstream).set("redis.require_least_privilege", false).start().await;
    service.store_down_because("no Sentinel that answers").await;
}
