//! Devices of pools: add, drain, remove, replace, grow, return; and waiting until data lies where it should.

use std::path::Path;
use std::time::Duration;

use quarry_api_types::{AddDevice, DeviceId, Name, Pool, PoolDevice, Rebuild, SetTier, Tier};
use quarry_client::Client;
use tokio::time::Instant;

use crate::arguments::{DeviceCommand, DeviceOf, WaitForRebuild};
use crate::commands::absolute;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::tables;

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(300);
/// A rebuild that does not get on for so long will not without somebody's help.
const STALLED_AFTER: Duration = Duration::from_secs(120);

type Result = std::result::Result<(), Failure>;

pub async fn run(client: &Client, command: DeviceCommand, output: &mut Output) -> Result {
    match command {
        DeviceCommand::List => {
            output.answer(&client.list_devices().await?, |devices| tables::devices(devices))
        }
        DeviceCommand::Show { of } => {
            let id = find(client, &of).await?;
            let pool = client.show_pool(&of.pool).await?;
            match pool.devices.iter().find(|member| member.id == id) {
                Some(member) => output.answer(member, |member| tables::member(&pool, member)),
                None => Err(no_device(&of)),
            }
        }
        DeviceCommand::Scan => {
            output.answer(&client.scan_devices().await?, |devices| tables::devices(devices))
        }
        DeviceCommand::Add { pool, path, tier, force, wait } => {
            let request = request(&path, force)?;
            let mut added = client.add_device(&pool, &request).await?;
            if let Some(tier) = tier {
                added = set_tiers(client, added, &[(request.path, tier)]).await?;
            }
            finish(client, added, &wait, output).await
        }
        DeviceCommand::Tier { of, tier } => {
            let id = find(client, &of).await?;
            output.answer(&client.set_device_tier(&of.pool, id, &SetTier { tier }).await?, tables::pool)
        }
        DeviceCommand::Drain { of, cancel: true, .. } => {
            let id = find(client, &of).await?;
            output.answer(&client.keep_device(&of.pool, id).await?, tables::pool)
        }
        DeviceCommand::Drain { of, wait, .. } => {
            let id = find(client, &of).await?;
            finish(client, client.drain_device(&of.pool, id).await?, &wait, output).await
        }
        DeviceCommand::Remove { of, wait } => {
            let id = find(client, &of).await?;
            finish(client, client.remove_device(&of.pool, id).await?, &wait, output).await
        }
        DeviceCommand::Replace { of, new, force, wait } => {
            let id = find(client, &of).await?;
            let request = request(&new, force)?;
            finish(client, client.replace_device(&of.pool, id, &request).await?, &wait, output).await
        }
        DeviceCommand::Grow { of } => {
            let id = find(client, &of).await?;
            output.answer(&client.grow_device(&of.pool, id).await?, tables::pool)
        }
        DeviceCommand::Return { of, wait } => {
            let id = find(client, &of).await?;
            finish(client, client.return_device(&of.pool, id).await?, &wait, output).await
        }
    }
}

/// Says which tiers devices belong to that have just joined. Of a directory it is the file in it that has.
pub async fn set_tiers(
    client: &Client,
    mut pool: Pool,
    tiers: &[(String, Tier)],
) -> std::result::Result<Pool, Failure> {
    for (path, tier) in tiers {
        let is_meant = |member: &&PoolDevice| Path::new(&member.path).starts_with(path);
        let found = pool.devices.iter().rfind(is_meant).map(|member| member.id);
        let device = found.ok_or_else(|| Failure {
            exit: Exit::NotFound,
            message: format!("'{path}' is none of the devices of pool '{}'", pool.name),
            cause: Some("the pool is there, and its tiers are as they were measured".to_owned()),
            next_step: format!(
                "Give the path as `quarry pool show {0}` has it: `quarry device tier {0} PATH TIER`.",
                pool.name
            ),
        })?;
        pool = client.set_device_tier(&pool.name, device, &SetTier { tier: *tier }).await?;
    }
    Ok(pool)
}

fn request(path: &Path, force: bool) -> std::result::Result<AddDevice, Failure> {
    Ok(AddDevice { path: absolute(path)?, force })
}

/// The member of a pool that somebody means: by its id or its path.
pub async fn find(client: &Client, of: &DeviceOf) -> std::result::Result<DeviceId, Failure> {
    let pool = client.show_pool(&of.pool).await?;
    let path = absolute(Path::new(&of.device)).ok();
    let is_meant = |member: &&PoolDevice| {
        member.id.to_string() == of.device || member.path == of.device || Some(&member.path) == path.as_ref()
    };
    let found = pool.devices.iter().find(is_meant).map(|member| member.id);
    found.ok_or_else(|| no_device(of))
}

fn no_device(of: &DeviceOf) -> Failure {
    Failure {
        exit: Exit::NotFound,
        message: format!("pool '{}' has no device '{}'", of.pool, of.device),
        cause: None,
        next_step: format!("`quarry pool show {}` lists its devices, by path and id.", of.pool),
    }
}

/// Shows the pool, after everything lies where it should if that is wanted.
async fn finish(client: &Client, pool: Pool, wait: &WaitForRebuild, output: &mut Output) -> Result {
    let pool = if wait.wait { wait_for(client, &pool.name, !wait.no_progress).await? } else { pool };
    output.answer(&pool, tables::pool)
}

/// Waits until everything of a pool lies where it should and what is to leave has left.
pub async fn wait_for(client: &Client, pool: &Name, is_shown: bool) -> std::result::Result<Pool, Failure> {
    let (mut last, mut changed, mut most) = (Rebuild::default(), Instant::now(), 0);
    let mut progress: Option<Progress> = None;
    let ended = loop {
        let shown = match client.show_pool(pool).await {
            Ok(shown) => shown,
            Err(error) => break Err(error.into()),
        };
        if shown.rebuild.is_done() && !shown.devices.iter().any(is_leaving) {
            break Ok(shown);
        }
        if shown.rebuild != last {
            (last, changed) = (shown.rebuild, Instant::now());
        } else if changed.elapsed() > STALLED_AFTER {
            break Err(stalled(pool, &shown));
        }
        let left = shown.rebuild.left_bytes;
        if left > most {
            most = left;
            progress.take().into_iter().for_each(Progress::end);
            progress = Some(Progress::begin("moving", most, is_shown));
        }
        if let Some(progress) = &mut progress {
            progress.show((most - left) as f64 * 100.0 / most.max(1) as f64);
        }
        tokio::time::sleep(POLL).await;
    };
    progress.into_iter().for_each(Progress::end);
    ended
}

fn is_leaving(device: &PoolDevice) -> bool {
    use quarry_api_types::PoolDeviceState::Draining;
    device.removing || device.state == Draining
}

fn stalled(pool: &Name, shown: &Pool) -> Failure {
    let why = match shown.rebuild.stuck {
        true => "there is no space on the devices that stay, or what is to be copied cannot be read",
        false => "nothing has moved for two minutes",
    };
    Failure {
        exit: Exit::Unavailable,
        message: format!(
            "pool '{pool}' does not get on: {} segments are left to be moved",
            shown.rebuild.chunks
        ),
        cause: Some(why.to_owned()),
        next_step: format!(
            "Add a device (`quarry device add {pool} PATH`) or delete something; it goes on by itself then."
        ),
    }
}
