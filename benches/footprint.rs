//! What a place takes in the memory level beside the bytes of its body, and that a million of them stay within the bound.
//! Measured as resident memory of this process, so it includes what the allocator adds. Linux only.

#![allow(clippy::print_stdout, reason = "the figures are the purpose")]

mod fixture;

use std::error::Error;
use std::fs;
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bytes::Bytes;
use stratus::cache::Cache;
use stratus::crypto::Keyring;
use stratus::weather::{Fetched, Fetching, Purpose, Query, Source};

use fixture::{CALLER, NOW_MS};

type Failure = Box<dyn Error>;

const PLACES: usize = 1_000_000;
/// The last of them, for which memory is measured.
const MEASURED: usize = 700_000;
const BODY_BYTES: usize = 600;
/// Promised: no more than this beside the body.
const OVERHEAD_BYTES: usize = 500;
/// The bound of the second measurement, and how far resident memory may be beyond it: the allocator's unused parts.
const BOUND: u64 = 64 * 1024 * 1024;
const SLACK: usize = 16 * 1024 * 1024;

fn main() -> ExitCode {
    // A process for each: what the first gave back to the allocator would hide what the second takes.
    let measured = match std::env::args().nth(1).as_deref() {
        Some("bounded") => bounded(),
        Some("unbounded") => unbounded(),
        _ => again("bounded").and_then(|()| again("unbounded")),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn again(which: &str) -> Result<(), Failure> {
    let ended = Command::new(std::env::current_exe()?).arg(which).status()?;
    if ended.success() { Ok(()) } else { Err(format!("{which}: {ended}").into()) }
}

fn bounded() -> Result<(), Failure> {
    let (cache, grown) = fill(BOUND)?;
    let (entries, weight) = cache.memory_size();
    println!("{PLACES} places, bounded to {BOUND} bytes: {entries} are kept, counted as {weight} bytes;");
    println!("while the last {MEASURED} came, resident memory grew by {grown} bytes");
    if weight > BOUND || grown > SLACK { Err("memory grew beyond the bound".into()) } else { Ok(()) }
}

fn unbounded() -> Result<(), Failure> {
    let (cache, grown) = fill(u64::MAX / 4)?;
    let (entries, weight) = cache.memory_size();
    let (each, counted) = (grown / MEASURED, weight / entries);
    println!("{entries} places, unbounded, bodies of {BODY_BYTES} bytes: {each} bytes each, counted as {counted};");
    println!("beside the body {} bytes", each.saturating_sub(BODY_BYTES));
    if usize::try_from(entries)? != PLACES {
        return Err("not all were kept".into());
    }
    if each > BODY_BYTES + OVERHEAD_BYTES { Err("that is too much".into()) } else { Ok(()) }
}

/// A cache that was asked about all places, and by how many bytes resident memory grew for the last [`MEASURED`]. The
/// store is in this process, too; it is bounded, and full before that.
fn fill(memory_max_bytes: u64) -> Result<(Cache, usize), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let cache = fixture::cache(memory_max_bytes, 1, Keyring::ephemeral()?, Arc::new(Anything));
        ask(&cache, 0..PLACES - MEASURED).await?;
        let before = resident_bytes()?;
        ask(&cache, PLACES - MEASURED..PLACES).await?;
        Ok((cache, resident_bytes()?.saturating_sub(before)))
    })
}

async fn ask(cache: &Cache, places: Range<usize>) -> Result<(), Failure> {
    for place in places {
        let letters: String = format!("{place:07}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        cache
            .get(Query::parse(&format!("place{letters},GB"), "lang=de")?, CALLER)
            .await
            .map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

fn resident_bytes() -> Result<usize, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}

/// Knows weather everywhere, each time in new bytes.
struct Anything;

impl Source for Anything {
    fn fetch<'a>(&'a self, _: &'a Query, _: Purpose) -> Fetching<'a> {
        Box::pin(async { Ok(Fetched { body: Bytes::from(vec![b'w'; BODY_BYTES]), fetched_at_ms: NOW_MS }) })
    }
}
