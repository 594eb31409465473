//! Many cities are asked for by name; then everything that a thief of Redis, a listener on its wire and a reader of the logs
//! would hold is searched for each of them and for every secret. Then the protections are taken away, and the same search has
//! to find what it did not find before. `scripts/prove-secrecy` runs this with a thousand cities and with tcpdump.

mod capture;
mod opened_wire;

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use stratus::clock::Clock;
use stratus::crypto::Keyring;
use stratus::weather::Query;

use crate::harness::upstream::Request;
use crate::harness::{Canaries, Inspector, Program, Redis, Reply, ScriptedUpstream, Setup, TcpProxy, answer, body};
use capture::Capture;
use opened_wire::OpenedWire;

/// Names of cities of at least eight letters each: shorter ones turn up by chance in so many random bytes.
const CITIES: &str = include_str!("cities.txt");
/// How many of them are asked for, where another number is wanted than for a quick look.
const NUMBER: &str = "STRATUS_SECRECY_CITIES";
const QUICK: usize = 60;

fn cities() -> Vec<&'static str> {
    let number = std::env::var(NUMBER).map_or(QUICK, |number| number.parse().expect("a number"));
    let all: Vec<_> = CITIES.lines().collect();
    assert!((1..=all.len()).contains(&number), "there are {} names", all.len());
    all.into_iter().take(number).collect()
}

fn segment(city: &str) -> String {
    utf8_percent_encode(city, NON_ALPHANUMERIC).to_string()
}

/// Weather about the place that was asked for by name.
fn about(request: &Request) -> Reply {
    let name = request.query.iter().find(|(key, _)| key == "q").expect("a place asked for by name");
    Reply::json(200, body(&name.1))
}

/// Asks for every city twice: the second answer is read from Redis.
async fn ask(program: &Program, cities: &[&str]) {
    for city in cities {
        for x_cache in ["MISS", "HIT"] {
            let answer = program.get(&format!("/weather/{}", segment(city))).await;
            assert_eq!((answer.status.as_u16(), answer.x_cache()), (200, x_cache), "{city}");
            assert!(answer.text().contains(&city.to_lowercase()), "{city}: {}", answer.text());
        }
    }
}

/// All that is in Redis: the file that a backup would be, and each key, as its name, its value and its DUMP.
async fn dump(redis: &Redis, inspector: &mut Inspector) -> Vec<u8> {
    // Packed text would not be found; and no further replica is waited for.
    inspector.run::<()>("CONFIG", ("SET", "rdbcompression", "no", "repl-diskless-sync-delay", "0")).await;
    let file = redis.dir.path().join("dump.rdb");
    let said = redis.inspect(&["--rdb", file.to_str().expect("a path")]).await;
    let mut all = std::fs::read(&file).unwrap_or_else(|error| panic!("{error}: {said}"));
    for name in inspector.names().await {
        all.extend_from_slice(name.as_bytes());
        all.extend(inspector.run::<Option<Vec<u8>>>("DUMP", &name).await.unwrap_or_default());
    }
    for name in inspector.records().await {
        all.extend(inspector.value(&name).await);
    }
    all
}

/// What Redis holds, opened with the keys that only the service has.
async fn opened(redis: &Redis, inspector: &mut Inspector, cities: &[&str]) -> Vec<u8> {
    let keys = std::fs::read_to_string(redis.secret("encryption-keys")).expect("the keys");
    let (ring, now_ms) = (Keyring::parse(&keys).expect("good keys"), Clock::system().now_ms());
    let mut all = Vec::new();
    for city in cities {
        let query = Query::parse(&segment(city), "").expect("a question");
        let name = ring.names(&query.subject()).remove(0);
        let sealed = inspector.value(name.as_str()).await;
        all.extend_from_slice(&ring.open(&name, &sealed, now_ms).expect("a record of ours").content);
    }
    all
}

/// What was looked for, and what was found where.
struct Report {
    cities: Canaries,
    secrets: Canaries,
    text: String,
    leaks: Vec<String>,
}

impl Report {
    fn new(cities: &[&str], redis: &Redis) -> Self {
        let mut report = Self {
            cities: Canaries::texts(cities.iter().copied()),
            secrets: Canaries::secrets(redis),
            text: String::new(),
            leaks: Vec::new(),
        };
        let (cities, secrets) = (report.cities.len(), report.secrets.len());
        let _ = writeln!(report.text, "\nlooked for: {cities} cities and {secrets} secrets, each in every form\n");
        report.line(["where", "bytes", "cities found", "secrets found", "once planted there"]);
        report
    }

