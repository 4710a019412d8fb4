//! Volumes in image mode, and volumes that move.

use std::time::Duration;

use quarry_api_types as api;
use quarry_client::Client;

use crate::arguments::{AdoptVolume, MigrateVolume};
use crate::commands::absolute;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::tables;

/// How often a volume that moves is looked at.
const POLL: Duration = Duration::from_millis(200);

type Result = std::result::Result<(), Failure>;

pub async fn adopt(client: &Client, adopt: AdoptVolume, output: &mut Output) -> Result {
    let AdoptVolume { name, device, read_only, durability } = adopt;
    let request = api::AdoptVolume { name, device: absolute(&device)?, read_only, durability };
    output.answer(&client.adopt_volume(&request).await?, tables::volume)
}

pub async fn release(client: &Client, name: &api::Name, output: &mut Output) -> Result {
    client.release_volume(name).await?;
    output.done(&format!("Volume {name} ended; its device is as it is."))
}

pub async fn migrate(client: &Client, migrate: MigrateVolume, output: &mut Output) -> Result {
    let name = migrate.name;
    if migrate.cancel {
        return output.answer(&client.cancel_migration(&name).await?, tables::volume);
    }
    let request = api::MigrateVolume {
        to_pool: migrate.to_pool,
        to_device: migrate.to_device.as_deref().map(absolute).transpose()?,
        force: migrate.force,
        drop_history: migrate.drop_history,
        rate_bytes_per_s: migrate.rate.map(|rate| rate.0),
        compression: migrate.compression,
        deduplication: migrate.deduplication,
        encrypted: migrate.encrypt.then_some(true),
    };
    let mut volume = client.migrate_volume(&name, &request).await?;
    if migrate.wait {
        volume = wait_for(client, volume, &request, !migrate.no_progress).await?;
    }
    output.answer(&volume, tables::volume)
}

/// Waits until the volume is at its new place, and has left the old one.
async fn wait_for(
    client: &Client,
    mut volume: api::Volume,
    request: &api::MigrateVolume,
    is_shown: bool,
) -> std::result::Result<api::Volume, Failure> {
    // It is copied, and then compared.
    let mut progress = Progress::begin("moving", 2 * volume.size_bytes, is_shown);
    let ended = loop {
        let Some(migration) = &volume.migration else { break Ok(()) };
        if migration.state == api::MigrationState::Stopped {
            break Err(stopped(&volume.name, migration.reason.clone()));
        }
        let done = migration.copied_bytes + migration.verified_bytes;
        progress.show(done as f64 * 50.0 / volume.size_bytes.max(1) as f64);
        tokio::time::sleep(POLL).await;
        volume = match client.show_volume(&volume.name).await {
            Ok(volume) => volume,
            Err(error) => break Err(error.into()),
        };
    };
    progress.end();
    ended?;
    let is_there = match &request.to_pool {
        Some(pool) => volume.pool.as_ref() == Some(pool),
        None => volume.image.is_some(),
    };
    if is_there {
        Ok(volume)
    } else {
        Err(stopped(&volume.name, Some("somebody has given that up".to_owned())))
    }
}

fn stopped(name: &api::Name, cause: Option<String>) -> Failure {
    Failure {
        exit: Exit::Unavailable,
        message: format!("volume '{name}' has not moved; it is served where it was"),
        cause,
        next_step: format!(
            "See to the cause and give the same command again: it goes on. Or `quarry volume migrate {name} --cancel`."
        ),
    }
}
