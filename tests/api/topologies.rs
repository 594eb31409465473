//! Sentinel and Cluster as they are shipped: who may do what there, and that the real parts of these tests do what they say.

use crate::harness::cluster::Cluster;
use crate::harness::sentinel::{MASTER, Sentinels};

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_appoint_another_primary_when_it_is_killed_and_when_they_are_told_to() {
    let t = std::time::Instant::now();
    let mut redis = Sentinels::start().await;
    eprintln!("start {:?}", t.elapsed());
    let first = redis.primary().await;
    assert_eq!(redis.servers[0].port, first);
    assert_eq!(redis.server(first).cli(&["SET", "stratus:a", "1", "PX", "60000"]).await, "OK\n");
    let second = redis.fail_over().await;
    eprintln!("fail over {:?}", t.elapsed());
    assert_ne!(second, first);
    redis.wait_complete().await;
    eprintln!("complete {:?}", t.elapsed());
    assert_eq!(redis.server(second).cli(&["GET", "stratus:a"]).await, "1\n");
    assert_eq!(redis.kill_primary().await, second);
    let third = redis.wait_promoted(second).await;
    eprintln!("promoted {:?}", t.elapsed());
    assert_ne!(third, second);
    redis.server_mut(second).start();
    redis.server_mut(second).ready().await;
    redis.wait_complete().await;
    eprintln!("complete {:?}", t.elapsed());
    let _ = (MASTER, redis.secrets(), redis.addresses());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_moves_with_its_keys_while_the_cluster_is_used() {
    let t = std::time::Instant::now();
    let mut redis = Cluster::start().await;
    eprintln!("start {:?}", t.elapsed());
    let key = "stratus:a";
    let (slot, from) = (redis.slot_of(key).await, redis.primary_of(key).await);
    let to = (from + 1) % 3;
    assert_eq!(redis.nodes[from].cli(&["SET", key, "1", "PX", "60000"]).await, "OK\n");
    redis.begin_move(slot, to).await;
    assert_eq!(redis.nodes[from].cli(&["GET", key]).await, "1\n");
    redis.move_keys(slot, to).await;
    let ask = redis.nodes[from].cli(&["GET", key]).await;
    assert!(ask.contains(&format!("ASK {slot} {}", redis.nodes[to].address())), "{ask}");
    redis.finish_move(slot, to).await;
    eprintln!("moved {:?}", t.elapsed());
    assert_eq!(redis.primary_of(key).await, to);
    assert_eq!(redis.nodes[to].cli(&["GET", key]).await, "1\n");
    redis.kill(to);
    let replica = redis.wait_promoted(slot, to).await;
    eprintln!("promoted {:?}", t.elapsed());
    assert_eq!(redis.nodes[replica].cli(&["GET", key]).await, "1\n");
    redis.restart(to).await;
    redis.wait_ok().await;
    eprintln!("ok {:?}", t.elapsed());
    redis.reshard(slot..slot + 3, from).await;
    assert_eq!(redis.primary_of(key).await, from);
    let _ = (redis.secrets(), redis.addresses(), redis.replica_of(from).await);
}
