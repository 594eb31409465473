//! A body as it is handed out: the upstream's bytes, their entity tag and their compressed forms, each made once.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::demand::Demand;

/// Shorter bodies are sent as they are. A weather body has 500 to 700 bytes and its head about 600: together they fit
/// one TCP segment (1460 bytes over Ethernet and IPv4), so that fewer bytes would arrive no sooner.
const MIN_BYTES: usize = 1024;
/// A compressed form that is longer than this share of the body is not used: what it saves is not worth the caller's
/// work.
const MAX_PERCENT: usize = 70;
/// Moderate levels, because each form is made once and while a caller waits: under a millisecond for 16 KB.
const GZIP_LEVEL: Compression = Compression::new(6);
const BROTLI_LEVEL: i32 = 5;
const ZSTD_LEVEL: i32 = 6;
/// Brotli's window, as a power of two: 256 KiB. The encoder's tables grow with it: at its default of 22 one run takes
/// 9 MiB instead of 2, and twice the time, for the same result on 16 KB. At 16 and below it changes to a slower method.
const BROTLI_WINDOW_BITS: i32 = 18;

/// A way to compress a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878. The window never exceeds the 8 MiB that RFC 9659 allows over HTTP: level 6 stays at 2 MiB.
    Zstd,
}

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// The registered name of the content coding (RFC 9110, section 8.4.1, RFC 7932 and RFC 8878).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// `None` if the encoder fails, which none does that writes to memory.
    fn compress(self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), GZIP_LEVEL);
                encoder.write_all(bytes).ok()?;
                encoder.finish().ok()
            }
            Self::Brotli => {
                let parameters =
                    BrotliEncoderParams { quality: BROTLI_LEVEL, lgwin: BROTLI_WINDOW_BITS, ..Default::default() };
                let mut compressed = Vec::new();
                brotli::BrotliCompress(&mut &*bytes, &mut compressed, &parameters).ok()?;
                Some(compressed)
            }
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL).ok(),
        }
    }
}

/// What the upstream sent, byte for byte, and what follows from it. Cheap to clone.
#[derive(Clone)]
pub struct Body(Arc<Prepared>);

struct Prepared {
    bytes: Bytes,
    tag: Bytes,
    /// Made when the first one is asked for: most bodies are too short for any.
    forms: OnceLock<Box<Forms>>,
    /// Beside the count of references, which every answer changes, too.
    demand: Demand,
}

/// In the order of [`Coding::ALL`]; `None` inside means that it does not pay.
type Forms = [OnceLock<Option<Encoded>>; Coding::ALL.len()];

/// A compressed form of a body.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The compressed bytes.
    pub bytes: Bytes,
    /// The strong entity tag of this form, with its quotes: that of the body with the coding's name inside the quotes.
    /// Forms that differ in their bytes must differ in their strong tags (RFC 9110, sections 8.8.1 and 8.8.3.3).
    pub tag: Bytes,
}

