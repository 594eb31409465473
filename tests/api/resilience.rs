//! Redis away, hung, cut off or full: every question is still answered, and the link heals by itself.

use futures_util::future::join_all;

use crate::harness::program::{parsed, signal};
use crate::harness::upstream::Request;
use crate::harness::{Redis, Reply, ScriptedUpstream, Service, Setup, TcpProxy, body};

const READ_TIMEOUTS: &str = r#"stratus_store_failures_total{operation="read",reason="timeout"}"#;
const READS_AWAY: &str = r#"stratus_store_failures_total{operation="read",reason="away"}"#;
const WRITES_REFUSED: &str = r#"stratus_store_failures_total{operation="write",reason="refused"}"#;

/// An upstream whose body names the place that was asked for, so that an answer about another place shows.
async fn upstream() -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request: &Request| {
        let place = request.query.iter().find(|(name, _)| name == "q").expect("a place");
        Reply::json(200, body(&place.1))
    });
    upstream
}

/// With limits that a busy machine does not reach: what is slow here is not meant.
fn patient(setup: Setup) -> Setup {
    setup.set("redis.command_timeout_ms", 10_000).set("redis.connect_timeout_ms", 10_000)
}

/// With limits that a Redis which hangs does reach.
fn impatient(setup: Setup) -> Setup {
    setup.set("redis.command_timeout_ms", 1_000).set("redis.connect_timeout_ms", 2_000)
}

/// Asks about a place; it has to be answered right, and in this way.
async fn ask(service: &Service, place: &str, x_cache: &str) {
    let answer = service.get(&format!("/weather/{place}")).await;
    assert_eq!((answer.status.as_u16(), answer.x_cache(), answer.text()), (200, x_cache, body(place).as_str()));
}

/// Waits for something that nobody reports.
async fn until(mut happened: impl FnMut() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.expect("it happens in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_at_the_start_is_used_as_soon_as_it_comes() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    redis.server.stop().await;
    let mut service = patient(Setup::redis(&upstream, &redis)).start().await;
    assert_eq!(service.store_down().await, "Redis cannot be reached");
    for _ in 0..2 {
        let answer = service.get("/weather/oslo").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, body("oslo").as_str()));
        assert_eq!(answer.header("cache-status"), "stratus; fwd=miss; fwd-status=200");
    }
    redis.restart().await;
    service.store_up().await;
    ask(&service, "oslo", "MISS").await;
    ask(&service, "oslo", "HIT").await;
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_restarted_costs_nobody_an_answer() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    let mut service = patient(Setup::redis(&upstream, &redis)).start().await;
    ask(&service, "oslo", "MISS").await;
    ask(&service, "oslo", "HIT").await;
    redis.server.stop().await;
    ask(&service, "oslo", "MISS").await;
    service.store_down_because("cannot be reached").await;
    ask(&service, "oslo", "MISS").await;
    redis.restart().await;
    service.store_up().await;
    ask(&service, "oslo", "MISS").await;
    ask(&service, "oslo", "HIT").await;
}

