//! Callers who ask and ask while something happens to the fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{ManualClock, PATIENCE, Service};

/// Held by tests with many callers, so that they do not take each other's time.
pub(crate) static ALONE: Mutex<()> = Mutex::const_new(());

/// How often the clock of the fleet is turned on.
const TICK: Duration = Duration::from_millis(20);

/// Has a clock go on as the real one does, until this is dropped.
pub(crate) struct Ticking(JoinHandle<()>);

impl Ticking {
    pub(crate) fn start(clock: &ManualClock) -> Self {
        let clock = clock.clone();
        Self(tokio::spawn(async move {
            let mut before = Instant::now();
            loop {
                tokio::time::sleep(TICK).await;
                let passed = before.elapsed();
                // Whole milliseconds; the rest is counted next time.
                let passed = Duration::from_millis(u64::try_from(passed.as_millis()).expect("a short time"));
                before += passed;
                clock.advance(passed);
            }
        }))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What callers got.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) answers: usize,
    /// Everything but a 200.
    pub(crate) others: Vec<String>,
}

/// Callers of several services, in turn, on connections that they keep.
pub(crate) struct Load {
    answers: Arc<AtomicUsize>,
    stop: CancellationToken,
    callers: Vec<JoinHandle<Got>>,
}

impl Load {
    /// `per_second` requests in all, for one of `paths` after the other.
    pub(crate) fn start(services: &[&Service], paths: &[String], per_second: u32) -> Self {
        const CALLERS: u32 = 24;
        let (answers, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let places = services.iter().cycle().zip(0..CALLERS);
        let callers = places.map(|(service, number)| {
            let client = Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
            let urls: Vec<_> = paths.iter().map(|path| format!("http://{}{path}", service.public)).collect();
            let (stop, answers) = (stop.clone(), Arc::clone(&answers));
            let pace = Duration::from_secs(1) * CALLERS / per_second;
            tokio::spawn(async move {
                let (mut got, mut next) = (Got::default(), number as usize * 7);
                let mut ticks = tokio::time::interval(pace);
                while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                    next += 1;
                    let answer = client.request(Method::GET, &urls[next % urls.len()]).send().await;
                    match answer {
                        Ok(answer) if answer.status() == 200 => {
                            got.answers += 1;
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => got.others.push(format!("{} {:?}", answer.status(), answer.text().await)),
                        Err(error) => got.others.push(error.to_string()),
                    }
                }
                got
            })
        });
        let callers = callers.collect();
        Self { answers, callers, stop }
    }

    /// Waits for so many more answers.
    pub(crate) async fn more(&self, answers: usize) {
        let wanted = self.answers.load(Ordering::Relaxed) + answers;
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.answers.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(TICK).await;
            }
        });
        assert!(waited.await.is_ok(), "no {answers} more answers within {PATIENCE:?}");
    }

    /// Ends it and tells what they got.
    pub(crate) async fn stop(self) -> Got {
        self.stop.cancel();
        let mut all = Got::default();
        for caller in self.callers {
            let got = caller.await.expect("no panic");
            all.answers += got.answers;
            all.others.extend(got.others);
        }
        all
    }
}
