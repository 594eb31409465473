//! `appid` is a consumer's key of ours, in any case; it decides who asks, and gets nowhere else.

use std::time::Duration;

use reqwest::Method;
use stratus::clock::Clock;
use stratus::consumers::{KeyDigest, generate_key};
use stratus::crypto::Keyring;
use stratus::weather::Query;
use tempfile::TempDir;

use super::{BLOCKED, INVALID_KEY, LONDON, body_of, endpoint, everything, get_the_long_way, retry_after, says};
use crate::harness::canaries::everything_of;
use crate::harness::{API_KEY, Answer, Canaries, Inspector, Redis, Reply, Service, Setup, answer};

/// What a client had for OpenWeatherMap: none of ours.
const FOREIGN: &str = "0123456789abcdef0123456789abcdef";

/// A consumers file, and keys: one that is good, one that ends in four hours by the clock of the tests, one that nobody has.
struct Consumers {
    dir: TempDir,
    good: String,
    ending: String,
    nobodys: String,
}

impl Consumers {
    fn new(per_minute: u32) -> Self {
        let [good, ending, nobodys] = std::array::from_fn(|_| generate_key().expect("random bytes").to_string());
        let digest = |key: &str| KeyDigest::of(key.as_bytes());
        let text = format!(
            "[[consumer]]\nname = \"kiosk\"\nper_minute = {per_minute}\nkeys = [{{ sha256 = \"{}\" }}, {{ sha256 = \
             \"{}\", expires = 2026-09-21T17:00:00Z }}]\n",
            digest(&good),
            digest(&ending)
        );
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("consumers.toml"), text).expect("a file");
        Self { dir, good, ending, nobodys }
    }

    fn on(&self, setup: Setup) -> Setup {
        setup.set("access.consumers_file", self.dir.path().join("consumers.toml").display())
    }
}

/// Asks with an `appid`, on the short way and on the long one.
async fn both_ways(service: &Service, appid: &str) -> [Answer; 2] {
    let path = format!("{LONDON}&{appid}");
    [service.get(&path).await, get_the_long_way(service, &path).await]
}

