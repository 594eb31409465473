//! What a place takes in the memory level beside the bytes of its body, and that a million of them stay within the bound.
//! And how many forecasts, whose bodies are long, are within it. Measured as resident memory of this process, so it
//! includes what the allocator adds. Linux only.

#![allow(clippy::print_stdout, reason = "the figures are the purpose")]

mod fixture;
#[path = "fixture/forecast.rs"]
mod forecast;

use std::error::Error;
use std::fs;
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use stratus::cache::{Cache, Coding, Content};
use stratus::crypto::Keyring;
use stratus::weather::{Fetched, Fetching, Purpose, Query, Source};

use fixture::{CALLER, NOW_MS};
use forecast::forecast;

type Failure = Box<dyn Error>;

/// What is asked about.
struct Asked {
    places: usize,
    /// The last of them, for which memory is measured.
    measured: usize,
    body: fn(u64) -> Bytes,
    /// Whether callers ask for every compressed form.
    forms: bool,
}

const WEATHER: Asked =
    Asked { places: 1_000_000, measured: 700_000, body: |_| vec![b'w'; BODY_BYTES].into(), forms: false };
/// Enough to fill the store of this process before those that are measured, and memory.
const FORECASTS: Asked =
    Asked { places: 45_000, measured: 10_000, body: |place| forecast(place, FORECAST_STEPS).into(), forms: true };
/// Five days by three hours: about 16 KB.
const FORECAST_STEPS: u64 = 40;
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
        Some("forecasts") => forecasts(),
        Some("forecasts-unbounded") => forecasts_unbounded(),
        _ => ["bounded", "unbounded", "forecasts", "forecasts-unbounded"].into_iter().try_for_each(again),
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
    let (cache, grown) = fill(BOUND, &WEATHER)?;
    let (entries, weight) = cache.memory_size();
    println!("{} places, bounded to {BOUND} bytes: {entries} are kept, counted as {weight} bytes;", WEATHER.places);
    println!("while the last {} came, resident memory grew by {grown} bytes", WEATHER.measured);
    if weight > BOUND || grown > SLACK { Err("memory grew beyond the bound".into()) } else { Ok(()) }
}

fn unbounded() -> Result<(), Failure> {
    let (cache, grown) = fill(u64::MAX / 4, &WEATHER)?;
    let (entries, weight) = cache.memory_size();
    let (each, counted) = (grown / WEATHER.measured, weight / entries);
    println!("{entries} places, unbounded, bodies of {BODY_BYTES} bytes: {each} bytes each, counted as {counted};");
    println!("beside the body {} bytes", each.saturating_sub(BODY_BYTES));
    if usize::try_from(entries)? != WEATHER.places {
        return Err("not all were kept".into());
    }
    if each > BODY_BYTES + OVERHEAD_BYTES { Err("that is too much".into()) } else { Ok(()) }
}

fn forecasts() -> Result<(), Failure> {
    let (cache, _) = fill(BOUND, &FORECASTS)?;
    let (entries, weight) = cache.memory_size();
    println!("{} forecasts, bounded to {BOUND} bytes: {entries} are kept, counted as {weight} bytes", FORECASTS.places);
    if weight > BOUND { Err("memory grew beyond the bound".into()) } else { Ok(()) }
}

/// With every form made that there may be.
fn forecasts_unbounded() -> Result<(), Failure> {
    let (cache, grown) = fill(u64::MAX / 4, &FORECASTS)?;
    let (entries, weight) = cache.memory_size();
    let (each, counted) = (grown / FORECASTS.measured, usize::try_from(weight / entries)?);
    let length = forecast(0, FORECAST_STEPS).len();
    println!("{entries} forecasts, unbounded, bodies of some {length} bytes, asked for in every coding:");
    println!("{each} bytes each, counted as {counted}");
    if each > counted { Err("more is taken than counted".into()) } else { Ok(()) }
}

/// A cache that was asked about all places, and by how many bytes resident memory grew for the last ones. The
/// store is in this process, too; it is bounded, and full before that.
fn fill(memory_max_bytes: u64, asked: &'static Asked) -> Result<(Cache, usize), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let cache = fixture::cache(
            memory_max_bytes,
            1,
            Keyring::ephemeral()?,
            Arc::new(Anything { body: asked.body, calls: AtomicU64::new(0) }),
        );
        let first = asked.places - asked.measured;
        ask(&cache, 0..first, asked.forms).await?;
        let before = resident_bytes()?;
        ask(&cache, first..asked.places, asked.forms).await?;
        Ok((cache, resident_bytes()?.saturating_sub(before)))
    })
}

async fn ask(cache: &Cache, places: Range<usize>, forms: bool) -> Result<(), Failure> {
    for place in places {
        let letters: String = format!("{place:07}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        let answer = cache
            .get(Query::parse(&format!("place{letters},GB"), "lang=de")?, CALLER)
            .await
            .map_err(|error| format!("{error:?}"))?;
        if let Content::Weather(body) = answer.content
            && forms
        {
            let made = Coding::ALL.into_iter().filter_map(|coding| body.encoded(coding)).count();
            assert_eq!(made, Coding::ALL.len(), "a forecast shrinks with each");
        }
    }
    Ok(())
}

fn resident_bytes() -> Result<usize, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}

/// Knows weather everywhere, each time in new bytes.
struct Anything {
    body: fn(u64) -> Bytes,
    calls: AtomicU64,
}

impl Source for Anything {
    fn fetch<'a>(&'a self, _: &'a Query, _: Purpose) -> Fetching<'a> {
        let body = (self.body)(self.calls.fetch_add(1, Ordering::Relaxed));
        Box::pin(async { Ok(Fetched { body, fetched_at_ms: NOW_MS }) })
    }
}
