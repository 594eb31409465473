//! What the process does for its secrets before it reads the first one: no picture of its memory gets out by a crash, by
//! another program of the same user, or by the message of a panic.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::thread;

use rlimit::Resource;

/// Closes the ways by which memory leaves a process, and gives what could not be closed, as sentences for the log: an
/// operator has to know, but a service that does not start helps nobody.
///
/// - No core dumps (`RLIMIT_CORE` is 0, also for the programs that this one starts).
/// - On Linux also `PR_SET_DUMPABLE` 0 (prctl(2)), because a `kernel.core_pattern` that pipes to a program takes a limit of
///   0 for none (core(5)). It also closes `/proc/PID/environ`, `mem`, `maps` and `fd` and ptrace(2) to everybody but root:
///   other programs of the same user cannot read the keys, and neither can that user's debugger or `perf`.
/// - A panic is told by its place only, see [`tell_panics_without_their_message`].
pub fn harden() -> Vec<String> {
    tell_panics_without_their_message();
    let mut open = Vec::new();
    if let Err(error) = Resource::CORE.set(0, 0) {
        open.push(format!("core dumps could not be turned off (RLIMIT_CORE): {error}; run this with `ulimit -c 0`"));
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        open.push(format!(
            "this process's memory could not be closed to programs of the same user (PR_SET_DUMPABLE): {error}; \
             run it as a user of its own"
        ));
    }
    open
}

/// From now on a panic is told by its file, line and thread only: as an error in the log, or where no log takes errors as
/// one line on standard error. Never its message, which may hold what the code worked on, and no backtrace, whatever
/// `RUST_BACKTRACE` says.
pub fn tell_panics_without_their_message() {
    panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(place, thread, "a bug: this program panicked");
    } else {
        // Nobody left to tell if this fails.
        let _ = writeln!(io::stderr(), "stratus: a bug: this program panicked at {place} in thread {thread}");
    }
}
