//! 10 000 callers ask one cold question at once, and its source takes 300 ms: `cargo bench --bench coalescing`.
//!
//! Prints how long after the end of the load each caller had its answer. Exits with 1 unless the source was asked
//! exactly once, every caller shared that call, and all answers are alike.

#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]

mod fixture;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use stratus::cache::{Answer, Origin};
use stratus::crypto::Keyring;
use stratus::weather::{Fetched, Fetching, Purpose, Query, Source};

use fixture::{CALLER, NOW_MS};

const CALLERS: usize = 10_000;
const LOAD: Duration = Duration::from_millis(300);
/// Each with a cache of its own, so that each is cold.
const RUNS: usize = 5;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    println!("{CALLERS} callers of one cold question, a source that takes {} ms", LOAD.as_millis());
    for run in 1..=RUNS {
        match measure().await {
            Ok(line) => println!("run {run}: {line}"),
            Err(failure) => {
                println!("run {run}: FAILED: {failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

async fn measure() -> Result<String, Failure> {
    let source = Arc::new(Slow::default());
    let asked: Arc<dyn Source> = Arc::<Slow>::clone(&source);
    let cache = fixture::cache(1 << 26, CALLERS, Keyring::ephemeral()?, asked);
    let query = Query::parse("London", "")?;

    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (cache, query) = (cache.clone(), query.clone());
            tokio::spawn(async move {
                let answer = cache.get(query, CALLER).await;
                (answer, Instant::now())
            })
        })
        .collect();
    let mut answers = Vec::with_capacity(CALLERS);
    for caller in callers {
        let (answer, at) = caller.await?;
        answers.push((answer.map_err(|error| format!("a caller got no answer: {error:?}"))?, at));
    }
    check(&answers, &source)?;

    let ended = source.ended()?;
    let mut waits: Vec<_> = answers.iter().map(|(_, at)| at.saturating_duration_since(ended)).collect();
    waits.sort_unstable();
    let [p50, p99, max] = [CALLERS / 2, CALLERS * 99 / 100, CALLERS - 1].map(|rank| waits[rank].as_micros());
    Ok(format!("1 call of the source; from its end to the answer: p50 {p50} us, p99 {p99} us, max {max} us"))
}

/// That the figure is what it says it is.
fn check(answers: &[(Answer, Instant)], source: &Slow) -> Result<(), Failure> {
    let calls = source.calls.load(Ordering::SeqCst);
    if calls != 1 {
        return Err(format!("the source was asked {calls} times").into());
    }
    let first = &answers[0].0;
    let alike = |answer: &Answer| {
        (&answer.content, answer.fetched_at_ms, answer.windows) == (&first.content, first.fetched_at_ms, first.windows)
    };
    let different = answers.iter().filter(|(answer, _)| !alike(answer)).count();
    if different > 0 {
        return Err(format!("{different} answers differ from the first").into());
    }
    let shared = |collapsed| Origin::Source { stale: false, stored: true, collapsed };
    let count = |origin| answers.iter().filter(|(answer, _)| answer.origin == origin).count();
    let (led, joined) = (count(shared(false)), count(shared(true)));
    if (led, joined) != (1, CALLERS - 1) {
        return Err(format!("{led} callers led the load and {joined} joined it; the others came too late").into());
    }
    Ok(())
}

/// Answers after [`LOAD`], and remembers how often it was asked and when it answered.
#[derive(Default)]
struct Slow {
    calls: AtomicUsize,
    ended: Mutex<Option<Instant>>,
}

impl Slow {
    fn ended(&self) -> Result<Instant, Failure> {
        let ended = *self.ended.lock().map_err(|error| error.to_string())?;
        ended.ok_or_else(|| "the source never answered".into())
    }
}

impl Source for Slow {
    fn fetch<'a>(&'a self, _: &'a Query, _: Purpose) -> Fetching<'a> {
        Box::pin(async {
            self.calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(LOAD).await;
            let body = Bytes::from(vec![b'w'; 600]);
            if let Ok(mut ended) = self.ended.lock() {
                *ended = Some(Instant::now());
            }
            Ok(Fetched { body, fetched_at_ms: NOW_MS })
        })
    }
}
