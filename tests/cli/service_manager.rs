//! The program under a service manager: what it tells it, and sockets that it gets from it. The manager is this test: a socket
//! that it listens on for messages, and sockets that it opens for the program, as sd_notify(3) and sd_listen_fds(3) say.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::harness::{Folder, PATIENCE, Running, Service, Settings, Upstream, get, run};
use super::redis::Redis;

/// Where the program sends its messages.
struct Manager {
    socket: UnixDatagram,
    folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, folder }
    }

    /// The program with these settings, which is told where the manager listens.
    fn command(&self, settings: &Settings) -> Command {
        let mut command = settings.command(&["serve"]);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command
    }

    /// The lines of the next message.
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4_096];
        let length = self.socket.recv(&mut message).expect("a message");
        let message = String::from_utf8(message[..length].to_vec()).expect("UTF-8");
        message.lines().map(str::to_owned).collect()
    }

    /// Whether there is a message of so little time.
    fn hears_within(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).expect("a timeout");
        let heard = self.socket.recv(&mut [0; 4_096]).is_ok();
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        heard
    }

    /// Takes messages until there are none.
    fn takes_what_is_there(&self) {
        self.socket.set_nonblocking(true).expect("a mode");
        while self.socket.recv(&mut [0; 4_096]).is_ok() {}
        self.socket.set_nonblocking(false).expect("a mode");
    }

    /// After the end of the program: there is no message left.
    fn has_nothing_left(&self) {
        self.socket.set_nonblocking(true).expect("a mode");
        assert!(self.socket.recv(&mut [0; 4_096]).is_err(), "something was told after the end");
    }
}

#[test]
fn the_service_manager_is_told_when_the_service_serves_reads_files_again_and_stops() {
    let manager = Manager::new();
    let mut service = Service::start(&mut manager.command(&Settings::memory()));
    assert_eq!(manager.next(), ["READY=1", "STATUS=serving; records in memory"]);
    // By then it is so.
    assert_eq!(get(service.admin, "/readyz").status, 200);
    assert_eq!(get(service.public, "/nothing").status, 404);

    service.running.signal("HUP");
    let reloading = manager.next();
    assert_eq!(reloading[0], "RELOADING=1");
    // systemd.service(5): by the monotonic clock, in microseconds.
    let at = reloading[1].strip_prefix("MONOTONIC_USEC=").and_then(|at| at.parse::<u64>().ok());
    assert!(at.is_some_and(|at| at > 0), "{reloading:?}");
    assert_eq!(manager.next(), ["READY=1"]);

    service.running.signal("TERM");
    assert_eq!(manager.next(), ["STOPPING=1", "STATUS=stopping: requests in flight may finish"]);
    service.running.line("stopped: every request");
    let ran = service.running.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    manager.has_nothing_left();
}

#[test]
fn a_stop_that_comes_early_is_the_last_that_the_service_manager_is_told() {
    let manager = Manager::new();
    let mut running = Running::start(&mut manager.command(&Settings::memory()));
    running.line("\"listening\"");
    running.signal("TERM");
    let ran = running.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut last = manager.next();
    if last[0] == "READY=1" {
        last = manager.next();
    }
    assert_eq!(last[0], "STOPPING=1");
    manager.has_nothing_left();
}

#[test]
fn nobody_is_told_that_the_service_is_ready_before_it_is_also_if_it_is_to_read_its_files_again_meanwhile() {
    let (manager, redis) = (Manager::new(), Redis::start());
    // Takes connections and never speaks: the start waits for it.
    let silent = listening();
    let settings = redis.settings().set("redis.url", format!("rediss://{}", address(&silent)));
    let running = Running::start(&mut manager.command(&settings.set("redis.connect_timeout_ms", 1_000)));
    let _held = silent.accept().expect("a connection");
    running.signal("HUP");
    let first = manager.next();
    assert!(first[0] == "READY=1" && first[1].starts_with("STATUS="), "{first:?}");
}

#[test]
fn the_service_manager_is_told_when_redis_goes_away_and_when_it_is_back() {
    const UP: &str = "STATUS=serving; Redis up";
    const AWAY: &str = "STATUS=serving; Redis away, answers come from memory and OpenWeatherMap";
    let (manager, mut redis) = (Manager::new(), Redis::start());
    let _service = Service::start(&mut manager.command(&redis.settings()));
    assert_eq!(manager.next(), ["READY=1", UP]);
    redis.stop();
    assert_eq!(manager.next(), [AWAY]);
    redis.restart();
    assert_eq!(manager.next(), [UP]);

    redis.stop();
    assert_eq!(manager.next(), [AWAY]);
    let late = Manager::new();
    let _service = Service::start(&mut late.command(&redis.settings().set("redis.connect_timeout_ms", 1_000)));
    assert_eq!(late.next(), ["READY=1", AWAY]);
}

/// The watchdog's interval in these tests.
const WATCHDOG: Duration = Duration::from_millis(400);

