//! The terminal while a table lives on it: its other screen, keys without Enter, and everything as it was before whichever
//! way it ends.

use std::io::{self, IsTerminal, Read, Stdin, Write};
use std::time::Duration;

use rustix::process::{Signal as Sent, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::super::paint::{Paint, Tone};
use super::table::Row;

// Control sequences of xterm, which every terminal in use knows (invisible-island.net/xterm/ctlseqs).
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// What to take for the size of a terminal that does not know it.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// What happened to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It has another size, or is ours again.
    Draw,
    /// Ctrl-Z.
    Pause,
    /// Somebody has seen enough, or the terminal goes away.
    End,
}

/// A terminal that is ours until this is dropped.
pub(super) struct Screen {
    /// How it read keys before; `None` if it is not read.
    before: Option<Termios>,
    keys: mpsc::UnboundedReceiver<u8>,
    signals: Signals,
    paint: Paint,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
    resized: Signal,
    pause: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            resized: signal(SignalKind::window_change())?,
            pause: signal(SignalKind::from_raw(Sent::TSTP.as_raw()))?,
        })
    }
}

impl Screen {
    /// Takes the terminal that standard output is. Needs a Tokio runtime.
    ///
    /// # Errors
    /// Signals cannot be listened for, or the terminal cannot be written to.
    pub(super) fn enter() -> io::Result<Self> {
        let (sender, keys) = mpsc::unbounded_channel();
        // First of all: from then on no signal leaves the terminal as it is while it is ours.
        let signals = Signals::listen()?;
        let stdin = io::stdin();
        let before = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
        let screen = Self { before, keys, signals, paint: Paint::of_stdout() };
        screen.take()?;
        if screen.before.is_some() {
            // Not a task: one that waits for a key would hold up the end.
            std::thread::spawn(move || read_keys(stdin, &sender));
        }
        Ok(screen)
    }

    fn take(&self) -> io::Result<()> {
        if let Some(before) = &self.before {
            let mut ours = before.clone();
            // Keys come at once and unseen; those that send signals still do.
            ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
        }
        show(ENTER)
    }

    fn give_back(&self) -> io::Result<()> {
        let shown = show(LEAVE);
        if let Some(before) = &self.before {
            tcsetattr(io::stdin(), OptionalActions::Now, before)?;
        }
        shown
    }

    /// What happens next.
    pub(super) async fn event(&mut self) -> Event {
        let signals = &mut self.signals;
        loop {
            return tokio::select! {
                Some(key) = self.keys.recv() => match key {
                    b'q' | b'Q' => Event::End,
                    _ => continue,
                },
                _ = signals.interrupt.recv() => Event::End,
                _ = signals.terminate.recv() => Event::End,
                _ = signals.hang_up.recv() => Event::End,
                _ = signals.quit.recv() => Event::End,
                _ = signals.resized.recv() => Event::Draw,
                _ = signals.pause.recv() => Event::Pause,
            };
        }
    }

    /// Gives the terminal back and stops, until the shell lets it go on.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        self.give_back()?;
        kill_process(getpid(), Sent::STOP)?;
        self.take()
    }

    /// Draws these rows in place of what is there, as many as there is room for.
    pub(super) fn draw(&mut self, rows: &[Row], every: Duration) -> io::Result<()> {
        let (columns, lines) = size();
        let foot = self.paint.on(Tone::Fix, &format!("every {} s; q ends", every.as_secs()));
        let room = lines.saturating_sub(2);
        let mut text = String::from(HOME);
        for line in rows.iter().flat_map(|row| row.lines(columns, self.paint)).take(room) {
            text.push_str(&format!("{line}{CLEAR_LINE}\n"));
        }
        text.push_str(&format!("{CLEAR_LINE}\n{foot}{CLEAR_LINE}{CLEAR_BELOW}"));
        show(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.give_back();
    }
}

/// Columns and lines.
fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL_SIZE,
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Passes keys on, until the end of them or of whoever wants them.
fn read_keys(mut stdin: Stdin, keys: &mpsc::UnboundedSender<u8>) {
    let mut key = [0];
    while matches!(stdin.read(&mut key), Ok(1)) && keys.send(key[0]).is_ok() {}
}
