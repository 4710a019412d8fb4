//! House rules that a program can check.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::commands::Xtask;
use crate::workspace;

/// Past this a file should be looked at for its second idea.
const LINES_WARN: usize = 600;
/// Past this a file that is no test must be split.
const LINES_MAX: usize = 800;
const ARCHITECTURE_LINES_MAX: usize = 400;
const FOLDERS: [&str; 7] = ["crates", "bin", "sim", "benches", "xtask", "tests", "fuzz"];
/// In pieces, so that this file does not trip over itself.
const BANNED: [(&str, &str); 3] = [
    (concat!("todo", "!("), "a stub"),
    (concat!("FIX", "ME"), "a note to fix something"),
    (concat!("#[ig", "nore"), "a test that does not run"),
];

/// What is wrong, and what should be looked at.
#[derive(Default)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Checks the workspace.
pub fn run() -> Result<()> {
    let root = workspace::root();
    let mut findings = Findings::default();
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        check_file(&name, &text, &mut findings);
    }
    let packages = packages(&files, root);
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    check_architecture(&read("ARCHITECTURE.md"), &packages, &mut findings);
    let manual = manual_pages(root)?.into_iter().map(|page| format!("docs/manual/{page}"));
    let pages = ["README.md", "GLOSSARY.md", "ARCHITECTURE.md"].map(str::to_owned).into_iter().chain(manual);
    for name in pages {
        let text = read(&name);
        check_commands(&name, &text, &read("Makefile"), &mut findings);
        let folder = root.join(&name).parent().map_or_else(|| root.to_owned(), Path::to_owned);
        check_links(&name, &text, |link| folder.join(link).exists(), &mut findings);
    }
    report(&findings, files.len())
}

fn report(findings: &Findings, files: usize) -> Result<()> {
    for warning in &findings.warnings {
        eprintln!("tidy: warning: {warning}");
    }
    for error in &findings.errors {
        eprintln!("tidy: {error}");
    }
    if !findings.errors.is_empty() {
        bail!("{} things are not tidy", findings.errors.len());
    }
    println!("tidy: {files} files in order, {} warnings", findings.warnings.len());
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let is_output = path.file_name().is_some_and(|name| name == "target");
        if path.is_dir() && !is_output {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(())
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.starts_with("tests/") || name.ends_with("tests.rs")
}

fn check_file(name: &str, text: &str, findings: &mut Findings) {
    let lines = text.lines().count();
    if lines > LINES_MAX && !is_test(name) {
        findings.errors.push(format!("{name} has {lines} lines, more than {LINES_MAX}: split it"));
    } else if lines > LINES_WARN {
        findings.warnings.push(format!("{name} has {lines} lines: look for its second idea"));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some((_, what)) = BANNED.iter().find(|(banned, _)| line.contains(banned)) {
            findings.errors.push(format!("{name}:{}: {what}", index + 1));
        }
    }
    let documents = |text: &str| {
        text.lines().next().is_some_and(|line| line.len() > "//! ".len() && line.starts_with("//! "))
    };
    if (name.ends_with("src/lib.rs") || name.ends_with("src/main.rs")) && !documents(text) {
        findings.errors.push(format!("{name} does not begin with what the crate is"));
    }
}

/// Folders of the packages, as ARCHITECTURE.md names them: the last part of each.
fn packages(files: &[PathBuf], root: &Path) -> Vec<String> {
    let folder = |file: &PathBuf| {
        let is_root = file.ends_with("src/lib.rs") || file.ends_with("src/main.rs");
        let folder = file.strip_prefix(root).ok()?.parent()?.parent()?.to_str()?.to_owned();
        is_root.then_some(folder)
    };
    let mut folders: Vec<_> = files.iter().filter_map(folder).collect();
    folders.dedup();
    folders
}

fn check_architecture(text: &str, packages: &[String], findings: &mut Findings) {
    let lines = text.lines().count();
    if lines == 0 {
        return;
    }
    if lines >= ARCHITECTURE_LINES_MAX {
        findings
            .errors
            .push(format!("ARCHITECTURE.md has {lines} lines: a map has under {ARCHITECTURE_LINES_MAX}"));
    }
    let words: Vec<_> = text.split(|c: char| !(c.is_alphanumeric() || "-_".contains(c))).collect();
    for package in packages {
        let name = package.rsplit('/').next().unwrap_or(package);
        if !words.contains(&name) {
            findings.errors.push(format!("ARCHITECTURE.md does not mention {package}"));
        }
    }
}

fn manual_pages(root: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(root.join("docs/manual")) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Every `make` target and `cargo xtask` command that a page's code mentions must exist.
fn check_commands(page: &str, text: &str, makefile: &str, findings: &mut Findings) {
    if text.is_empty() {
        findings.errors.push(format!("{page} is missing"));
    }
    let mut xtask = Xtask::command();
    // Adds the subcommand `help`.
    xtask.build();
    let tasks: Vec<_> = xtask.get_subcommands().map(|task| task.get_name().to_owned()).collect();
    for code in code_of(text) {
        if let Some(target) = word_after(code, "make ") {
            let exists = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
            if !exists {
                findings.errors.push(format!("{page} mentions `make {target}`, which does not exist"));
            }
        }
        if let Some(task) =
            word_after(code, "cargo xtask ").filter(|task| !tasks.contains(&(*task).to_owned()))
        {
            findings.errors.push(format!("{page} mentions `cargo xtask {task}`, which does not exist"));
        }
    }
}

/// Every link to a file must lead to one.
fn check_links(page: &str, text: &str, exists: impl Fn(&str) -> bool, findings: &mut Findings) {
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let file = link.split('#').next().unwrap_or(link);
        if !file.is_empty() && !file.contains("://") && !exists(file) {
            findings.errors.push(format!("{page} links to {link}, which does not exist"));
        }
    }
}

fn word_after<'a>(code: &'a str, prefix: &str) -> Option<&'a str> {
    code.trim_start_matches("$ ").strip_prefix(prefix)?.split_whitespace().next()
}

