//! `quarryd keyring`: changes the keyring of a node that is stopped.

use std::process::ExitCode;

use anyhow::{Context, bail};
use quarry_catalog::RedbCatalog;
use quarry_keys::{LocalKeyring, Passphrase};

use crate::arguments::ChangePassphrase;
use crate::node::keyring_path;
use crate::settings::Settings;

/// Puts the keyring under another passphrase.
pub fn change_passphrase(change: ChangePassphrase) -> anyhow::Result<ExitCode> {
    let new_file = change.new_passphrase_file.clone();
    let settings = Settings::from_arguments(change.into())?;
    if !RedbCatalog::exists(&settings.data_dir) {
        bail!("{} is no data directory: it has no catalog", settings.data_dir.display());
    }
    // A node that runs has the keys in memory and would write the old keyring over the new one. One that starts now waits.
    let _stopped = RedbCatalog::open(&settings.data_dir)?;
    let Some(old_file) = settings.keyring_passphrase_file else {
        bail!("no passphrase given: name the file with the present one by --passphrase-file FILE");
    };
    let (old, new) = (Passphrase::read(&old_file)?, Passphrase::read(&new_file)?);
    let path = keyring_path(&settings.data_dir);
    let keys = LocalKeyring::change_passphrase(&path, &old, &new)
        .context("the keyring has the passphrase that it had")?;
    println!(
        "{} with {keys} keys has another passphrase now. From now on start quarryd with the one in {}, and renew \
         the copies that you keep: older ones still open with the old one.",
        path.display(),
        new_file.display()
    );
    Ok(ExitCode::SUCCESS)
}
