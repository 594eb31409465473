//! Sealed records: whatever comes back from a store, only what was sealed under this name opens.

use std::sync::OnceLock;

use stratus::crypto::envelope::{VERSION, longest_sealed};
use stratus::crypto::{Keyring, OpenError, Padding, RecordName, Times, generate_key_line};

use super::input::Input;

/// Key id length, nonce and tag around the id and what is encrypted; see the layout in `stratus::crypto::envelope`.
const OVERHEAD: usize = 2 + 24 + 16;
/// Times and length before the content.
const PREFIX: usize = 20;
const MOST_CHANGES: u8 = 4;

struct Rings {
    /// One key, and the same one behind a newer key: a rotation.
    before: Keyring,
    after: Keyring,
    stranger: Keyring,
}

/// Keys are random in each process, so nothing in a corpus can be sealed by them.
fn rings() -> &'static Rings {
    static RINGS: OnceLock<Rings> = OnceLock::new();
    RINGS.get_or_init(|| {
        let line = || generate_key_line().expect("random bytes").split_once(':').expect("a line").1.to_owned();
        let ring = |text: String| Keyring::parse(&text).expect("a ring of generated keys");
        // The ids are known to whoever fuzzes: what follows them has to be refused for its own sake.
        let old = format!("old:{}", line());
        Rings {
            before: ring(old.clone()),
            after: ring(format!("new:{}\n{old}", line())),
            stranger: ring(format!("old:{}", line())),
        }
    })
}

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => forged(&mut input),
        1 => changed(&mut input),
        _ => round_trip(&mut input),
    }
}

/// Bytes that were never sealed, as they are and behind a header that is right.
fn forged(input: &mut Input<'_>) {
    let (now_ms, bytes) = (input.number(), input.rest());
    let behind_header = [&[VERSION, 3][..], b"old", bytes].concat();
    for ring in [&rings().before, &rings().after] {
        for name in ring.names("weather\nlondon\nmetric\n") {
            assert!(ring.open(&name, bytes, now_ms).is_err(), "bytes that were never sealed open");
            assert!(ring.open(&name, &behind_header, now_ms).is_err(), "bytes that were never sealed open");
            assert!(ring.open_credential(&name, bytes, now_ms).is_err(), "bytes that were never sealed open");
            assert!(ring.open_credential(&name, &behind_header, now_ms).is_err(), "bytes that were never sealed open");
        }
    }
}

/// What was sealed and then changed does not open, unless the changes undo each other.
fn changed(input: &mut Input<'_>) {
    let Rings { before, after, stranger } = rings();
    let (times, padding) = (times(input), padding(input));
    let changes: Vec<_> = (0..1 + input.byte() % MOST_CHANGES).map(|_| (input.byte(), input.number())).collect();
    let name = before.names("weather\nlondon\nmetric\n").remove(0);
    let sealed = before.seal(&name, times, input.rest(), padding).expect("a short content");
    let mut record = sealed.clone();
    for (how, number) in changes {
        change(&mut record, how, number);
    }
    let now_ms = times.expires_at_ms.saturating_sub(1);
    for ring in [before, after] {
        let opened = ring.open(&name, &record, now_ms);
        let as_sealed = record == sealed && times.expires_at_ms > 0;
        assert_eq!(opened.is_ok(), as_sealed, "changed, and {opened:?}");
        assert!(ring.open_credential(&name, &record, now_ms).is_err(), "it opens as what it is not");
        for other in other_names(ring) {
            assert!(ring.open(&other, &record, now_ms).is_err(), "it opens under another name");
        }
    }
    let elsewhere = stranger.names("weather\nlondon\nmetric\n").remove(0);
    for name in [name, elsewhere] {
        assert!(stranger.open(&name, &record, now_ms).is_err(), "it opens with another key of the same id");
    }
}

fn other_names(ring: &Keyring) -> impl Iterator<Item = RecordName> {
    ["weather\nlondon\nimperial\n", "weather\nparis\nmetric\n", ""].into_iter().flat_map(|subject| ring.names(subject))
}

/// One change at a place of the input's choice.
fn change(record: &mut Vec<u8>, how: u8, number: u64) {
    let Some(place) = usize::try_from(number >> 16).ok().and_then(|place| place.checked_rem(record.len())) else {
        return;
    };
    let value = number.to_be_bytes()[7];
    let other = usize::from(value) % record.len();
    match how % 7 {
        0 => record[place] ^= value,
        1 => record[place] = value,
        2 => record.truncate(place),
        3 => record.insert(place, value),
        4 => drop(record.remove(place)),
        5 => record.push(value),
        _ => record.swap(place, other),
    }
}

/// Any content comes back as it was, until its end and no longer, in a size class that says no more than its class.
fn round_trip(input: &mut Input<'_>) {
    let Rings { before, after, .. } = rings();
    let (times, padding, repeat) = (times(input), padding(input), 1 + usize::from(input.byte()));
    let content = input.rest().repeat(repeat);
    let name = after.names("weather\nlondon\nmetric\n").remove(0);
    let sealed = after.seal(&name, times, &content, padding).expect("a short content");

    let class = sealed.len() - OVERHEAD - "new".len();
    let text = PREFIX + content.len();
    let least = match padding {
        Padding::Note if text <= 64 => 64,
        // 960, 1920, 3840 and so on.
        Padding::Note | Padding::Record | Padding::Credential => 960 * text.div_ceil(960).next_power_of_two(),
    };
    assert_eq!(class, least, "{} bytes as {padding:?}", content.len());
    assert!(sealed.len() <= longest_sealed(content.len()));

    if let Some(last_ms) = times.expires_at_ms.checked_sub(1) {
        for now_ms in [0, last_ms] {
            let opened = after.open(&name, &sealed, now_ms).expect("it was sealed like this");
            assert_eq!((opened.content.as_slice(), opened.times), (content.as_slice(), times));
        }
    }
    for now_ms in [times.expires_at_ms, u64::MAX] {
        assert_eq!(after.open(&name, &sealed, now_ms).err(), Some(OpenError::Expired));
    }
    assert_eq!(before.open(&name, &sealed, 0).err(), Some(OpenError::UnknownKey));
}

fn times(input: &mut Input<'_>) -> Times {
    Times { fetched_at_ms: input.number(), expires_at_ms: input.number() }
}

fn padding(input: &mut Input<'_>) -> Padding {
    if input.byte().is_multiple_of(2) { Padding::Record } else { Padding::Note }
}
