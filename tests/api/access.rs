//! Who may ask, and how often: consumer keys, origins, limits, and whose word counts about where a request comes from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use sfv::{BareItem, Item, List, ListEntry, Parser};
use stratus::consumers::{KeyDigest, generate_key};
use tempfile::TempDir;

use crate::harness::{Answer, Canaries, Redis, Reply, ScriptedUpstream, Service, Setup, answer, body, raw};

const MINUTE: Duration = Duration::from_secs(60);
/// How much longer than a minute a request may count.
const BUCKET: Duration = Duration::from_secs(3);

/// A consumers file.
struct File {
    dir: TempDir,
}

/// The key that is called so, always the same within this process.
fn key(name: &str) -> String {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex};
    static KEYS: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);
    let mut keys = KEYS.lock().expect("no panic before");
    keys.entry(name.to_owned()).or_insert_with(|| generate_key().expect("random bytes").to_string()).clone()
}

fn entry(name: &str, per_minute: u32, keys: &[&str], more: &str) -> String {
    let digest = |name: &&str| {
        let (name, expires) = name.split_once(' ').unwrap_or((name, ""));
        let expires = if expires.is_empty() { String::new() } else { format!(", expires = {expires}") };
        format!("{{ sha256 = \"{}\"{expires} }}", KeyDigest::of(key(name).as_bytes()))
    };
    let keys: Vec<_> = keys.iter().map(digest).collect();
    format!("[[consumer]]\nname = \"{name}\"\nper_minute = {per_minute}\nkeys = [{}]\n{more}\n", keys.join(", "))
}

impl File {
    fn new(text: &str) -> Self {
        let file = Self { dir: tempfile::tempdir().expect("a folder") };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).expect("a file");
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("consumers.toml")
    }
}

fn setup(upstream: &ScriptedUpstream, file: &Path) -> Setup {
    Setup::memory(upstream).set("access.consumers_file", file.display())
}

async fn weather() -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, body("London"))).await
}

async fn with_header(service: &Service, name: &str, value: &str) -> Answer {
    answer(service.request(Method::GET, "/weather/London").header(name, value)).await
}

async fn with_key(service: &Service, name: &str) -> Answer {
    with_header(service, "authorization", &format!("Bearer {}", key(name))).await
}

