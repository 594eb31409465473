use std::io::Read;
use std::path::Path;

use proptest::prelude::*;

use super::packed::MAX_TEXT_BYTES;
use super::*;

#[path = "../../../benches/fixture/forecast.rs"]
mod forecast;

use forecast::forecast;

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

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_forecast_shrinks_to_a_fifth_with_every_coding_and_comes_back() {
    let body = Body::new(forecast(1, 40).into());
    assert!((15_000..18_000).contains(&body.bytes().len()), "{body:?}");
    for coding in Coding::ALL {
        let encoded = body.encoded(coding).unwrap();
        assert!(encoded.bytes.len() * 5 < body.bytes().len(), "{coding:?}: {encoded:?}");
        assert_eq!(decoded(coding, &encoded.bytes), body.bytes());
    }
}

#[test]
fn equal_bodies_have_equal_tags_and_forms() {
    let (first, second) = (Body::new(forecast(1, 8).into()), Body::new(forecast(1, 8).into()));
    assert_eq!(first, second);
    assert_eq!(first.tag(), second.tag());
    for coding in Coding::ALL {
        assert_eq!(first.encoded(coding), second.encoded(coding));
    }
    let other = Body::new(forecast(1, 9).into());
    assert_ne!(first, other);
    assert_ne!(first.tag(), other.tag());
}

#[test]
fn each_form_has_a_strong_tag_of_its_own() {
    assert_eq!(text(Body::new("{}".into()).tag()), "\"RBNvo1WzZ4oRRq0W9-hkng\"");
    let body = Body::new(forecast(1, 8).into());
    let digest = text(body.tag()).trim_matches('"');
    for (coding, suffix) in [(Coding::Gzip, "gzip"), (Coding::Brotli, "br"), (Coding::Zstd, "zstd")] {
        assert_eq!(text(&body.encoded(coding).unwrap().tag), format!("\"{digest}-{suffix}\""));
    }
}

#[test]
fn a_form_is_compressed_once_for_all_clones() {
    let body = Body::new(forecast(1, 8).into());
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
    let incompressible = Body::new(noise.into());
    assert_eq!((short.max_bytes(), incompressible.max_bytes()), (1023, 6_400 + 3 * 4_480));
}

#[test]
fn a_body_that_nobody_wants_compressed_costs_two_words_more() {
    assert!(size_of::<OnceLock<Box<Forms>>>() <= 2 * size_of::<usize>());
    assert_eq!(size_of::<Kept>(), size_of::<Bytes>());
    assert_eq!(size_of::<Body>(), size_of::<usize>());
}

#[test]
fn a_short_body_is_kept_as_it_came_and_given_without_a_copy() {
    let came = Bytes::from(vec![b'a'; 1023]);
    let body = Body::new(came.clone());
    assert_eq!(body.bytes().as_ptr(), came.as_ptr());
    let (stored, packed) = body.stored();
    assert!(stored.as_ptr() == came.as_ptr() && !packed);
}

#[test]
fn callers_with_zstd_get_what_is_kept_and_others_share_one_text_as_long_as_somebody_has_it() {
    let body = Body::new(forecast(1, 40).into());
    let (kept, packed) = body.stored();
    assert!(packed && kept.len() * 5 < body.len());
    assert_eq!(body.encoded(Coding::Zstd).unwrap().bytes.as_ptr(), kept.as_ptr());
    let (first, second) = (body.bytes(), body.clone().bytes());
    assert_eq!(first.as_ptr(), second.as_ptr());
    assert_eq!(first, forecast(1, 40));
    let Kept::Packed(packed) = &body.0.kept else { panic!("it is packed") };
    assert!(packed.has_text());
    drop((first, second));
    assert!(!packed.has_text(), "nobody needs it");
    assert_eq!(body.bytes(), forecast(1, 40));
}

#[test]
fn the_text_of_a_place_that_is_often_asked_for_without_compression_stays_and_counts_from_the_next_record_on() {
    let [first, second, third] = [1, 2, 3].map(|place| Body::new(forecast(place, 40).into()));
    let weight = [&first, &second, &third].map(Body::max_bytes);
    (0..63).for_each(|_| drop(first.bytes()));
    second.follow(&first);
    assert_eq!(second.max_bytes(), weight[1], "not often enough");
    drop(first.bytes());
    second.follow(&first);
    assert_eq!((first.max_bytes(), second.max_bytes()), (weight[0], weight[1] + second.len()));
    let once = second.bytes().as_ptr();
    assert!((0..9).all(|_| second.bytes().as_ptr() == once));
    assert_eq!(second.bytes(), forecast(2, 40));
    // Fewer than 64 have asked since.
    third.follow(&second);
    assert_eq!(third.max_bytes(), weight[2]);
}

#[test]
fn what_does_not_shrink_or_is_longer_than_a_mebibyte_is_kept_as_it_is() {
    let noise: Vec<u8> = (0_u64..200).flat_map(|n| Sha256::digest(n.to_le_bytes())).collect();
    for (bytes, expected) in
        [(noise, false), (vec![b'a'; MAX_TEXT_BYTES], true), (vec![b'a'; MAX_TEXT_BYTES + 1], false)]
    {
        let body = Body::new(bytes.clone().into());
        assert_eq!((body.stored().1, body.bytes()), (expected, bytes.into()));
    }
}

