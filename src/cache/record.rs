//! What a sealed record says: the weather of a place, or that the upstream does not know it.

use bytes::Bytes;

use super::freshness::{CacheConfig, Freshness, Spread, Windows};
use crate::crypto::{Opened, RecordName};

/// What the upstream said about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// OpenWeatherMap's body, byte for byte.
    Weather(Bytes),
    /// It does not know the place.
    UnknownPlace,
}

/// The first byte of what is sealed; weather is followed by the body, an unknown place by nothing.
const WEATHER: u8 = 1;
const UNKNOWN_PLACE: u8 = 2;

/// What the upstream said, and when.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) content: Content,
    pub(super) fetched_at_ms: u64,
    pub(super) windows: Windows,
}

impl Record {
    /// A record under `name`, whose windows follow from what it says.
    pub(super) fn new(content: Content, fetched_at_ms: u64, name: &RecordName, config: &CacheConfig) -> Self {
        let spread = Spread::of(name.as_str(), fetched_at_ms);
        let windows = match content {
            Content::Weather(_) => config.weather(spread),
            Content::UnknownPlace => config.unknown_place(spread),
        };
        Self { content, fetched_at_ms, windows }
    }

    /// Reads what was sealed; `None` if it is of a kind that this version does not know.
    pub(super) fn read(opened: Opened, name: &RecordName, config: &CacheConfig) -> Option<Self> {
        let text = Bytes::from(opened.plaintext);
        let content = match *text.first()? {
            WEATHER => Content::Weather(text.slice(1..)),
            UNKNOWN_PLACE => Content::UnknownPlace,
            _ => return None,
        };
        Some(Self::new(content, opened.times.fetched_at_ms, name, config))
    }

    /// What is sealed.
    pub(super) fn plaintext(&self) -> Vec<u8> {
        match &self.content {
            Content::Weather(body) => [&[WEATHER], &body[..]].concat(),
            Content::UnknownPlace => vec![UNKNOWN_PLACE],
        }
    }

    pub(super) fn freshness(&self, now_ms: u64) -> Freshness {
        self.windows.freshness(self.fetched_at_ms, now_ms)
    }

    pub(super) fn expires_at_ms(&self) -> u64 {
        let lifetime_ms = u64::try_from(self.windows.lifetime().as_millis()).unwrap_or(u64::MAX);
        self.fetched_at_ms.saturating_add(lifetime_ms)
    }
}
