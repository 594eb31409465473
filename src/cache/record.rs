//! What a sealed record says: the weather of a place, or that the upstream does not know it.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::body::Body;
use super::demand::Demand;
use super::freshness::{Freshness, Policy, Spread, Windows, age, is_from_the_future};
use crate::crypto::{Opened, RecordName};
use crate::weather::Words;

/// What the upstream said about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// OpenWeatherMap's body, byte for byte.
    Weather(Body),
    /// It does not know the place, or makes nothing of the question; in its own words, if they are known.
    UnknownPlace(Option<Words>),
}

/// The first byte of what is sealed; weather is followed by the body, an unknown place by the status of what was said (two
/// bytes, big-endian) and its body, or by nothing.
const WEATHER: u8 = 1;
const UNKNOWN_PLACE: u8 = 2;
/// A bit of the first byte: what follows is not the body but its zstd form, because that is shorter.
const PACKED: u8 = 0x80;
/// A bit of the first byte of a record that was loaded soon after a purge of everything: the time of that comes next, Unix
/// milliseconds, big-endian.
const AFTER_PURGE: u8 = 0x40;

/// Questions of late that do not count: a place that is asked for now and then is not worth much more than one that is never.
const NOW_AND_THEN: f32 = 4.0;
/// The demand that counts at least and at most. Above that all places are alike: to renew the most popular ones twice as
/// often would cost what keeps many others from growing old.
const LEAST_AND_MOST: (f32, f32) = (0.02, 8.0);

/// What the upstream said, and when.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) content: Content,
    pub(super) fetched_at_ms: u64,
    pub(super) windows: Windows,
    /// The purge of everything that whoever loaded it knew of when he began, by the time that it was given, Unix milliseconds;
    /// 0 for none, or one that is long over.
    purge_ms: u64,
}

impl Record {
    /// A record under `name`, whose windows follow from what it says and for how long such an answer is good.
    pub(super) fn new(
        content: Content,
        fetched_at_ms: u64,
        name: &RecordName,
        policy: &Policy,
        good_for: Option<Duration>,
    ) -> Self {
        Self::with(content, fetched_at_ms, Spread::of(name.as_str(), fetched_at_ms), policy, good_for)
    }

    pub(super) fn with(
        content: Content,
        fetched_at_ms: u64,
        spread: Spread,
        policy: &Policy,
        good_for: Option<Duration>,
    ) -> Self {
        let windows = match content {
            Content::Weather(_) => policy.answer(good_for, spread),
            Content::UnknownPlace(_) => policy.unknown_place(spread),
        };
        Self { content, fetched_at_ms, windows, purge_ms: 0 }
    }

    /// The same, loaded by somebody who knew of that purge when he began.
    pub(super) fn after_purge(self, purged_at_ms: u64) -> Self {
        // A time that is clearly later says it as well.
        let purge_ms = if is_from_the_future(self.fetched_at_ms, purged_at_ms) { 0 } else { purged_at_ms };
        Self { purge_ms, ..self }
    }

    /// Whether it was loaded after that purge of everything. Two clocks do not tell, if theirs are close: what is loaded just
    /// before a purge may be dated later, and earlier what is loaded just after it.
    pub(super) fn survives(&self, purged_at_ms: u64) -> bool {
        self.purge_ms >= purged_at_ms || is_from_the_future(self.fetched_at_ms, purged_at_ms)
    }

    /// Reads what was sealed; `None` if it is of a kind that this version does not know, or packed and cannot be unpacked.
    pub(super) fn read(opened: Opened, name: &RecordName, policy: &Policy, good_for: Option<Duration>) -> Option<Self> {
        let mut text = Bytes::from(opened.content);
        let mut kind = text.try_get_u8().ok()?;
        let mut purge_ms = 0;
        if kind & AFTER_PURGE != 0 {
            kind &= !AFTER_PURGE;
            purge_ms = text.try_get_u64().ok()?;
        }
        let content = match (kind & !PACKED, kind & PACKED != 0) {
            (WEATHER, false) => Content::Weather(Body::plain(text)),
            (WEATHER, true) => Content::Weather(Body::unpack(text)?),
            (UNKNOWN_PLACE, false) if text.is_empty() => Content::UnknownPlace(None),
            (UNKNOWN_PLACE, false) => {
                let status = text.try_get_u16().ok()?;
                Content::UnknownPlace(Some(Words { status, body: text }))
            }
            _ => return None,
        };
        Some(Self { purge_ms, ..Self::new(content, opened.times.fetched_at_ms, name, policy, good_for) })
    }

    /// What is sealed.
    pub(super) fn content(&self) -> Vec<u8> {
        let (kind, status, body) = match &self.content {
            Content::Weather(body) => match body.stored() {
                (text, false) => (WEATHER, None, text),
                (frame, true) => (WEATHER | PACKED, None, frame),
            },
            Content::UnknownPlace(None) => (UNKNOWN_PLACE, None, &Bytes::new()),
            Content::UnknownPlace(Some(words)) => (UNKNOWN_PLACE, Some(words.status.to_be_bytes()), &words.body),
        };
        let status = status.as_ref().map_or(&[][..], |status| &status[..]);
        if self.purge_ms == 0 {
            return [&[kind], status, body].concat();
        }
        [&[kind | AFTER_PURGE], &self.purge_ms.to_be_bytes()[..], status, body].concat()
    }

    pub(super) fn freshness(&self, now_ms: u64) -> Freshness {
        self.windows.freshness(self.fetched_at_ms, now_ms)
    }

    /// The demand for its place, if it can have any.
    pub(super) fn demand(&self) -> Option<&Demand> {
        match &self.content {
            Content::Weather(body) => Some(body.demand()),
            Content::UnknownPlace(_) => None,
        }
    }

    /// Takes over the demand for its place from the record before it, unless they are the same.
    pub(super) fn follow(&self, before: &Self) {
        if let (Some(demand), Some(earlier)) = (self.demand(), before.demand())
            && self.fetched_at_ms != before.fetched_at_ms
        {
            demand.follow(earlier, age(before.fetched_at_ms, self.fetched_at_ms));
            if let (Content::Weather(body), Content::Weather(earlier)) = (&self.content, &before.content) {
                body.follow(earlier);
            }
        }
    }

    /// Whether it is worth a call at `now_ms`, when calls are scarcer by the factor `thrift`: the more its place is asked
    /// for, and the older it is, the rather.
    pub(super) fn is_worth_renewing(&self, thrift: f64, now_ms: u64) -> bool {
        if thrift <= 1.0 {
            return true;
        }
        let age = age(self.fetched_at_ms, now_ms);
        let (least, most) = LEAST_AND_MOST;
        let level = self.demand().map_or(least, |demand| (demand.level(age) - NOW_AND_THEN).clamp(least, most));
        f64::from(level) * age.div_duration_f64(self.windows.fresh) >= thrift
    }

    /// Whether it is fresh for less than a tenth of its time still, its place is hot, and nobody has tried just now.
    pub(super) fn is_due_ahead(&self, now_ms: u64) -> bool {
        let left = self.windows.fresh.saturating_sub(age(self.fetched_at_ms, now_ms));
        left < self.windows.fresh / 10 && self.demand().is_some_and(|demand| demand.has_to_try(now_ms))
    }
}
