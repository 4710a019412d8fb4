//! Who may use the API: opens what the node knows of users, makes the first token, and tells clients on this machine where it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use quarry_api::Guard;
use quarry_api_types::{Secret, Timestamp};
use quarry_audit::{AuditLog, NewEntry, Opening, Replaced};
use quarry_auth::{AccessStore, Opened};
use quarry_catalog::RedbCatalog;
use quarry_local::{Link, TOKEN_FILE, write_private};

use crate::arguments::NewAdminToken;
use crate::node::now;
use crate::settings::Settings;

/// What stands in front of the API, and what was lost of the audit log, where something was. `moved`: where the log is that was found
/// damaged.
pub fn open(settings: &Settings, moved: Option<PathBuf>) -> anyhow::Result<(Arc<Guard>, Option<Replaced>)> {
    let directory = &settings.data_dir;
    let (audit, replaced) = open_audit(directory, moved)?;
    let Opened { store, damaged } = AccessStore::open(directory)?;
    if let Some(aside) = damaged {
        let reason =
            format!("users, tokens and tenants were damaged; they were moved to {}", aside.display());
        tracing::error!("{reason}; none is left, make them anew");
        audit.append(now(), NewEntry::of_node("access_damaged", reason))?;
    }
    if let Some(token) = store.first_token(now())? {
        keep(directory, &token, &audit, now())?;
        tracing::info!(
            "the first token, which may do everything, is in {}",
            directory.join(TOKEN_FILE).display()
        );
    }
    Ok((Arc::new(Guard::new(store, audit, settings.metrics_are_open)), replaced))
}

/// A node that knows its users had a log as well.
fn open_audit(directory: &Path, moved: Option<PathBuf>) -> anyhow::Result<(AuditLog, Option<Replaced>)> {
    let opening = Opening { had_one: AccessStore::exists(directory), moved };
    let quarry_audit::Opened { log, replaced } = AuditLog::open(directory, opening, now())?;
    if let Some(replaced) = &replaced {
        tracing::error!("audit: {replaced}");
    }
    Ok((log, replaced))
}

/// Tells clients on this machine where the node's data directory is. Without that they must be told.
pub fn publish(port: u16, settings: &Settings) -> Option<Link> {
    let directory = std::path::absolute(&settings.data_dir).ok()?;
    match quarry_local::publish(port, &directory) {
        Ok(link) => Some(link),
        Err(error) => {
            tracing::warn!(%error, "clients on this machine do not find the token by themselves: set QUARRY_DATA_DIR for them");
            None
        }
    }
}

/// Takes back what [`publish`] said.
pub fn withdraw(link: Link, settings: &Settings) {
    let path = link.path().display().to_string();
    let removed = std::path::absolute(&settings.data_dir).and_then(|directory| link.remove(&directory));
    if let Err(error) = removed {
        tracing::warn!(%error, path, "the link for clients on this machine stays");
    }
}

/// `quarryd new-admin-token`: for a node that is stopped and whose admins have lost their tokens and passwords.
pub fn new_admin_token(arguments: NewAdminToken) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_arguments(arguments.into())?;
    let directory = &settings.data_dir;
    if !RedbCatalog::exists(directory) {
        bail!("{} is no data directory: it has no catalog", directory.display());
    }
    // A node that runs knows its users by heart.
    let _stopped = RedbCatalog::open(directory)?;
    let (audit, _) = open_audit(directory, None)?;
    let Opened { store, .. } = AccessStore::open(directory)?;
    let token = store.new_admin_token(now())?;
    keep(directory, &token, &audit, now())?;
    println!("A new token that may do everything is in {}.", directory.join(TOKEN_FILE).display());
    Ok(ExitCode::SUCCESS)
}

fn keep(directory: &Path, token: &Secret, audit: &AuditLog, now: Timestamp) -> anyhow::Result<()> {
    let path = directory.join(TOKEN_FILE);
    write_private(&path, format!("{}\n", token.reveal()).as_bytes())
        .with_context(|| format!("{} cannot be written", path.display()))?;
    let reason = format!("a token of 'admin' was written to {}", path.display());
    audit.append(now, NewEntry::of_node("new_admin_token", reason))?;
    Ok(())
}
