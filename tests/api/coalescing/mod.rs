//! The six ends of a load (`src/cache/flight.rs`), and that what waits is bounded.

mod source;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use stratus::cache::{Answer, Cache, GetError, Origin, StoreState};
use stratus::clock::Clock;
use stratus::http;
use stratus::limits::Limits;
use stratus::store::{Notebook, Store};
use stratus::telemetry::{Metrics, Traces};
use stratus::weather::SourceError;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::harness::standstill::{Outside, patiently, standing_still, tasks, until};
use crate::harness::{CALLER, Gate, Reply, ScriptedUpstream, Service, Setup, answer, body};
use source::{Scripted, body_of, config, count, lost, query, weather};

/// Asks the same so many times at once.
async fn crowd(cache: &Cache, callers: usize) -> Vec<Result<Answer, GetError>> {
    patiently(join_all((0..callers).map(|_| cache.get(query(1), CALLER)))).await.expect("answers")
}

/// Waits until so many requests are being answered, beside the one that asks.
async fn in_flight(service: &Service, requests: u64) {
    let reached = async { while service.metric("stratus_http_requests_in_flight").await != requests + 1 {} };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("so many requests in flight");
}

// Done.

/// In one thread, where a request that is in flight has joined its load already.
#[tokio::test]
async fn of_many_callers_at_once_one_asks_and_all_get_the_same_answer() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(200, body("Lima")))).await;
    let service = Setup::memory(&upstream).start().await;
    let (answers, ()) = tokio::join!(join_all((0..50).map(|_| service.get("/weather/Lima"))), async {
        in_flight(&service, 50).await;
        gate.open();
    });
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == body("Lima")));
    assert!(answers.iter().all(|answer| answer.header("etag") == answers[0].header("etag")));
    let (leads, follows) =
        ("stratus; fwd=miss; fwd-status=200; stored", "stratus; fwd=miss; fwd-status=200; stored; collapsed");
    let told = |status| answers.iter().filter(|answer| answer.header("cache-status") == status).count();
    assert_eq!((upstream.calls(), told(leads), told(follows)), (1, 1, 49));
    for (result, answers) in [("miss", 1), ("collapsed", 49)] {
        assert_eq!(service.metric(&format!(r#"stratus_cache_answers_total{{result="{result}"}}"#)).await, answers);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_of_one_cold_key_cost_one_call() {
    let source = Scripted::new(|call| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        weather(call)
    });
    let (cache, _) = source.cache(|_| ());
    let mut callers = JoinSet::new();
    for _ in 0..10_000 {
        let cache = cache.clone();
        callers.spawn(async move { cache.get(query(1), CALLER).await });
    }
    let answers: Vec<_> = callers.join_all().await.into_iter().map(|answer| answer.expect("an answer")).collect();
    assert_eq!((answers.len(), source.calls(), tasks()), (10_000, 1, 0));
    assert!(answers.iter().all(|answer| body_of(answer) == body("call 1")));
    assert!(answers.iter().all(|answer| answer.fetched_at_ms == answers[0].fetched_at_ms));
}

// Failed.

#[tokio::test]
async fn a_failure_is_given_to_all_who_wait_after_one_call() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(Reply::gated(gate.clone(), Reply::json(500, ""))).await;
    let service = Setup::memory(&upstream).start().await;
    let (answers, ()) = tokio::join!(join_all((0..20).map(|_| service.get("/weather/Lima"))), async {
        in_flight(&service, 20).await;
        gate.open();
    });
    assert!(answers.iter().all(|answer| answer.status == 502 && answer.code() == "upstream-failed"));
    assert_eq!(upstream.calls(), 1);
    assert_eq!(service.metric(r#"stratus_cache_failures_total{reason="failed"}"#).await, 20);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_failure_reaches_all_who_wait_as_it_is() {
    let retry_after = Duration::from_secs(77);
    use SourceError as E;
    let budget = E::BudgetExhausted { retry_after };
    for error in [E::NoKey, E::RejectedKey, budget, E::Timeout, E::Unavailable, E::Failed, E::InvalidResponse] {
        let source = Scripted::new(move |_| async move { Err(error) });
        let (cache, _) = source.cache(|_| ());
        let answers = crowd(&cache, 20).await;
        assert!(answers.iter().all(|answer| *answer == Err(GetError::from(error))), "{answers:?}");
        assert_eq!((source.calls(), tasks()), (1, 0), "{error:?}");
    }
}

// Lost.

#[tokio::test(start_paused = true)]
async fn a_load_that_is_lost_is_led_once_more_and_all_are_answered() {
    let source = Scripted::new(|call| async move { if call == 1 { lost() } else { weather(call) } });
    let (cache, metrics) = source.cache(|_| ());
    let answers = crowd(&cache, 20).await;
    assert!(answers.iter().flatten().all(|answer| body_of(answer) == body("call 2")));
    assert_eq!((answers.iter().flatten().count(), source.calls(), tasks()), (20, 2, 0));
    assert_eq!(count(&metrics, r#"stratus_cache_loads_total{outcome="lost"}"#), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_lost_twice_is_given_up_and_its_key_is_usable_afterwards() {
    let source = Scripted::new(|call| async move { if call <= 2 { lost() } else { weather(call) } });
    let (cache, metrics) = source.cache(|_| ());
    let answers = crowd(&cache, 20).await;
    assert!(answers.iter().all(|answer| *answer == Err(GetError::Lost)), "{answers:?}");
    assert_eq!((source.calls(), tasks(), count(&metrics, r#"stratus_cache_loads_total{outcome="lost"}"#)), (2, 0, 2));
    let next = cache.get(query(1), CALLER).await.expect("an answer");
    assert_eq!((body_of(&next), source.calls()), (body("call 3"), 3));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_a_copy_a_lost_load_is_no_loss_and_a_lost_renewal_is_counted() {
    let source = Scripted::new(|call| async move { if call == 1 { weather(call) } else { lost() } });
    let (cache, metrics) = source.cache(|_| ());
    cache.get(query(1), CALLER).await.expect("an answer");
    for (age_secs, loads) in [(301, 1), (400, 3)] {
        source.clock.advance(Duration::from_secs(age_secs));
        let stale = cache.get(query(1), CALLER).await.expect("a copy");
        assert_eq!((stale.origin, body_of(&stale)), (Origin::Stale("memory"), body("call 1")));
        until("the renewal ends", || tasks() == 0).await.expect("no task is left");
        let lost = count(&metrics, r#"stratus_cache_loads_total{outcome="lost"}"#);
        assert_eq!((source.calls(), lost), (1 + loads, loads as u64));
    }
}

/// The service's own routes before a cache of this test.
async fn serve(cache: Cache, metrics: Arc<Metrics>) -> (String, impl Drop) {
    let config = config(&[("store.backend".to_owned(), "memory".to_owned())]);
    let clock = Clock::system();
    let store = Store::start(config.store, clock.clone(), Arc::clone(&metrics));
    let notes = Notebook { store, keyring: config.keyring, clock: clock.clone() };
    let guard = http::Guard::new(config.access, Limits::new(notes, 1, Arc::clone(&metrics)), clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let limits = http::Limits { drain: Duration::ZERO, ..http::Limits::default() };
    let stopping = CancellationToken::new();
    let routes = http::public(&config.server, guard, cache, metrics, Traces::default());
    tokio::spawn(http::serve(listener, routes, limits, stopping.clone()));
    (format!("http://{address}/weather/id:1"), stopping.drop_guard())
}

#[tokio::test]
async fn a_lost_load_is_an_internal_error_and_tells_nothing_of_its_cause() {
    let source = Scripted::new(|_| async { lost() });
    let (cache, metrics) = source.cache(|_| ());
    let (url, _stop) = serve(cache, metrics).await;
    let lost = answer(reqwest::Client::builder().no_proxy().build().expect("a client").get(url)).await;
    assert_eq!((lost.status.as_u16(), lost.code().as_str(), source.calls()), (500, "internal", 2));
    assert!(!lost.text().contains("a load is lost"), "{lost:?}");
}

// Load deadline.

#[tokio::test(start_paused = true)]
async fn a_load_that_never_ends_is_dropped_at_its_deadline_and_its_key_is_usable_again() {
    let source =
        Scripted::new(|call| async move { if call == 1 { std::future::pending().await } else { weather(call) } });
    let (cache, metrics) = source.cache(|config| config.load_timeout = Duration::from_secs(2));
    let began = Instant::now();
    let answers = join_all((0..20).map(|_| cache.get(query(1), CALLER))).await;
    assert!(answers.iter().all(|answer| *answer == Err(GetError::from(SourceError::Timeout))), "{answers:?}");
    // By the clock of the timers, which stands still while something is done.
    let late = began.elapsed() - Duration::from_secs(2);
    assert!(late < Duration::from_millis(50), "{late:?}");
    assert_eq!((source.calls(), source.under_way(), tasks()), (1, 0, 0));
    assert_eq!(count(&metrics, r#"stratus_cache_loads_total{outcome="failed"}"#), 1);

    tokio::time::advance(Duration::from_millis(50) - late).await;
    source.clock.advance(Duration::from_secs(1));
    let next = cache.get(query(1), CALLER).await.expect("an answer");
    assert_eq!((body_of(&next), source.calls()), (body("call 2"), 2));
}

// Wait deadline.

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_so_and_what_the_load_brings_is_kept() {
    let source = Scripted::new(|call| async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        weather(call)
    });
    let (cache, _) = source.cache(|config| config.wait_timeout = Duration::from_secs(1));
    let early = cache.get(query(1), CALLER).await;
    assert_eq!((early, source.under_way()), (Err(GetError::WaitTimeout), 1));
    tokio::time::advance(Duration::from_secs(2)).await;
    until("the load ends", || tasks() == 0).await.expect("no task is left");
    let kept = cache.recall(&query(1)).expect("a copy");
    assert_eq!((kept.origin, body_of(&kept), source.calls()), (Origin::Fresh("memory"), body("call 1"), 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_gets_a_stale_copy_where_there_is_one() {
    let (source, open) = Scripted::gated(1);
    let (cache, metrics) = source.cache(|config| config.wait_timeout = Duration::from_secs(1));
    cache.get(query(1), CALLER).await.expect("an answer");
    source.clock.advance(Duration::from_secs(400));
    let stale = cache.get(query(1), CALLER).await.expect("a copy");
    assert_eq!((stale.origin, body_of(&stale)), (Origin::Stale("memory"), body("call 1")));
    assert_eq!(count(&metrics, r#"stratus_cache_answers_total{result="stale"}"#), 1);
    open.send_replace(true);
    until("the load ends", || tasks() == 0).await.expect("no task is left");
    let kept = cache.recall(&query(1)).expect("a copy");
    assert_eq!((kept.origin, body_of(&kept), source.calls()), (Origin::Fresh("memory"), body("call 2"), 2));
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_a_gateway_timeout_and_the_next_one_a_hit() {
    let (source, open) = Scripted::gated(0);
    let (cache, metrics) = source.cache(|config| config.wait_timeout = Duration::from_millis(20));
    let (url, _stop) = serve(cache.clone(), metrics).await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let late = answer(client.get(&url)).await;
    assert_eq!((late.status.as_u16(), late.code().as_str()), (504, "upstream-timeout"));
    assert_eq!(late.header("cache-status"), "stratus; fwd=miss; detail=upstream-timeout");
    open.send_replace(true);
    until("the load's answer is kept", || cache.recall(&query(1)).is_some()).await.expect("it is kept");
    let next = answer(client.get(&url)).await;
    assert_eq!((next.x_cache(), next.text(), source.calls()), ("HIT", body("call 1").as_str(), 1));
}

#[test]
fn what_came_just_before_somebody_waited_too_long_is_fresh_and_said_to_be() {
    let outside = Outside::new();
    let line = outside.line();
    standing_still(async {
        let (source, open) = Scripted::gated(0);
        let (cache, metrics) = source.cache_on(&line.settings, |config| config.wait_timeout = Duration::from_secs(1));
        until("Redis is used", || *cache.store_state().borrow() == StoreState::Up).await.expect("a Redis");
        let asking = tokio::spawn({
            let cache = cache.clone();
            async move { cache.get(query(1), CALLER).await }
        });
        until("the upstream is asked", || source.calls() == 1).await.expect("a call");
        // What it says is in memory at once, and not in Redis for a long while.
        line.proxy.freeze();
        open.send_replace(true);
        until("the answer is in memory", || cache.memory_size().0 == 1).await.expect("a copy");
        tokio::time::advance(Duration::from_secs(1)).await;
        let late = patiently(asking).await.expect("an end").expect("no panic").expect("an answer");
        assert_eq!((late.origin, body_of(&late)), (Origin::Fresh("memory"), body("call 1")));
        assert_eq!(count(&metrics, r#"stratus_cache_answers_total{result="hit_memory"}"#), 1);
    });
}

// Overloaded.

/// A service with three places to wait, before an upstream that answers about Rome at once and else when the gate opens.
async fn three_places() -> (Service, ScriptedUpstream, Gate) {
    let (gate, upstream) = (Gate::new(), ScriptedUpstream::start(Reply::never()).await);
    let held = gate.clone();
    upstream.reply_with(move |request| {
        let place = &request.query.iter().find(|(name, _)| name == "q").expect("a place").1;
        let reply = Reply::json(200, body(place));
        if place == "rome" { reply } else { Reply::gated(held.clone(), reply) }
    });
    let service = Setup::memory(&upstream).set("cache.max_waiters", 3).start().await;
    assert_eq!(service.get("/weather/Rome").await.x_cache(), "MISS");
    (service, upstream, gate)
}

const PLACES: [&str; 3] = ["/weather/oslo", "/weather/bern", "/weather/lima"];

async fn is_refused(service: &Service, path: &str) {
    let refused = service.get(path).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "overloaded"), "{path}");
    assert_eq!((refused.header("retry-after"), refused.header("cache-status")), ("1", "stratus; detail=overloaded"));
}

#[tokio::test]
async fn one_more_than_may_wait_is_refused_at_once_and_hits_are_still_served() {
    let (service, upstream, gate) = three_places().await;
    let (answers, ()) = tokio::join!(join_all(PLACES.map(|path| service.get(path))), async {
        in_flight(&service, 3).await;
        for path in ["/weather/lima", "/weather/paris"] {
            is_refused(&service, path).await;
        }
        assert_eq!(service.get("/weather/Rome").await.x_cache(), "HIT");
        gate.open();
    });
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(upstream.calls(), 4);
    assert_eq!(service.metric(r#"stratus_cache_failures_total{reason="overloaded"}"#).await, 2);
    assert_eq!(service.get("/weather/paris").await.status, 200);
}

#[tokio::test]
async fn a_place_to_wait_is_given_back_by_those_who_leave() {
    let (service, upstream, gate) = three_places().await;
    for _ in 0..2 {
        let leaving: Vec<_> =
            PLACES.map(|path| tokio::spawn(service.request(reqwest::Method::GET, path).send())).into();
        in_flight(&service, 3).await;
        is_refused(&service, "/weather/paris").await;
        for request in leaving {
            request.abort();
        }
        in_flight(&service, 0).await;
    }
    let (answers, ()) = tokio::join!(join_all(PLACES.map(|path| service.get(path))), async {
        in_flight(&service, 3).await;
        is_refused(&service, "/weather/paris").await;
        gate.open();
    });
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    // The loads of those who left went on.
    assert_eq!(upstream.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn so_many_renewals_are_under_way_at_once_and_no_more() {
    const PLACES: usize = 300;
    const RENEWALS: usize = 256;
    let (source, open) = Scripted::gated(PLACES);
    let (cache, _) = source.cache(|_| ());
    for id in 1..=PLACES {
        cache.get(query(id), CALLER).await.expect("an answer");
    }
    source.clock.advance(Duration::from_secs(310));
    let recalled = |origin| {
        let answers = (1..=PLACES).map(|id| cache.recall(&query(id)).expect("a copy"));
        answers.filter(|answer| answer.origin == origin).count()
    };
    assert_eq!((recalled(Origin::Stale("memory")), tasks()), (PLACES, RENEWALS));
    until("the upstream is asked", || source.calls() == PLACES + RENEWALS).await.expect("renewals");
    open.send_replace(true);
    until("the renewals end", || tasks() == 0).await.expect("no task is left");
    assert_eq!(recalled(Origin::Fresh("memory")), RENEWALS);
    // Those that were not begun then are begun now.
    until("the others end", || tasks() == 0).await.expect("no task is left");
    assert_eq!((recalled(Origin::Fresh("memory")), source.calls()), (PLACES, 2 * PLACES));
}
