//! What a scenario prints while it runs: numbered steps with their times, tables, a verdict.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::interrupt;

/// Numbered steps of one scenario.
pub struct Steps {
    name: &'static str,
    number: u32,
    start: Instant,
}

impl Steps {
    /// Begins a scenario.
    pub fn begin(name: &'static str, what: &str) -> Self {
        println!("== {name}: {what}");
        Self { name, number: 0, start: Instant::now() }
    }

    /// Runs one step; its time and what it says follow its name on the line.
    pub fn step<T>(&mut self, what: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.step_with(what, work, |_| String::new())
    }

    /// As [`Self::step`], and prints what `detail` makes of the result.
    pub fn step_with<T>(
        &mut self,
        what: impl Display,
        work: impl FnOnce() -> Result<T>,
        detail: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        self.number += 1;
        let number = self.number;
        print!("[{number:2}] {what} ... ");
        flush();
        let start = Instant::now();
        let result =
            interrupt::check().and_then(|()| work()).and_then(|value| interrupt::check().map(|()| value));
        let elapsed = seconds(start.elapsed());
        match &result {
            Ok(value) => {
                let detail = detail(value);
                let space = if detail.is_empty() { "" } else { "  " };
                println!("{elapsed}{space}{detail}");
            }
            Err(_) => println!("FAILED after {elapsed}"),
        }
        result
    }

    /// A line that belongs to the step before it.
    pub fn note(&self, text: impl Display) {
        for line in text.to_string().lines() {
            println!("     {line}");
        }
    }

    /// Time since the scenario began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends a scenario that has passed.
    pub fn pass(self) {
        println!("== {}: PASS in {}", self.name, seconds(self.elapsed()));
    }
}

/// Shows what was printed without an end of line.
fn flush() {
    // Nobody may be reading.
    let _ = std::io::stdout().flush();
}

/// A duration as people read it.
pub fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// Bytes in MiB or GiB.
pub fn mebibytes(bytes: u64) -> String {
    if bytes >= 10 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}

/// A table with columns of equal width for a terminal; the first row is the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(index, (cell, &width))| {
            if index == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let text = table(&[row(&["case", "n"]), row(&["long name", "100"]), row(&["x", "1"])]);
        assert_eq!(text, "case         n\nlong name  100\nx            1\n");
        assert_eq!(table(&[]), "");
    }
}
