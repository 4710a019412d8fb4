//! `quarryd check-config`: what a node would be started with, or why it would not.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::arguments::{Arguments, CheckConfig};
use crate::config_file::{complete, keys};
use crate::settings::Settings;

/// Prints every setting with where it is from.
pub fn run(check: CheckConfig) -> anyhow::Result<ExitCode> {
    // What the environment says counts as it does when the node starts.
    let mut arguments = Arguments::try_parse_from(["quarryd"]).context("the environment")?;
    let file = check.config.display().to_string();
    arguments.config = Some(check.config);
    let (arguments, origins) = complete(arguments)?;
    let settings = Settings::from_complete(arguments, &origins)?;
    let shown: BTreeMap<String, String> =
        settings.describe().settings.into_iter().map(|setting| (setting.name, setting.value)).collect();
    let mut text = format!("{file} is right. A node has:\n");
    for key in keys() {
        let given = if origins.is_given(&key) { "given" } else { "none" };
        let value = shown.get(&key).map_or(given, |value| if value.is_empty() { "none" } else { value });
        text += &format!("  {key:<24} {value:<32} {}\n", origins.describe(&key));
    }
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