    fn line(&mut self, [place, cells @ ..]: [&str; 5]) {
        let [bytes, cities, secrets, planted] = cells;
        let _ = writeln!(self.text, "{place:<52} {bytes:>10} {cities:>13} {secrets:>14} {planted:>19}");
    }

    /// Nothing may be in there; and all of it is found in the same bytes once it is planted there.
    fn protected(&mut self, place: &str, bytes: &[u8]) {
        let (cities, secrets) = (self.cities.found_in(bytes), self.secrets.found_in(bytes));
        let planted = self.secrets.planted_in(&self.cities.planted_in(bytes));
        let planted = self.cities.found_in(&planted).len() + self.secrets.found_in(&planted).len();
        if planted != self.cities.len() + self.secrets.len() {
            self.leaks.push(format!("{place}: the search finds only {planted} of what is planted there"));
        }
        self.leaks.extend(cities.iter().chain(&secrets).map(|(what, shown)| format!("{place}: {what}: {shown}")));
        let counts = [bytes.len(), cities.len(), secrets.len(), planted].map(|count| count.to_string());
        self.line([place, &counts[0], &counts[1], &counts[2], &counts[3]]);
    }

    /// A protection is taken away: so many cities and secrets have to be found.
    fn unprotected(&mut self, place: &str, bytes: &[u8], cities: usize, secrets: usize) {
        let found = (self.cities.found_in(bytes).len(), self.secrets.found_in(bytes).len());
        if found.0 < cities || found.1 < secrets {
            self.leaks.push(format!("{place}: the search finds only {found:?} of {:?}", (cities, secrets)));
        }
        let counts = [bytes.len(), found.0, found.1].map(|count| count.to_string());
        self.line([place, &counts[0], &counts[1], &counts[2], "-"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_redis_nor_its_wire_nor_a_log_tells_a_city_or_a_secret_until_the_protections_are_taken_away() {
    let cities = cities();
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(about);
    let mut redis = Redis::start().await;
    let mut inspector = Inspector::enter(&mut redis).await;
    let mut report = Report::new(&cities, &redis);

    let mut capture = Capture::start(redis.server.port()).await;
    let proxy = TcpProxy::start(redis.server.port()).await;
    let program = Setup::redis_through(&upstream, &redis, proxy.port()).program().await;
    ask(&program, &cities).await;
    let pages = [
        answer(program.admin_request(Method::GET, "/metrics")).await,
        answer(program.admin_request(Method::GET, "/status")).await,
    ];
    let records = inspector.records().await.len();
    assert_eq!(records, cities.len(), "a record of every city");
    report.protected("a dump of Redis", &dump(&redis, &mut inspector).await);
    report.protected("the wire to Redis, by a proxy", &proxy.bytes_seen());
    if let Some(capture) = &mut capture {
        report.protected("the wire to Redis, by tcpdump", &capture.until("the end of the capture").await);
    }
    report.protected("metrics and status", &[&pages[0].body[..], &pages[1].body].concat());
    let log = program.stop().await;
    assert!(log.len() > 2 * cities.len(), "a line for every request");
    report.protected("the log of Stratus", log.join("\n").as_bytes());
    report.protected("the log of Redis", &std::fs::read(redis.dir.path().join("redis.log")).expect("a log"));

    report.text += "\nwith a protection taken away, the same search:\n";
    let all = cities.len();
    report.unprotected("the records, opened with the key", &opened(&redis, &mut inspector, &cities).await, all, 0);
    let wire = OpenedWire::start(&redis);
    inspector.run::<()>("FLUSHALL", "SYNC").await;
    let program = Setup::redis_through(&upstream, &redis, wire.port()).program().await;
    ask(&program, &cities).await;
    program.stop().await;
    let without_tls = wire.bytes_seen();
    report.unprotected("the wire without TLS: the password, sealed records", &without_tls, 0, 1);
    Canaries::texts(inspector.records().await).all_in("the wire without TLS", &without_tls);
    let mut careless = Inspector::through(&redis, wire.port()).await;
    for city in &cities {
        careless.run::<()>("SET", (format!("weather:{city}"), body(city))).await;
    }
    report.unprotected("the wire without TLS, of a cache that does not seal", &wire.bytes_seen(), all, 1);
    report.unprotected("a dump of Redis, of a cache that does not seal", &dump(&redis, &mut inspector).await, all, 0);
    if let Some(mut capture) = capture {
        let said = capture.until(&format!("GET weather:{}", cities[0])).await;
        report.unprotected("the wire, by tcpdump, one city said in plain text", &said, 1, 0);
        capture.end().await;
    }
    println!("{}\nrecords: {records}; findings: {}", report.text, report.leaks.len());
    assert!(report.leaks.is_empty(), "{:#?}", report.leaks);
}
