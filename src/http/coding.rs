//! Which content coding an answer gets (RFC 9110, section 12.5.3).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;

use crate::cache::Coding;

/// Which of several equally welcome codings is used, smallest first: a forecast of 15 462 bytes came to 1875 as `br`, 1903
/// as `zstd` and 2134 as `gzip`.
const PREFERENCE: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// A weight in thousandths: 0 is a refusal.
pub(super) type Weight = u16;

/// Whether the caller takes this coding at all.
pub(super) fn welcome(headers: &HeaderMap, coding: Coding) -> bool {
    Wishes::of_lines(headers).of(coding) > 0
}

/// The coding that the caller likes best, `None` for the bytes as they are.
///
/// Answers are compressed only for callers who ask: without the header, the bytes are sent as they are. So they are if no
/// coding of ours is welcome, even with `identity;q=0`: a server may then disregard the field (RFC 9110, section 12.4.1),
/// and an answer helps more than a 406.
pub(super) fn negotiate(headers: &HeaderMap) -> Option<Coding> {
    Wishes::of_lines(headers).best()
}

/// What the members of the header lines say, all lines taken as one list (RFC 9110, section 5.3).
#[derive(Default)]
struct Wishes {
    gzip: Option<Weight>,
    brotli: Option<Weight>,
    zstd: Option<Weight>,
    identity: Option<Weight>,
    /// `*`: whatever the other members do not name.
    others: Option<Weight>,
}

impl Wishes {
    fn of_lines(headers: &HeaderMap) -> Self {
        let mut wishes = Self::default();
        for line in headers.get_all(ACCEPT_ENCODING) {
            for member in line.as_bytes().split(|byte| *byte == b',') {
                wishes.add(member);
            }
        }
        wishes
    }

    /// Adds a member; one that is malformed or names an unknown coding says nothing.
    fn add(&mut self, member: &[u8]) {
        let mut parts = member.splitn(2, |byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let Some(wish) = self.named(name) else { return };
        let Some(weight) = parts.next().map_or(Some(1_000), weight) else { return };
        // Of a coding that is named twice the lower weight counts: to do without it is never wrong.
        *wish = Some(wish.map_or(weight, |earlier| earlier.min(weight)));
    }

    /// Names are compared without regard to case, and `x-gzip` is `gzip` (RFC 9110, sections 8.4.1 and 8.4.1.3).
    fn named(&mut self, name: &[u8]) -> Option<&mut Option<Weight>> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("gzip") || is("x-gzip") {
            Some(&mut self.gzip)
        } else if is("br") {
            Some(&mut self.brotli)
        } else if is("zstd") {
            Some(&mut self.zstd)
        } else if is("identity") {
            Some(&mut self.identity)
        } else if is("*") {
            Some(&mut self.others)
        } else {
            None
        }
    }

    /// The weight of a coding; one that is not named and not covered by `*` is not welcome.
    fn of(&self, coding: Coding) -> Weight {
        let named = match coding {
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
        };
        named.or(self.others).unwrap_or(0)
    }

    fn best(&self) -> Option<Coding> {
        // Not named, the bytes as they are stay acceptable, but who names codings likes these better.
        let identity = self.identity.or(self.others).unwrap_or(0);
        let mut best = None;
        let mut most = 0;
        for coding in PREFERENCE {
            if self.of(coding) > most {
                (best, most) = (Some(coding), self.of(coding));
            }
        }
        best.filter(|_| most >= identity)
    }
}

