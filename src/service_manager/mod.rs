//! The service manager that started the program, systemd or one that speaks like it: it is told how the program is
//! (sd_notify(3)), and it may have opened the sockets already (sd_listen_fds(3)). Without one, nothing here does anything.

mod sockets;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};

pub use sockets::{Inherited, InheritedError, inherited};

/// Where the service manager listens, in the environment.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Whoever is told how the program is. Clones share what was told.
///
/// A message that cannot be sent is one line in the log: the service goes on, and the service manager draws its conclusions.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    told: Arc<Mutex<Told>>,
}

/// What the service manager was told of the program's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    /// Nothing: it starts.
    #[default]
    Nothing,
    /// That it serves.
    Ready,
    /// That it stops. It is told nothing else after that: it would be taken back.
    Stopping,
}

impl ServiceManager {
    /// The one that started this program and wants to be told, if there is one.
    pub fn of_this_process() -> Option<Self> {
        std::env::var_os(SOCKET).map(|_| Self::default())
    }

    /// The service serves.
    pub fn ready(&self, status: &str) {
        self.tell(Told::Ready, &[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// How the service is, in a few words that every user of the machine may read.
    pub fn status(&self, status: &str) {
        self.tell_while_ready(&[NotifyState::Status(status)]);
    }

    /// Files are being read again; [`ServiceManager::reloaded`] follows. systemd wants to know when this was said, since it
    /// could be about an earlier request. Before the service serves neither is told: the second would say that it does.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell_while_ready(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!("no monotonic clock to tell the service manager the time by: {error}"),
        }
    }

    /// Files were read again.
    pub fn reloaded(&self) {
        self.tell_while_ready(&[NotifyState::Ready]);
    }

    /// The ordered end begins. Nothing is told after this but that the service is alive.
    pub fn stopping(&self, status: &str) {
        self.tell(Told::Stopping, &[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    fn tell(&self, what: Told, states: &[NotifyState<'_>]) {
        // Held while it is sent, so that the last word is the last.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != Told::Stopping {
            *told = what;
            send(states);
        }
    }

    /// Tells what is of interest only while the program serves.
    fn tell_while_ready(&self, states: &[NotifyState<'_>]) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == Told::Ready {
            send(states);
        }
    }

    /// Tells twice in each of its intervals that the service is alive, as long as `probe` says that it is; for ever, if the
    /// service manager watches over this process at all (`WATCHDOG_USEC`).
    pub async fn watchdog<F: Future<Output = bool>>(&self, probe: impl Fn() -> F) {
        let interval = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero());
        if let Some(interval) = interval {
            ping(interval, probe, || send(&[NotifyState::Watchdog])).await;
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager could not be told how this service is ({SOCKET}): {error}");
    }
}

/// Sends while `probe` says yes within a third of the interval: asked at half of it, an answer is sent in time or not at all.
async fn ping<F: Future<Output = bool>>(every: Duration, probe: impl Fn() -> F, send: impl Fn()) {
    let mut ticks = interval(every / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if timeout(every / 3, probe()).await.unwrap_or(false) {
            send();
        } else {
            tracing::error!(
                "this service does not answer itself: the service manager's watchdog is not told that it is alive"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    /// When it was told, in seconds, in the first minute and a bit; `probe` gets the seconds that have passed.
    async fn told<F: Future<Output = bool>>(probe: impl Fn(u64) -> F) -> Vec<u64> {
        let (began, told) = (Instant::now(), RefCell::new(Vec::new()));
        let secs = || began.elapsed().as_secs();
        let pinging = ping(EVERY, || probe(secs()), || told.borrow_mut().push(secs()));
        let _ = timeout(Duration::from_secs(61), pinging).await;
        told.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alive_says_so_twice_in_each_interval() {
        assert_eq!(told(|_| async { true }).await, [0, 15, 30, 45, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_itself_in_time_does_not_say_that_it_is_alive_until_it_does_again() {
        assert_eq!(told(|now| async move { now != 30 }).await, [0, 15, 45, 60]);
        let held_up = |now| async move { if now == 30 { pending().await } else { true } };
        assert_eq!(told(held_up).await, [0, 15, 45, 60]);
        // Nine seconds are slow and in time, eleven are not.
        let slow = |secs| {
            move |now| async move {
                if now == 15 {
                    sleep(Duration::from_secs(secs)).await;
                }
                true
            }
        };
        assert_eq!(told(slow(9)).await, [0, 24, 30, 45, 60]);
        assert!(!told(slow(11)).await.iter().any(|at| (16..30).contains(at)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_is_made_at_a_time() {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let probe = |_| async {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            sleep(Duration::from_secs(9)).await;
            now.set(now.get() - 1);
            true
        };
        told(probe).await;
        assert_eq!(most.get(), 1);
    }
}
