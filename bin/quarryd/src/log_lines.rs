//! The process's log: on standard error, as text or as JSON, and its newest lines in memory for who asks over the API.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Lines that are kept, and bytes of one that are.
const LINES_MAX: usize = 2000;
const LINE_BYTES_MAX: usize = 2048;

/// The newest lines. A process has one log.
static RECENT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line, for programs
    Json,
}

impl LogFormat {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Begins to log, `level` and above unless QUARRY_LOG says otherwise.
pub fn begin(format: LogFormat, level: &str) {
    let filter = || EnvFilter::try_from_env("QUARRY_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    let stderr = match format {
        LogFormat::Text => stderr.boxed(),
        LogFormat::Json => stderr.json().flatten_event(true).boxed(),
    };
    let kept = tracing_subscriber::fmt::layer().with_writer(|| Keep).with_ansi(false).with_target(false);
    tracing_subscriber::registry().with(stderr.with_filter(filter())).with(kept.with_filter(filter())).init();
}

/// The newest lines, the oldest first.
pub fn recent() -> Vec<String> {
    RECENT.lock().map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
}

/// Takes one line at a time.
struct Keep;

impl Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut line = text.trim_end().to_owned();
        if line.len() > LINE_BYTES_MAX {
            line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        }
        // A log that cannot be kept must not end what is logged.
        if let Ok(mut lines) = RECENT.lock() {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_long_ones_are_cut() {
        for number in 0..LINES_MAX + 10 {
            Keep.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        Keep.write_all(&[b'x'; LINE_BYTES_MAX * 2]).unwrap();
        let lines = recent();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES_MAX, "line 11"));
        assert_eq!(lines.last().map(String::len), Some(LINE_BYTES_MAX));
    }
}
