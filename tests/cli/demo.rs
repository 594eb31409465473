//! `stratus demo`: the first minute with the program.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use super::harness::{Answer, Folder, PATIENCE, Running, get, run, stratus, text};

/// A running demo, whose temporary files are in a folder of ours.
struct Demo {
    running: Running,
    folder: Folder,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let folder = Folder::new();
        let mut running = Running::start(stratus(&["demo"]).args(arguments).env("TMPDIR", folder.path()));
        running.line("listening");
        Self { running, folder }
    }

    /// Where the `curl` line that it prints goes to.
    fn target(&self) -> (&str, &str) {
        let line = self.running.read().lines().find_map(|line| line.trim().strip_prefix("curl -i ")).expect("curl");
        line.split_once('/').expect("a path")
    }

    /// Asks what the `curl` line asks.
    fn curl(&self) -> Answer {
        let (host, path) = self.target();
        get(host, &format!("/{path}"))
    }

    /// A connection to the private Redis, which ends when that does.
    fn redis(&self) -> Peer {
        let banner = self.running.read();
        let after = banner.split("a private redis-server on port ").nth(1).expect("a port");
        let port: u16 = after.split(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Peer::reach(SocketAddr::from(([127, 0, 0, 1], port))).expect("it runs")
    }

    fn stop(self, signal: &str) -> Folder {
        self.running.signal(signal);
        let ran = self.running.end();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        self.folder
    }
}

/// A connection to something that will end.
struct Peer {
    address: SocketAddr,
    stream: TcpStream,
}

impl Peer {
    fn reach(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Some(Self { address, stream })
    }

    /// Returns when it has closed the connection and does not listen any more.
    fn gone(mut self) {
        // A reset is an end too; a timeout is not.
        if let Err(error) = self.stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        // The kernel closes what a process had open in no particular order, so the listener may be there for a moment.
        if let Some(next) = Self::reach(self.address) {
            next.gone();
        }
    }
}

#[test]
fn the_banner_says_that_the_weather_is_simulated_and_its_curl_line_works() {
    let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
    let banner = demo.running.read();
    assert!(banner.contains("SIMULATED") && banner.contains("not OpenWeatherMap's"), "{banner}");
    assert!(banner.contains("kept in this process's memory"), "{banner}");

    let (first, second) = (demo.curl(), demo.curl());
    assert_eq!((first.status, first.x_cache()), (200, "MISS"), "{first:?}");
    assert_eq!((second.status, second.x_cache()), (200, "HIT"), "{second:?}");
    assert_eq!(first.body, second.body);
    let body: serde_json::Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!((body["base"].as_str(), body["name"].as_str()), (Some("simulated"), Some("London")));
}

#[test]
fn the_banner_tells_browsers_where_the_page_is() {
    let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
    let banner = demo.running.read();
    let line = banner.lines().find_map(|line| line.strip_prefix("Or open http://")).expect("an address");
    let host = line.strip_suffix("/ in a browser.").expect("the end of the line");
    assert_eq!(host, demo.target().0);
    let page = get(host, "/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
}

#[test]
fn the_banner_leads_operators_to_a_dashboard_that_says_that_the_weather_is_made_up() {
    for redis in [&[][..], &["--redis"]] {
        let demo = Demo::start(&[&["--listen", "127.0.0.1:0"], redis].concat());
        let banner = demo.running.read();
        let line = banner.lines().find_map(|line| line.strip_prefix("The operators' dashboard is at http://"));
        let host = line.and_then(|line| line.strip_suffix('/')).expect("an address");
        assert_eq!(get(host, "/").header("content-type"), "text/html; charset=utf-8");
        let status: serde_json::Value = serde_json::from_str(&get(host, "/status").body).unwrap();
        assert_eq!(status["upstream"]["simulated"], true, "{status:#}");
    }
}

#[test]
fn a_place_that_does_not_exist_is_unknown_there_too() {
    let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
    let answer = get(demo.target().0, "/weather/Atlantis");
    assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"));
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["code"].as_str(), Some("unknown-location"));
}