impl Body {
    /// Computes the tag; compresses nothing yet.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let tag = tag(&bytes, "");
        Self(Arc::new(Prepared { bytes, tag, forms: OnceLock::new(), demand: Demand::default() }))
    }

    /// What the upstream sent.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// The strong entity tag of [`Self::bytes`], with its quotes (RFC 9110, section 8.8.3): the first 16 bytes of their
    /// SHA-256 in base64url.
    #[must_use]
    pub fn tag(&self) -> &Bytes {
        &self.0.tag
    }

    /// Whether a compressed form is made at all: not of bodies under 1024 bytes.
    #[must_use]
    pub fn worth_encoding(&self) -> bool {
        self.0.bytes.len() >= MIN_BYTES
    }

    /// The form in `coding`, compressed at the first call and remembered; calls that come meanwhile wait for it. `None`
    /// if it does not pay: the body is short, or less than 30 % would be saved.
    #[must_use]
    pub fn encoded(&self, coding: Coding) -> Option<Encoded> {
        if !self.worth_encoding() {
            return None;
        }
        let forms = self.0.forms.get_or_init(Box::default);
        forms[coding as usize].get_or_init(|| self.encode(coding)).clone()
    }

    pub(super) fn demand(&self) -> &Demand {
        &self.0.demand
    }

    fn encode(&self, coding: Coding) -> Option<Encoded> {
        let compressed = coding.compress(&self.0.bytes)?;
        if compressed.len() > max_encoded(self.0.bytes.len()) {
            return None;
        }
        // A boxed slice has no spare room, which max_bytes() would not count.
        let bytes = Bytes::from(compressed.into_boxed_slice());
        Some(Encoded { bytes, tag: tag(&self.0.bytes, &format!("-{}", coding.name())) })
    }

    /// How many bytes the body and all its compressed forms may come to, whether they were made or not: the weight for
    /// a cache that is bounded in bytes. The fixed cost of an entry (tags, pointers) is not in it.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        let len = self.0.bytes.len();
        let forms = if self.worth_encoding() { Coding::ALL.len() } else { 0 };
        len.saturating_add(max_encoded(len).saturating_mul(forms))
    }
}

/// The longest compressed form that pays for a body of `len` bytes.
fn max_encoded(len: usize) -> usize {
    len.saturating_mul(MAX_PERCENT) / 100
}

fn tag(bytes: &[u8], suffix: &str) -> Bytes {
    format!("\"{}{suffix}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..16])).into()
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for Body {}

/// The length only: the bytes say which place somebody asked about.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &self.0.bytes.len()).finish_non_exhaustive()
    }
}

