//! The programs that the demo starts, and what the list of processes shows.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::program::variable;
use crate::harness::{API_KEY, Canaries, PATIENCE, Redis};

/// A program of this name that writes what it was given, settings and arguments, into `seen`, and becomes the real one.
fn spy(folder: &Path, name: &str, seen: &Path) {
    let path = std::env::var_os("PATH").expect("PATH");
    let mut real = std::env::split_paths(&path).map(|dir| dir.join(name));
    let real = real.find(|path| path.is_file()).unwrap_or_else(|| panic!("there is no {name}"));
    let seen = seen.display();
    let script = format!("#!/bin/sh\n{{ /usr/bin/env; echo \"$0 $*\"; }} >>{seen}\nexec {} \"$@\"\n", real.display());
    fs::write(folder.join(name), script).expect("a script");
    fs::set_permissions(folder.join(name), Permissions::from_mode(0o755)).expect("a mode");
}

/// What the kernel tells everybody, or the same user, of a process.
fn told_of(pid: u32) -> Vec<u8> {
    ["cmdline", "environ", "comm"].map(|file| fs::read(format!("/proc/{pid}/{file}")).expect("a file")).concat()
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    // A thread that has ended meanwhile has none.
    let of = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let all: Vec<_> = threads.map(|thread| of(thread.expect("a thread"))).collect();
    all.iter().flat_map(|pids| pids.split_whitespace()).map(|pid| pid.parse().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_it_starts_get_no_secret_and_the_list_of_processes_shows_none() {
    let redis = Redis::start().await;
    let secrets = Canaries::secrets(&redis);
    let folder = tempfile::tempdir().expect("a folder");
    let seen = folder.path().join("seen");
    ["redis-server", "setpriv"].iter().for_each(|name| spy(folder.path(), name, &seen));
    let read = |name: &str| fs::read_to_string(redis.secret(name)).expect("a secret").trim().to_owned();
    let mut all_inline = vec![("upstream.api_key".to_owned(), API_KEY.to_owned())];
    for name in ["admin-token", "redis-password", "encryption-keys", "stratus.key", "redis.key", "ca.key"] {
        all_inline.push((format!("canary.{}", name.replace(['.', '-'], "_")), read(name)));
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("PATH"));
    let start = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", &path).env("TMPDIR", folder.path());
        command.envs(all_inline.iter().map(|(key, value)| (variable(key), value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("a program")
    };

    let mut careless = start(folder.path().join("redis-server").to_str().expect("a path"), &["--version"]);
    assert!(careless.wait().await.expect("it ends").success());
    let given = Canaries::texts([API_KEY.to_owned(), read("admin-token"), read("redis-password")]);
    given.all_in("what a program was started with", &fs::read(&seen).expect("the spy's notes"));
    fs::remove_file(&seen).expect("the spy's notes");

    let mut demo = start(env!("CARGO_BIN_EXE_stratus"), &["demo", "--redis", "--listen", "127.0.0.1:0"]);
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let listens =
        async { while lines.next_line().await.expect("a line").expect("a line").find("listening").is_none() {} };
    timeout(PATIENCE, listens).await.expect("it listens");
    let pid = demo.id().expect("it runs");
    let children = children(pid);
    assert_eq!(children.len(), 1, "redis-server");
    let notes = fs::read(&seen).expect("the spy's notes");
    assert!(String::from_utf8_lossy(&notes).contains("--tls-port"), "redis-server was started by way of it");
    secrets.absent_from("what the programs were started with", &notes);
    secrets.absent_from("what the kernel tells of redis-server", &told_of(children[0]));
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).expect("the arguments");
    secrets.absent_from("the list of processes", &arguments);
}
