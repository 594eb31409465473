//! Requests that come to us as to a proxy: which are answered, which are refused, and that none leads to where it says.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;

use axum::http::Request as Ask;
use reqwest::{Client, Proxy};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::callers::{HttpsFiles, ask_h1, ask_h2, h2, shake};
use crate::harness::program::parsed;
use crate::harness::proxy::Door;
use crate::harness::sockets::{connect, read_answer, read_to_end};
use crate::harness::{
    API_KEY, Canaries, PATIENCE, Reply, ScriptedUpstream, Service, Setup, TcpProxy, answer, body, install_tls, raw,
};

/// As an app asks that knows nothing of us.
const LONDON: &str = "http://api.openweathermap.org/data/2.5/weather?q=London&appid=the-key-of-an-app";
const ON: &str = "server.forward_proxy";
/// In a host, and in fields for proxies; it can turn up nowhere by chance.
const CANARY: &str = "qanary-of-a-proxy";

async fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(Reply::json(200, body("London"))).await
}

/// A client that sends whatever is `http://` to us.
fn client(service: &Service) -> Client {
    install_tls();
    let proxy = Proxy::http(format!("http://{}", service.public)).expect("a proxy");
    Client::builder().proxy(proxy).no_gzip().build().expect("a client")
}

/// Status, code (that of a body in OpenWeatherMap's format is its status) and detail of the answer to a request line.
async fn told(service: &Service, line: &str) -> (u16, String, String) {
    let answer = raw(service, format!("{line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{line}: {answer:?}"));
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |names: [&str; 2]| names.iter().find_map(|name| body[*name].as_str()).unwrap_or_default().to_owned();
    (head[9..12].parse().expect("a status"), text(["code", "cod"]), text(["detail", "message"]))
}

/// Somebody to whom requests point and to whom nobody must go.
struct Elsewhere(TcpListener);

