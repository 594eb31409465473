//! A stream of replies that are no larger than what we ever ask for, whoever it is that replies.
//!
//! The client library keeps a reply in memory until it is whole, however large it is announced. So what comes in is
//! looked at on the way to it, and the stream fails at the first frame that is too much, or none. What went wrong is
//! remembered here, since the library does not hand it on to everybody whom it concerns.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Unacceptable};
use super::trouble::Trouble;

impl From<Unacceptable> for Trouble {
    fn from(unacceptable: Unacceptable) -> Self {
        match unacceptable {
            Unacceptable::Excess => Self::Excess,
            Unacceptable::NotResp => Self::NotRedis,
        }
    }
}

/// The first thing that went wrong on a stream, for all who look after it.
#[derive(Debug, Clone, Default)]
pub(super) struct Wrong(Arc<OnceLock<Trouble>>);

impl Wrong {
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.0.get().copied()
    }

    fn note(&self, trouble: Trouble) {
        // Only the first one is the cause.
        let _ = self.0.set(trouble);
    }
}

/// The stream.
pub(super) struct Bounded<S> {
    stream: S,
    frames: Frames,
    wrong: Wrong,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, longest_value: usize) -> Self {
        Self { stream, frames: Frames::new(longest_value), wrong: Wrong::default() }
    }

    pub(super) fn wrong(&self) -> Wrong {
        self.wrong.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.wrong.trouble().is_some() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = into.filled().len();
        if let Err(error) = ready!(Pin::new(&mut self.stream).poll_read(context, into)) {
            self.wrong.note(Trouble::of_io(&error));
            return Poll::Ready(Err(error));
        }
        if let Err(unacceptable) = self.frames.follow(&into.filled()[before..]) {
            into.set_filled(before);
            self.wrong.note(unacceptable.into());
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