#[test]
fn the_watchdog_hears_that_the_service_is_alive_while_it_runs_and_nothing_while_it_is_held_up() {
    let manager = Manager::new();
    let mut command = manager.command(&Settings::memory());
    command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    let service = Service::start(&mut command);
    assert_eq!(manager.next()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.next(), ["WATCHDOG=1"]);
    }

    service.running.signal("STOP");
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.running.id())).expect("its state");
        stat.rsplit(") ").next().expect("what follows its name").starts_with('T')
    };
    while !state() {
        std::thread::yield_now();
    }
    manager.takes_what_is_there();
    assert!(!manager.hears_within(WATCHDOG * 3), "held up, and says that it is alive");
    service.running.signal("CONT");
    assert_eq!(manager.next(), ["WATCHDOG=1"]);
}

#[test]
fn a_watchdog_of_another_process_is_not_told_anything() {
    let manager = Manager::new();
    let mut command = manager.command(&Settings::memory());
    // sd_watchdog_enabled(3): of whom it is said.
    command.env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let service = Service::start(&mut command);
    assert_eq!(manager.next()[0], "READY=1");
    for _ in 0..50 {
        assert_eq!(get(service.admin, "/livez").status, 200);
    }
    service.running.signal("TERM");
    assert_eq!(manager.next()[0], "STOPPING=1");
}

#[test]
fn a_service_manager_that_went_away_harms_nothing() {
    let folder = Folder::new();
    let mut command = Settings::memory().command(&["serve"]);
    command.env("NOTIFY_SOCKET", folder.path().join("gone")).env("WATCHDOG_USEC", "1000");
    let mut service = Service::start(&mut command);
    service.running.line("could not be told");
    assert_eq!(get(service.admin, "/readyz").status, 200);
    service.running.signal("TERM");
    assert_eq!(service.running.end().code, Some(0));
}

// --- Sockets ---

/// A socket that listens, which this test keeps open.
fn listening() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn address(socket: &TcpListener) -> SocketAddr {
    socket.local_addr().expect("an address")
}

/// Copies of sockets that a program started from here gets, too.
struct Inheritable(Vec<OwnedFd>);

impl Inheritable {
    fn new(sockets: &[BorrowedFd<'_>]) -> Self {
        // Beyond the numbers that anything is moved to.
        let copy = |socket: &BorrowedFd<'_>| {
            let copy = fcntl_dupfd_cloexec(socket, 100).expect("a copy");
            fcntl_setfd(&copy, FdFlags::empty()).expect("a flag");
            copy
        };
        Self(sockets.iter().map(copy).collect())
    }

    /// The program with these as its file descriptors from 3 on, which a shell moves there and says that they are meant for it;
    /// `names` as in `LISTEN_FDNAMES`.
    fn command(&self, settings: &Settings, names: Option<&str>) -> Command {
        let mut command = self.command_of("serve", names);
        command.envs(settings.environment());
        command
    }

    /// The same with these arguments.
    fn command_of(&self, arguments: &str, names: Option<&str>) -> Command {
        let moved = |(socket, place): (&OwnedFd, u32)| format!(" {place}<&{0} {0}<&-", socket.as_raw_fd());
        let moves: String = self.0.iter().zip(3..).map(moved).collect();
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("LISTEN_PID=$$ exec \"$0\" {arguments}{moves}"), env!("CARGO_BIN_EXE_stratus")]);
        shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        shell.env("LISTEN_FDS", self.0.len().to_string());
        names.into_iter().for_each(|names| {
            shell.env("LISTEN_FDNAMES", names);
        });
        shell
    }
}

/// Addresses at which the program must not listen: they are taken.
fn with_taken_addresses() -> (Settings, [TcpListener; 2]) {
    let taken = [listening(), listening()];
    let settings = Settings::memory().set("server.listen", address(&taken[0])).set("admin.listen", address(&taken[1]));
    (settings, taken)
}

#[test]
fn sockets_that_are_there_take_the_place_of_addresses_by_name_or_in_order() {
    for (names, order) in
        [(Some("public:admin"), [0, 1]), (Some("admin:public"), [1, 0]), (Some("one:one"), [0, 1]), (None, [0, 1])]
    {
        let (settings, _taken) = with_taken_addresses();
        let sockets = [listening(), listening()];
        let service = {
            let given = Inheritable::new(&[sockets[0].as_fd(), sockets[1].as_fd()]);
            Service::start(&mut given.command(&settings, names))
        };
        let [public, admin] = order.map(|index| address(&sockets[index]));
        assert_eq!((service.public, service.admin), (public, admin), "{names:?}");
        assert_eq!(get(admin, "/livez").status, 200, "{names:?}");
        assert_eq!(get(public, "/livez").status, 404, "{names:?}");
    }
}

#[test]
fn one_socket_that_is_there_takes_the_place_of_one_address() {
    for (name, other) in [("public", "admin.listen"), ("admin", "server.listen")] {
        let (settings, _taken) = with_taken_addresses();
        let socket = listening();
        let given = Inheritable::new(&[socket.as_fd()]);
        let service = Service::start(&mut given.command(&settings.set(other, "127.0.0.1:0"), Some(name)));
        let mine = if name == "public" { service.public } else { service.admin };
        assert_eq!(mine, address(&socket), "{name}");
    }
}