/// Lines of code blocks, and code inside lines.
fn code_of(text: &str) -> Vec<&str> {
    let mut code = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            code.push(line.trim());
        } else {
            code.extend(line.split('`').skip(1).step_by(2));
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(check: impl Fn(&mut Findings)) -> (usize, usize) {
        let mut findings = Findings::default();
        check(&mut findings);
        (findings.errors.len(), findings.warnings.len())
    }

    #[test]
    fn long_files_and_banned_words_are_found() {
        let check = |name: &'static str, text: String| findings(move |f| check_file(name, &text, f));
        assert_eq!(check("crates/a/src/x.rs", "x\n".repeat(500)), (0, 0));
        assert_eq!(check("crates/a/src/x.rs", "x\n".repeat(700)), (0, 1));
        assert_eq!(check("crates/a/src/x.rs", "x\n".repeat(900)), (1, 0));
        assert_eq!(check("crates/a/src/x/tests.rs", "x\n".repeat(900)), (0, 1));
        assert_eq!(check("crates/a/src/x.rs", format!("{}\n", BANNED[0].0)), (1, 0));
        assert_eq!(check("crates/a/src/lib.rs", "//! A crate.\n".to_owned()), (0, 0));
        assert_eq!(check("crates/a/src/lib.rs", "//! \nmod x;\n".to_owned()), (1, 0));
    }

    #[test]
    fn a_page_may_only_name_commands_that_exist() {
        let makefile = "demo: setup\n\trun\n";
        let check = |text: &'static str| findings(move |f| check_commands("README.md", text, makefile, f)).0;
        assert_eq!(check("Run `make demo`.\n```sh\ncargo xtask crash --rounds 5\n```\n"), 0);
        assert_eq!(check("Run `make coffee`.\n"), 1);
        assert_eq!(check("```sh\n$ cargo xtask brew\n```\n"), 1);
        assert_eq!(check("make sure that prose is left alone\n"), 0);
    }

    #[test]
    fn links_lead_somewhere() {
        let check =
            |text: &'static str| findings(move |f| check_links("p.md", text, |link| link == "a.md", f)).0;
        assert_eq!(check("[a](a.md), [b](a.md#part), [c](#here), [d](https://example.org/x)"), 0);
        assert_eq!(check("[a](gone.md)"), 1);
    }

    #[test]
    fn the_map_names_every_crate() {
        let packages = ["crates/storage/log".to_owned(), "bin/quarry".to_owned()];
        assert_eq!(findings(|f| check_architecture("log and `quarry`.\n", &packages, f)).0, 0);
        assert_eq!(findings(|f| check_architecture("a catalogue, quarryd\n", &packages, f)).0, 2);
    }
}
