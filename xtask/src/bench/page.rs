//! The measured part of docs/manual/performance.md, between two marks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::results::Results;

const BEGIN: &str = "<!-- measured: written by `make bench`, do not edit -->";
const END: &str = "<!-- end of measured -->";

const FABRICS_BEGIN: &str = "<!-- measured: written by `cargo xtask bench-fabrics`, do not edit -->";
const FABRICS_END: &str = "<!-- end of what was measured over fabrics -->";

/// The page with other figures of iSCSI and NVMe/TCP; `None` if it has no place for them.
pub fn with_fabrics(page: &str, measured: &str) -> Option<String> {
    replaced(page, (FABRICS_BEGIN, FABRICS_END), measured)
}

/// Puts the results between the marks of the page.
pub fn update(page: &Path, results: &Results) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let text = replaced(&text, (BEGIN, END), &measured(results))
        .with_context(|| format!("{} has no marks", page.display()))?;
    fs::write(page, text).with_context(|| page.display().to_string())
}

fn replaced(page: &str, (begin, end): (&str, &str), measured: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{measured}{end}{after}"))
}

fn measured(results: &Results) -> String {
    let machine = &results.machine;
    let date = results.date.split('T').next().unwrap_or(&results.date);
    let cores = results.cores.map_or("all cores".to_owned(), |cores| format!("`--cores {cores}`"));
    format!(
        "\nMeasured on {date}, commit {}: {} cores of {}, {} GiB of memory, Linux {}; quarryd with {cores}.\n\n\
         Medians:\n\n{}\nquarryd divided by each peer, inside one repetition, median \
         (speed: more is better; the others: less is better):\n\n{}\n",
        results.commit,
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        markdown(&results.figures()),
        markdown(&results.ratios()),
    )
}

/// Rows as a table; the first is its head.
pub fn markdown(rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let Some((head, body)) = rows.split_first() else { return String::new() };
    let rule: Vec<_> =
        (0..head.len()).map(|column| if column < 2 { "---" } else { "---:" }.to_owned()).collect();
    let body: String = body.iter().map(|row| line(row)).collect();
    line(head) + &line(&rule) + &body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("# Title\n{BEGIN}\nold\n{END}\nend\n");
        assert_eq!(
            replaced(&page, (BEGIN, END), "new\n").unwrap(),
            format!("# Title\n{BEGIN}\nnew\n{END}\nend\n")
        );
        assert_eq!(replaced("# Title\n", (BEGIN, END), "new\n"), None);
    }

    #[test]
    fn tables_have_a_head_and_a_rule() {
        let rows =
            [vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], vec!["1".into(), "2".into(), "3".into()]];
        assert_eq!(markdown(&rows), "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |\n");
    }
}
