//! `quarryd`: a storage node. It opens the pools that its catalog names, serves their volumes on one thread per
//! core, and answers the REST API on threads of tokio.
//!
//! `arguments` says what the command line may say, `config_file` what the configuration file, `check_config` tells what comes of both; `serve` starts everything, waits for a
//! signal and stops in order; `check` verifies the pools of a node that is stopped, `keyring` changes its keyring's passphrase;
//! `databases` looks at the node's databases before they are opened, `access` opens what the node knows of users and tells clients on this machine where it is, `certificate` makes what the API proves
//! itself with; `cores` are the data plane's threads, `core_state` what lives on each of them, `remote_volume` the way to volumes of other cores;
//! `reservation_store` keeps reservations; `log_lines` writes the log and keeps its newest lines, `configuration` shows the settings; `node` is the
//! trait of `node-api` over them, one file per sort of thing.

mod access;
mod arguments;
mod causes;
mod certificate;
mod check;
mod check_config;
mod config_file;
mod configuration;
mod core_places;
mod core_state;
mod cores;
mod databases;
mod keyring;
mod log_lines;
mod node;
mod remote_volume;
mod reservation_store;
mod serve;
mod settings;
#[cfg(test)]
mod test_node;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};

fn main() -> ExitCode {
    let mut arguments = arguments::Arguments::parse();
    let is_check = match arguments.command.take() {
        None => false,
        Some(arguments::Command::Keyring(arguments::KeyringCommand::ChangePassphrase(change))) => {
            return keyring::change_passphrase(change).unwrap_or_else(|error| fail(&error, 1));
        }
        Some(arguments::Command::CheckConfig(check)) => {
            return check_config::run(check).unwrap_or_else(|error| fail(&error, 2));
        }
        Some(arguments::Command::Man { folder }) => {
            return man(&folder).unwrap_or_else(|error| fail(&error, 1));
        }
        Some(arguments::Command::LookAtDatabase { file }) => return databases::look_at(&file),
        Some(arguments::Command::NewAdminToken(new)) => {
            return access::new_admin_token(new).unwrap_or_else(|error| fail(&error, 1));
        }
        Some(arguments::Command::Check(check)) => {
            arguments = check.into();
            true
        }
    };
    let settings = match settings::Settings::from_arguments(arguments) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, 2),
    };
    log_lines::begin(settings.log_format, if is_check { "warn" } else { "info" });
    abort_on_panic();
    if is_check {
        return check::run(settings).unwrap_or_else(|error| fail(&error, 2));
    }
    match serve::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// Writes the manual pages: one for each command.
fn man(folder: &Path) -> anyhow::Result<ExitCode> {
    quarry_manual::write_pages(arguments::Arguments::command(), "8", folder)
        .with_context(|| format!("cannot write manual pages into {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("quarryd: {error:#}");
    ExitCode::from(code)
}

/// A broken invariant ends the process at once: what was acknowledged is on the devices, and going on could spoil it.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
