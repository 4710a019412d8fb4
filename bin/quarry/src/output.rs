//! The way to stdout and stderr, and what happens when nobody reads.

mod yaml;

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::arguments::Format;
use crate::failure::Failure;

/// Stdout in the format that was asked for.
pub struct Output {
    format: Format,
}

impl Output {
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether programs read it.
    pub fn is_for_programs(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Prints an answer of the API, for people as `text` makes it, for programs as it is.
    pub fn answer<T: Serialize>(
        &mut self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let answer = match self.format {
            Format::Table | Format::Wide => text(answer),
            Format::Json => serde_json::to_string_pretty(answer).map_err(unprintable)?,
            Format::Yaml => as_yaml(answer)?,
        };
        self.print(&answer)
    }

    /// Prints what was done, for people only: the API answers with nothing.
    pub fn done(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_for_programs() { Ok(()) } else { self.print(text) }
    }

    /// Prints the headings of lines that follow, for people only.
    pub fn heading(&mut self, text: &str) -> Result<(), Failure> {
        self.done(text)
    }

    /// Prints one of many answers in a line, as YAML in a document. Whether somebody still reads.
    pub fn line<T: Serialize>(
        &mut self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<bool, Failure> {
        let line = match self.format {
            Format::Table | Format::Wide => text(answer),
            Format::Json => serde_json::to_string(answer).map_err(unprintable)?,
            Format::Yaml => format!("---\n{}", as_yaml(answer)?),
        };
        self.write(&line)
    }

    /// A reader that went away has read what it wanted. Any other error is a failure: half a list that looks like
    /// a whole one must not pass.
    fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text).map(drop)
    }

    /// Whether somebody has read it.
    fn write(&mut self, text: &str) -> Result<bool, Failure> {
        let mut stdout = io::stdout().lock();
        let printed = writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush());
        match printed {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::local("cannot write to standard output", &error))
            }
            printed => Ok(printed.is_ok()),
        }
    }
}

fn as_yaml<T: Serialize>(answer: &T) -> Result<String, Failure> {
    // By way of JSON, whose shape is the API's: what serde makes of enums in YAML is not.
    let json = serde_json::to_string(answer).map_err(unprintable)?;
    yaml::from_json(&json).map_err(unprintable)
}

fn unprintable(error: serde_json::Error) -> Failure {
    Failure::local("cannot print the answer", &error)
}

/// Tells on stderr what went wrong, why, and what to do.
pub fn report(failure: &Failure) {
    let mut text = format!("error: {}\n", printable(&failure.message));
    if let Some(cause) = &failure.cause {
        text.push_str(&format!("cause: {}\n", printable(cause)));
    }
    text.push_str(&format!("next:  {}\n", printable(&failure.next_step)));
    // When stderr is gone as well, the exit code still tells.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A line for people, on stderr, so that stdout carries the answer alone.
pub fn note(text: &str) {
    // When stderr is gone, nobody wants to know.
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// `text` without control characters: what stands on a foreign disk must not drive the operator's terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<_>>(),
            false => vec![character],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("disk é 'a'"), "disk é 'a'");
        assert_eq!(printable("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
    }
}
