//! The consumers file: who may ask, how often, from which pages, until when. TOML; of a key it holds the SHA-256 only.
//!
//! ```toml
//! [[consumer]]
//! name = "kiosk"
//! per_minute = 600                          # over all replicas
//! allow_origins = ["https://app.example"]   # left out: as server.allow_origins says
//! keys = [                                  # two at most, so that one can be replaced without a pause
//!   { sha256 = "…64 hexadecimal digits…", expires = 2027-01-01 },
//!   { sha256 = "…" },
//! ]
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};
use toml::value::{Datetime, Offset};
use url::Url;

use super::key::{KeyDigest, contains_key};

/// Keys of one consumer at once: the one in use and the one that takes its place.
const MAX_KEYS: usize = 2;
/// More than this is no list that a person keeps.
const MAX_CONSUMERS: usize = 10_000;
/// Requests a minute that may be allowed.
pub const PER_MINUTE: std::ops::RangeInclusive<u32> = 1..=10_000_000;
/// A name has so many characters at most.
const MAX_NAME: usize = 64;

/// What the file says of one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What people call it; in the log, too.
    pub name: String,
    /// Requests in any minute, over all replicas.
    pub per_minute: u32,
    /// Pages that may use its keys; any that `server.allow_origins` lets in when empty.
    pub allow_origins: Vec<String>,
    pub(super) keys: Vec<EntryKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryKey {
    pub(super) digest: KeyDigest,
    /// From when on it is no key any more, Unix milliseconds.
    pub(super) expires_at_ms: Option<u64>,
}

/// Something wrong with a consumers file. Names consumers and lines, never what could be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerFault {
    /// A key itself stands in the file.
    #[error(
        "line {0} holds a consumer key: put the entry there that `stratus consumer new` printed, without the key, and \
         replace the key, which others may have read"
    )]
    HoldsKey(usize),
    /// It is no TOML, or not of this form.
    #[error("line {line}: {what}; `stratus consumer new NAME` prints an entry")]
    Form {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Something about a consumer.
    #[error("consumer {place}: {what}")]
    Entry {
        /// Its name, or its place in the file where the name is what is wrong.
        place: String,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    consumer: Vec<RawConsumer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConsumer {
    name: String,
    per_minute: u32,
    #[serde(default)]
    allow_origins: Vec<String>,
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    sha256: String,
    expires: Option<Datetime>,
}

/// Reads the text of a consumers file.
///
/// # Errors
/// Every fault of the file, not only the first, unless it cannot be read as TOML at all.
pub fn parse(text: &str) -> Result<Vec<Entry>, Vec<ConsumerFault>> {
    let held: Vec<_> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| contains_key(line))
        .map(|(at, _)| ConsumerFault::HoldsKey(at))
        .collect();
    if !held.is_empty() {
        return Err(held);
    }
    let raw: RawFile = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        // The whole error shows the line.
        let what = error.message().lines().next().unwrap_or_default().to_owned();
        vec![ConsumerFault::Form { line, what }]
    })?;
    let mut faults = Vec::new();
    let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
    let mut entries = Vec::with_capacity(raw.consumer.len());
    for (number, consumer) in (1..).zip(raw.consumer) {
        let place = if is_name(&consumer.name) { consumer.name.clone() } else { format!("number {number}") };
        let mut fault = |what: String| faults.push(ConsumerFault::Entry { place: place.clone(), what });
        if !names.insert(consumer.name.clone()) {
            fault("is in the file twice: put both keys into one entry".to_owned());
        }
        let entry = checked(consumer, &mut fault);
        for key in &entry.keys {
            if !digests.insert(*key.digest.bytes()) {
                fault("has a key that another entry has, too: give each its own".to_owned());
            }
        }
        entries.push(entry);
    }
    if entries.len() > MAX_CONSUMERS {
        let what = format!("there are more than {MAX_CONSUMERS} consumers");
        faults.push(ConsumerFault::Form { line: 1, what });
    }
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

fn checked(raw: RawConsumer, fault: &mut impl FnMut(String)) -> Entry {
    if !is_name(&raw.name) {
        fault(format!("its name has to be 1 to {MAX_NAME} letters, digits, dots, hyphens or underscores"));
    }
    if !PER_MINUTE.contains(&raw.per_minute) {
        fault(format!("per_minute has to be from {} to {}", PER_MINUTE.start(), PER_MINUTE.end()));
    }
    if raw.keys.len() > MAX_KEYS {
        fault(format!("has more than {MAX_KEYS} keys: drop those that nobody uses any more"));
    }
    if !raw.allow_origins.iter().all(|origin| is_origin(origin)) {
        fault("allow_origins has an entry that is no origin such as https://app.example".to_owned());
    }
    let mut keys = Vec::with_capacity(raw.keys.len());
    for key in raw.keys {
        let expires_at_ms = match key.expires.map(|expires| unix_ms(&expires)) {
            Some(None) => {
                fault(
                    "expires has to be a date such as 2027-01-01 (from then on, UTC) or 2027-01-01T12:00:00Z"
                        .to_owned(),
                );
                None
            }
            known => known.flatten(),
        };
        match KeyDigest::parse(&key.sha256) {
            Some(digest) => keys.push(EntryKey { digest, expires_at_ms }),
            None => fault("sha256 has to be the 64 hexadecimal digits that `stratus consumer new` printed".to_owned()),
        }
    }
    Entry { name: raw.name, per_minute: raw.per_minute, allow_origins: raw.allow_origins, keys }
}

/// Whether a consumer can be called so.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    // And none that looks like a key.
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && !contains_key(name)
}

/// Whether it is an origin as browsers send it (RFC 6454, section 6.2).
pub fn is_origin(origin: &str) -> bool {
    Url::parse(origin).is_ok_and(|url| url.has_host() && url.origin().ascii_serialization() == origin)
}

