//! What the inner parts of a hit cost, each alone: `cargo bench --bench inner`.
//!
//! Only the crate's public functions are called, with the values that a usual request has.

mod fixture;
#[path = "fixture/forecast.rs"]
mod forecast;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use stratus::cache::{Answer, Body, Cache, Coding, Content, Origin, Windows};
use stratus::consumers::{Consumers, entry, generate_key, parse};
use stratus::crypto::{Keyring, Padding, RecordName, Times};
use stratus::limits::{Addresses, Limits, Meter};
use stratus::telemetry::{Metrics, TraceConfig, Traces};
use stratus::weather::{Fetched, Fetching, Purpose, Query, Source};
use tokio::runtime::Runtime;

use fixture::{CALLER, NOW_MS};
use forecast::forecast;

/// An answer of OpenWeatherMap has about 600 bytes; 16 KiB is far more than it ever sends, and shows what each byte costs.
const BODY_BYTES: [usize; 2] = [600, 16 * 1024];
/// Of a forecast of five days, and of one of four days by the hour: about 16 and 38 KB.
const FORECAST_STEPS: [u64; 2] = [40, 96];
/// Calls that share one `block_on`, whose own price then does not count. A thousand, so that the microseconds printed
/// for a batch are nanoseconds a call.
const BATCH: usize = 1_000;

/// Each figure is measured for at least this long: its median then changes little from run to run.
const MEASURE: Duration = Duration::from_millis(500);

fn main() {
    divan::Divan::from_args().min_time(MEASURE).main();
}

/// Segment and parameters as they come from the wire.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Name,
    EncodedName,
    Coordinates,
}

impl Asked {
    const ALL: [Self; 3] = [Self::Name, Self::EncodedName, Self::Coordinates];

    fn wire(self) -> (&'static str, &'static str) {
        match self {
            Self::Name => ("London", ""),
            Self::EncodedName => ("S%C3%A3o%20Paulo,%20BR", "units=metric&lang=pt-BR"),
            Self::Coordinates => ("51.5074,-0.1278", "units=imperial"),
        }
    }
}

#[divan::bench]
fn freshness(bencher: Bencher<'_, '_>) {
    let windows = Windows {
        fresh: Duration::from_secs(300),
        stale_while_revalidate: Duration::from_secs(60),
        stale_if_error: Duration::from_secs(3_600),
    };
    bencher.bench(|| black_box(windows).freshness(black_box(NOW_MS), black_box(NOW_MS + 299_999)));
}

/// From the wire to the canonical question.
#[divan::bench(args = Asked::ALL)]
fn query_parse(bencher: Bencher<'_, '_>, asked: Asked) {
    let (segment, parameters) = asked.wire();
    bencher.bench(|| Query::parse(black_box(segment), black_box(parameters)).expect("a question that is well-formed"));
}

/// From the canonical question to the text that is digested.
#[divan::bench(args = Asked::ALL)]
fn query_subject(bencher: Bencher<'_, '_>, asked: Asked) {
    let query = query(asked);
    bencher.bench(|| black_box(&query).subject());
}

/// From that text to the record's name.
#[divan::bench]
fn record_name(bencher: Bencher<'_, '_>) {
    let (ring, subject) = (ring(), query(Asked::Name).subject());
    bencher.bench(|| ring.names(black_box(&subject)));
}

#[divan::bench(args = BODY_BYTES)]
fn seal(bencher: Bencher<'_, '_>, bytes: usize) {
    let (ring, body) = (ring(), vec![b'w'; bytes]);
    let name = name(&ring);
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| ring.seal(&name, times(), black_box(&body), Padding::Record).expect("it seals"));
}

#[divan::bench(args = BODY_BYTES)]
fn open(bencher: Bencher<'_, '_>, bytes: usize) {
    let ring = ring();
    let name = name(&ring);
    let sealed = ring.seal(&name, times(), &vec![b'w'; bytes], Padding::Record).expect("it seals");
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        ring.open(&name, black_box(&sealed), black_box(NOW_MS)).expect("what was sealed opens");
    });
}

/// A long body as it comes from the upstream: compressed, and its tag.
#[divan::bench(args = FORECAST_STEPS)]
fn body_new(bencher: Bencher<'_, '_>, steps: u64) {
    let bytes = Bytes::from(forecast(1, steps));
    bencher.counter(BytesCount::new(bytes.len())).bench(|| Body::new(black_box(&bytes).clone()));
}

/// Its text, for a caller who accepts no coding.
#[divan::bench(args = FORECAST_STEPS)]
fn body_bytes(bencher: Bencher<'_, '_>, steps: u64) {
    let body = Body::new(forecast(1, steps).into());
    bencher.counter(BytesCount::new(body.bytes().len())).bench(|| black_box(&body).bytes());
}

/// Its text while another answer has it, or one of its forms.
#[divan::bench]
fn body_bytes_shared(bencher: Bencher<'_, '_>) {
    let body = Body::new(forecast(1, FORECAST_STEPS[0]).into());
    let _other = body.bytes();
    bencher.bench(|| black_box(&body).bytes());
}

#[divan::bench(args = Coding::ALL)]
fn body_encoded(bencher: Bencher<'_, '_>, coding: Coding) {
    let body = Body::new(forecast(1, FORECAST_STEPS[0]).into());
    bencher.bench(|| black_box(&body).encoded(coding).expect("it pays"));
}

/// What every answer with a short body takes.
#[divan::bench]
fn body_bytes_short(bencher: Bencher<'_, '_>) {
    let body = Body::new(short());
    bencher.bench(|| black_box(&body).bytes());
}

