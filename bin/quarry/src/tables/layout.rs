//! Rows and columns of text.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use quarry_types::ByteSize;

use super::style::{Grade, Style, style};
use crate::output::printable;

/// A cell: text to the left, numbers to the right.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    Number(String),
    /// In bytes.
    Size(u64),
    /// A word that says how well something is, and what is said behind it.
    State {
        word: String,
        rest: String,
    },
}

impl Value {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::Number(text) => text.clone(),
            // Without a unit, so that a column is one field for `awk` and `sort`.
            Self::Size(bytes) if style().is_exact => bytes.to_string(),
            Self::Size(bytes) => ByteSize(*bytes).to_string(),
            Self::State { word, rest } => format!("{word}{rest}"),
        }
    }

    /// Beside the name of a property, where columns mean nothing.
    fn into_property(self) -> Self {
        match self {
            Self::Number(text) => Self::Text(text),
            Self::Size(bytes) => Self::Text(super::Bytes(bytes).to_string()),
            other => other,
        }
    }

    fn cell(&self) -> Cell {
        let cell = Cell::new(self.shown());
        match self {
            Self::Number(_) | Self::Size(_) => cell.set_alignment(CellAlignment::Right),
            Self::Text(_) | Self::State { .. } => cell,
        }
    }
}

pub(super) fn text(value: impl ToString) -> Value {
    Value::Text(printable(&value.to_string()))
}

pub(super) fn number(value: impl ToString) -> Value {
    Value::Number(value.to_string())
}

pub(super) fn size(bytes: u64) -> Value {
    Value::Size(bytes)
}

/// A size in a column, or that there is none.
pub(super) fn optional_size(bytes: Option<u64>) -> Value {
    bytes.map_or_else(|| number("-"), size)
}

pub(super) fn optional(value: Option<impl ToString>) -> Value {
    text(value.map_or_else(|| "-".to_owned(), |value| value.to_string()))
}

/// A word that says how well something is.
pub(super) fn state(word: impl ToString) -> Value {
    state_and(word, "")
}

/// The same, with something behind it.
pub(super) fn state_and(word: impl ToString, rest: &str) -> Value {
    Value::State { word: printable(&word.to_string()), rest: printable(rest) }
}

/// Rows under headings, two spaces apart, without borders. One row stays one line, however wide, so that `grep`
/// and `awk` work. `headings` of numbers begin with `>`.
pub(super) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<Value>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !headings.is_empty() {
        table.set_header(headings.iter().map(|heading| match heading.strip_prefix('>') {
            Some(heading) => number(heading).cell(),
            None => text(heading).cell(),
        }));
    }
    let rows: Vec<Vec<Value>> = rows.into_iter().collect();
    table.add_rows(rows.iter().map(|row| row.iter().map(Value::cell).collect::<Vec<_>>()));
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    let Style { is_coloured, .. } = style();
    let head = usize::from(!headings.is_empty());
    let line = |(index, line): (usize, String)| match index.checked_sub(head).and_then(|row| rows.get(row)) {
        Some(row) if is_coloured => paint(&line, row) + "\n",
        _ => line + "\n",
    };
    lines.enumerate().map(line).collect()
}

/// A table of things, with further columns where people have asked for them.
pub(super) struct Columns<'c, T> {
    pub headings: &'c [&'c str],
    pub row: fn(&T) -> Vec<Value>,
    /// With `-o wide`.
    pub more_headings: &'c [&'c str],
    pub more: fn(&T) -> Vec<Value>,
}

impl<T> Columns<'_, T> {
    pub fn table(&self, things: &[T]) -> String {
        self.table_as(things, style().is_wide)
    }

    fn table_as(&self, things: &[T], is_wide: bool) -> String {
        if !is_wide {
            return table(self.headings, things.iter().map(self.row));
        }
        let headings = [self.headings, self.more_headings].concat();
        table(&headings, things.iter().map(|thing| [(self.row)(thing), (self.more)(thing)].concat()))
    }
}

/// A line of a table with its words of state in their colours. Cells stand in their order with blanks between them, so each is
/// found behind the one before it.
fn paint(line: &str, row: &[Value]) -> String {
    let (mut painted, mut rest) = (String::new(), line);
    for value in row {
        let shown = value.shown();
        let Some(at) = rest.find(shown.trim()) else { break };
        let (before, cell) = rest.split_at(at);
        painted.push_str(before);
        let (cell, behind) = cell.split_at(shown.trim().len());
        match value {
            Value::State { word, .. } => match (Grade::of(word), cell.strip_prefix(word.as_str())) {
                (Some(grade), Some(said)) => painted += &(grade.paint(word) + said),
                _ => painted.push_str(cell),
            },
            _ => painted.push_str(cell),
        }
        rest = behind;
    }
    painted + rest
}

/// The properties of one thing, a line each.
pub(super) fn properties(rows: Vec<(&str, Value)>) -> String {
    table(&[], rows.into_iter().map(|(name, value)| vec![text(format!("{name}:")), value.into_property()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_no_line_ends_in_blanks() {
        let rows = [("a", 1u64 << 30), ("longer", 1536 << 20)];
        let rows = rows.map(|(name, bytes)| vec![text(name), size(bytes), text("")]);
        let expected = "NAME       SIZE  NOTE\na         1 GiB\nlonger  1.5 GiB\n";
        assert_eq!(table(&["NAME", ">SIZE", "NOTE"], rows), expected);
        assert_eq!(table(&["NAME", ">SIZE"], []), "NAME  SIZE\n");
    }

    #[test]
    fn a_foreign_label_cannot_break_the_table() {
        let row = vec![text("a\n\u{1b}[31mb"), text("c")];
        assert_eq!(table(&["X", "Y"], [row]), "X               Y\na\\n\\u{1b}[31mb  c\n");
    }

    #[test]
    fn only_the_word_of_a_state_is_painted_and_in_its_own_column() {
        let row = [text("ok"), text(""), state("ok"), state_and("failed", ": ok"), state("free")];
        assert_eq!(
            paint("ok      ok  failed: ok  free", &row),
            "ok      \u{1b}[32mok\u{1b}[0m  \u{1b}[31mfailed\u{1b}[0m: ok  free"
        );
    }

    #[test]
    fn wide_tables_have_the_columns_of_narrow_ones_first() {
        let columns = Columns {
            headings: &["A"],
            row: |n: &u64| vec![number(n)],
            more_headings: &[">B"],
            more: |n| vec![size(*n)],
        };
        assert_eq!(columns.table_as(&[7], false), "A\n7\n");
        assert_eq!(columns.table_as(&[7], true), "A    B\n7  7 B\n");
    }
}
