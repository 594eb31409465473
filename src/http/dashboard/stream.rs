//! `GET /events`: how the service stands, once a second, as server-sent events (HTML standard, section 9.2).
//!
//! One task looks for all who watch, and none if nobody does. Who reads slowly misses events and is kept nothing for.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::figures::History;
use crate::http::CROSS_ORIGIN_RESOURCE_POLICY;
use crate::http::admin::AdminState;
use crate::http::problem::Problem;

/// Streams at once: some people's screens and one on the wall. Each holds a connection without end.
const MOST: usize = 8;
/// From one event to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// What a client is told first: after so many milliseconds it may come again when the stream ends.
const RETRY: &str = "retry: 2000\n\n";
/// Some proxies collect an answer before they pass it on, unless this says no.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Who watches. Clones share it.
#[derive(Debug, Clone)]
pub struct Watchers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Arc<Semaphore>,
    /// The one task that looks, as long as somebody watches.
    looking: Mutex<Weak<Looking>>,
}

/// Looks until it is dropped.
#[derive(Debug)]
struct Looking {
    /// The last event; empty before the first.
    events: watch::Receiver<Bytes>,
    _task: AbortOnDropHandle<()>,
}

/// Nobody yet.
impl Default for Watchers {
    fn default() -> Self {
        Self(Arc::new(Shared { places: Arc::new(Semaphore::new(MOST)), looking: Mutex::default() }))
    }
}

impl Watchers {
    /// What is seen of `state`, by the task that looks for others already or by a new one.
    fn look(&self, state: &AdminState) -> Arc<Looking> {
        let mut looking = self.0.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(looking) = looking.upgrade() {
            return looking;
        }
        let (sender, events) = watch::channel(Bytes::new());
        let task = AbortOnDropHandle::new(tokio::spawn(look_again_and_again(state.clone(), sender)));
        let new = Arc::new(Looking { events, _task: task });
        *looking = Arc::downgrade(&new);
        new
    }
}

async fn look_again_and_again(state: AdminState, events: watch::Sender<Bytes>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut history = History::default();
    for id in 1_u64.. {
        ticks.tick().await;
        let figures = history.look(&state);
        events.send_replace(format!("id: {id}\ndata: {figures}\n\n").into());
    }
}

/// One who watches.
struct Watcher {
    events: watch::Receiver<Bytes>,
    /// Whether anything was sent yet.
    begun: bool,
    stopping: CancellationToken,
    /// Tells when another token is needed than the one that was shown.
    token: Option<watch::Receiver<()>>,
    _looking: Arc<Looking>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(Bytes::from_static(RETRY.as_bytes()));
        }
        loop {
            let token_replaced = async {
                match &mut self.token {
                    Some(token) => drop(token.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                () = token_replaced => return None,
                changed = self.events.changed() => changed.ok()?,
            }
            let event = self.events.borrow_and_update().clone();
            // Before the first look.
            if !event.is_empty() {
                return Some(event);
            }
        }
    }
}

/// The stream. It ends when the service stops, and when the token is replaced.
///
/// # Errors
/// The service stops, or as many watch as may.
pub(in crate::http) async fn events(State(state): State<AdminState>) -> Result<Response, Problem> {
    if state.stopping.is_cancelled() {
        return Err(Problem::draining());
    }
    let places = Arc::clone(&state.watchers.0.places);
    let place = places.try_acquire_owned().map_err(|_| Problem::too_many_watchers())?;
    let looking = state.watchers.look(&state);
    let mut events = looking.events.clone();
    // Who comes later sees at once what the others see.
    events.mark_changed();
    let token = state.token.as_ref().map(|token| token.replaced());
    let watcher =
        Watcher { events, begun: false, stopping: state.stopping.clone(), token, _looking: looking, _place: place };
    let stream = unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let headers: HeaderMap = [
        (CONTENT_TYPE, "text/event-stream"),
        // No page of another site may hold one of the few places.
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (X_ACCEL_BUFFERING, "no"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .into_iter()
    .collect();
    Ok((headers, Body::from_stream(stream)).into_response())
}
