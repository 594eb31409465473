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