fn is_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.header("cache-status"), format!("stratus; detail={code}"));
    assert_eq!((answer.x_cache(), answer.header("cache-control")), ("MISS", "no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_a_malformed_a_wrong_and_an_expired_key_are_refused_before_anything_is_asked() {
    let upstream = weather().await;
    let file = File::new(&entry("kiosk", 600, &["good", "old 2026-09-21T17:00:00Z"], ""));
    let service = setup(&upstream, &file.path()).set("access.required", true).start().await;

    let missing = service.get("/weather/London").await;
    is_refused(&missing, 401, "missing-key");
    assert_eq!(missing.header("www-authenticate"), "Bearer realm=\"stratus\"");

    let bad = [&key("good")[1..], "stratus_", "x", &key("wrong"), &format!("{}x", key("good"))].map(str::to_owned);
    for wrong in &bad {
        for (name, value) in [("authorization", format!("Bearer {wrong}")), ("x-api-key", wrong.clone())] {
            let refused = with_header(&service, name, &value).await;
            is_refused(&refused, 401, "invalid-key");
            assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"stratus\", error=\"invalid_token\"");
            assert!(!refused.text().contains(wrong.as_str()) || wrong == "x", "{refused:?}");
        }
    }
    for scheme in ["Basic", "Bearer", ""] {
        is_refused(
            &with_header(&service, "authorization", &format!("{scheme}{}", key("good"))).await,
            401,
            "invalid-key",
        );
    }
    // The clock of the tests stands at 2026-09-21T13:33:20Z, three and a half hours before its end.
    assert_eq!(with_key(&service, "old").await.status, 200);
    service.clock.advance(Duration::from_secs(4 * 3_600));
    is_refused(&with_key(&service, "old").await, 403, "expired-key");
    assert_eq!((with_key(&service, "good").await.status.as_u16(), upstream.calls()), (200, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_from_one_header_and_never_from_the_query() {
    let upstream = weather().await;
    let file = File::new(&entry("kiosk", 600, &["good"], ""));
    let service = setup(&upstream, &file.path()).set("access.required", true).start().await;
    let good = key("good");
    for (name, value) in [
        ("authorization", format!("Bearer {good}")),
        ("authorization", format!("bEARER  {good}")),
        ("x-api-key", good.clone()),
    ] {
        assert_eq!(with_header(&service, name, &value).await.status, 200);
    }
    let both = service.request(Method::GET, "/weather/London").header("x-api-key", &good).bearer_auth(&good);
    is_refused(&answer(both).await, 401, "invalid-key");
    // A proxy in front may look at the other one of two.
    let other = key("other");
    for keys in [[&good, &other], [&other, &good], [&good, &good]] {
        let twice = |name: &str, scheme: &str| {
            let request = service.request(Method::GET, "/weather/London");
            keys.iter().fold(request, |request, key| request.header(name, format!("{scheme}{key}")))
        };
        is_refused(&answer(twice("authorization", "Bearer ")).await, 401, "invalid-key");
        is_refused(&answer(twice("x-api-key", "")).await, 401, "invalid-key");
    }
    for name in ["key", "api_key", "appid", "access_token"] {
        let refused = service.get(&format!("/weather/London?{name}={good}")).await;
        is_refused(&refused, 401, "missing-key");
        assert!(!refused.text().contains(&good));
        let request = service.request(Method::GET, &format!("/weather/London?{name}={good}")).bearer_auth(&good);
        let refused = answer(request).await;
        assert_eq!((refused.code().as_str(), refused.text().contains(&good)), ("invalid-parameter", false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_need_for_a_key_a_wrong_one_is_still_refused_unless_nobody_has_any() {
    let upstream = weather().await;
    let file = File::new(&entry("kiosk", 600, &["good"], ""));
    let service = setup(&upstream, &file.path()).start().await;
    assert_eq!(service.get("/weather/London").await.status, 200);
    is_refused(&with_key(&service, "wrong").await, 401, "invalid-key");
    // There the headers are for a proxy in front.
    let service = Setup::memory(&upstream).set("access.anonymous_per_minute", 9).start().await;
    for header in [format!("Bearer {}", key("wrong")), "Basic dXNlcjpwYXNzd29yZA==".to_owned()] {
        let asked = with_header(&service, "authorization", &header).await;
        assert_eq!((asked.status.as_u16(), standing(&asked).0.as_str()), (200, "address"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_without_a_pause_and_a_revoked_one_is_refused_as_soon_as_the_file_is_read() {
    let upstream = weather().await;
    let file = File::new(&entry("kiosk", 600, &["one"], ""));
    let service = setup(&upstream, &file.path()).set("access.required", true).start().await;
    let both =
        async || (with_key(&service, "one").await.status.as_u16(), with_key(&service, "two").await.status.as_u16());
    assert_eq!(both().await, (200, 401));
    for (keys, expected) in [(&["one", "two"][..], (200, 200)), (&["two"], (401, 200)), (&[], (401, 401))] {
        file.write(&entry("kiosk", 600, keys, ""));
        service.reloading.look().await;
        assert_eq!(both().await, expected);
    }
    // Nothing of a bad file is used, and the good one stays.
    file.write(&entry("kiosk", 600, &["two"], ""));
    service.reloading.look().await;
    file.write(&(entry("kiosk", 600, &["one"], "") + "[[consumer]]\nname = 1\n"));
    service.reloading.look().await;
    assert_eq!(both().await, (401, 200));
    let status = service.admin_get("/status").await.json();
    assert_eq!(status["files"]["access.consumers_file"]["state"], "refused", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_not_use_a_key_and_browsers_learn_beforehand_who_may() {
    let upstream = weather().await;
    let text =
        entry("page", 600, &["page"], "allow_origins = [\"https://app.example\"]") + &entry("any", 600, &["any"], "");
    let file = File::new(&text);
    let everybody = setup(&upstream, &file.path()).start().await;
    let listed = setup(&upstream, &file.path()).set("server.allow_origins", "https://main.example").start().await;
    for (service, origin, of, status) in [
        (&everybody, "https://app.example", "page", 200),
        (&everybody, "https://evil.example", "page", 403),
        (&everybody, "null", "page", 403),
        (&everybody, "https://evil.example", "any", 200),
        (&listed, "https://app.example", "page", 200),
        (&listed, "https://main.example", "page", 403),
        (&listed, "https://main.example", "any", 200),
    ] {
        let request = service.request(Method::GET, "/weather/London").bearer_auth(key(of)).header("origin", origin);
        let asked = answer(request).await;
        assert_eq!(asked.status, status, "{origin} {of}: {asked:?}");
        if status == 403 {
            is_refused(&asked, 403, "origin-not-allowed");
        }
    }
    let allowed = async |service: &Service, origin: &str| {
        let request = service.request(Method::OPTIONS, "/weather/London").header("origin", origin);
        let request = request.header("access-control-request-method", "GET");
        let preflight = answer(request.header("access-control-request-headers", "authorization,x-api-key")).await;
        let headers = preflight.header("access-control-allow-headers");
        assert!(headers.contains("authorization") && headers.contains("x-api-key"), "{preflight:?}");
        preflight.header("access-control-allow-origin").to_owned()
    };
    assert_eq!(allowed(&everybody, "https://evil.example").await, "*");
    for (origin, expected) in [
        ("https://app.example", "https://app.example"),
        ("https://main.example", "https://main.example"),
        ("https://evil.example", ""),
    ] {
        assert_eq!(allowed(&listed, origin).await, expected);
    }
    // What a page may read of the answer.
    let asked = answer(everybody.request(Method::GET, "/weather/London").header("origin", "https://x.example")).await;
    let exposed = asked.header("access-control-expose-headers");
    assert!(exposed.contains("ratelimit,ratelimit-policy"), "{exposed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_key_is_needed_caches_in_front_keep_answers_apart_by_all_that_decides_who_is_refused() {
    let upstream = weather().await;
    let file = File::new(&entry("page", 600, &["page"], "allow_origins = [\"https://app.example\"]"));
    let service = setup(&upstream, &file.path()).set("access.required", true).start().await;
    for (of, origin, status) in [
        ("page", "https://app.example", 200),
        ("page", "https://evil.example", 403),
        ("wrong", "https://app.example", 401),
    ] {
        // A length sends a request the long way.
        for odd in [None, Some("0")] {
            let request = service.request(Method::GET, "/weather/London").bearer_auth(key(of)).header("origin", origin);
            let request = odd.into_iter().fold(request, |request, length| request.header("content-length", length));
            let asked = answer(request).await;
            // The answer with weather has two forms.
            let form = if status == 200 { "accept, " } else { "" };
            assert_eq!(asked.status.as_u16(), status);
            let mut vary: Vec<_> = asked.header("vary").split(", ").collect();
            vary.sort_unstable();
            assert_eq!(vary.join(", "), format!("{form}authorization, origin, x-api-key"));
        }
    }
}

/// The limit and what is left of it, as an independent reader of structured fields understands them.
fn standing(answer: &Answer) -> (String, i64, i64, i64) {
    let item = |name: &str| {
        let list: List = Parser::new(answer.header(name)).parse().expect("a list of RFC 9651");
        match <[ListEntry; 1]>::try_from(list).expect("one policy") {
            [ListEntry::Item(item)] => item,
            other => panic!("{other:?}"),
        }
    };
    let number = |item: &Item, name: &str| match item.params.get(name) {
        Some(BareItem::Integer(number)) => i64::from(*number),
        other => panic!("{name}: {other:?} in {answer:?}"),
    };
    let (policy, left) = (item("ratelimit-policy"), item("ratelimit"));
    let BareItem::String(name) = &policy.bare_item else { panic!("{policy:?}") };
    assert_eq!(policy.bare_item, left.bare_item);
    assert_eq!((number(&policy, "w"), policy.params.len(), left.params.len()), (60, 2, 2));
    (name.as_str().to_owned(), number(&policy, "q"), number(&left, "r"), number(&left, "t"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_reached_told_and_regained_by_consumers_and_addresses_each_for_themselves() {
    let upstream = weather().await;
    let file = File::new(&(entry("kiosk", 4, &["one", "other"], "") + &entry("wall", 4, &["wall"], "")));
    let service = setup(&upstream, &file.path()).set("access.anonymous_per_minute", 3).start().await;
    for left in (0..4).rev() {
        // Both keys are the same consumer's.
        let asked = with_key(&service, if left % 2 == 0 { "one" } else { "other" }).await;
        assert_eq!(asked.status, 200);
        let (name, limit, told, _) = standing(&asked);
        assert_eq!((name.as_str(), limit, told), ("consumer", 4, left));
    }
    for left in (0..3).rev() {
        let (name, limit, told, _) = standing(&service.get("/weather/London").await);
        assert_eq!((name.as_str(), limit, told), ("address", 3, left));
    }
    let wait = async || {
        let mut waits = Vec::new();
        for refused in [with_key(&service, "one").await, service.get("/weather/London").await] {
            is_refused(&refused, 429, "rate-limited");
            let (_, _, left, resets_in) = standing(&refused);
            let wait: u64 = refused.header("retry-after").parse().expect("seconds");
            assert!(left == 0 && resets_in >= 1 && u64::try_from(resets_in) == Ok(wait), "{refused:?}");
            waits.push(Duration::from_secs(wait));
        }
        waits.into_iter().max().expect("two")
    };
    let first = wait().await;
    assert!(MINUTE <= first && first <= MINUTE + BUCKET, "{first:?}");
    assert_eq!(with_key(&service, "wall").await.status, 200);
    service.clock.advance(first - Duration::from_millis(1_001));
    wait().await;
    service.clock.advance(Duration::from_millis(1_001));
    assert_eq!(
        (with_key(&service, "one").await.status.as_u16(), service.get("/weather/London").await.status.as_u16()),
        (200, 200)
    );
    // What is wrong about a question counts, too.
    assert_eq!(standing(&service.get("/weather/London?units=x").await).2, 1);
    assert_eq!(service.get("/weather/Atlantis/Poseidon").await.header("ratelimit"), "", "no data route");
}

#[tokio::test(flavor = "multi_thread")]
async fn trying_keys_is_limited_by_address_and_who_has_one_is_not_held_up_by_that() {
    let upstream = weather().await;
    let file = File::new(&entry("kiosk", 600, &["good"], ""));
    let setup = || setup(&upstream, &file.path()).set("access.anonymous_per_minute", 3);
    for service in [setup().start().await, setup().set("access.required", true).start().await] {
        for _ in 0..3 {
            is_refused(&with_key(&service, "wrong").await, 401, "invalid-key");
        }
        is_refused(&with_key(&service, "wrong").await, 429, "rate-limited");
        assert_eq!(with_key(&service, "good").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_request_comes_from_is_believed_of_trusted_proxies_only() {
    let upstream = weather().await;
    let setup = || Setup::memory(&upstream).set("access.anonymous_per_minute", 2);
    let spoofed = setup().start().await;
    let proxied = setup().set("server.trusted_proxies", "127.0.0.0/8, ::1").start().await;
    let forwarded =
        setup().set("server.trusted_proxies", "127.0.0.1").set("server.forwarded_header", "forwarded").start().await;
    // Each time from elsewhere, if that is believed.
    for (service, name, value, believed) in [
        (&spoofed, "x-forwarded-for", "198.51.100.", false),
        (&proxied, "x-forwarded-for", "198.51.100.", true),
        (&proxied, "x-forwarded-for", "203.0.113.9, 198.51.101.", true),
        (&forwarded, "forwarded", "for=198.51.100.", true),
        (&forwarded, "x-forwarded-for", "198.51.100.", false),
    ] {
        for last in 1..=6 {
            let status = with_header(service, name, &format!("{value}{last}")).await.status.as_u16();
            assert_eq!(status, if believed || last <= 2 { 200 } else { 429 }, "{name}: {value}{last}");
        }
    }
    // What the caller wrote himself, before the proxy added his address, gives him no other one.
    for first in 1..=6 {
        let status = with_header(&proxied, "x-forwarded-for", &format!("203.0.113.{first}, 192.0.2.1")).await.status;
        assert_eq!(status, if first <= 2 { 200 } else { 429 }, "{first}");
    }
    // Nor does another address of his own network.
    for last in 1..=6 {
        let status = with_header(&proxied, "x-forwarded-for", &format!("2001:db8:1:2::{last}")).await.status;
        assert_eq!(status, if last <= 2 { 200 } else { 429 }, "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_and_the_long_way_let_in_and_refuse_alike() {
    let upstream = weather().await;
    let file = File::new(&(entry("kiosk", 100, &["good"], "") + &entry("small", 1, &["small"], "")));
    let service = setup(&upstream, &file.path()).set("access.required", true);
    let service = service.set("access.anonymous_per_minute", 1_000).start().await;
    service
        .request(Method::GET, "/weather/London")
        .bearer_auth(key("good"))
        .send()
        .await
        .expect("it is in memory then");
    with_key(&service, "small").await;
    for header in [
        String::new(),
        format!("Authorization: Bearer {}\r\n", key("good")),
        format!("Authorization: Bearer {}\r\n", key("wrong")),
        format!("X-API-Key: {}\r\n", key("small")),
    ] {
        // A length sends a request the long way.
        let answers = ["", "Content-Length: 0\r\n"].map(|odd| {
            format!(
                "GET /weather/London HTTP/1.1\r\nHost: a\r\nX-Request-Id: r\r\nConnection: close\r\n{header}{odd}\r\n"
            )
        });
        let mut seen = Vec::new();
        for request in answers {
            let text = raw(&service, request.as_bytes()).await;
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            let mut lines: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
            // What is left is one less each time, and the date goes on.
            lines.retain(|line| !line.starts_with("date:") && !line.starts_with("ratelimit:"));
            lines.sort_unstable();
            let vary = head.lines().find(|line| line.starts_with("vary: ")).expect("what it depends on");
            let by_key = ["authorization", "x-api-key"].iter().all(|name| vary.contains(name));
            assert!(by_key && head.contains("ratelimit:"), "{head}");
            seen.push((lines, body.to_owned()));
        }
        assert_eq!(seen[0], seen[1], "{header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_consumer_and_shows_no_key_nor_who_asked() {
    let upstream = weather().await;
    let file = File::new(&entry("kiosk-7", 2, &["good"], ""));
    let setup = setup(&upstream, &file.path()).set("log.filter", "trace").set("server.trusted_proxies", "127.0.0.1");
    let program = setup.program().await;
    let mut seen = Vec::new();
    for name in ["good", "wrong", "good", "good"] {
        for header in ["authorization", "x-api-key"] {
            let value = if header == "x-api-key" { key(name) } else { format!("Bearer {}", key(name)) };
            let request = program.request(Method::GET, "/weather/London").header(header, value);
            let asked = answer(request.header("x-forwarded-for", "198.51.100.77")).await;
            seen.push(format!("{:?} {}", asked.headers, asked.text()));
        }
    }
    seen.push(answer(program.admin_request(Method::GET, "/status")).await.text().to_owned());
    seen.push(answer(program.admin_request(Method::GET, "/metrics")).await.text().to_owned());
    let lines = program.stop().await;
    assert!(
        lines.iter().any(|line| line.contains(r#""status":200,"cache":"MISS","consumer":"kiosk-7""#)),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains(r#""code":"rate-limited","cache":"MISS","consumer":"kiosk-7""#)),
        "{lines:#?}"
    );
    seen.extend(lines);
    let canaries = Canaries::texts([key("good"), key("wrong"), "198.51.100.77".to_owned()]);
    canaries.absent_from("what the program ever said", seen.join("\n").as_bytes());
}

/// A consumer who asks three replicas in turn, three times as often as he may, for so long; after each second `meanwhile`
/// is called. How often he was answered in each second.
async fn asks_three_times_too_much(
    services: &[Service],
    per_minute: u32,
    seconds: u32,
    mut meanwhile: impl AsyncFnMut(u32),
) -> Vec<u32> {
    let a_second = 3 * per_minute / 60;
    let mut granted = Vec::new();
    for second in 0..seconds {
        let mut answered = 0;
        for request in 0..a_second {
            let service = &services[request as usize % services.len()];
            let asked = with_key(service, "good").await;
            match asked.status.as_u16() {
                200 => answered += 1,
                _ => is_refused(&asked, 429, "rate-limited"),
            }
            services[0].clock.advance(Duration::from_millis(u64::from(1_000 / a_second)));
        }
        granted.push(answered);
        meanwhile(second).await;
    }
    granted
}

/// The most that was granted in any minute.
fn most_in_a_minute(granted: &[u32]) -> u32 {
    granted.windows(60).map(|minute| minute.iter().sum()).max().expect("a minute")
}

async fn fleet_with_a_limit(upstream: &ScriptedUpstream, redis: &Redis, file: &File) -> Vec<Service> {
    let setup = || {
        Setup::redis(upstream, redis)
            .set("access.consumers_file", file.path().display())
            .set("access.required", true)
            .set("cache.memory_max_bytes", 1 << 20)
            // Redis is away for real, and what is answered does not end meanwhile.
            .set("cache.fresh_secs", 86_400)
            .set("upstream.max_replicas", 4)
    };
    let mut first = setup().start().await;
    first.store_up().await;
    let mut fleet = vec![first];
    for _ in 0..2 {
        let mut other = setup().clock(&fleet[0].clock).start().await;
        other.store_up().await;
        fleet.push(other);
    }
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_grant_a_consumer_nine_tenths_of_its_limit_at_least_and_never_more_than_all_of_it() {
    const PER_MINUTE: u32 = 300;
    let (upstream, redis) = (weather().await, Redis::start().await);
    let file = File::new(&entry("kiosk", PER_MINUTE, &["good"], ""));
    let fleet = fleet_with_a_limit(&upstream, &redis, &file).await;
    let granted = asks_three_times_too_much(&fleet, PER_MINUTE, 180, async |_| {}).await;
    assert!(most_in_a_minute(&granted) <= PER_MINUTE, "{granted:?}");
    for minute in granted.chunks(60) {
        let ratio = f64::from(minute.iter().sum::<u32>()) / f64::from(PER_MINUTE);
        assert!((0.90..=1.0).contains(&ratio), "{ratio}: {granted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_while_redis_is_killed_and_there_is_a_local_share_until_it_is_back() {
    const PER_MINUTE: u32 = 300;
    let (upstream, mut redis) = (weather().await, Redis::start().await);
    let file = File::new(&entry("kiosk", PER_MINUTE, &["good"], ""));
    let mut fleet = fleet_with_a_limit(&upstream, &redis, &file).await;
    let mut granted = asks_three_times_too_much(&fleet, PER_MINUTE, 75, async |_| {}).await;
    redis.server.stop().await;
    for service in &mut fleet {
        service.store_down().await;
    }
    granted.extend(asks_three_times_too_much(&fleet, PER_MINUTE, 180, async |_| {}).await);
    let away: u32 = granted[195..255].iter().sum();
    redis.restart().await;
    for service in &mut fleet {
        service.store_up().await;
    }
    granted.extend(asks_three_times_too_much(&fleet, PER_MINUTE, 120, async |_| {}).await);
    // How it comes back without more being granted is shown where the clock can wait for it: limits_redis.rs.
    let (until_back, since) = granted.split_at(255);
    assert!(most_in_a_minute(until_back) <= PER_MINUTE && most_in_a_minute(since) <= PER_MINUTE, "{granted:?}");
    // Three of four shares.
    assert!(away >= PER_MINUTE / 2, "{away}: {granted:?}");
    let back: u32 = granted[315..].iter().sum();
    assert!(f64::from(back) >= 0.9 * f64::from(PER_MINUTE), "{back}: {granted:?}");
}
