//! How this process prints for people: said once, when it starts.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;
use quarry_types::ByteSize;

/// A process has one standard output.
static STYLE: OnceLock<Style> = OnceLock::new();

/// What people have asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// Tables have every column.
    pub is_wide: bool,
    /// Sizes are numbers of bytes.
    pub is_exact: bool,
    /// Words that say how well something is have colours.
    pub is_coloured: bool,
}

/// Says how everything is printed from now on.
pub fn begin(style: Style) {
    // Whoever says it first is obeyed: there is one caller, and none before it.
    let _ = STYLE.set(style);
}

pub(super) fn style() -> Style {
    STYLE.get().copied().unwrap_or_default()
}

/// Whether standard output may have colours: a terminal, and nobody who says no by NO_COLOR, CLICOLOR=0 or TERM=dumb.
pub fn may_be_coloured() -> bool {
    let stdout = io::stdout();
    // Asked for here, too: where CI is set, the choice is for colours whatever the terminal is.
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    stdout.is_terminal() && !is_dumb && AutoStream::choice(&stdout) != ColorChoice::Never
}

/// A size within a sentence.
#[derive(Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if style().is_exact { write!(f, "{} bytes", self.0) } else { ByteSize(self.0).fmt(f) }
    }
}

/// How well something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grade {
    Good,
    /// Somebody should look.
    Doubtful,
    Bad,
}

impl Grade {
    /// What a word of the API says, if it says anything of the sort.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "ok" | "online" | "serving" | "compliant" | "open" | "done" => Self::Good,
            "warning" | "degraded" | "suspect" | "draining" | "missing" | "converging" | "stopped"
            | "locked" => Self::Doubtful,
            "critical" | "offline" | "failed" | "failing" | "violated" => Self::Bad,
            _ => return None,
        })
    }

    /// `text` in its colour.
    pub fn paint(self, text: &str) -> String {
        let colour = match self {
            Self::Good => AnsiColor::Green,
            Self::Doubtful => AnsiColor::Yellow,
            Self::Bad => AnsiColor::Red,
        };
        let style = colour.on_default();
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use quarry_api_types::{EventSeverity, HealthLevel, PoolState};

    use super::*;

    #[test]
    fn every_word_that_calls_for_somebody_has_a_grade() {
        for level in HealthLevel::ALL {
            assert!(Grade::of(level.as_str()).is_some(), "{level}");
        }
        for state in PoolState::ALL {
            assert!(Grade::of(state.as_str()).is_some(), "{state}");
        }
        for severity in EventSeverity::ALL {
            assert_eq!(Grade::of(severity.as_str()).is_none(), *severity == EventSeverity::Info);
        }
    }
}