#[test]
fn sockets_that_are_of_no_use_are_refused_with_the_fix() {
    let (tcp, udp) = (listening(), UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    let connected = std::net::TcpStream::connect(address(&tcp)).expect("a connection");
    let file = std::fs::File::open("/dev/null").expect("a file");
    let (tcp, fix) = (tcp.as_fd(), "use ListenStream=");
    let cases: [(&[BorrowedFd<'_>], &str, &str); 7] = [
        (&[tcp, udp.as_fd()], "public:admin", fix),
        (&[tcp, connected.as_fd()], "public:admin", fix),
        (&[file.as_fd(), tcp], "public:admin", fix),
        (&[tcp, tcp, tcp], "public:admin:more", "gives 3 sockets"),
        (&[tcp, tcp], "public:operators", "named \"operators\""),
        (&[tcp], "stratus.socket", "named \"stratus.socket\""),
        (&[tcp, tcp], "public", "LISTEN_FDNAMES"),
    ];
    for (sockets, names, part) in cases {
        let refused = run(&mut Inheritable::new(sockets).command(&Settings::memory(), Some(names)));
        assert_eq!((refused.code, refused.faults().len()), (Some(2), 1), "{refused:?}");
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    let missing = run(Inheritable::new(&[]).command(&Settings::memory(), None).env("LISTEN_FDS", "2"));
    assert_eq!(missing.code, Some(2), "{missing:?}");
}

#[test]
fn sockets_of_another_process_are_left_alone() {
    let socket = listening();
    let given = Inheritable::new(&[socket.as_fd()]);
    let mut command = Settings::memory().command(&["serve"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("LISTEN_FDNAMES", "public");
    let service = Service::start(&mut command);
    assert_ne!(service.public, address(&socket));
    drop(given);
}

#[test]
fn sockets_that_are_there_are_not_handed_on_to_the_redis_server_of_the_demo() {
    let folder = Folder::new();
    let socket = listening();
    let given = Inheritable::new(&[socket.as_fd()]);
    let of = |pid: &str| std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files");
    let opens = |pid: &str| -> Vec<_> { of(pid).filter_map(|file| file.ok()?.path().read_link().ok()).collect() };
    let this = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("a socket");
    let mut demo = given.command_of("demo --redis --listen 127.0.0.1:0", None);
    let mut running = Running::start(demo.env("TMPDIR", folder.path()));
    running.line("listening");
    let threads = std::fs::read_dir(format!("/proc/{}/task", running.id())).expect("threads").flatten();
    let children = threads.flat_map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let children: String = children.collect();
    assert_eq!(children.split_whitespace().count(), 1, "redis-server");
    assert!(opens("self").contains(&this) && !opens(children.trim()).contains(&this));
    running.signal("INT");
    assert_eq!(running.end().code, Some(0));
}

#[test]
fn a_socket_for_operators_that_other_machines_reach_needs_a_token_whoever_opened_it() {
    let open = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let given = Inheritable::new(&[open.as_fd()]);
    let without = Settings::memory().set("admin.listen", "127.0.0.1:0");
    run(&mut given.command(&without, Some("admin"))).refused("admin.listen", "there is no token");
    let with = without.set("admin.token", "0123456789abcdef0123456789abcdef");
    let service = Service::start(&mut given.command(&with, Some("admin")));
    assert_eq!(service.admin, address(&open));
}

#[test]
fn who_asks_while_the_program_is_restarted_on_sockets_that_stay_open_waits_and_is_answered() {
    const RESTARTS: usize = 3;
    let sockets = [listening(), listening()];
    let given = Inheritable::new(&[sockets[0].as_fd(), sockets[1].as_fd()]);
    let upstream = Upstream::simulated();
    let settings = Settings::memory().set("upstream.base_url", upstream.url()).set("upstream.api_key", "key");
    let start = || Service::start(&mut given.command(&settings, Some("public:admin")));
    let public = address(&sockets[0]);
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // No connection is refused and none is cut: either would panic here.
                assert_eq!(get(public, "/weather/London").status, 200);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Whatever happens in here, the caller ends, and with it the scope.
        let end = OnDrop(|| done.store(true, Ordering::Relaxed));
        let is_answered = || {
            let before = asked.load(Ordering::Relaxed);
            while asked.load(Ordering::Relaxed) < before + 20 && !asking.is_finished() {
                std::thread::yield_now();
            }
        };
        let mut service = start();
        for _ in 0..RESTARTS {
            is_answered();
            service.running.signal("TERM");
            let ran = service.running.end();
            assert_eq!(ran.code, Some(0), "{ran:?}");
            service = start();
        }
        is_answered();
        drop(end);
        asking.join().expect("everybody is answered");
        drop(service);
    });
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
