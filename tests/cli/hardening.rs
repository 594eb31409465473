//! A crash, a panic and the other programs of the same user learn nothing from the process. Each test first has the same
//! done to a program that does nothing about it, and has to find there what it must not find here.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use stratus::hardening::tell_panics_without_their_message;
use stratus::telemetry::{LogConfig, LogFormat, install_log};

use super::harness::{CANARY, Folder, Running, Settings, run};

/// Tells the test below that it is the child, and where it has to panic to.
const CHILD: &str = "STRATUS_TEST_PANICS_INTO";

/// A shell that allows core dumps, as large as the machine lets it, says so and becomes the program that follows.
fn with_core_dumps(program: &str, arguments: &[&str], folder: &Folder) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c \"$(ulimit -H -c)\" && echo ready && exec \"$0\" \"$@\"", program]).args(arguments);
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(folder.path());
    shell
}

fn crash(mut running: Running, ready: &str, signal: &str) -> bool {
    running.line(ready);
    // Rust takes the first SIGSEGV for its own look at the stack, and waits for it to come again.
    while !running.has_ended() {
        running.signal(signal);
    }
    let ran = running.end();
    assert_eq!(ran.code, None, "SIG{signal} ended it: {ran:?}");
    ran.dumped_core
}

#[test]
fn a_crash_leaves_no_core() {
    // Not SIGQUIT: who is started in the background of a shell ignores it.
    for signal in ["SEGV", "ABRT"] {
        let folder = Folder::new();
        let careless = Running::start(&mut with_core_dumps("sleep", &["60"], &folder));
        if !crash(careless, "ready", signal) {
            // A limit of this machine. What the program does about it is in the next test.
            eprintln!("nothing dumps core here, so there is nothing to see");
            return;
        }

        let folder = Folder::new();
        let mut command = with_core_dumps(env!("CARGO_BIN_EXE_stratus"), &["serve"], &folder);
        command.envs(Settings::memory().set("upstream.api_key", CANARY).environment());
        assert!(!crash(Running::start(&mut command), "listening", signal), "SIG{signal} left a core");
        assert!(folder.names().is_empty(), "SIG{signal} left {:?}", folder.names());
    }
}

#[test]
fn its_limit_of_core_dumps_is_nothing_whatever_it_was_started_with() {
    let limit = |running: &Running| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.id())).expect("the limits");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("the limit");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let folder = Folder::new();
    let mut command = with_core_dumps(env!("CARGO_BIN_EXE_stratus"), &["serve"], &folder);
    let mut running = Running::start(command.envs(Settings::memory().environment()));
    running.line("listening");
    // Soft and hard: what it starts cannot raise it again.
    assert_eq!(limit(&running)[..2], ["0", "0"]);
}

/// A user who is not root, for root may read everything: nobody, or whoever runs this.
fn as_a_user(program: &Path) -> Command {
    let is_root = std::fs::metadata("/proc/self").expect("/proc").uid() == 0;
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(program);
    command
}

/// Whether another program of that user can read what the kernel tells of a process in this file.
fn can_read(running: &Running, file: &str) -> bool {
    // Opening is what is refused; there is nothing at the beginning of `mem`.
    let open = format!(": < /proc/{}/{file} && head -c 1 /proc/{}/{file}", running.id(), running.id());
    let open = if file == "mem" { format!(": < /proc/{}/mem", running.id()) } else { open };
    run(as_a_user(Path::new("sh")).args(["-c", &open])).code == Some(0)
}

#[test]
fn another_program_of_the_same_user_reads_neither_its_environment_nor_its_memory() {
    let folder = Folder::new();
    // Where the other user may go, and readable to all: the kernel closes a program that its user cannot read by itself.
    let program: PathBuf = folder.path().join("stratus");
    std::fs::copy(env!("CARGO_BIN_EXE_stratus"), &program).expect("a copy");
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let start = |program: &Path, arguments: &[&str]| {
        let mut command = as_a_user(program);
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(Settings::memory().set("upstream.api_key", CANARY).environment());
        Running::start(&mut command)
    };

    let mut careless = start(Path::new("sh"), &["-c", "echo ready && sleep 60"]);
    careless.line("ready");
    let mut service = start(&program, &["serve"]);
    service.line("listening");
    // Yama may keep `mem` from all but parents (ptrace_scope), of whomever.
    let open: Vec<_> = ["environ", "maps", "mem"].into_iter().filter(|file| can_read(&careless, file)).collect();
    assert!(open.contains(&"environ") && open.contains(&"maps"), "of a program that does not mind: {open:?}");
    for file in ["environ", "maps", "mem"] {
        assert!(!can_read(&service, file), "/proc/PID/{file} can be read");
    }
}

/// What a panic in a thread of a child of this test prints.
fn panicked(into: &str) -> String {
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    child.args([
        "--exact",
        "hardening::a_panic_is_told_by_its_place_and_thread_and_never_by_its_message",
        "--nocapture",
    ]);
    let ran = run(child.env(CHILD, into).env("RUST_BACKTRACE", "full"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout + &ran.stderr
}

/// What the child does.
fn panic_into(into: &str) {
    let log = LogConfig { format: LogFormat::Json, filter: "trace".to_owned() };
    let log = (into == "log").then(|| install_log(&log).expect("a log"));
    if into != "default" {
        tell_panics_without_their_message();
    }
    let thread = std::thread::Builder::new().name("a-thread".to_owned());
    let secret = format!("{CANARY} in the message");
    let ended = thread.spawn(move || std::panic::panic_any(secret)).expect("a thread").join();
    assert!(ended.is_err(), "it panicked");
    drop(log);
}

#[test]
fn a_panic_is_told_by_its_place_and_thread_and_never_by_its_message() {
    if let Ok(into) = std::env::var(CHILD) {
        return panic_into(&into);
    }
    let careless = panicked("default");
    assert!(careless.contains(CANARY) && careless.contains("stack backtrace"), "{careless}");

    for into in ["log", "stderr"] {
        let printed = panicked(into);
        assert!(!printed.contains(CANARY) && !printed.contains("backtrace"), "{into}: {printed}");
        let told: Vec<_> = printed.lines().filter(|line| line.contains("this program panicked")).collect();
        assert_eq!(told.len(), 1, "{into}: {printed}");
        assert!(told[0].contains("tests/cli/hardening.rs:") && told[0].contains("a-thread"), "{into}: {printed}");
        assert_eq!(told[0].contains(r#""level":"ERROR""#), into == "log", "{printed}");
    }
}

#[test]
fn a_panic_of_the_program_itself_is_one_line_without_its_message() {
    // No thread gets a stack of that size, and the runtime panics over it.
    let mut command = Settings::memory().command(&["serve"]);
    let ran = run(command.env("RUST_MIN_STACK", "200000000000000").env("RUST_BACKTRACE", "full"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(101), ""), "{ran:?}");
    assert_eq!(ran.faults().len(), 1, "{ran:?}");
    let (_, place) = ran.stderr.split_once("this program panicked at ").expect("the place");
    assert!(place.contains(".rs:") && place.ends_with(" in thread main\n"), "{ran:?}");
    assert!(!ran.stderr.contains("worker thread"), "the message itself: {ran:?}");
}
