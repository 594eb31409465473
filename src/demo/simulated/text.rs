//! Spelling and hashing of place names.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Lower case, composed, single spaces, none at the ends.
pub(super) fn tidy(text: &str) -> String {
    let lower: String = text.to_lowercase().nfc().collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without accents: people ask for `Sao Paulo` and `Bogota`.
pub(super) fn fold(text: &str) -> String {
    tidy(text).nfd().filter(|c| !is_combining_mark(*c)).collect()
}

/// A country (or state) code in capitals, if the text looks like one.
pub(super) fn two_letters(text: &str) -> Option<String> {
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic())).then(|| text.to_ascii_uppercase())
}

/// Every word with a capital first letter; takes tidied text, so that the case of a request never
/// shows in its answer.
pub(super) fn capitalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut starts = true;
    for c in text.chars() {
        if starts {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        starts = c == ' ' || c == '-';
    }
    out
}

/// FNV-1a, finished by a stronger mixing step because its upper bits are poor on short texts.
/// Hashes of the standard library may change between releases; this one must not, or the invented
/// places would move.
pub(super) fn hash(text: &str) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(fnv)
}

/// The finishing step of SplitMix64: every bit of the input reaches every bit of the result.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_to_one_spelling() {
        assert_eq!(tidy("  SÃO \t Paulo "), "são paulo");
        assert_eq!(fold("Sa\u{303}o Paulo"), "sao paulo");
        assert_eq!(capitalised("são tomé del-mar"), "São Tomé Del-Mar");
        assert_eq!(two_letters("gb").as_deref(), Some("GB"));
        assert_eq!(two_letters("é"), None);
    }

    #[test]
    fn the_hash_never_changes() {
        // Another value here would mean that every invented place has moved.
        assert_eq!(hash("q:springfield"), 3_416_286_092_992_776_818);
    }
}