/// The length only, as for [`Body`].
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut decoded),
            Coding::Zstd => zstd::stream::copy_decode(bytes, &mut decoded).map(|()| 0),
        }
        .unwrap();
        decoded
    }

    /// A forecast like OpenWeatherMap's, one entry for each three hours; 40 have about 16 KB.
    fn forecast(steps: u64) -> String {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let decimal = |hundredths: u64| format!("{}.{:02}", hundredths / 100, hundredths % 100);
        let entry = |step| {
            let temp = 27_800 + random(900);
            format!(
                r#"{{"dt":{},"main":{{"temp":{},"feels_like":{},"temp_min":{},"temp_max":{},"pressure":{},"sea_level":1015,"grnd_level":{},"humidity":{},"temp_kf":0}},"weather":[{{"id":{},"main":"Clouds","description":"broken clouds","icon":"04d"}}],"clouds":{{"all":{}}},"wind":{{"speed":{},"deg":{},"gust":{}}},"visibility":10000,"pop":{},"sys":{{"pod":"d"}},"dt_txt":"2026-11-{} {:02}:00:00"}}"#,
                1_795_305_600 + step * 10_800,
                decimal(temp),
                decimal(temp - random(300)),
                decimal(temp - random(40)),
                decimal(temp + random(40)),
                1_000 + random(30),
                920 + random(100),
                40 + random(60),
                801 + random(4),
                random(101),
                decimal(random(900)),
                random(360),
                decimal(random(1_500)),
                decimal(random(100)),
                22 + step / 8,
                step * 3 % 24,
            )
        };
        let entries: Vec<_> = (0..steps).map(entry).collect();
        format!(r#"{{"cod":"200","message":0,"cnt":{steps},"list":[{}]}}"#, entries.join(","))
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_forecast_shrinks_to_a_fifth_with_every_coding_and_comes_back() {
        let body = Body::new(forecast(40).into());
        assert!((15_000..18_000).contains(&body.bytes().len()), "{body:?}");
        for coding in Coding::ALL {
            let encoded = body.encoded(coding).unwrap();
            assert!(encoded.bytes.len() * 5 < body.bytes().len(), "{coding:?}: {encoded:?}");
            assert_eq!(&decoded(coding, &encoded.bytes), body.bytes());
        }
    }

    #[test]
    fn equal_bodies_have_equal_tags_and_forms() {
        let (first, second) = (Body::new(forecast(8).into()), Body::new(forecast(8).into()));
        assert_eq!(first, second);
        assert_eq!(first.tag(), second.tag());
        for coding in Coding::ALL {
            assert_eq!(first.encoded(coding), second.encoded(coding));
        }
        let other = Body::new(forecast(9).into());
        assert_ne!(first, other);
        assert_ne!(first.tag(), other.tag());
    }

    #[test]
    fn each_form_has_a_strong_tag_of_its_own() {
        assert_eq!(text(Body::new("{}".into()).tag()), "\"RBNvo1WzZ4oRRq0W9-hkng\"");
        let body = Body::new(forecast(8).into());
        let digest = text(body.tag()).trim_matches('"');
        for (coding, suffix) in [(Coding::Gzip, "gzip"), (Coding::Brotli, "br"), (Coding::Zstd, "zstd")] {
            assert_eq!(text(&body.encoded(coding).unwrap().tag), format!("\"{digest}-{suffix}\""));
        }
    }

    #[test]
    fn a_form_is_compressed_once_for_all_clones() {
        let body = Body::new(forecast(8).into());
        let clone = body.clone();
        for coding in Coding::ALL {
            let (first, again) = (body.encoded(coding).unwrap(), clone.encoded(coding).unwrap());
            assert_eq!(first.bytes.as_ptr(), again.bytes.as_ptr());
        }
    }

    #[test]
    fn what_is_short_or_does_not_shrink_is_sent_as_it_is() {
        let noise: Vec<u8> = (0_u64..200).flat_map(|n| Sha256::digest(n.to_le_bytes())).collect();
        let (short, enough) = (Body::new(vec![b'a'; 1023].into()), Body::new(vec![b'a'; 1024].into()));
        assert!(!short.worth_encoding() && enough.worth_encoding());
        for coding in Coding::ALL {
            for bytes in [Vec::new(), b"{}".to_vec(), noise.clone()] {
                assert_eq!(Body::new(bytes.into()).encoded(coding), None);
            }
            assert_eq!(short.encoded(coding), None);
            assert!(enough.encoded(coding).is_some());
        }
        assert_eq!((short.max_bytes(), enough.max_bytes()), (1023, 1024 + 3 * 716));
    }

    #[test]
    fn a_body_that_nobody_wants_compressed_costs_two_words_more() {
        assert!(size_of::<OnceLock<Box<Forms>>>() <= 2 * size_of::<usize>());
        assert_eq!(size_of::<Body>(), size_of::<usize>());
    }

    #[test]
    fn debugging_shows_lengths_and_no_bytes() {
        let body = Body::new(vec![b'x'; 2000].into());
        assert_eq!(format!("{body:?}"), "Body { len: 2000, .. }");
        let shown = format!("{:?}", body.encoded(Coding::Gzip).unwrap());
        assert!(shown.starts_with("Encoded { len: ") && !shown.contains("gzip"), "{shown}");
    }

    proptest! {
        #[test]
        fn every_form_decodes_to_the_body_and_stays_within_the_bound(
            piece in proptest::collection::vec(any::<u8>(), 0..3_000),
            times in 1_usize..60,
            rest in proptest::collection::vec(any::<u8>(), 0..1_000),
        ) {
            let bytes = [piece.repeat(times), rest].concat();
            // Whether it pays or not, what the encoders make is right.
            for coding in Coding::ALL {
                prop_assert_eq!(&decoded(coding, &coding.compress(&bytes).unwrap()), &bytes);
            }
            let body = Body::new(bytes.into());
            let forms: Vec<_> = Coding::ALL.into_iter().filter_map(|coding| body.encoded(coding)).collect();
            let total = body.bytes().len() + forms.iter().map(|form| form.bytes.len()).sum::<usize>();
            prop_assert!(total <= body.max_bytes());
            prop_assert!(forms.iter().all(|form| form.bytes.len() * 10 <= body.bytes().len() * 7));
            prop_assert!(forms.is_empty() || body.worth_encoding());
        }
    }
}