/// A hit in the store of this process: name, look-up, opening, and all that goes with a shared load. A batch a time.
#[divan::bench]
fn cache_get_store_hit(bencher: Bencher<'_, '_>) {
    hits_in_store(bencher, short());
}

/// The same with a body that is packed.
#[divan::bench]
fn cache_get_store_hit_forecast(bencher: Bencher<'_, '_>) {
    hits_in_store(bencher, forecast(1, FORECAST_STEPS[0]).into());
}

fn hits_in_store(bencher: Bencher<'_, '_>, body: Bytes) {
    let (runtime, cache, query) = filled_cache(0, body);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        runtime.block_on(async {
            for _ in 0..BATCH {
                black_box(hit(&cache, black_box(query.clone())).await);
            }
        });
    });
}

/// A hit in memory: the question, its answer with the prepared body, and the counters.
#[divan::bench]
fn cache_recall_memory_hit(bencher: Bencher<'_, '_>) {
    let (_runtime, cache, query) = filled_cache(1 << 20, short());
    bencher.bench_local(|| cache.recall(black_box(&query)).expect("memory has it"));
}

/// Whose key a request brings, among a thousand.
#[divan::bench]
fn consumer_find(bencher: Bencher<'_, '_>) {
    let key = generate_key().expect("random bytes");
    let others = (0..1_000_u32).map(|other| entry(&format!("other-{other}"), 600, &other.to_be_bytes(), None));
    let text: String = others.chain([entry("kiosk", 600, key.as_bytes(), None)]).collect();
    let consumers = Consumers::new(parse(&text).expect("entries"), None);
    bencher.bench_local(|| consumers.find(black_box(key.as_bytes()), black_box(NOW_MS)).expect("its key"));
}

/// One request of a caller who is far from his limit.
#[divan::bench]
fn limit_take(bencher: Bencher<'_, '_>) {
    let (_runtime, limits) = limits();
    let meter = Meter::new("kiosk".to_owned(), u32::MAX);
    bencher.bench_local(|| limits.try_take(black_box(&meter)));
}

/// The same by address.
#[divan::bench]
fn limit_take_by_address(bencher: Bencher<'_, '_>) {
    let (_runtime, limits) = limits();
    let addresses = Addresses::new(Arc::clone(&limits), u32::MAX);
    bencher.bench_local(|| limits.try_take(&addresses.meter(black_box(CALLER))));
}

/// Whether a request is traced.
#[derive(Debug, Clone, Copy)]
enum Traced {
    NoCollector,
    CallerDoesNotSample,
    OverTheRate,
}

/// What every request pays for traces that does not get one.
#[divan::bench(args = [Traced::NoCollector, Traced::CallerDoesNotSample, Traced::OverTheRate])]
fn trace_not_sampled(bencher: Bencher<'_, '_>, traced: Traced) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    // Fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Nothing listens there; what is sent before the rate is reached is lost.
    let endpoint = "http://127.0.0.1:9".parse().expect("an address");
    let on = || runtime.block_on(Traces::start(&TraceConfig { endpoint }, Metrics::new().traces()));
    let (traces, parent) = match traced {
        Traced::NoCollector => (Traces::default(), None),
        Traced::CallerDoesNotSample => {
            (on().expect("a thread"), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"))
        }
        Traced::OverTheRate => (on().expect("a thread"), None),
    };
    bencher.bench_local(|| traces.request("GET", "/weather/{location}", || black_box(parent)));
}

fn limits() -> (Runtime, Arc<Limits>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let limits = runtime.block_on(async { Limits::new(fixture::notes(ring()), 1, Metrics::new()) });
    (runtime, limits)
}

/// The one call that is measured above.
async fn hit(cache: &Cache, query: Query) -> Answer {
    cache.get(query, CALLER).await.expect("the cache is filled")
}

/// A cache that has the answer to the question given with it, in its store and, if that may take any bytes, in memory.
fn filled_cache(memory_max_bytes: u64, body: Bytes) -> (Runtime, Cache, Query) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let (source, query) = (Arc::new(Constant(body.clone())), query(Asked::Name));
    let cache = runtime.block_on(async {
        let cache = fixture::cache(memory_max_bytes, 1, ring(), source);
        cache.get(query.clone(), CALLER).await.expect("the source answers");
        cache
    });
    let again = runtime.block_on(hit(&cache, query.clone()));
    assert_eq!(again.origin, Origin::Fresh("memory"), "what is measured has to be a hit");
    assert!(matches!(again.content, Content::Weather(again) if again.bytes() == body));
    (runtime, cache, query)
}

/// As long as an answer about the weather of now.
fn short() -> Bytes {
    vec![b'w'; BODY_BYTES[0]].into()
}

/// Answers at once, always the same.
struct Constant(Bytes);

impl Source for Constant {
    fn fetch<'a>(&'a self, _: &'a Query, _: Purpose) -> Fetching<'a> {
        let fetched = Fetched { body: self.0.clone(), fetched_at_ms: NOW_MS };
        Box::pin(async move { Ok(fetched) })
    }
}

fn query(asked: Asked) -> Query {
    let (segment, parameters) = asked.wire();
    Query::parse(segment, parameters).expect("a question that is well-formed")
}

fn ring() -> Keyring {
    Keyring::ephemeral().expect("the operating system has random bytes")
}

fn name(ring: &Keyring) -> RecordName {
    ring.names(&query(Asked::Name).subject()).swap_remove(0)
}

fn times() -> Times {
    Times { fetched_at_ms: NOW_MS, expires_at_ms: NOW_MS + 3_600_000 }
}
