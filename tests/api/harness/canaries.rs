//! Looks for what must not turn up, in every form in which it could: as it is, in small letters, percent-encoded, escaped,
//! as UTF-16, hex and base64. Each look is followed by its control: the same bytes with everything planted in them.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{API_KEY, Answer, Redis};

/// Bytes before a finding that are shown with it.
const SHOWN: usize = 60;

/// What must not turn up, by name.
pub(crate) struct Canaries {
    names: Vec<String>,
    forms: Vec<Form>,
    finder: AhoCorasick,
}

/// One form of the canary with this number.
struct Form {
    of: usize,
    bytes: Vec<u8>,
}

impl Canaries {
    /// Texts, each under its own name.
    pub(crate) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(texts.into_iter().map(Into::into).map(|text: String| (text.clone(), text.into_bytes())))
    }

    pub(crate) fn new(canaries: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let (names, canaries): (Vec<_>, Vec<_>) = canaries.into_iter().unzip();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "each has a name of its own: {names:?}");
        assert!(canaries.iter().all(|canary| canary.len() >= 5), "short ones turn up by chance");
        let forms: Vec<_> = canaries
            .iter()
            .enumerate()
            .flat_map(|(of, canary)| forms(canary).into_iter().map(move |bytes| Form { of, bytes }))
            .collect();
        let mut builder = AhoCorasick::builder();
        let finder =
            builder.ascii_case_insensitive(true).build(forms.iter().map(|form| &form.bytes)).expect("a finder");
        Self { names, forms, finder }
    }

    /// Everything secret of a deployment: passwords, tokens and keys, those of TLS included.
    pub(crate) fn secrets(redis: &Redis) -> Self {
        Self::secrets_and(redis, [])
    }

    /// The same, and further texts.
    pub(crate) fn secrets_and<'a>(redis: &Redis, more: impl IntoIterator<Item = &'a str>) -> Self {
        let read = |name: &str| std::fs::read_to_string(redis.secret(name)).expect("a secret").trim().to_owned();
        let text = |name: &str, text: String| (name.to_owned(), text.into_bytes());
        let mut all = vec![
            text("the upstream's key", API_KEY.to_owned()),
            text("the password of Redis", read("redis-password")),
            text("the admin token", read("admin-token")),
        ];
        for (number, line) in read("encryption-keys").lines().enumerate() {
            let key = line.split_once(':').expect("an id and a key").1;
            all.push(text(&format!("encryption key {number} as it stands in its file"), key.to_owned()));
            let key = base64::engine::general_purpose::STANDARD.decode(key).expect("a key");
            all.push((format!("encryption key {number}"), key));
        }
        for name in ["stratus.key", "redis.key", "ca.key"] {
            let pem = read(name);
            let lines: Vec<_> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            // The last one is of the public key.
            for (number, line) in lines[..2].iter().enumerate() {
                all.push(text(&format!("line {number} of {name}"), line.to_string()));
            }
            all.push((name.to_owned(), private_number(&lines.concat())));
        }
        all.extend(more.into_iter().map(|more| text(more, more.to_owned())));
        assert!(all.iter().all(|(_, canary)| canary.len() >= 20), "short ones could turn up by chance");
        Self::new(all)
    }

    /// What is found, with a little of what stands before it.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> BTreeMap<&str, String> {
        let found = self.finder.find_overlapping_iter(bytes).map(|found| {
            let name = self.names[self.forms[found.pattern().as_usize()].of].as_str();
            let shown = &bytes[found.start().saturating_sub(SHOWN)..found.end()];
            (name, String::from_utf8_lossy(shown).into_owned())
        });
        found.collect()
    }

    /// Nothing is in there. Of the same bytes with all planted in them all are found.
    pub(crate) fn absent_from(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "in {place}: {found:#?}");
        self.all_in(place, &self.planted_in(bytes));
    }

    /// The same bytes with each form of each canary in their middle.
    pub(crate) fn planted_in(&self, bytes: &[u8]) -> Vec<u8> {
        let (before, after) = bytes.split_at(bytes.len() / 2);
        let mut planted = before.to_vec();
        self.forms.iter().for_each(|form| planted.extend_from_slice(&form.bytes));
        planted.extend_from_slice(after);
        planted
    }

    /// All of them are in there.
    pub(crate) fn all_in(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        let missed: Vec<_> = self.names.iter().filter(|name| !found.contains_key(name.as_str())).collect();
        assert!(missed.is_empty(), "not found in {place}, though it is there: {missed:?}");
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// The private number of a P-256 key in PKCS #8: the 32 bytes after the version of its ECPrivateKey (RFC 5915).
fn private_number(base64: &str) -> Vec<u8> {
    let der = base64::engine::general_purpose::STANDARD.decode(base64).expect("base64");
    let at = der.windows(5).position(|window| window == [2, 1, 1, 4, 32]).expect("an ECPrivateKey") + 5;
    der[at..at + 32].to_vec()
}

fn forms(canary: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![canary.to_vec(), hex(canary)];
    forms.extend(base64(canary));
    if let Ok(text) = std::str::from_utf8(canary) {
        for text in [text, &text.to_lowercase(), &text.to_uppercase()] {
            forms.push(text.as_bytes().to_vec());
            forms.push(utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().into_bytes());
            forms.push(text.replace(' ', "+").into_bytes());
            forms.push(escaped(text).into_bytes());
            forms.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
            forms.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
            forms.push(hex(text.as_bytes()));
            forms.extend(base64(text.as_bytes()));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// As in JSON that is ASCII only.
fn escaped(text: &str) -> String {
    let escape = |unit: u16| match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
        _ => format!("\\u{unit:04x}"),
    };
    text.encode_utf16().map(escape).collect()
}

/// Wherever it begins in a group of three bytes; without the digits that neighbours have a share in.
fn base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for before in 0..3 {
        let shifted = [&[0; 2][..before], bytes].concat();
        let own = (before * 8).div_ceil(6)..shifted.len() * 8 / 6;
        all.push(STANDARD_NO_PAD.encode(&shifted)[own.clone()].as_bytes().to_vec());
        all.push(URL_SAFE_NO_PAD.encode(&shifted)[own].as_bytes().to_vec());
    }
    all
}

/// The heads and bodies of answers, one after the other.
pub(crate) fn everything_of<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for answer in answers {
        for (name, value) in &answer.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        bytes.extend_from_slice(&answer.body);
    }
    bytes
}