fn limit(answer: &Answer) -> &str {
    answer.header("ratelimit-policy").split(';').next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_key_is_needed_appid_is_one_and_all_others_get_the_401_that_clients_know() {
    let (upstream, consumers) = (everything().await, Consumers::new(600));
    let service = consumers.on(Setup::memory(&upstream)).set("access.required", true).start().await;
    let Consumers { good, ending, nobodys, .. } = &consumers;
    let cut = &good[..good.len() - 1];
    for wrong in ["", "appid=", "appid=%20", FOREIGN, nobodys, cut] {
        let wrong = if wrong.contains("appid") { wrong.to_owned() } else { format!("appid={wrong}") };
        for refused in both_ways(&service, &wrong).await {
            says(&refused, 401, INVALID_KEY);
            assert!(refused.header("www-authenticate").starts_with("Bearer"), "{refused:?}");
        }
    }
    // The key is looked at before the question, as OpenWeatherMap does.
    says(&service.get("/data/2.5/weather?lat=x&lon=y").await, 401, INVALID_KEY);
    assert_eq!(upstream.calls(), 0);
    for right in
        [format!("appid={good}"), format!("APPID={good}"), format!("AppID=&appid=+{good}"), format!("appid={ending}")]
    {
        for given in both_ways(&service, &right).await {
            says(&given, 200, body_of("/data/2.5/weather"));
            assert_eq!(limit(&given), "\"consumer\"", "{given:?}");
            assert!(given.header("ratelimit").contains(";r="), "{given:?}");
        }
    }
    service.clock.advance(Duration::from_secs(4 * 3_600));
    for refused in both_ways(&service, &format!("appid={ending}")).await {
        says(&refused, 401, INVALID_KEY);
    }
    // On our own paths it is none.
    let own = service.get(&format!("/weather/London?appid={good}")).await;
    assert_eq!((own.status.as_u16(), own.code().as_str()), (401, "missing-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_header_counts_more_than_appid() {
    let (upstream, consumers) = (everything().await, Consumers::new(600));
    let Consumers { good, nobodys, .. } = &consumers;
    for required in [true, false] {
        let service = consumers.on(Setup::memory(&upstream)).set("access.required", required).start().await;
        for appid in ["", FOREIGN, nobodys] {
            let path = format!("{LONDON}&appid={appid}");
            let bearer = answer(service.request(Method::GET, &path).bearer_auth(good)).await;
            let named = answer(service.request(Method::GET, &path).header("x-api-key", good)).await;
            for given in [bearer, named] {
                assert_eq!((given.status.as_u16(), limit(&given)), (200, "\"consumer\""), "{given:?}");
            }
        }
        let path = format!("{LONDON}&appid={good}");
        says(&answer(service.request(Method::GET, &path).bearer_auth(nobodys)).await, 401, INVALID_KEY);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_is_needed_a_foreign_appid_says_nothing_and_one_in_our_form_has_to_be_somebodys() {
    let (upstream, consumers) = (everything().await, Consumers::new(600));
    let setup = consumers.on(Setup::memory(&upstream)).set("access.anonymous_per_minute", 100);
    let service = setup.start().await;
    for (appid, status, policy) in [
        ("", 200, "\"address\""),
        (FOREIGN, 200, "\"address\""),
        (consumers.good.as_str(), 200, "\"consumer\""),
        (&consumers.nobodys, 401, "\"address\""),
        ("stratus_but-mistyped", 200, "\"address\""),
    ] {
        for given in both_ways(&service, &format!("appid={appid}")).await {
            assert_eq!((given.status.as_u16(), limit(&given)), (status, policy), "{appid}: {given:?}");
            if status == 401 {
                says(&given, 401, INVALID_KEY);
            }
        }
    }
    service.clock.advance(Duration::from_secs(4 * 3_600));
    for refused in both_ways(&service, &format!("appid={}", consumers.ending)).await {
        says(&refused, 401, INVALID_KEY);
    }
    // Where there are no consumers it is never looked at.
    let open = Setup::memory(&upstream).start().await;
    assert_eq!(open.get(&format!("{LONDON}&appid={}", consumers.nobodys)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_keys_by_appid_is_limited_by_address_and_holds_up_nobody_who_has_one() {
    let (upstream, consumers) = (everything().await, Consumers::new(600));
    for required in [true, false] {
        let setup = consumers.on(Setup::memory(&upstream)).set("access.required", required);
        let service = setup.set("access.anonymous_per_minute", 3).start().await;
        for _ in 0..3 {
            let guess = generate_key().expect("random bytes").to_string();
            says(&service.get(&format!("{LONDON}&appid={guess}")).await, 401, INVALID_KEY);
        }
        for refused in both_ways(&service, &format!("appid={}", consumers.nobodys)).await {
            says(&refused, 429, BLOCKED);
            assert!((1..=63).contains(&retry_after(&refused)), "{refused:?}");
        }
        assert_eq!(service.get(&format!("{LONDON}&appid={}", consumers.good)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_for_pages_of_some_origins_is_refused_to_others_in_their_form() {
    let (upstream, consumers) = (everything().await, Consumers::new(600));
    let file = consumers.dir.path().join("consumers.toml");
    let text = std::fs::read_to_string(&file).expect("a file") + "allow_origins = [\"https://app.example\"]\n";
    std::fs::write(&file, text).expect("a file");
    let service = consumers.on(Setup::memory(&upstream)).set("access.required", true).start().await;
    for (origin, status) in [("https://app.example", 200), ("https://evil.example", 403)] {
        let path = format!("{LONDON}&appid={}", consumers.good);
        let given = answer(service.request(Method::GET, &path).header("origin", origin)).await;
        assert_eq!(given.status, status, "{given:?}");
        if status == 403 {
            super::is_an_error(&given, 403);
        }
    }
}

/// What is asked where `appid` could get somewhere: answers and errors, on the short way and the long one.
fn questions(appid: &str) -> Vec<String> {
    let paths = [
        LONDON,
        "/data/2.5/weather?q=Berlin,DE",
        "/data/3.0/onecall?lat=51.51&lon=-0.13",
        "/data/4.0/onecall/timeline/1h?lat=51.51&lon=-0.13&cursor=abc",
        "/geo/1.0/direct?q=London",
        "/data/2.5/weather?q=London&mode=xml",
        "/data/2.5/weather?lat=91&lon=0",
        "/data/2.5/nothing?q=London",
        "/data/2.5/forecast?q=Nowhere",
    ];
    let with = |name: &str| paths.map(|path| format!("{path}&{name}={appid}"));
    [with("appid"), with("APPID")].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appid_gets_neither_to_the_upstream_nor_into_redis_nor_a_log_nor_a_metric_nor_an_answer() {
    let (upstream, consumers, mut redis) = (everything().await, Consumers::new(60_000), Redis::start().await);
    upstream.reply_with(|request| match super::parameter(request, "q") {
        Some("nowhere") => Reply::json(404, super::CITY_NOT_FOUND),
        _ => Reply::json(200, body_of(&request.path)),
    });
    let mut inspector = Inspector::enter(&mut redis).await;
    let setup = consumers.on(Setup::redis(&upstream, &redis)).set("log.filter", "trace");
    let program = setup.program().await;
    let appids = [FOREIGN, &consumers.good, &consumers.nobodys];
    let mut given = Vec::new();
    for appid in appids {
        for path in questions(appid) {
            given.push(program.get(&path).await);
            given.push(answer(program.request(Method::POST, &path)).await);
            given.push(answer(program.request(Method::GET, &path).header("content-length", "0")).await);
        }
    }
    assert!(given.iter().filter(|answer| answer.status == 200).count() > 20);
    let pages = [
        answer(program.admin_request(Method::GET, "/metrics")).await,
        answer(program.admin_request(Method::GET, "/status")).await,
    ];
    let canaries = Canaries::texts(appids);
    canaries.absent_from("answers", &everything_of(&given));
    canaries.absent_from("metrics and status", &everything_of(&pages));

    let requests = upstream.requests();
    assert_eq!(requests.len(), 6, "{requests:#?}");
    for request in &requests {
        let keys: Vec<_> = request.query.iter().filter(|(name, _)| name.eq_ignore_ascii_case("appid")).collect();
        assert_eq!(keys, [&("appid".to_owned(), API_KEY.to_owned())], "{request:?}");
    }
    canaries.absent_from("what the upstream was asked", format!("{requests:?}").as_bytes());

    let (kept, opened) = in_redis(&redis, &mut inspector).await;
    canaries.absent_from("Redis", &kept);
    canaries.absent_from("records, opened", &opened);
    Canaries::texts([API_KEY]).absent_from("records, opened", &opened);
    let log = program.stop().await;
    assert!(log.len() > given.len(), "a line for every request");
    canaries.absent_from("the log", log.join("\n").as_bytes());
}

/// All names and values in Redis as they are, and the records of the questions as the service reads them.
async fn in_redis(redis: &Redis, inspector: &mut Inspector) -> (Vec<u8>, Vec<u8>) {
    let mut kept = Vec::new();
    for name in inspector.names().await {
        kept.extend_from_slice(name.as_bytes());
        kept.extend(inspector.run::<Option<Vec<u8>>>("DUMP", &name).await.unwrap_or_default());
    }
    let keys = std::fs::read_to_string(redis.secret("encryption-keys")).expect("the keys");
    let (ring, now_ms) = (Keyring::parse(&keys).expect("good keys"), Clock::system().now_ms());
    let mut opened = Vec::new();
    for question in
        questions("").iter().filter(|question| !["xml", "91", "nothing"].iter().any(|no| question.contains(no)))
    {
        let parameters = question.split_once('?').expect("parameters").1;
        let query = Query::openweathermap(endpoint(question), parameters).expect("a question");
        let name = ring.names(&query.subject()).remove(0);
        let sealed = inspector.value(name.as_str()).await;
        opened.extend_from_slice(query.subject().as_bytes());
        opened.extend_from_slice(&ring.open(&name, &sealed, now_ms).expect("a record of ours").content);
    }
    (kept, opened)
}
