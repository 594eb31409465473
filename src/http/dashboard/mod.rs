//! The operators' dashboard: one page, and the stream of events that it shows.
//!
//! The page holds no data and is open to whoever reaches the listener. The stream names consumers, which `/status` does not,
//! so it needs the admin token if there is one.

mod figures;
mod stream;

use super::page::Page;
pub use stream::Watchers;
pub(super) use stream::events;

/// The page.
pub(super) fn page() -> Page {
    Page::new(include_str!("index.html"), include_str!("dashboard.css"), include_str!("dashboard.js"))
}
