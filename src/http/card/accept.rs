//! Whether a caller likes plain text better than JSON (RFC 9110, section 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::super::coding::{Weight, weight};
use crate::weather::Format;

const MOST: Weight = 1_000;

/// The form that the caller likes best; JSON if it likes both as well, as browsers and most programs do.
///
/// JSON is also for who accepts neither: a server may then disregard the field, and an answer helps more than a 406.
pub(super) fn negotiate(headers: &HeaderMap) -> Format {
    let mut lines = headers.get_all(ACCEPT).iter();
    match (lines.next(), lines.next()) {
        // What nearly everybody sends.
        (None, _) => return Format::Json,
        (Some(only), None) if only.as_bytes() == b"*/*" || only.as_bytes() == b"application/json" => {
            return Format::Json;
        }
        _ => {}
    }
    let (mut json, mut text) = (Wish::of("application", "json"), Wish::of("text", "plain"));
    for line in headers.get_all(ACCEPT) {
        for range in line.as_bytes().split(|byte| *byte == b',') {
            json.hear(range);
            text.hear(range);
        }
    }
    if text.weight() > json.weight() { Format::Text } else { Format::Json }
}

/// How welcome a media type is, by each of the ranges that it is in.
struct Wish {
    main: &'static str,
    sub: &'static str,
    named: Option<Weight>,
    kind: Option<Weight>,
    any: Option<Weight>,
}

impl Wish {
    fn of(main: &'static str, sub: &'static str) -> Self {
        Self { main, sub, named: None, kind: None, any: None }
    }

    /// Adds what a range says; one that is malformed, or is about a variant of the type that is not ours, says nothing.
    fn hear(&mut self, range: &[u8]) {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let mut names = parts.next().unwrap_or_default().splitn(2, |byte| *byte == b'/');
        let (main, sub) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let is = |name: &[u8], known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let wish = if is(main, self.main) && is(sub, self.sub) {
            &mut self.named
        } else if is(main, self.main) && sub == b"*" {
            &mut self.kind
        } else if main == b"*" && sub == b"*" {
            &mut self.any
        } else {
            return;
        };
        let mut said = MOST;
        for part in parts {
            if matches!(part, [b'q' | b'Q', b'=', ..]) {
                let Some(weight) = weight(part) else { return };
                said = weight;
                // What follows a weight was for extensions, which there never were (RFC 9110, section 12.5.1).
                break;
            }
            if !part.is_empty() && !is(part, "charset=utf-8") && !is(part, "charset=\"utf-8\"") {
                return;
            }
        }
        // Of a range that is named twice the lower weight counts, as with codings.
        *wish = Some(wish.map_or(said, |earlier| earlier.min(said)));
    }

    /// That of the most specific range; one that is in none is not welcome.
    fn weight(&self) -> Weight {
        self.named.or(self.kind).or(self.any).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn of_lines(lines: &[&[u8]]) -> Format {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, HeaderValue::from_bytes(line).unwrap());
        }
        negotiate(&headers)
    }

    #[test]
    fn text_is_only_for_who_likes_it_better_than_json() {
        use Format::{Json, Text};
        for (value, expected) in [
            // What clients send: curl, Python requests; fetch; Chrome; Firefox; Safari; an image; axios, Angular; jQuery for
            // JSON and for text; Java's URLConnection; a scraper of metrics.
            ("*/*", Json),
            ("application/json", Json),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
                 application/signed-exchange;v=b3;q=0.7",
                Json,
            ),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Json),
            ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", Json),
            ("application/json, text/plain, */*", Json),
            ("application/json, text/javascript, */*; q=0.01", Json),
            ("text/plain, */*; q=0.01", Text),
            ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", Json),
            ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Json),
            // People.
            ("text/plain", Text),
            ("TEXT/Plain", Text),
            ("text/*", Text),
            ("text/plain;charset=utf-8", Text),
            ("text/plain; charset=UTF-8; q=0.3", Text),
            // Weights.
            ("text/plain;q=0.9, application/json;q=0.8", Text),
            ("text/plain;q=0.8, application/json;q=0.9", Json),
            ("text/plain, application/json", Json),
            ("text/plain;q=0", Json),
            ("text/plain;q=0.001", Text),
            ("application/json;q=0, */*", Text),
            ("application/*;q=0.5, */*", Text),
            ("text/*;q=0.5, text/plain;q=0.1, application/json;q=0.2", Json),
            ("text/plain;q=0, */*", Json),
            ("text/plain;q=0.5;level=1, application/json;q=0.4", Text),
            // Nothing of ours, or nothing at all.
            ("text/html", Json),
            ("image/png", Json),
            ("", Json),
            (",,;;", Json),
            ("text", Json),
            ("/", Json),
            ("*/plain", Json),
            ("*", Json),
            // Malformed ranges and other variants say nothing.
            ("text/plain;q=2", Json),
            ("text/plain;q=0.5000", Json),
            ("text/plain;format=flowed", Json),
            ("text/plain;charset=latin1", Json),
            ("application/json;version=2;q=0.1, text/plain;q=0.05", Text),
            ("text/plain;q=x, */*", Json),
            // Named twice: the lower weight.
            ("text/plain, text/plain;q=0", Json),
        ] {
            assert_eq!(of_lines(&[value.as_bytes()]), expected, "{value:?}");
        }
        assert_eq!(of_lines(&[]), Json);
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(of_lines(&[b"application/json;q=0.1", b"text/plain;q=0.2"]), Format::Text);
        assert_eq!(of_lines(&[b"*/*", b"text/plain;q=0.2"]), Format::Json);
        assert_eq!(of_lines(&[b"\xff\xfe", b"text/plain, \xe9/*"]), Format::Text);
    }

    proptest! {
        #[test]
        fn whoever_gets_text_has_named_it_or_refused_json(
            value in "([a-z*/;=,. 0-9]|text/plain|text/\\*|application/json|\\*/\\*|;q=[01]\\.?[0-9]{0,3}){0,12}"
        ) {
            let text = of_lines(&[value.as_bytes()]) == Format::Text;
            prop_assert!(!text || value.contains("text/") || value.contains("application/"), "{}", value);
        }
    }
}
