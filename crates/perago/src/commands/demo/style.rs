//! Colours, for a terminal that wants them.

use std::io::{self, IsTerminal as _};

use anstyle::{AnsiColor, Style as Ansi};
use perago_lakefs::DiffKind;

/// Paints text, or leaves it as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    coloured: bool,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    pub fn detect() -> Self {
        let filled = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = filled("TERM").is_none_or(|terminal| terminal == "dumb");
        Self { coloured: io::stdout().is_terminal() && filled("NO_COLOR").is_none() && !dumb }
    }

    /// No colours.
    #[cfg(test)]
    pub const PLAIN: Self = Self { coloured: false };

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.paint(Ansi::new().bold(), text)
    }

    /// What may be skipped.
    pub fn dim(self, text: &str) -> String {
        self.paint(Ansi::new().dimmed(), text)
    }

    /// Success.
    pub fn good(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    /// A name.
    pub fn name(self, text: &str) -> String {
        self.paint(AnsiColor::Cyan.on_default(), text)
    }

    /// A path of a diff.
    pub fn change(self, kind: DiffKind, text: &str) -> String {
        let colour = match kind {
            DiffKind::Added => AnsiColor::Green,
            DiffKind::Removed => AnsiColor::Red,
            _ => AnsiColor::Yellow,
        };
        self.paint(colour.on_default(), text)
    }

    fn paint(self, style: Ansi, text: &str) -> String {
        if self.coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
