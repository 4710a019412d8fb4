//! Whether every command shows by an example how it is used, and whether the examples are right.

use clap::{Command, CommandFactory, Parser};

use super::Arguments;

/// Every command that does something, with the words that lead to it.
fn leaves(command: &Command, words: &str, all: &mut Vec<(String, Command)>) {
    let words = format!("{words} {}", command.get_name()).trim_start().to_owned();
    if !command.has_subcommands() {
        all.push((words.clone(), command.clone()));
    }
    for below in command.get_subcommands() {
        leaves(below, &words, all);
    }
}

fn help(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

/// The examples of a help text, a line each: what is continued in one piece, what other programs do cut off.
fn examples(help: &str) -> Vec<Vec<String>> {
    let text = help.replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| line.strip_prefix("  quarry "));
    lines
        .map(|line| {
            let ours = line.split([';', '|', '>', '&']).next().unwrap_or_default();
            let words = ours.split_whitespace().map(|word| word.trim_matches('"').to_owned());
            std::iter::once("quarry".to_owned()).chain(words).collect()
        })
        .collect()
}

#[test]
fn every_command_has_an_example_of_itself() {
    let (mut all, root) = (Vec::new(), Arguments::command());
    leaves(&root, "", &mut all);
    assert!(all.len() > 100, "{} commands", all.len());
    for (words, command) in all {
        let help = help(&command);
        let path = words.strip_prefix("quarry ").unwrap_or_default();
        assert!(help.contains("Example") && help.contains(path), "{words}: {help}");
    }
}

#[test]
fn every_example_can_be_typed() {
    let (mut all, root) = (Vec::new(), Arguments::command());
    leaves(&root, "", &mut all);
    let long = root.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let texts = all.iter().map(|(_, command)| help(command)).chain([long]);
    let mut count = 0;
    for example in texts.flat_map(|text| examples(&text)) {
        let parsed = Arguments::try_parse_from(&example);
        assert!(
            parsed.is_ok(),
            "{example:?}: {}",
            parsed.err().map(|error| error.to_string()).unwrap_or_default()
        );
        count += 1;
    }
    assert!(count > 120, "{count} examples");
}
