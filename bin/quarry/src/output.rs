//! The way to stdout and stderr, and what happens when nobody reads.

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
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints an answer of the API, for people as `text` makes it, for programs as it is.
    pub fn answer<T: Serialize>(
        &mut self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.print(&text(answer)),
            Format::Json => {
                let json = serde_json::to_string_pretty(answer);
                self.print(&json.map_err(|error| Failure::local("cannot print the answer as JSON", &error))?)
            }
        }
    }

    /// How answers are printed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Prints what was done, for people only: the API answers with nothing.
    pub fn done(&mut self, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.print(text),
            Format::Json => Ok(()),
        }
    }

    /// Prints the headings of lines that follow, for people only.
    pub fn heading(&mut self, text: &str) -> Result<(), Failure> {
        self.done(text)
    }

    /// Prints one of many answers in a line. Whether somebody still reads.
    pub fn line<T: Serialize>(
        &mut self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<bool, Failure> {
        let line = match self.format {
            Format::Table => text(answer),
            Format::Json => serde_json::to_string(answer)
                .map_err(|error| Failure::local("cannot print the answer as JSON", &error))?,
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