/// One request finds out that Redis hangs; the others know.
async fn only_one_waits_for_a_hung_redis(service: &mut Service) {
    ask(service, "oslo", "MISS").await;
    service.store_down().await;
    for _ in 0..30 {
        ask(service, "oslo", "MISS").await;
    }
    assert_eq!(service.metric(READ_TIMEOUTS).await, 1);
    assert!(service.metric(READS_AWAY).await >= 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_delays_one_request_only_and_heals() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let proxy = TcpProxy::start(redis.server.port()).await;
    let mut service = impatient(Setup::redis_through(&upstream, &redis, proxy.port())).start().await;
    ask(&service, "oslo", "MISS").await;
    ask(&service, "oslo", "HIT").await;
    proxy.freeze();
    only_one_waits_for_a_hung_redis(&mut service).await;
    service.store_down_because("does not answer a connection in time").await;
    proxy.thaw();
    service.store_up().await;
    ask(&service, "oslo", "HIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_delays_one_request_only_and_heals() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let mut service = impatient(Setup::redis(&upstream, &redis)).start().await;
    ask(&service, "oslo", "MISS").await;
    ask(&service, "oslo", "HIT").await;
    signal(redis.server.pid(), "STOP").await;
    only_one_waits_for_a_hung_redis(&mut service).await;
    signal(redis.server.pid(), "CONT").await;
    service.store_up().await;
    ask(&service, "oslo", "HIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_never_change_places_round_a_hang() {
    let places: Vec<_> = ('a'..='t').map(|letter| format!("place {letter}")).collect();
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let proxy = TcpProxy::start(redis.server.port()).await;
    let mut service = impatient(Setup::redis_through(&upstream, &redis, proxy.port())).start().await;
    let ask_all = async |service: &Service| {
        join_all(places.iter().map(async |place: &String| {
            let answer = service.get(&format!("/weather/{place}")).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, body(place).as_str()));
        }))
        .await;
    };
    ask_all(&service).await;
    // The replies come while they are waited for, and after everybody stopped waiting.
    for given_up in [false, true, false, true] {
        service.store_up().await;
        let before = proxy.bytes_seen().len();
        proxy.freeze();
        let thaw = async {
            until(|| proxy.bytes_seen().len() > before).await;
            if !given_up {
                proxy.thaw();
            }
        };
        tokio::join!(ask_all(&service), thaw);
        proxy.thaw();
        service.store_up().await;
        ask_all(&service).await;
    }
    // A record under another's name would not have opened.
    let metrics = service.admin_get("/metrics").await;
    assert!(!metrics.text().contains("stratus_records_not_opened_total{"), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_under_a_request_is_noticed_at_once_and_made_anew() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let proxy = TcpProxy::start(redis.server.port()).await;
    let mut service = patient(Setup::redis_through(&upstream, &redis, proxy.port())).start().await;
    for place in ["oslo", "rome"] {
        ask(&service, place, "MISS").await;
    }
    for _ in 0..3 {
        let before = proxy.bytes_seen().len();
        proxy.freeze();
        let cut = async {
            until(|| proxy.bytes_seen().len() > before).await;
            proxy.cut();
        };
        tokio::join!(ask(&service, "oslo", "MISS"), ask(&service, "rome", "MISS"), cut);
        service.store_down_because("cannot be reached").await;
        proxy.thaw();
        ask(&service, "rome", "MISS").await;
        proxy.mend().await;
        service.store_up().await;
        for place in ["oslo", "rome"] {
            ask(&service, place, "HIT").await;
        }
    }
    assert_eq!(service.metric(READ_TIMEOUTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_counted_and_still_read_and_used_again_when_there_is_room() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    redis.restart_with_inspector().await;
    let service = patient(Setup::redis(&upstream, &redis)).start().await;
    ask(&service, "rome", "MISS").await;
    for (name, value) in [("maxmemory-policy", "noeviction"), ("maxmemory", "4mb")] {
        assert_eq!(redis.inspect(&["CONFIG", "SET", name, value]).await, "OK\n");
    }
    redis.inspect(&["SETRANGE", "filler", "4194304", "x"]).await;

    for _ in 0..2 {
        ask(&service, "oslo", "MISS").await;
    }
    ask(&service, "rome", "HIT").await;
    // What replicas tell each other from time to time may be among them.
    assert!(service.metric(WRITES_REFUSED).await >= 2);
    assert_eq!(service.metric("stratus_store_up").await, 1);

    assert_eq!(redis.inspect(&["DEL", "filler"]).await, "1\n");
    ask(&service, "oslo", "MISS").await;
    ask(&service, "oslo", "HIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_service_is_ready_and_says_what_is_wrong_and_how_to_mend_it() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    redis.server.stop().await;
    let mut service = patient(Setup::redis(&upstream, &redis)).start().await;
    service.store_down().await;
    let ready = service.admin_get("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.text()), (200, "ready\n"));
    let store = &service.admin_get("/status").await.json()["store"];
    let expected = serde_json::json!({
        "kind": "redis",
        "state": "down",
        "reason": "Redis cannot be reached",
        "fix": "start it, or correct redis.url or redis.nodes",
    });
    assert_eq!((store, service.metric("stratus_store_up").await), (&expected, 0));

    redis.restart().await;
    service.store_up().await;
    assert_eq!(service.admin_get("/status").await.json()["store"]["state"], "up");
    assert_eq!(service.metric("stratus_store_up").await, 1);
}

/// The messages about Redis at this level.
fn about_redis<'a>(log: &'a [serde_json::Value], level: &str) -> Vec<&'a str> {
    let lines = log.iter().filter(|line| line["level"] == level);
    lines.filter_map(|line| line["message"].as_str()).filter(|message| message.contains("Redis")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_once_that_redis_is_away_however_many_ask() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    redis.server.stop().await;
    let program = patient(Setup::redis(&upstream, &redis)).program().await;
    for _ in 0..50 {
        assert_eq!(program.get("/weather/oslo").await.status, 200);
    }
    let log = parsed(&program.stop().await);
    assert_eq!(about_redis(&log, "WARN"), ["Redis cannot be reached: answers come from upstream until it is back"]);
    assert!(about_redis(&log, "INFO").is_empty() && about_redis(&log, "ERROR").is_empty(), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_once_that_redis_is_back() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    redis.server.stop().await;
    let program = patient(Setup::redis(&upstream, &redis)).program().await;
    program.get("/weather/oslo").await;
    redis.restart().await;
    program.logs("Redis is connected").await;
    for _ in 0..50 {
        assert_eq!(program.get("/weather/oslo").await.status, 200);
    }
    let log = parsed(&program.stop().await);
    assert_eq!(about_redis(&log, "INFO"), ["Redis is connected"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_and_restarted_under_load_costs_nobody_an_answer() {
    const PLACES: [&str; 6] = ["oslo", "rome", "lima", "bern", "kyiv", "pune"];
    for memory_max_bytes in [0, 1 << 20] {
        let (upstream, mut redis) = (upstream().await, Redis::start().await);
        let setup = patient(Setup::redis(&upstream, &redis)).set("cache.memory_max_bytes", memory_max_bytes);
        let mut service = setup.start().await;
        let troubled = std::sync::atomic::AtomicBool::new(true);
        let ask = async |place: &str| {
            let answer = service.get(&format!("/weather/{place}")).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, body(place).as_str()), "{answer:?}");
        };
        let asking = async {
            let mut rounds = 0;
            while troubled.load(std::sync::atomic::Ordering::SeqCst) {
                join_all(PLACES.map(&ask)).await;
                rounds += 1;
            }
            rounds
        };
        let trouble = async {
            for _ in 0..3 {
                signal(redis.server.pid(), "KILL").await;
                redis.restart().await;
            }
            troubled.store(false, std::sync::atomic::Ordering::SeqCst);
        };
        let (rounds, ()) = tokio::join!(asking, trouble);
        assert!(rounds > 0);
        service.store_up().await;
    }
}
