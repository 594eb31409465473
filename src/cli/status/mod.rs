//! `stratus status`: how the running service is, as a table; on a terminal it is drawn anew until somebody has seen enough.
//!
//! It reads `/status` and `/metrics` of the admin listener, which are open to whoever reaches it: no token is needed.

mod figures;
mod sample;
mod screen;
mod table;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::admin::{NO_STRATUS, Watcher};
use super::arguments::StatusArgs;
use super::paint::{Paint, harmless_json};
use super::{Failed, fail};
use sample::Sample;
use screen::{Event, Screen};
use table::Row;

/// How often a terminal is drawn anew, where nothing else is said.
const EVERY_SECS: u16 = 1;
/// What stands where there is no terminal to ask how wide it is.
const COLUMNS: usize = 100;

/// What was heard of the service, or why nothing was.
type Heard = Result<Sample, String>;

pub(super) async fn status(arguments: StatusArgs) -> Result<(), Failed> {
    let StatusArgs { watch, once, json, config } = arguments;
    let watcher = Watcher::new(&config.sources())?;
    if json {
        let body = watcher.get("/status").await.map_err(|why| fail(1, why))?;
        serde_json::from_str::<IgnoredAny>(&body).map_err(|_| fail(1, NO_STRATUS))?;
        let _ = writeln!(io::stdout(), "{}", harmless_json(&body));
        return Ok(());
    }
    let every = Duration::from_secs(watch.unwrap_or(EVERY_SECS).into());
    if !once && io::stdout().is_terminal() {
        let screen = Screen::enter().map_err(|error| fail(1, format!("the terminal cannot be used: {error}")))?;
        return live(screen, listen(watcher, every), every).await;
    }
    if watch.is_some() {
        again_and_again(listen(watcher, every)).await;
        return Ok(());
    }
    let sample = Sample::take(&watcher).await.map_err(|why| fail(1, why))?;
    // A reader that went away is no error.
    let _ = print(&table::rows(&watcher.address(), &sample, None));
    Ok(())
}

/// Asks the service beside whatever else happens: a replica that hangs must not make the keys wait.
fn listen(watcher: Watcher, every: Duration) -> Listening {
    let (sender, heard) = mpsc::channel(1);
    let address = watcher.address();
    tokio::spawn(async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if sender.send(Sample::take(&watcher).await).await.is_err() {
                return;
            }
        }
    });
    Listening { address, heard, last: None }
}

/// What is heard of the service from time to time.
struct Listening {
    address: String,
    heard: mpsc::Receiver<Heard>,
    last: Option<Sample>,
}

impl Listening {
    /// The next table; `None` only if nobody asks any more.
    async fn next(&mut self) -> Option<Vec<Row>> {
        Some(match self.heard.recv().await? {
            Ok(sample) => {
                let rows = table::rows(&self.address, &sample, self.last.as_ref());
                self.last = Some(sample);
                rows
            }
            Err(why) => {
                // What is heard next is not of the same stretch of time.
                self.last = None;
                table::away(&self.address, &why)
            }
        })
    }
}

/// Off a terminal: one table after another, until nobody reads them.
async fn again_and_again(mut listening: Listening) {
    while let Some(rows) = listening.next().await {
        if print(&rows).and_then(|()| writeln!(io::stdout())).is_err() {
            return;
        }
    }
}

/// On a terminal: one table in the place of another.
async fn live(mut screen: Screen, mut listening: Listening, every: Duration) -> Result<(), Failed> {
    let mut rows = Vec::new();
    loop {
        let drawn = tokio::select! {
            next = listening.next() => {
                let Some(next) = next else { return Ok(()) };
                rows = next;
                screen.draw(&rows, every)
            }
            event = screen.event() => match event {
                Event::Draw => screen.draw(&rows, every),
                Event::Pause => screen.pause().and_then(|()| screen.draw(&rows, every)),
                Event::End => return Ok(()),
            },
        };
        // A terminal that went away.
        if drawn.is_err() {
            return Ok(());
        }
    }
}

fn print(rows: &[Row]) -> io::Result<()> {
    let paint = Paint::of_stdout();
    let mut text = String::new();
    for line in rows.iter().flat_map(|row| row.lines(COLUMNS, paint)) {
        text.push_str(&line);
        text.push('\n');
    }
    io::stdout().write_all(text.as_bytes())
}
