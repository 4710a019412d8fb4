//! Manual pages of a command line, made of its definition: one page for each command, named as its words are with dashes.

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

/// Writes the pages of `command` and of all below it into `folder`, which is made if it is not there.
pub fn write_pages(command: Command, section: &str, folder: &Path) -> io::Result<()> {
    create(folder)?;
    pages(command, section)?.iter().try_for_each(|page| write(&folder.join(&page.file), &page.text))
}

#[expect(clippy::disallowed_methods, reason = "a command's own files")]
fn create(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

#[expect(clippy::disallowed_methods, reason = "a command's own files")]
fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
}

struct Page {
    file: String,
    text: String,
}

fn pages(command: Command, section: &str) -> io::Result<Vec<Page>> {
    // Nobody looks up `help`.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let package = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    let mut all = Vec::new();
    gather(&command, section, &package, &mut all)?;
    Ok(all)
}

fn gather(command: &Command, section: &str, package: &str, all: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let mut text = Vec::new();
    Man::new(command.clone()).section(section).render(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    all.push(Page { file: format!("{name}.{section}"), text: tidied(&text, name, section, package) });
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        gather(below, section, package, all)?;
    }
    Ok(())
}

/// As `man` and `mandoc` want it: a title without gaps, examples under their name, no breaks where there is a paragraph anyway.
fn tidied(text: &str, name: &str, section: &str, package: &str) -> String {
    let title = format!(".TH \"{name}\" {section} \"\" \"{package}\" \"Quarry\"");
    let lines = text.lines().map(|line| match line {
        line if line.starts_with(".TH ") => title.as_str(),
        ".SH EXTRA" => ".SH EXAMPLES",
        line => line.trim_end(),
    });
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.replace(".br\n\n.br\n", ".sp\n")
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn each_command_has_a_page_with_title_options_and_examples() {
        let add = Command::new("add")
            .about("Add a thing")
            .after_help("Example:\n  tool thing add a-b")
            .arg(Arg::new("kind").long("kind").help("Its kind").value_parser(["big", "small"]));
        let command = Command::new("tool").version("1.2").propagate_version(true).about("Do things");
        let pages =
            pages(command.subcommand(Command::new("thing").about("Things").subcommand(add)), "8").unwrap();
        let files: Vec<_> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files, ["tool.8", "tool-thing.8", "tool-thing-add.8"]);
        let text = &pages[2].text;
        assert!(text.contains(".TH \"tool-thing-add\" 8 \"\" \"tool 1.2\" \"Quarry\"\n"), "{text}");
        assert!(text.contains(".SH EXAMPLES\nExample:\n  tool thing add a\\-b\n"), "{text}");
        assert!(
            text.contains("\\-\\-kind") && !text.contains(".br\n\n.br") && !text.contains(" \n"),
            "{text}"
        );
    }
}
