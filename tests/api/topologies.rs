//! Sentinel and Cluster as they are shipped: whom the servers let in, who may do what there, and that they do for each other
//! what their users' rights are for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::cluster::Cluster;
use crate::harness::node::{Node, until};
use crate::harness::sentinel::{MASTER, Sentinels};

const PRIMARY: [&str; 3] = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];

/// No server had to refuse anything to another one, or to a Sentinel.
async fn nothing_was_refused(nodes: impl IntoIterator<Item = &Node>) {
    for node in nodes {
        let refused: redis::Value = node.run(&["ACL", "LOG"]).await.expect("the log");
        assert_eq!(refused, redis::Value::Array(Vec::new()), "{}", node.port);
    }
}

async fn set(node: &Node, key: &str) {
    assert_eq!(node.cli(&["SET", key, "1", "PX", "600000"]).await, "OK\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_appoint_another_primary_when_they_are_told_to_and_it_has_what_was_written() {
    let redis = Sentinels::start().await;
    let first = redis.primary().await;
    assert_eq!(first, redis.servers[0].port);
    set(redis.server(first), "stratus:a").await;
    redis.server(first).copied_to(2).await;
    let second = redis.fail_over().await;
    assert_ne!(second, first);
    assert_eq!(redis.server(second).cli(&["GET", "stratus:a"]).await, "1\n");
    // What was primary follows.
    redis.wait_complete().await;
    assert_eq!(redis.server(first).field(&["INFO", "replication"], "role").await.expect("a role"), "slave");
    nothing_was_refused(redis.servers.iter().chain(&redis.sentinels)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_appoint_another_primary_when_it_is_gone_or_hangs_and_one_alone_takes_no_writes() {
    let mut redis = Sentinels::start().await;
    let first = redis.kill_primary().await;
    redis.wait_followed(first).await;
    let second = redis.pause_primary().await;
    let third = redis.wait_promoted(second).await;
    assert!(![first, second].contains(&third));
    until("a primary that nobody follows takes no writes", async || {
        let answer = redis.server(third).cli(&["SET", "stratus:a", "1", "PX", "60000"]).await;
        answer.starts_with("NOREPLICAS").then_some(())
    })
    .await;
    redis.server(second).resume();
    redis.server_mut(first).start();
    redis.server_mut(first).ready().await;
    redis.wait_complete().await;
    assert_eq!(redis.primary().await, third);
    set(redis.server(third), "stratus:a").await;
    nothing_was_refused(redis.servers.iter().chain(&redis.sentinels)).await;
    // What Sentinel had them write holds the password by which they follow.
    for server in &redis.servers {
        let file = server.file("replicated.conf");
        assert!(fs::read_to_string(&file).expect("a file").contains("\nmasterauth "), "it was rewritten");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_moves_with_its_keys_while_the_cluster_is_used_and_another_node_takes_over_when_its_owner_is_gone() {
    let mut redis = Cluster::start().await;
    let key = "stratus:a";
    let (slot, from) = (redis.slot_of(key).await, redis.primary_of(key).await);
    let to = (from + 1) % 3;
    set(&redis.nodes[from], key).await;
    let moved = redis.nodes[to].cli(&["GET", key]).await;
    assert!(moved.starts_with(&format!("MOVED {slot} {}", redis.nodes[from].address())), "{moved}");

    redis.begin_move(slot, to).await;
    assert_eq!(redis.nodes[from].cli(&["GET", key]).await, "1\n");
    redis.move_keys(slot, to).await;
    let ask = redis.nodes[from].cli(&["GET", key]).await;
    assert!(ask.starts_with(&format!("ASK {slot} {}", redis.nodes[to].address())), "{ask}");
    redis.finish_move(slot, to).await;
    assert_eq!(redis.primary_of(key).await, to);
    assert_eq!(redis.nodes[to].cli(&["GET", key]).await, "1\n");

    redis.nodes[to].copied_to(1).await;
    redis.kill(to);
    let replica = redis.wait_promoted(slot, to).await;
    assert_eq!(redis.nodes[replica].cli(&["GET", key]).await, "1\n");
    redis.restart(to).await;
    redis.wait_ok().await;
    assert_eq!(redis.replica_of(replica).await, to);
    redis.reshard(slot..=slot, from).await;
    assert_eq!(redis.primary_of(key).await, from);
    assert_eq!(redis.nodes[from].cli(&["GET", key]).await, "1\n");
    nothing_was_refused(&redis.nodes).await;
}

/// Asks as `stratus` in every wrong way, and in the right one.
async fn only_certificate_and_password_get_in(node: &Node, secrets: &Path, question: &[&str], expected: &str) {
    let password = fs::read_to_string(secrets.join("redis-password")).expect("the password");
    let trusting = ["--tls", "--cacert", "ca.crt"];
    let with = |certificate, key| [trusting.as_slice(), &["--cert", certificate, "--key", key]].concat();
    let own = with("stratus.crt", "stratus.key");
    assert!(node.cli_with(&own, "wrong", question).await.contains("WRONGPASS"));
    for options in [trusting.to_vec(), with("https.crt", "https.key"), Vec::new()] {
        let answer = node.cli_with(&options, password.trim(), question).await;
        assert!(answer.contains("Error") && !answer.contains(expected), "{options:?}: {answer}");
    }
    assert_eq!(node.cli_with(&own, password.trim(), question).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_servers_let_nobody_in_without_a_certificate_and_a_password() {
    let redis = Sentinels::start().await;
    let primary = redis.server(redis.primary().await);
    set(primary, "stratus:a").await;
    only_certificate_and_password_get_in(primary, &redis.secrets(), &["GET", "stratus:a"], "1\n").await;
    let where_it_is = format!("127.0.0.1\n{}\n", primary.port);
    let others: Vec<std::collections::HashMap<String, String>> =
        redis.sentinels[0].run(&["SENTINEL", "SENTINELS", MASTER]).await.expect("the others");
    for address in &redis.addresses()[1..] {
        assert!(others.iter().any(|it| *address == format!("{}:{}", it["ip"], it["port"])), "{others:?}");
    }
    for sentinel in &redis.sentinels {
        only_certificate_and_password_get_in(sentinel, &redis.secrets(), &PRIMARY, &where_it_is).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_cluster_let_nobody_in_without_a_certificate_and_a_password() {
    let redis = Cluster::start().await;
    let primary = &redis.nodes[redis.primary_of("stratus:a").await];
    set(primary, "stratus:a").await;
    only_certificate_and_password_get_in(primary, &redis.secrets(), &["GET", "stratus:a"], "1\n").await;
    let slots = primary.cli(&["CLUSTER", "SLOTS"]).await;
    for address in redis.addresses() {
        assert!(slots.contains(&format!("{}\n", address.replace(':', "\n"))), "{slots}");
    }
}