impl Elsewhere {
    fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// Connections are taken in the order in which they came: if this one is the first, there was none before.
    fn was_never_reached(&self) {
        let own = TcpStream::connect(self.address()).expect("a connection");
        let (_, first) = self.0.accept().expect("a connection");
        assert_eq!(Some(first), own.local_addr().ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_us_for_its_proxy_is_answered_out_of_the_cache_for_every_host_of_openweathermap() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set(ON, true).start().await;
    let client = client(&service);
    for (url, cached) in [
        (LONDON.to_owned(), "MISS"),
        (LONDON.to_owned(), "HIT"),
        // A host is the same in any case of letters, and 80 is the port of http.
        ("http://API.OpenWeatherMap.org:80/data/2.5/weather?q=london".to_owned(), "HIT"),
        ("http://pro.openweathermap.org/data/2.5/weather?q=London".to_owned(), "HIT"),
        ("http://history.openweathermap.org/data/2.5/weather?q=London".to_owned(), "HIT"),
        // That of the configuration, with its port.
        (format!("{}/data/2.5/weather?q=London", upstream.url()), "HIT"),
    ] {
        let answered = answer(client.get(&url)).await;
        assert_eq!((answered.status.as_u16(), answered.x_cache()), (200, cached), "{url}");
        assert_eq!(answered.text(), body("London"));
    }
    assert_eq!(service.get("/data/2.5/weather?q=London").await.x_cache(), "HIT", "those who ask us directly share it");
    let [asked] = &upstream.requests()[..] else { panic!("one call for all") };
    let keys: Vec<_> = asked.query.iter().filter(|(name, _)| name == "appid").map(|(_, key)| key.as_str()).collect();
    assert_eq!(keys, [API_KEY], "the key of the app goes nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_ours_are_not_given_as_those_of_openweathermap() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set(ON, true).start().await;
    let client = client(&service);
    for path in ["/", "/docs", "/docs/", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json"] {
        assert_eq!(service.get(path).await.status, 200, "{path}");
        let theirs = answer(client.get(format!("http://api.openweathermap.org{path}"))).await;
        assert_eq!((theirs.status.as_u16(), theirs.code().as_str()), (404, "not-found"), "{path}");
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_answered_with_nothing_but_http_proxy_set() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set(ON, true).start().await;
    let curl = Command::new("curl")
        .args(["--silent", "--fail-with-body", LONDON])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("http_proxy", format!("http://{}", service.public))
        .stderr(Stdio::inherit())
        .output();
    match timeout(PATIENCE, curl).await.expect("an answer in time") {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), body("London"), "{:?}", output.status),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "only a machine without curl does without")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_goes_by_the_target_and_leaves_the_fields_of_proxies_alone() {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set(ON, true).start().await;
    let fields = format!(
        "host: {CANARY}.example\r\nproxy-authorization: Basic {CANARY}\r\nproxy-connection: keep-alive\r\n\
         via: 1.1 {CANARY}\r\nmax-forwards: 0\r\n\r\n"
    );
    let mut stream = connect(service.public).await;
    // On one connection, as clients do, in both versions and by both ways of answering.
    for head in [format!("GET {LONDON} HTTP/1.1"), format!("GET {LONDON} HTTP/1.1\r\norigin: https://a.example")] {
        stream.write_all(format!("{head}\r\n{fields}").as_bytes()).await.expect("it is taken");
        let (head, text) = read_answer(&mut stream).await.expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 ") && text == body("London"), "{head}{text}");
        assert!(!head.contains(CANARY) && !head.contains("proxy-authenticate"), "{head}");
    }
    let answer = raw(&service, format!("GET {LONDON} HTTP/1.0\r\n{fields}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    // OpenWeatherMap's host in the field alone makes nothing of a request for another one.
    let other = "GET http://other.example/data/2.5/weather?q=London HTTP/1.1\r\nhost: api.openweathermap.org\r\n";
    let answer = raw(&service, format!("{other}connection: close\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let asked = format!("{:?}", upstream.requests());
    assert!(upstream.calls() == 1 && !asked.contains(CANARY), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_that_a_proxy_gives_go_on_where_the_client_asked() {
    let link = "https://api.openweathermap.org/data/4.0/onecall/timeline/1h?lat=1&lon=2&cnt=3";
    let page = format!(r#"{{"data":[],"next":"{link}"}}"#);
    let upstream = ScriptedUpstream::start(Reply::json(200, page)).await;
    let files = HttpsFiles::make();
    let setup = || Setup::memory(&upstream).set(ON, true);
    let target = "http://api.openweathermap.org/data/4.0/onecall/timeline/1h?lat=1&lon=2";
    // A proxy may be spoken to by HTTPS; what is asked of it is http:// all the same.
    let (plain, https) = (setup().start().await, files.on(setup()).start().await);
    let by_http = answer(client(&plain).get(target)).await.text().to_owned();
    let by_https = ask_h1(&mut shake(https.public, &files.h1_caller()).await.expect("TLS"), target).await;
    for text in [by_http, by_https] {
        assert!(text.contains(r#""next":"http://api.openweathermap.org/data/4.0/onecall/timeline/1h?"#), "{text}");
    }
}

/// Targets that are not for a proxy of OpenWeatherMap; `PORT` is somebody else's on this machine.
const NOT_THEIRS: [&str; 29] = [
    "http://127.0.0.1:PORT/data/2.5/weather?q=London",
    "http://localhost:PORT/weather/London",
    "http://[::1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f.1:PORT/",
    "http://127.0.0.2/",
    "http://other.example/weather/London",
    "http://OTHER.EXAMPLE/weather/London",
    "http://openweathermap.org/data/2.5/weather?q=London",
    "http://tile.openweathermap.org/map/clouds_new/1/1/1.png",
    "http://api.openweathermap.org.other.example/",
    "http://xapi.openweathermap.org/",
    "http://api.openweathermap.orgx/",
    "http://api.openweathermap.org./data/2.5/weather?q=London",
    "http://api.openweathermap.org:PORT/data/2.5/weather?q=London",
    "http://api.openweathermap.org:443/data/2.5/weather?q=London",
    "http://api.openweathermap.org:080/data/2.5/weather?q=London",
    "http://api.openweathermap.org:99999/data/2.5/weather?q=London",
    "http://api.openweathermap.org@127.0.0.1:PORT/",
    "http://api.openweathermap.org:80@127.0.0.1:PORT/",
    "http://user:password@api.openweathermap.org/data/2.5/weather?q=London",
    "http://@api.openweathermap.org/data/2.5/weather?q=London",
    "http://xn--pi-7lc.openweathermap.org/",
    "http://%61pi.openweathermap.org/",
    "http://\u{430}pi.openweathermap.org/",
    "https://api.openweathermap.org/data/2.5/weather?q=London",
    "ftp://api.openweathermap.org/data/2.5/weather?q=London",
    "api.openweathermap.org",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_answers_for_no_other_host_however_it_is_written_and_connects_to_none() {
    let (upstream, elsewhere) = (upstream().await, Elsewhere::listen());
    let service = Setup::memory(&upstream).set(ON, true).start().await;
    let port = elsewhere.address().port().to_string();
    for target in NOT_THEIRS {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "TRACE"] {
            let (status, code, detail) = told(&service, &format!("{method} {}", target.replace("PORT", &port))).await;
            // What is no URL is none of the application's.
            let is_url = !target.contains(['%', '\u{430}']) && !target.contains("99999");
            assert!(status == 403 || status == 400 && !is_url, "{method} {target}: {status}");
            let told = ["forward-proxy-refused", "403", ""].contains(&code.as_str());
            assert!(told && (detail.contains("NO_PROXY") || code.is_empty()), "{method} {target}: {code} {detail}");
            assert!(status == 400 || method == "HEAD" || !detail.is_empty(), "{method} {target}");
        }
    }
    // Not even our own address, which we do not know: it is asked without a proxy.
    let own = format!("GET http://{}/weather/London", service.public);
    assert_eq!(told(&service, &own).await.1, "forward-proxy-refused");
    elsewhere.was_never_reached();
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_it_is_set_up_as_a_proxy_openweathermaps_hosts_are_refused_and_any_other_is_taken_for_ours() {
    let (upstream, elsewhere) = (upstream().await, Elsewhere::listen());
    let service = Setup::memory(&upstream).start().await;
    let hosts = ["api", "pro", "HISTORY"].map(|name| format!("{name}.openweathermap.org"));
    let written =
        ["http://api.openweathermap.org:8080", "http://api.openweathermap.org.", "https://a@api.openweathermap.org"];
    for origin in hosts.iter().map(|host| format!("http://{host}")).chain(written.map(str::to_owned)) {
        for (path, told_code) in [("/weather/London", "forward-proxy-off"), ("/data/2.5/weather?q=London", "403")] {
            let (status, code, detail) = told(&service, &format!("GET {origin}{path}")).await;
            assert_eq!((status, code.as_str()), (403, told_code), "{origin}{path}");
            assert!(detail.contains("server.forward_proxy"), "{detail}");
        }
    }
    assert_eq!(upstream.calls(), 0);
    // RFC 9112, section 3.2.2: a server has to take its own name in this form, and does not know it.
    let port = elsewhere.address().port();
    for host in [service.public.to_string(), "stratus.internal".to_owned(), format!("127.0.0.1:{port}")] {
        assert_eq!(told(&service, &format!("GET http://{host}/weather/London")).await.0, 200, "{host}");
        let missing = told(&service, &format!("GET http://{host}/nowhere")).await;
        assert_eq!((missing.0, missing.1.as_str()), (404, "not-found"), "{host}");
    }
    assert_eq!(upstream.calls(), 1);
    elsewhere.was_never_reached();
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_opens_no_tunnel_and_says_what_to_do_instead() {
    let (upstream, elsewhere) = (upstream().await, Elsewhere::listen());
    for on in [false, true] {
        let service = Setup::memory(&upstream).set(ON, on).start().await;
        for target in ["api.openweathermap.org:443", &elsewhere.address().to_string(), &service.public.to_string()] {
            let mut stream = connect(service.public).await;
            // Whoever does not wait for the answer must not have what is meant for the tunnel taken for a request.
            let eager =
                format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\nGET /weather/London HTTP/1.1\r\n\r\n");
            stream.write_all(eager.as_bytes()).await.expect("it is taken");
            let all = read_to_end(&mut stream).await;
            assert!(all.starts_with("HTTP/1.1 501 Not Implemented\r\n"), "{on} {target}: {all}");
            assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
            assert!(all.contains("\r\nconnection: close\r\n") && all.contains("connect-not-supported"), "{all}");
            assert!(all.contains("http:// instead of https://") && all.contains("this service's address"), "{all}");
        }
    }
    elsewhere.was_never_reached();
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_names_a_host_in_every_request_and_goes_on_working() {
    let upstream = upstream().await;
    for on in [false, true] {
        let files = HttpsFiles::make();
        let service = files.on(Setup::memory(&upstream)).set(ON, on).start().await;
        let stream = shake(service.public, &files.h2_caller()).await.expect("TLS");
        let send = h2(stream, &h2::client::Builder::new()).await;
        assert_eq!(ask_h2(&send, "/weather/London").await.expect("an answer").status, 200, "{on}");
        for uri in
            ["https://stratus.internal/weather/London", "https://api.openweathermap.org/data/2.5/weather?q=London"]
        {
            assert_eq!(streamed(&send, Ask::get(uri)).await, 200, "{on} {uri}");
        }
        assert_eq!(streamed(&send, Ask::connect("api.openweathermap.org:443")).await, 501, "{on}");
        assert_eq!(ask_h2(&send, "/weather/London").await.expect("an answer").status, 200, "{on}");
    }
}

async fn streamed(send: &h2::client::SendRequest<bytes::Bytes>, ask: axum::http::request::Builder) -> u16 {
    let asked = async {
        let mut send = send.clone().ready().await?;
        send.send_request(ask.body(()).expect("a request"), false)?.0.await
    };
    timeout(PATIENCE, asked).await.expect("in time").expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_proxy_refuses_has_its_line_and_its_count_and_its_host_is_in_neither() {
    let upstream = upstream().await;
    let program = Setup::memory(&upstream).set(ON, true).program().await;
    let fields = format!("proxy-authorization: Basic {CANARY}\r\nvia: 1.1 {CANARY}\r\nconnection: close\r\n\r\n");
    let mut answers = String::new();
    for line in [
        format!("GET http://{CANARY}.example/data/2.5/weather?q={CANARY}"),
        format!("GET http://{CANARY}.example/weather/{CANARY}"),
        format!("CONNECT {CANARY}.example:443"),
    ] {
        let mut stream = connect(program.public()).await;
        stream.write_all(format!("{line} HTTP/1.1\r\nhost: h\r\n{fields}").as_bytes()).await.expect("it is taken");
        answers += &read_to_end(&mut stream).await;
    }
    let metrics = answer(program.admin_request(reqwest::Method::GET, "/metrics")).await.text().to_owned();
    for (method, status, count) in [("GET", 403, 2), ("other", 501, 1)] {
        let line = format!(r#"requests_total{{route="other",method="{method}",status="{status}"}} {count}"#);
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let lines = program.stop().await;
    let told: Vec<_> = parsed(&lines)
        .into_iter()
        .filter(|line| line["target"] == "stratus::access")
        .map(|line| (line["route"].clone(), line["status"].clone(), line["code"].clone()))
        .collect();
    let expected = [(403, "forward-proxy-refused"), (403, "forward-proxy-refused"), (501, "connect-not-supported")];
    assert_eq!(told, expected.map(|(status, code)| ("other".into(), status.into(), code.into())));
    for (place, text) in [("the log", lines.join("\n")), ("the metrics", metrics), ("the answers", answers)] {
        Canaries::texts([CANARY]).absent_from(place, text.as_bytes());
    }
}

/// An address that leads to a service which is started after it is known.
fn road() -> (Door, tokio::sync::watch::Sender<Option<SocketAddr>>) {
    let (to, known) = tokio::sync::watch::channel(None);
    let known = Arc::new(known);
    let door = Door::open(move |mut caller| {
        let mut known = tokio::sync::watch::Receiver::clone(&known);
        Box::pin(async move {
            let Ok(Some(to)) = known.wait_for(Option::is_some).await.map(|to| *to) else { return };
            let mut service = connect(to).await;
            // Either end may leave as it likes.
            tokio::io::copy_bidirectional(&mut caller, &mut service).await.ok();
        })
    });
    (door, to)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_comes_back_to_us_by_way_of_others_ends_with_the_timeout_and_goes_round_once() {
    let nobody = upstream().await;
    for others in [0, 1] {
        let (door, to) = road();
        let wire = TcpProxy::start(door.port()).await;
        let mut base_url = format!("http://127.0.0.1:{}", wire.port());
        let mut round = Vec::new();
        for _ in 0..=others {
            let setup = Setup::memory(&nobody).set(ON, true).set("upstream.timeout_ms", 3_000);
            round.push(setup.set("upstream.base_url", &base_url).start().await);
            base_url = format!("http://{}", round.last().expect("it").public);
        }
        let asked = round.last().expect("one at least");
        to.send_replace(Some(asked.public));
        let answered = answer(client(asked).get(LONDON)).await;
        assert_eq!(answered.status.as_u16(), 504, "{answered:?}");
        let seen = String::from_utf8_lossy(&wire.bytes_seen()).into_owned();
        assert_eq!(seen.matches("GET /data/2.5/weather?").count(), 1, "{seen}");
    }
    assert_eq!(nobody.calls(), 0);
}
