//! What a sealed record says: the weather of a place, or that the upstream does not know it.

use bytes::Bytes;

use super::body::Body;
use super::demand::Demand;
use super::freshness::{Freshness, Policy, Spread, Windows, age};
use crate::crypto::{Opened, RecordName};

/// What the upstream said about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// OpenWeatherMap's body, byte for byte.
    Weather(Body),
    /// It does not know the place.
    UnknownPlace,
}

/// The first byte of what is sealed; weather is followed by the body, an unknown place by nothing.
const WEATHER: u8 = 1;
const UNKNOWN_PLACE: u8 = 2;

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
}

impl Record {
    /// A record under `name`, whose windows follow from what it says.
    pub(super) fn new(content: Content, fetched_at_ms: u64, name: &RecordName, policy: &Policy) -> Self {
        Self::with(content, fetched_at_ms, Spread::of(name.as_str(), fetched_at_ms), policy)
    }

    pub(super) fn with(content: Content, fetched_at_ms: u64, spread: Spread, policy: &Policy) -> Self {
        let windows = match content {
            Content::Weather(_) => policy.weather(spread),
            Content::UnknownPlace => policy.unknown_place(spread),
        };
        Self { content, fetched_at_ms, windows }
    }

    /// Reads what was sealed; `None` if it is of a kind that this version does not know.
    pub(super) fn read(opened: Opened, name: &RecordName, policy: &Policy) -> Option<Self> {
        let text = Bytes::from(opened.content);
        let content = match *text.first()? {
            WEATHER => Content::Weather(Body::new(text.slice(1..))),
            UNKNOWN_PLACE => Content::UnknownPlace,
            _ => return None,
        };
        Some(Self::new(content, opened.times.fetched_at_ms, name, policy))
    }

    /// What is sealed.
    pub(super) fn content(&self) -> Vec<u8> {
        match &self.content {
            Content::Weather(body) => [&[WEATHER], &body.bytes()[..]].concat(),
            Content::UnknownPlace => vec![UNKNOWN_PLACE],
        }
    }

    pub(super) fn freshness(&self, now_ms: u64) -> Freshness {
        self.windows.freshness(self.fetched_at_ms, now_ms)
    }

    /// The demand for its place, if it can have any.
    pub(super) fn demand(&self) -> Option<&Demand> {
        match &self.content {
            Content::Weather(body) => Some(body.demand()),
            Content::UnknownPlace => None,
        }
    }

    /// Takes over the demand for its place from the record before it, unless they are the same.
    pub(super) fn follow(&self, before: &Self) {
        if let (Some(demand), Some(earlier)) = (self.demand(), before.demand())
            && self.fetched_at_ms != before.fetched_at_ms
        {
            demand.follow(earlier, age(before.fetched_at_ms, self.fetched_at_ms));
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
