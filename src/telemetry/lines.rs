//! Lines on their way to standard output. A thread of their own writes them, many at once: a reader that stops reading (a
//! terminal on hold, a full pipe) costs log lines, never answers, and a busy service makes few system calls.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes that wait for a slow reader; lines beyond that are dropped.
const WAITING_BYTES: usize = 4 * 1024 * 1024;
/// How long the first line of many waits for the others.
const GATHER: Duration = Duration::from_millis(5);
/// How long the end of the program waits for a reader.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Takes lines. Clones are the same way out.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// No more lines will come.
    closed: bool,
    /// All that came are written.
    finished: bool,
}

/// Writes what still waits when it is dropped, unless nobody reads.
#[derive(Debug)]
pub struct LogGuard(Lines);

impl Lines {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let lines = Self(Arc::default());
        let written = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || written.write_to(out))?;
        Ok((lines.clone(), LogGuard(lines)))
    }

    /// Adds whole lines, or drops them if too many wait already.
    pub(super) fn push(&self, lines: &[u8]) {
        let mut queue = self.queue();
        if queue.closed || queue.bytes.len() + lines.len() > WAITING_BYTES {
            return;
        }
        let first = queue.bytes.is_empty();
        queue.bytes.extend_from_slice(lines);
        drop(queue);
        if first {
            self.0.changed.notify_all();
        }
    }

    fn write_to(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let queue = self.wait(|queue| queue.bytes.is_empty() && !queue.closed);
            let closed = queue.closed;
            drop(queue);
            if !closed {
                thread::sleep(GATHER);
            }
            std::mem::swap(&mut self.queue().bytes, &mut batch);
            // Whoever read is gone: there is nobody to tell.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            if closed {
                self.queue().finished = true;
                self.0.changed.notify_all();
                return;
            }
        }
    }

    fn wait(&self, until_not: impl FnMut(&mut Queue) -> bool) -> MutexGuard<'_, Queue> {
        self.0.changed.wait_while(self.queue(), until_not).unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue is whole after every operation on it.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let Lines(waiting) = &self.0;
        let mut queue = self.0.queue();
        queue.closed = true;
        waiting.changed.notify_all();
        drop(waiting.changed.wait_timeout_while(queue, LAST_LINES, |queue| !queue.finished));
    }
}

/// One event's writer: `tracing_subscriber` writes an event in one piece.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Hands on what is written; blocks while nobody takes it.
    struct Reader(mpsc::SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_in_order_and_the_last_ones_before_the_end() {
        let (sender, received) = mpsc::sync_channel(1_000);
        let (lines, guard) = Lines::start(Reader(sender)).unwrap();
        for number in 0..100 {
            lines.push(format!("{number}\n").as_bytes());
        }
        drop(guard);
        lines.push(b"too late\n");
        let text: Vec<u8> = received.try_iter().flatten().collect();
        let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_reader_that_stops_reading_costs_lines_and_holds_up_nobody() {
        let (sender, received) = mpsc::sync_channel(0);
        let (lines, guard) = Lines::start(Reader(sender)).unwrap();
        let line = [b'x'; 1_000];
        for _ in 0..2 * WAITING_BYTES / line.len() {
            lines.push(&line);
        }
        assert!(lines.queue().bytes.len() <= WAITING_BYTES);
        drop(guard);
        drop(received);
    }
}
