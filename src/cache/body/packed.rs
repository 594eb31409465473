//! A long body of which the zstd form alone is kept.
//!
//! # Why
//!
//! A forecast of 16 KB comes to 1.8 KB, one of 38 KB to 3.0 KB, the 21 KB of One Call to 3.3 KB: of all recorded bodies
//! over a kilobyte 15 % are left. The same memory holds several times as many places, and Redis has sealed records of
//! 2 to 4 KB instead of 15 to 60.
//!
//! # What it costs
//!
//! To unpack 16 KB takes some 15 µs, 38 KB 20 to 25: about as much as all else that a hit in memory costs. Callers who
//! accept zstd pay nothing, and those who accept gzip or br pay once for all of them. Who accepts none of the three
//! would pay each time, so the text of a place that such callers often ask for is kept, too: see [`Packed::text_stays`].

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;

use super::coding::Coding;
use super::{Encoded, MIN_BYTES, max_encoded};

/// Longer texts are kept as they are, and a frame that claims more is refused before any room is made for it.
pub(super) const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// From so many answers with the text on, unpacking them costs 1 ms and more in the lifetime of one record: several times
/// what its compressed form took to make.
const TEXT_STAYS_FROM: u32 = 64;

/// The zstd form of a text, and of the text what is needed.
pub(super) struct Packed {
    frame: Encoded,
    text_len: usize,
    /// The text while some answer has it: callers who read slowly share one, however many they are.
    shared: Mutex<Weak<Vec<u8>>>,
    /// The text for good, made when it is asked for, if `stays`.
    text: OnceLock<Bytes>,
    stays: AtomicBool,
    /// How many answers had the text.
    answers: AtomicU32,
}

impl Packed {
    /// The frame of `text`, if there is one that pays.
    pub(super) fn frame(text: &[u8]) -> Option<Bytes> {
        if !(MIN_BYTES..=MAX_TEXT_BYTES).contains(&text.len()) {
            return None;
        }
        let frame = Coding::Zstd.compress(text).filter(|frame| frame.len() <= max_encoded(text.len()))?;
        // A boxed slice has no spare room, which max_bytes() would not count.
        Some(frame.into_boxed_slice().into())
    }

    /// `frame` has to be one that [`Self::frame`] gave, or that [`unpack`] can read, and `text_len` the length of its text.
    pub(super) fn new(frame: Encoded, text_len: usize) -> Self {
        Self {
            frame,
            text_len,
            shared: Mutex::default(),
            text: OnceLock::new(),
            stays: AtomicBool::new(false),
            answers: AtomicU32::new(0),
        }
    }

    pub(super) fn encoded(&self) -> &Encoded {
        &self.frame
    }

    pub(super) fn text_len(&self) -> usize {
        self.text_len
    }

    /// The text, for an answer.
    pub(super) fn answer(&self) -> Bytes {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.text()
    }

    /// The text. Those who come while it is unpacked wait for it: that takes less time than to do it as well.
    pub(super) fn text(&self) -> Bytes {
        if self.text_stays() {
            return self.text.get_or_init(|| self.unpacked().into()).clone();
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let text = shared.upgrade().unwrap_or_else(|| {
            let text = Arc::new(self.unpacked());
            *shared = Arc::downgrade(&text);
            text
        });
        Bytes::from_owner(Shared(text))
    }

    fn unpacked(&self) -> Vec<u8> {
        unpack(&self.frame.bytes).expect("what was compressed here, or unpacked before, can be unpacked")
    }

    /// Whether the text is kept once it was asked for.
    pub(super) fn text_stays(&self) -> bool {
        self.stays.load(Ordering::Relaxed)
    }

    /// Whether the text is in memory.
    #[cfg(test)]
    pub(super) fn has_text(&self) -> bool {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        self.text.get().is_some() || shared.strong_count() > 0
    }

    /// Keeps the text, if that of the record before was asked for often. To be called before anything counts the bytes of
    /// this one: that is why nothing of a record that is in memory already changes when callers become more.
    pub(super) fn follow(&self, before: &Self) {
        if before.answers.load(Ordering::Relaxed) >= TEXT_STAYS_FROM {
            self.stays.store(true, Ordering::Relaxed);
        }
    }
}

/// The text in a frame, which may come from anywhere: `None` if it is damaged, has no text of a length that is packed at
/// all, or does not say how long its text is. No more room is made than it says, and [`MAX_TEXT_BYTES`] at most.
pub(super) fn unpack(frame: &[u8]) -> Option<Vec<u8>> {
    let claimed = usize::try_from(zstd::zstd_safe::get_frame_content_size(frame).ok()??).ok()?;
    if !(MIN_BYTES..=MAX_TEXT_BYTES).contains(&claimed) {
        return None;
    }
    zstd::bulk::decompress(frame, claimed).ok().filter(|text| text.len() == claimed)
}

/// Keeps the text alive for an answer.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
