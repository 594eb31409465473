//! Values that are not what was stored there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::server::Act;
use super::{Malicious, all_are_answered, harms_nobody, impatient, is_used_again, place, resp, upstream};
use crate::harness::{Reply, Service, body};

/// How long a record lives by default: fresh, stale while revalidating, stale if the upstream fails.
const LIFETIME: Duration = Duration::from_secs(300 + 60 + 3_600);

/// Records that did not open, for whatever reason.
async fn unopened(service: &Service) -> u64 {
    let metrics = service.admin_get("/metrics").await;
    let counted = metrics.text().lines().filter(|line| line.starts_with("stratus_records_not_opened_total{"));
    counted.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_values_that_changed_places_are_counted_misses() {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let service = impatient(redis.setup(&upstream)).start().await;
    service.get("/weather/oslo").await;
    service.get("/weather/bergen").await;
    let records: Vec<_> = redis.records().into_iter().collect();
    let [(one, first), (other, second)] = &records[..] else { panic!("two records: {}", records.len()) };
    redis.put(one, second);
    redis.put(other, first);
    for place in ["oslo", "bergen"] {
        let answer = service.get(&format!("/weather/{place}")).await;
        assert_eq!((answer.status.as_u16(), answer.x_cache(), answer.text()), (200, "MISS", body(place).as_str()));
    }
    assert_eq!(service.metric(r#"stratus_records_not_opened_total{reason="not_authentic"}"#).await, 2);
    is_used_again(&service, "swapped values").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_of_another_name_is_never_an_answer() {
    harms_nobody("the value of another name", |asked| match asked.command {
        "GET" => {
            let records = asked.values.records();
            let other = records.iter().find(|(name, _)| asked.arguments.first() != Some(name));
            Act::Reply(other.map_or(asked.honest, |(_, value)| resp::bulk(value)))
        }
        _ => Act::Reply(asked.honest),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_value_that_is_replayed_is_marked_stale_and_after_its_end_a_counted_miss() {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    let service = impatient(redis.setup(&upstream)).start().await;
    let calls = Arc::new(AtomicUsize::new(0));
    upstream.reply_with(move |request| {
        Reply::json(200, body(&format!("{} {}", place(request), calls.fetch_add(1, Ordering::SeqCst))))
    });
    let ask = async |x_cache: &str, text: &str| {
        let answer = service.get("/weather/oslo").await;
        assert_eq!((answer.status.as_u16(), answer.x_cache(), answer.text()), (200, x_cache, body(text).as_str()));
    };
    ask("MISS", "oslo 0").await;
    let (name, first) = redis.records().pop_first().expect("a record");
    service.clock.advance(Duration::from_secs(361));
    ask("MISS", "oslo 1").await;
    ask("HIT", "oslo 1").await;

    // Within its lifetime it is what that place's weather was; the upstream is asked, and better known at once.
    redis.put(&name, &first);
    upstream.reply(Reply::json(500, "{}"));
    ask("STALE", "oslo 0").await;
    upstream.reply_with(|request| Reply::json(200, body(&format!("{} anew", place(request)))));
    service.clock.advance(LIFETIME - Duration::from_secs(361));
    redis.put(&name, &first);
    ask("MISS", "oslo anew").await;
    assert_eq!(service.metric(r#"stratus_records_not_opened_total{reason="expired"}"#).await, 1);
    ask("HIT", "oslo anew").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_single_flipped_bit_of_a_whole_record_is_a_counted_miss() {
    let (upstream, redis) = (upstream().await, Malicious::start().await);
    // A busy machine is not a Redis that is away: each look has to be at the record.
    let setup = redis.setup(&upstream).set("redis.command_timeout_ms", 20_000);
    let service = setup.set("redis.connect_timeout_ms", 20_000).start().await;
    service.get("/weather/oslo").await;
    let (name, record) = redis.records().pop_first().expect("a record");
    let (before, calls) = (unopened(&service).await, upstream.calls());
    let bits = record.len() * 8;
    for bit in 0..bits {
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        redis.put(&name, &changed);
        let answer = service.get("/weather/oslo").await;
        let seen = (answer.status.as_u16(), answer.x_cache(), answer.text());
        assert_eq!(seen, (200, "MISS", body("oslo").as_str()), "bit {bit} of {bits}");
    }
    let bits = u64::try_from(bits).expect("few bits");
    assert_eq!(unopened(&service).await - before, bits, "each is counted");
    assert_eq!(upstream.calls() - calls, record.len() * 8);
    redis.put(&name, &record);
    all_are_answered(&service, "the record as it was").await;
    assert_eq!(service.get("/weather/oslo").await.x_cache(), "HIT");
}
