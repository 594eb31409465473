//! Words of others, made harmless for a terminal: what is shown cannot move the cursor, change colours, or turn the text
//! round (Unicode Standard Annex 9; "Trojan Source", CVE-2021-42574).

use std::borrow::Cow;

/// The width of a card.
pub(super) const COLUMNS: usize = 60;
/// Stands for what did not fit.
const ELLIPSIS: char = '…';

/// What these words say in at most `columns`: without what controls, with single spaces; `None` if that is nothing.
pub(super) fn harmless(words: &str, columns: usize) -> Option<String> {
    let spaced = words.replace(char::is_whitespace, " ");
    let visible: String = spaced.chars().filter(|character| !controls(*character)).collect();
    let text = visible.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then(|| shortened(&text, columns).into_owned())
}

/// Whether a character does something instead of being seen: controls (C0, C1), what turns the direction of writing, what
/// takes no room, and what has no meaning but between two programs.
pub(super) fn controls(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}'
            | '\u{e000}'..='\u{f8ff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

/// The columns of a text, or more: letters of East Asia take two, and so does here whatever may be as wide.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn width(character: char) -> usize {
    match character {
        // General punctuation, arrows and such are narrow, but the symbols and pictographs behind them may not be.
        '\u{0}'..='\u{10ff}' | '\u{1e00}'..='\u{2300}' => 1,
        _ => 2,
    }
}

/// The text, or as much of its beginning as there is room for.
pub(super) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if columns(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut room = most.saturating_sub(width(ELLIPSIS));
    let fits = |character: &char| {
        let fits = width(*character) <= room;
        room = room.saturating_sub(width(*character));
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.truncate(short.trim_end().len());
    short.push(ELLIPSIS);
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_keep_what_can_be_seen_and_lose_what_controls() {
        for (words, expected) in [
            ("London", Some("London")),
            ("São Paulo", Some("São Paulo")),
            ("  Nether \n\t Wallop ", Some("Nether Wallop")),
            ("\u{1b}[31mred\u{1b}[0m", Some("[31mred[0m")),
            ("\u{9b}2J\u{7}bell\u{8}", Some("2Jbell")),
            ("a\u{202e}b\u{2066}c\u{200f}d", Some("abcd")),
            ("\u{1b}\u{202e}\u{0}", None),
            ("a\u{2028}b", Some("a b")),
            ("القاهرة", Some("القاهرة")),
            ("北京", Some("北京")),
            ("", None),
        ] {
            assert_eq!(harmless(words, 60).as_deref(), expected, "{words:?}");
        }
    }

    #[test]
    fn what_is_too_long_ends_with_a_sign_of_that() {
        assert_eq!(shortened("Llanfairpwll", 12), "Llanfairpwll");
        assert_eq!(shortened("Llanfairpwll", 11), "Llanfairpw…");
        assert_eq!(shortened("Nether Wallop", 8), "Nether…");
        assert_eq!(shortened("東京都千代田区", 7), "東京都…");
    }

    proptest! {
        #[test]
        fn any_words_fit_and_do_nothing(words in any::<String>(), columns_left in 1_usize..60) {
            if let Some(text) = harmless(&words, columns_left) {
                prop_assert!(columns(&text) <= columns_left && !text.is_empty());
                prop_assert!(!text.chars().any(controls) && text.trim() == text && !text.contains("  "));
            }
        }
    }
}