#[test]
fn a_damaged_frame_or_one_that_claims_too_much_is_no_body() {
    let unpack = |frame: &[u8]| Body::unpack(Bytes::copy_from_slice(frame));
    let text = forecast(1, 40);
    let frame = Coding::Zstd.compress(text.as_bytes()).unwrap();
    assert_eq!(unpack(&frame).unwrap(), Body::new(text.clone().into()));

    for end in 0..frame.len() {
        assert!(unpack(&frame[..end]).is_none(), "cut off after {end}");
    }
    assert!(unpack(&[&frame[..], b"x"].concat()).is_none(), "something follows");
    assert!(unpack(&[&frame[..], &frame[..]].concat()).is_none(), "twice");
    // Of this frame, the 16 bits from the sixth byte on are the length of the text, less 256.
    let claimed = u16::from_le_bytes([frame[5], frame[6]]);
    assert_eq!(usize::from(claimed) + 256, text.len());
    for other in [0, claimed - 1, claimed + 1, u16::MAX] {
        let mut frame = frame.clone();
        frame[5..7].copy_from_slice(&other.to_le_bytes());
        assert!(unpack(&frame).is_none(), "claims {other}");
    }
    // 16 MiB of the same byte take some 500 bytes; a frame without a length; one that is shorter than any.
    assert!(unpack(&Coding::Zstd.compress(&vec![b'a'; 16 << 20]).unwrap()).is_none());
    assert!(unpack(&zstd::stream::encode_all(text.as_bytes(), 6).unwrap()).is_none());
    assert!(unpack(&Coding::Zstd.compress(&text.as_bytes()[..1023]).unwrap()).is_none());
}

#[test]
fn every_recorded_body_comes_back_in_every_coding_from_what_is_stored_of_it() {
    let generated = (1..40).map(|steps| forecast(steps, steps)).map(Bytes::from).collect();
    let bodies = std::env::var_os("STRATUS_RECORDED_BODIES").map_or(generated, |dir| recorded(Path::new(&dir)));
    assert!(bodies.iter().filter(|body| body.len() >= MIN_BYTES).count() > 30);
    for bytes in bodies {
        let came = Body::new(bytes.clone());
        assert_eq!(came.stored().1, bytes.len() >= MIN_BYTES);
        // Nothing is lost by setting little aside for the other forms.
        assert_eq!(came.encoded(Coding::Gzip).is_some(), bytes.len() >= MIN_BYTES);
        assert_eq!(came.encoded(Coding::Brotli).is_some(), bytes.len() >= MIN_BYTES);
        is_the_same(&came, &bytes);
        is_the_same(&read_again(&came), &bytes);
    }
}

/// All of a folder and those below, errors aside.
fn recorded(dir: &Path) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bodies.extend(recorded(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            bodies.push(std::fs::read(path).unwrap().into());
        }
    }
    bodies
}

/// The body that the store gives back.
fn read_again(body: &Body) -> Body {
    let (stored, packed) = body.stored();
    if packed { Body::unpack(stored.clone()).unwrap() } else { Body::plain(stored.clone()) }
}

fn is_the_same(body: &Body, bytes: &[u8]) {
    assert_eq!((&body.bytes()[..], body.tag()), (bytes, &tag(bytes)));
    for (coding, form) in Coding::ALL.into_iter().filter_map(|coding| Some((coding, body.encoded(coding)?))) {
        assert_eq!(decoded(coding, &form.bytes), bytes);
        assert_eq!(form.tag, tag_of_form(&tag(bytes), coding));
    }
}

#[test]
fn debugging_shows_lengths_and_no_bytes() {
    let body = Body::new(vec![b'x'; 2000].into());
    assert_eq!(format!("{body:?}"), "Body { len: 2000, .. }");
    let shown = format!("{:?}", body.encoded(Coding::Gzip).unwrap());
    assert!(shown.starts_with("Encoded { len: ") && !shown.contains("gzip"), "{shown}");
}

/// Bytes of which some come again and again.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::collection::vec(any::<u8>(), 0..3_000);
    let rest = proptest::collection::vec(any::<u8>(), 0..1_000);
    (piece, 1_usize..60, rest).prop_map(|(piece, times, rest)| [piece.repeat(times), rest].concat())
}

proptest! {
    #[test]
    fn every_form_decodes_to_the_body_and_stays_within_the_bound(bytes in bytes()) {
        // Whether it pays or not, what the encoders make is right.
        for coding in Coding::ALL {
            prop_assert_eq!(&decoded(coding, &coding.compress(&bytes).unwrap()), &bytes);
        }
        let body = Body::new(bytes.clone().into());
        for body in [&body, &read_again(&body)] {
            is_the_same(body, &bytes);
            let (stored, packed) = body.stored();
            let others = Coding::ALL.into_iter().filter(|coding| !(packed && *coding == Coding::Zstd));
            let forms: Vec<_> = others.filter_map(|coding| body.encoded(coding)).collect();
            let total = stored.len() + forms.iter().map(|form| form.bytes.len()).sum::<usize>();
            prop_assert!(total <= body.max_bytes());
            prop_assert!(forms.iter().all(|form| form.bytes.len() * 10 <= bytes.len() * 7));
            prop_assert!(forms.is_empty() || body.worth_encoding());
        }
    }

    #[test]
    fn whatever_is_in_place_of_a_frame_there_is_a_body_of_bounded_length_or_none(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = Coding::Zstd.compress(forecast(1, 8).as_bytes()).unwrap();
        for (place, byte) in changes {
            let place = place.index(frame.len());
            frame[place] = byte;
        }
        for frame in [bytes, frame] {
            if let Some(body) = Body::unpack(frame.into()) {
                prop_assert!((MIN_BYTES..=MAX_TEXT_BYTES).contains(&body.bytes().len()));
            }
        }
    }
}
