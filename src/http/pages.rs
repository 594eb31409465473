//! Answers in pages: each is kept without the origin of its links, since callers come by different ones.
//!
//! A page on an origin is made once for many callers. Made anew, and compressed, for each of them it would cost many times
//! what any other hit does.

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cache::{Answer, Body, Content};

/// What pages take at most, in bytes; of some ten kilobytes each.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// What an entry takes beside its body and its origin.
const ENTRY_BYTES: usize = 512;
const ESTIMATED_ENTRIES: usize = 256;
/// A longer origin is no name that anybody has for us (RFC 1035, section 2.3.4), and not remembered.
const MAX_ORIGIN_BYTES: usize = 320;

/// The entity tag of a page as it is kept, which is a digest of it, and an origin.
type Key = (Bytes, Box<str>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Body> for ByBytes {
    fn weight(&self, (_, origin): &Key, body: &Body) -> u64 {
        (ENTRY_BYTES + origin.len() + body.max_bytes()) as u64
    }
}

/// Pages on the origins that callers came by of late.
pub(super) struct Pages(Cache<Key, Body, ByBytes>);

impl Pages {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(ESTIMATED_ENTRIES, MAX_BYTES, ByBytes))
    }

    /// The same answer with its links on this origin.
    pub(super) fn on_origin(&self, answer: Answer, origin: &str) -> Answer {
        let Content::Weather(body) = &answer.content else { return answer };
        let key = (body.tag().clone(), Box::from(origin));
        let page = self.0.get(&key).or_else(|| {
            let page = Body::plain(on_origin(&body.bytes(), origin)?);
            if origin.len() <= MAX_ORIGIN_BYTES {
                self.0.insert(key, page.clone());
            }
            Some(page)
        });
        match page {
            Some(page) => Answer { content: Content::Weather(page), ..answer },
            None => answer,
        }
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    next: Option<&'a RawValue>,
    #[serde(borrow)]
    prev: Option<&'a RawValue>,
}

/// A page with the links to its neighbours on `origin`.
fn on_origin(body: &Bytes, origin: &str) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    let Page { next, prev } = serde_json::from_str(text).ok()?;
    let mut links: Vec<_> = [next, prev].into_iter().flatten().map(RawValue::get).collect();
    links.sort_by_key(|link| link.as_ptr());
    let mut page = String::with_capacity(text.len() + 2 * origin.len());
    let mut rest = text;
    for link in links {
        let Some(relative) = serde_json::from_str(link).ok().filter(|link: &String| link.starts_with('/')) else {
            continue;
        };
        // A link is a part of the text.
        let start = (link.as_ptr() as usize).checked_sub(rest.as_ptr() as usize)?;
        page.push_str(rest.get(..start)?);
        page.push_str(&serde_json::to_string(&format!("{origin}{relative}")).ok()?);
        rest = rest.get(start + link.len()..)?;
    }
    page.push_str(rest);
    Some(page.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::{Origin, Windows};

    #[test]
    fn pages_are_remembered_by_origin_and_within_their_bound_whatever_origins_callers_make_up() {
        let windows =
            Windows { fresh: Duration::ZERO, stale_while_revalidate: Duration::ZERO, stale_if_error: Duration::ZERO };
        let text = format!(r#"{{"next":"/data","x":"{}"}}"#, "x".repeat(10_000));
        let content = Content::Weather(Body::new(text.into()));
        let answer = Answer { content, fetched_at_ms: 0, windows, origin: Origin::Fresh("memory") };
        let pages = Pages::new();
        for _ in 0..3 {
            let Content::Weather(page) = pages.on_origin(answer.clone(), "https://a").content else { panic!("a page") };
            assert!(page.bytes().starts_with(br#"{"next":"https://a/data""#));
        }
        assert_eq!(pages.0.len(), 1);
        for number in 0..2_000 {
            pages.on_origin(answer.clone(), &format!("https://{number}"));
        }
        assert!(pages.0.weight() <= MAX_BYTES && pages.0.len() > 50, "{} pages", pages.0.len());
        let before = pages.0.len();
        pages.on_origin(answer, &"x".repeat(MAX_ORIGIN_BYTES + 1));
        assert_eq!(pages.0.len(), before);
    }
}
