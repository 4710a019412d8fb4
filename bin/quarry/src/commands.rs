//! From a command to a call, from its answer to the output.

use std::path::{Path, PathBuf};

use quarry_api_types as api;
use quarry_client::Client;
use quarry_types::limits::{NETWORK_SCHEMES, PMEM_SCHEME, S3_SCHEME};

use crate::arguments::{
    Arguments, Command, CreatePool, NewVolumeSettings, PoolCommand, SnapshotCommand, VolumeCommand,
};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{
    access, bundle, connect, documents, exports, forecasts, freeing, groups, hosts, images, jobs, keyring,
    members, migrations, observe, policies, qos, tables,
};

/// How often a command that waits for a scrub looks at it.
const SCRUB_POLL: std::time::Duration = std::time::Duration::from_millis(500);

type Result = std::result::Result<(), Failure>;

pub async fn run(arguments: Arguments, output: &mut Output) -> Result {
    let client = match &arguments.command {
        Command::Login(_) => connect::connect_as_stranger(&arguments)?,
        _ => connect::connect(&arguments)?,
    };
    match arguments.command {
        Command::Login(ref login) => access::log_in(&client, &arguments, login, output).await,
        Command::Logout => access::log_out(&client, &arguments, output).await,
        Command::Whoami => output.answer(&client.show_session().await?, tables::access::session),
        Command::User(command) => access::user(&client, command, output).await,
        Command::Token(command) => access::token(&client, command, output).await,
        Command::Tenant(command) => access::tenant(&client, command, output).await,
        Command::Audit(command) => crate::audit::run(&client, command, output).await,
        Command::Device(command) => members::run(&client, command, output).await,
        Command::Pool(command) => pool(&client, command, output).await,
        Command::Volume(command) => volume(&client, command, output).await,
        Command::Snapshot(command) => snapshot(&client, command, output).await,
        Command::Group(command) => groups::run(&client, command, output).await,
        Command::Policy(command) => policies::run(&client, command, output).await,
        Command::Why(command) => policies::why(&client, command, output).await,
        Command::Apply(command) => documents::apply(&client, command, output).await,
        Command::Diff(command) => documents::diff(&client, command, output).await,
        Command::State(command) => documents::run(&client, command, output).await,
        Command::Job(command) => jobs::run(&client, command, output).await,
        Command::Export(command) => exports::run(&client, command, output).await,
        Command::Host(command) => hosts::run(&client, command, output).await,
        Command::Keyring(command) => keyring::run(&client, command, output).await,
        Command::Event(command) => crate::events::run(&client, command, output).await,
        Command::Watch(command) => crate::watch::run(&client, command, output).await,
        Command::Status => observe::status(&client, output).await,
        Command::History(command) => forecasts::history(&client, command, output).await,
        Command::Top { every } => crate::top::run(&client, every).await,
        Command::SlowRequests => observe::slow_requests(&client, output).await,
        Command::SupportBundle { file } => bundle::run(&client, file, output).await,
        // `main` has done them without a node.
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}

async fn pool(client: &Client, command: PoolCommand, output: &mut Output) -> Result {
    match command {
        PoolCommand::Create(create) => {
            let absolute = |(path, tier): &(PathBuf, api::Tier)| Ok((absolute(path)?, *tier));
            let tiers =
                create.tiers.iter().map(absolute).collect::<std::result::Result<Vec<_>, Failure>>()?;
            // Before anything is lost for want of a word.
            for (_, tier) in &tiers {
                check_tier(*tier)?;
            }
            let pool = client.create_pool(&pool_request(create)?).await?;
            let pool = members::set_tiers(client, pool, &tiers).await?;
            output.answer(&pool, tables::pool)
        }
        PoolCommand::List => output.answer(&client.list_pools().await?, |pools| tables::pools(pools)),
        PoolCommand::Show { name } => output.answer(&client.show_pool(&name).await?, tables::pool),
        PoolCommand::Tiers { name, place: Some(tier) } => {
            let request = api::SetTier { tier };
            output.answer(&client.place_pool(&name, &request).await?, tables::tiers::pool)
        }
        PoolCommand::Tiers { name, place: None } => {
            output.answer(&client.show_tiers(&name).await?, tables::tiers::pool)
        }
        PoolCommand::Forecast { name } => forecasts::pool(client, &name, output).await,
        PoolCommand::Scrub { name, stop: true, .. } => {
            output.answer(&client.stop_scrub(&name).await?, tables::pool)
        }
        PoolCommand::Scrub { name, rate, wait, .. } => {
            let request = api::StartScrub { rate_bytes_per_s: rate.map(|rate| rate.0) };
            let mut pool = client.start_scrub(&name, &request).await?;
            while wait && pool.scrub.as_ref().is_some_and(|scrub| scrub.state == api::ScrubState::Running) {
                tokio::time::sleep(SCRUB_POLL).await;
                pool = client.show_pool(&name).await?;
            }
            output.answer(&pool, tables::pool)?;
            match pool.scrub.map_or(0, |scrub| scrub.lost) {
                1.. if wait => Err(lost_blocks(&name)),
                _ => Ok(()),
            }
        }
        PoolCommand::Set(set) => {
            let request = api::ChangePool {
                warning_percent: set.warning.map(|percent| percent.0),
                critical_percent: set.critical.map(|percent| percent.0),
                overcommit_limit_percent: set.overcommit.map(|ratio| ratio.0),
                copies: set.copies,
                protection: set.protection,
                rebuild_rate_bytes_per_s: set.rebuild_rate.map(|rate| rate.0),
            };
            output.answer(&client.change_pool(&set.name, &request).await?, tables::pool)
        }
        PoolCommand::Delete { name } => {
            client.delete_pool(&name).await?;
            output.done(&format!("Pool {name} deleted; its devices are free."))
        }
    }
}

fn lost_blocks(pool: &api::Name) -> Failure {
    Failure {
        exit: Exit::Damaged,
        message: format!("blocks of pool '{pool}' have no good copy"),
        cause: None,
        next_step: "Restore them from a backup: writing a block makes it whole again.".to_owned(),
    }
}

async fn volume(client: &Client, command: VolumeCommand, output: &mut Output) -> Result {
    match command {
        VolumeCommand::Create(create) => {
            let request = volume_request(create.name, create.pool, create.size.0, &create.settings);
            output.answer(&client.create_volume(&request).await?, tables::volume)
        }
        VolumeCommand::List => {
            output.answer(&client.list_volumes().await?, |volumes| tables::volumes(volumes))
        }
        VolumeCommand::Show { name } => {
            let volume = client.show_volume(&name).await?;
            let summary = tables::policies::summary(&client.show_volume_policy(&name).await?);
            output.answer(&volume, |volume| tables::volume(volume) + &summary)
        }
        VolumeCommand::Stats { name, watch } => observe::volume_stats(client, name, watch, output).await,
        VolumeCommand::Forecast { name } => forecasts::volume(client, &name, output).await,
        VolumeCommand::Resize { name, size } => {
            let request = api::ResizeVolume { size_bytes: size.0 };
            output.answer(&client.resize_volume(&name, &request).await?, tables::volume)
        }
        VolumeCommand::Set(set) => {
            let before = match set.qos.is_empty() {
                true => None,
                false => client.show_volume(&set.name).await?.qos,
            };
            let request = api::ChangeVolume {
                durability: set.durability,
                quota_bytes: set.quota.map(|quota| quota.0),
                reserved_bytes: set.reserve.map(|reserve| reserve.0),
                compression: set.compression,
                deduplication: set.deduplication,
                read_cache: set.read_cache,
                history_s: set.history.map(|history| history.0),
                protection: set.protection,
                tier: set.tier,
                qos: qos::changed(before, &set.qos),
            };
            output.answer(&client.change_volume(&set.name, &request).await?, tables::volume)
        }
        VolumeCommand::Rename { name, new_name } => {
            let request = api::RenameVolume { name: new_name };
            output.answer(&client.rename_volume(&name, &request).await?, tables::volume)
        }
        VolumeCommand::Clone { origin, name, at } => {
            let request = api::CloneVolume { name, snapshot: origin.snapshot, at };
            output.answer(&client.clone_volume(&origin.volume, &request).await?, tables::volume)
        }
        VolumeCommand::Rollback { to, at } => {
            let request = api::RollBackVolume { snapshot: to.snapshot, at };
            output.answer(&client.roll_back_volume(&to.volume, &request).await?, tables::volume)
        }
        VolumeCommand::Promote { name } => {
            output.answer(&client.promote_volume(&name).await?, tables::volume)
        }
        VolumeCommand::RotateKey { name } => {
            output.answer(&client.rotate_volume_key(&name).await?, tables::volume)
        }
        VolumeCommand::Changes { name, from, to } => {
            output.answer(&changes(client, &name, from, to).await?, tables::changes)
        }
        VolumeCommand::Import(import) => images::import(client, import, output).await,
        VolumeCommand::ExportImage(export) => images::export(client, export, output).await,
        VolumeCommand::Adopt(adopt) => migrations::adopt(client, adopt, output).await,
        VolumeCommand::Release { name } => migrations::release(client, &name, output).await,
        VolumeCommand::Migrate(migrate) => migrations::migrate(client, migrate, output).await,
        VolumeCommand::Delete { name, with_snapshots, wait } => {
            let pools = freeing::pools_of(client, &wait, std::slice::from_ref(&name)).await?;
            client.delete_volume(&name, &api::DeleteVolume { with_snapshots }).await?;
            freeing::wait(client, &pools, &wait).await?;
            output.done(&format!("Volume {name} deleted."))
        }
    }
}

/// The request for a new volume.
pub fn volume_request(
    name: api::Name,
    pool: api::Name,
    size_bytes: u64,
    settings: &NewVolumeSettings,
) -> api::CreateVolume {
    api::CreateVolume {
        name,
        pool,
        size_bytes,
        durability: settings.durability,
        quota_bytes: settings.quota.0,
        reserved_bytes: settings.reserve.0,
        compression: settings.compression,
        deduplication: settings.deduplication,
        read_cache: settings.read_cache,
        history_s: settings.history.0,
        encrypted: settings.encrypt,
        protection: settings.protection,
        tier: settings.tier,
        qos: qos::changed(None, &settings.qos),
        policy: settings.policy.clone(),
    }
}

/// All that differs, part by part.
async fn changes(
    client: &Client,
    name: &api::Name,
    from: Option<api::Name>,
    to: Option<api::Name>,
) -> std::result::Result<api::Changes, Failure> {
    let mut query = api::ChangesQuery { from, to, start: 0 };
    let mut all = client.list_changes(name, &query).await?;
    while let Some(start) = all.next.filter(|&next| next > query.start) {
        query.start = start;
        all.append(client.list_changes(name, &query).await?);
    }
    Ok(all)
}

async fn snapshot(client: &Client, command: SnapshotCommand, output: &mut Output) -> Result {
    match command {
        SnapshotCommand::Create { volumes, name, lock_until: locked_until } => match &volumes[..] {
            [volume] => {
                let request = api::CreateSnapshot { name, locked_until };
                output.answer(&client.create_snapshot(volume, &request).await?, tables::snapshot)
            }
            _ => {
                let request = api::CreateSnapshotSet { name, volumes, locked_until };
                output.answer(&client.create_snapshot_set(&request).await?, |all| tables::snapshots(all))
            }
        },
        SnapshotCommand::List { volume } => {
            let snapshots = match volume {
                Some(volume) => client.list_snapshots(&volume).await?,
                None => client.list_all_snapshots().await?,
            };
            output.answer(&snapshots, |snapshots| tables::snapshots(snapshots))
        }
        SnapshotCommand::Show { snapshot } => {
            output.answer(&client.show_snapshot(&snapshot).await?, tables::snapshot)
        }
        SnapshotCommand::Rename { snapshot, new_name } => {
            let request = api::ChangeSnapshot { name: Some(new_name), locked_until: None };
            output.answer(&client.change_snapshot(&snapshot, &request).await?, tables::snapshot)
        }
        SnapshotCommand::Lock { snapshot, until } => {
            let request = api::ChangeSnapshot { name: None, locked_until: Some(until) };
            output.answer(&client.change_snapshot(&snapshot, &request).await?, tables::snapshot)
        }
        SnapshotCommand::Delete { snapshot, wait } => {
            let pools = freeing::pools_of(client, &wait, std::slice::from_ref(&snapshot.volume)).await?;
            client.delete_snapshot(&snapshot).await?;
            freeing::wait(client, &pools, &wait).await?;
            output.done(&format!("Snapshot {snapshot} deleted."))
        }
    }
}

/// Whether a device can be of a tier.
fn check_tier(tier: api::Tier) -> Result {
    api::SetTier { tier }.check_for_device().map_err(|error| Failure {
        exit: Exit::Usage,
        message: error.to_string(),
        cause: None,
        next_step: "Nothing was made. Give another tier.".to_owned(),
    })
}

fn pool_request(create: CreatePool) -> std::result::Result<api::CreatePool, Failure> {
    let devices = create.devices.iter().map(|path| absolute(path)).collect::<std::result::Result<_, _>>()?;
    Ok(api::CreatePool {
        name: create.name,
        devices,
        copies: create.copies,
        protection: create.protection,
        force: create.force,
        warning_percent: create.warning.0,
        critical_percent: create.critical.0,
        overcommit_limit_percent: create.overcommit.0,
    })
}

/// The path as the daemon must see it, whose working directory is another one. Links are kept: names such as
/// `/dev/disk/by-id/...` are chosen because they last. Addresses of servers' disks stay as they are.
pub fn absolute(path: &Path) -> std::result::Result<String, Failure> {
    if let Some(address) = path.to_str().filter(|text| is_address(text)) {
        return Ok(address.to_owned());
    }
    let absolute: PathBuf = std::path::absolute(path).map_err(|error| {
        Failure::local(&format!("'{}' cannot be a device's path", path.display()), &error)
    })?;
    absolute.into_os_string().into_string().map_err(|path| Failure {
        exit: Exit::Usage,
        message: format!("'{}' cannot be a device's path", path.to_string_lossy()),
        cause: Some("it is not UTF-8".to_owned()),
        next_step: "Rename it, or make a link with another name.".to_owned(),
    })
}

fn is_address(text: &str) -> bool {
    NETWORK_SCHEMES.iter().chain([&PMEM_SCHEME, &S3_SCHEME]).any(|scheme| text.starts_with(scheme))
}