/// When a date begins (in UTC), or the moment that is meant; `None` for a time without a place on earth.
fn unix_ms(moment: &Datetime) -> Option<u64> {
    let date = moment.date?;
    let date = Date::from_calendar_date(date.year.into(), Month::try_from(date.month).ok()?, date.day).ok()?;
    let (time, offset) = match (moment.time, moment.offset) {
        (None, None) => (Time::MIDNIGHT, UtcOffset::UTC),
        (Some(time), Some(offset)) => {
            let minutes = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i32::from(minutes),
            };
            let time = Time::from_hms(time.hour, time.minute, time.second.unwrap_or_default()).ok()?;
            (time, UtcOffset::from_whole_seconds(minutes * 60).ok()?)
        }
        _ => return None,
    };
    let unix = PrimitiveDateTime::new(date, time).assume_offset(offset).unix_timestamp();
    u64::try_from(Duration::from_secs(u64::try_from(unix).ok()?).as_millis()).ok()
}

/// Reads a date or a moment as it is given on a command line; see [`Entry`].
pub fn parse_moment(text: &str) -> Option<u64> {
    unix_ms(&text.parse().ok()?)
}

/// The entry for a new consumer with this key, ready to be put into a consumers file. `expires` as [`parse_moment`] takes it.
pub fn entry(name: &str, per_minute: u32, key: &[u8], expires: Option<&str>) -> String {
    let digest = KeyDigest::of(key);
    let expires = expires.map(|expires| format!(", expires = {expires}")).unwrap_or_default();
    format!(
        "[[consumer]]\nname = \"{name}\"\nper_minute = {per_minute}\nkeys = [{{ sha256 = \"{digest}\"{expires} }}]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::key::generate_key;
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn faults(text: &str) -> String {
        parse(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    fn digest(seed: u8) -> String {
        KeyDigest::of(&[seed]).to_string()
    }

    #[test]
    fn what_is_printed_for_a_new_consumer_is_read_back() {
        let key = generate_key().unwrap();
        let text = entry("kiosk", 60, key.as_bytes(), None) + "\n" + &entry("a.b-c_9", 1, b"x", Some("1970-01-02"));
        let entries = parse(&text).unwrap();
        let of = |name: &str, per_minute, key: &[u8], expires_at_ms| Entry {
            name: name.to_owned(),
            per_minute,
            allow_origins: vec![],
            keys: vec![EntryKey { digest: KeyDigest::of(key), expires_at_ms }],
        };
        assert_eq!(entries, [of("kiosk", 60, key.as_bytes(), None), of("a.b-c_9", 1, b"x", Some(DAY_MS))]);
        assert!(!text.contains(key.as_str()));
    }

    #[test]
    fn dates_begin_at_midnight_utc_and_moments_have_an_offset() {
        for (text, expected) in [
            ("1970-01-03", Some(2 * DAY_MS)),
            ("1970-01-03T00:00:00Z", Some(2 * DAY_MS)),
            ("1970-01-03T02:00:00+02:00", Some(2 * DAY_MS)),
            ("1970-01-02 23:00:00-01:00", Some(2 * DAY_MS)),
            ("1970-01-03T00:00:00", None),
            ("12:00:00", None),
            ("2027-02-30", None),
            ("1969-12-31", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(parse_moment(text), expected, "{text}");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let key = digest(1);
        let two = digest(2);
        let told = faults(&format!(
            "[[consumer]]\nname = \"a b\"\nper_minute = 0\nkeys = [{{ sha256 = \"{key}\" }}]\n\
             [[consumer]]\nname = \"b\"\nper_minute = 1\nkeys = [{{ sha256 = \"short\", expires = 12:00:00 }}]\n\
             allow_origins = [\"app.example\"]\n\
             [[consumer]]\nname = \"c\"\nper_minute = 1\nkeys = [{{ sha256 = \"{key}\" }}]\n\
             [[consumer]]\nname = \"c\"\nper_minute = 1\nkeys = [{{ sha256 = \"{two}\" }}, {{ sha256 = \"{two}\" }}, {{ sha256 = \"{two}\" }}]\n"
        ));
        for expected in [
            "consumer number 1: its name has to be",
            "consumer number 1: per_minute has to be from 1",
            "consumer b: sha256 has to be the 64",
            "consumer b: expires has to be a date",
            "consumer b: allow_origins has an entry",
            "consumer c: has a key that another entry has",
            "consumer c: is in the file twice",
            "consumer c: has more than 2 keys",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
    }

    #[test]
    fn what_is_not_of_the_form_is_told_with_its_line() {
        for (text, expected) in [
            ("\nconsumer = [", "line 2: "),
            ("\n[[consumers]]\nname = \"a\"", "line 2: unknown field `consumers`"),
            ("[[consumer]]\nname = \"a\"\nper_minute = 1\nkey = []", "line 4: unknown field `key`"),
            ("[[consumer]]\nname = \"a\"\nper_minute = -1\nkeys = []", "line 3: invalid value"),
            ("[[consumer]]\nname = \"a\"\nkeys = []", "line 1: missing field `per_minute`"),
        ] {
            let told = faults(text);
            assert!(told.starts_with(expected), "{told}");
        }
        assert_eq!(parse("# nobody yet\n"), Ok(vec![]));
    }

    #[test]
    fn a_file_with_a_key_in_it_is_refused_without_showing_it() {
        let key = generate_key().unwrap();
        for text in [format!("\n# {}", key.as_str()), format!("\n[[consumer]]\nname = \"{}\"", key.as_str())] {
            let told = faults(&text);
            assert!(told.contains("holds a consumer key") && !told.contains(key.as_str()), "{told}");
        }
    }
}
