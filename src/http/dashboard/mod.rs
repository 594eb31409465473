//! The operators' dashboard: one page, and the stream of events that it shows.
//!
//! The page holds no data and is open to whoever reaches the listener. The stream names consumers, which `/status` does not,
//! so it needs the admin token if there is one.

mod figures;
mod page;
mod stream;

pub(super) use page::page;
pub use stream::Watchers;
pub(super) use stream::events;