/// Reads `q=…` (RFC 9110, section 12.4.2): 0 to 1 with at most three decimals.
pub(super) fn weight(parameter: &[u8]) -> Option<Weight> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), decimals @ ..] = parameter.trim_ascii() else { return None };
    let decimals = match decimals {
        [] => &[],
        [b'.', decimals @ ..] if decimals.len() <= 3 => decimals,
        _ => return None,
    };
    let mut weight = Weight::from(whole - b'0') * 1_000;
    for (digit, unit) in decimals.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        weight += Weight::from(digit - b'0') * unit;
    }
    (weight <= 1_000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    const GZIP: Option<Coding> = Some(Coding::Gzip);
    const BR: Option<Coding> = Some(Coding::Brotli);
    const ZSTD: Option<Coding> = Some(Coding::Zstd);

    fn of_lines(lines: &[&[u8]]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(line).unwrap());
        }
        negotiate(&headers)
    }

    #[test]
    fn every_header_gets_the_coding_that_its_caller_likes_best() {
        for (value, expected) in [
            // What clients send: Chrome and Firefox; the same without TLS; Safari; curl --compressed; Python requests;
            // httpx with all extras; okhttp, Go and Dart; Node's fetch; wget; a video player.
            ("gzip, deflate, br, zstd", BR),
            ("gzip, deflate", GZIP),
            ("gzip, deflate, br", BR),
            ("deflate, gzip, br, zstd", BR),
            ("gzip, deflate, zstd", ZSTD),
            ("gzip", GZIP),
            ("br, gzip, deflate", BR),
            ("identity", None),
            ("identity;q=1, *;q=0", None),
            // Nothing that is known.
            ("", None),
            (" ", None),
            (",, ,", None),
            ("deflate", None),
            ("compress, dcb, dcz", None),
            ("gzipped, brr, *br, x-br", None),
            // Weights.
            ("gzip;q=1.0, br;q=0.9", GZIP),
            ("gzip;q=0.5, br;q=0.501", BR),
            ("gzip;q=0.5,br;q=0.5,zstd;q=0.5", BR),
            ("zstd, br;q=0.999", ZSTD),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("gzip;q=0.001", GZIP),
            ("br;q=0, zstd;q=0, gzip;q=0", None),
            ("br;q=1.000, gzip;q=1.", BR),
            // Spaces, tabs, case, the old name.
            ("GZip;Q=0.5", GZIP),
            ("BR", BR),
            ("\tgzip\t;\tq=0.8 , zstd ; q=0.9", ZSTD),
            ("x-gzip", GZIP),
            ("X-GZIP;q=0.3, br;q=0.2", GZIP),
            // Anything else.
            ("*", BR),
            ("*;q=0", None),
            ("*;q=0.001", BR),
            ("gzip;q=0, *", BR),
            ("br;q=0, *", ZSTD),
            ("br;q=0.1, zstd;q=0.1, *;q=0.5", GZIP),
            ("gzip, *;q=0", GZIP),
            ("gzip;q=0.5, *;q=0.8", BR),
            // The bytes as they are.
            ("identity;q=0.5, gzip;q=0.4", None),
            ("identity;q=0.5, gzip;q=0.5", GZIP),
            ("identity, gzip;q=0.999", None),
            ("identity;q=0", None),
            ("identity;q=0, deflate", None),
            ("identity;q=0, *;q=0", None),
            ("identity;q=0, gzip;q=0.1", GZIP),
            ("gzip;q=0.2, br;q=0.2, zstd;q=0.2, *", None),
            // Malformed members say nothing; the others still do.
            ("br;q=2, gzip", GZIP),
            ("br;q=1.001, gzip", GZIP),
            ("br;q=-1, gzip", GZIP),
            ("br;q=0.5000, gzip;q=0.1", GZIP),
            ("br;q=.5, gzip;q=0.1", GZIP),
            ("br;q=0,5, gzip", GZIP),
            ("br;q=, gzip", GZIP),
            ("br;, gzip", GZIP),
            ("br;level=5, gzip", GZIP),
            ("br;q=1;q=1, gzip", GZIP),
            ("br;q = 1, gzip", GZIP),
            ("br;q=0.x, gzip", GZIP),
            ("br gzip", None),
            ("\"gzip\"", None),
            ("=;q=;;,{}[]:/?@", None),
            // Named twice: the lower weight.
            ("gzip, gzip;q=0", None),
            ("br;q=0.3, br;q=0.9, gzip;q=0.5", GZIP),
        ] {
            assert_eq!(of_lines(&[value.as_bytes()]), expected, "{value:?}");
        }
    }

    #[test]
    fn without_a_header_nothing_is_compressed() {
        assert_eq!(of_lines(&[]), None);
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(of_lines(&[b"gzip", b"br"]), BR);
        assert_eq!(of_lines(&[b"*", b"", b"br;q=0, gzip;q=0.5"]), ZSTD);
        assert_eq!(of_lines(&[b"gzip", b"*;q=0"]), GZIP);
    }

    #[test]
    fn bytes_that_are_no_text_say_nothing() {
        assert_eq!(of_lines(&[b"\xff\xfe, gzip, \xe9;q=1"]), GZIP);
        assert_eq!(of_lines(&[b"br\xa0, gzip;q=0.5\xff"]), None);
    }

    proptest! {
        #[test]
        fn a_weight_is_read_as_it_was_written(thousandths in 0_u16..=1_000) {
            let text = format!("q={}.{:03}", thousandths / 1_000, thousandths % 1_000);
            prop_assert_eq!(weight(text.as_bytes()), Some(thousandths));
            prop_assert_eq!(weight(text.trim_end_matches('0').as_bytes()), Some(thousandths));
        }

        #[test]
        fn no_header_is_too_strange(value in "([a-z*;=,. 0-9-]|gzip|br|zstd|identity|;q=[01]\\.?[0-9]{0,4}){0,20}") {
            let chosen = of_lines(&[value.as_bytes()]);
            // What is chosen was named, or something else was said to be welcome.
            prop_assert!(chosen.is_none_or(|coding| value.contains(coding.name()) || value.contains('*')));
        }
    }
}