#[test]
fn a_client_of_openweathermap_is_answered_by_its_paths_and_as_by_a_proxy() {
    let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
    let path = "/data/2.5/forecast?q=London&units=metric&appid=0123456789abcdef0123456789abcdef";
    let direct = get(demo.target().0, path);
    assert_eq!((direct.status, direct.header("access-control-allow-credentials")), (200, "true"), "{direct:?}");
    let by_proxy = get(demo.target().0, &format!("http://api.openweathermap.org{path}"));
    assert_eq!((by_proxy.status, by_proxy.x_cache(), by_proxy.body == direct.body), (200, "HIT", true));
}

#[cfg(target_os = "linux")]
#[test]
fn the_curl_line_names_an_address_that_listens() {
    let demo = Demo::start(&["--listen", "127.0.0.2:0"]);
    assert!(demo.target().0.starts_with("127.0.0.2:"), "{}", demo.running.read());
    assert_eq!(demo.curl().status, 200);
    let demo = Demo::start(&["--listen", "0.0.0.0:0"]);
    assert!(demo.target().0.starts_with("localhost:"), "{}", demo.running.read());
    assert_eq!(demo.curl().status, 200);
}

#[test]
fn settings_in_the_environment_do_not_change_the_demo() {
    let mut command = stratus(&["demo", "--listen", "127.0.0.1:0"]);
    command.env("STRATUS__UPSTREAM__BASE_URL", "https://192.0.2.1").env("STRATUS__NONSENSE", "x");
    Running::start(&mut command).line("listening");
}

#[test]
fn control_c_and_a_supervisors_signal_end_it_in_order() {
    for signal in ["INT", "TERM"] {
        let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
        let port = demo.target().0.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
        let service = Peer::reach(SocketAddr::from(([127, 0, 0, 1], port))).expect("it runs");
        demo.stop(signal);
        service.gone();
    }
}

#[test]
fn with_redis_records_are_in_a_private_redis_which_ends_with_it_and_leaves_no_file() {
    let demo = Demo::start(&["--redis", "--listen", "127.0.0.1:0"]);
    // On a machine that is busy, Redis may be connected only after the first answers.
    let deadline = Instant::now() + PATIENCE;
    let hit = loop {
        let answer = demo.curl();
        assert_eq!(answer.status, 200, "{answer:?}");
        if answer.x_cache() == "HIT" {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    };
    assert!(hit.header("cache-status").contains("detail=redis"), "{hit:?}");
    let redis = demo.redis();
    assert_eq!(demo.folder.names().len(), 1, "its files are in one folder");
    let folder = demo.stop("TERM");
    redis.gone();
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[cfg(target_os = "linux")]
#[test]
fn the_private_redis_does_not_outlive_a_killed_demo() {
    let demo = Demo::start(&["--redis", "--listen", "127.0.0.1:0"]);
    let redis = demo.redis();
    demo.running.signal("KILL");
    assert_eq!(demo.running.end().code, None, "a signal ended it");
    redis.gone();
}

#[test]
fn a_port_in_use_is_told_and_no_redis_and_no_file_is_left() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Folder::new();
    for arguments in [&["demo", "--listen", &address][..], &["demo", "--redis", "--listen", &address]] {
        let ran = run(stratus(arguments).env("TMPDIR", folder.path()));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        let faults = ran.faults();
        assert_eq!(faults.len(), 1, "{ran:?}");
        assert!(faults[0].starts_with(&format!("server.listen: cannot listen on {address}: ")), "{ran:?}");
    }
    assert!(folder.names().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn the_operators_listener_of_the_demo_is_in_nobodys_way() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = taken.local_addr().unwrap().port() - 1;
    let demo = Demo::start(&["--listen", &format!("127.0.0.3:{before}")]);
    assert_eq!(demo.curl().status, 200);
}

#[test]
fn without_a_redis_server_it_says_how_to_get_one() {
    let folder = Folder::new();
    let mut command = stratus(&["demo", "--redis", "--listen", "127.0.0.1:0"]);
    let ran = run(command.env("PATH", folder.path()).env("TMPDIR", folder.path()));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    let faults = ran.faults();
    assert_eq!(faults.len(), 1, "{ran:?}");
    assert!(faults[0].starts_with("redis-server is not installed: `apt-get install redis-server`"), "{ran:?}");
    assert!(folder.names().is_empty(), "{} is left in {}", folder.names().join(", "), text(folder.path()));
}
