//! Colours for people, by the rules that clap's help follows, too: only on a terminal that knows them, never with
//! `NO_COLOR` (no-color.org), always with `CLICOLOR_FORCE`.

use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// What a part of a line is for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// What it is about.
    Subject,
    Good,
    Warning,
    Bad,
    /// What to do.
    Fix,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Subject => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Fix => AnsiColor::Cyan.on_default(),
        }
    }
}

/// Whether a terminal only shows a character: what controls it, hides or turns the text round (Unicode Standard Annex 9) it
/// would obey.
pub(super) fn is_shown(character: char) -> bool {
    character == ' ' || character == '·' || character.is_ascii_graphic() || character.is_alphanumeric()
}

/// What somebody else says, as a terminal can show it.
pub(super) fn harmless(text: &str) -> String {
    text.chars().filter(|character| is_shown(*character)).collect()
}

/// The same JSON without a character that a terminal could obey.
pub(super) fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | ' '..='~' => text.push(character),
            // Such are only between values.
            '\t' | '\r' => text.push(' '),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

/// Whether what is printed is coloured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    colours: bool,
}

impl Paint {
    pub(super) fn of_stdout() -> Self {
        Self { colours: AutoStream::choice(&io::stdout()) != ColorChoice::Never }
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { colours: false }
    }

    /// The text in this tone; without colours the text, as it is.
    pub(super) fn on(self, tone: Tone, text: &str) -> String {
        if !self.colours || tone == Tone::Plain {
            return text.to_owned();
        }
        let style = tone.style();
        format!("{style}{text}{style:#}")
    }
}
