//! Who may use the API: opens what the node knows of users, makes the first token, and tells clients on this machine where it is.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use quarry_api::Guard;
use quarry_api_types::{Secret, Timestamp};
use quarry_audit::{AuditLog, NewEntry};
use quarry_auth::{AccessStore, Opened};
use quarry_catalog::RedbCatalog;
use quarry_local::{Link, TOKEN_FILE, write_private};

use crate::arguments::NewAdminToken;
use crate::node::now;
use crate::settings::Settings;

/// What stands in front of the API.
pub fn open(settings: &Settings) -> anyhow::Result<Arc<Guard>> {
    let directory = &settings.data_dir;
    let (audit, damaged_log) = AuditLog::open(directory)?;
    let Opened { store, damaged } = AccessStore::open(directory)?;
    if let Some(aside) = damaged_log {
        let reason = format!("the log was damaged; it was moved to {} and a new one begins", aside.display());
        tracing::error!("audit: {reason}");
        audit.append(now(), NewEntry::of_node("audit_damaged", reason))?;
    }
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
    Ok(Arc::new(Guard::new(store, audit, settings.metrics_are_open)))
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
    let (audit, _) = AuditLog::open(directory)?;
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
