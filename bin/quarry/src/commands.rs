//! From a command to a call, from its answer to the output.

use std::path::{Path, PathBuf};

use quarry_api_types as api;
use quarry_client::Client;

use crate::arguments::{
    Arguments, Command, CreatePool, DeviceCommand, ExportCommand, PoolCommand, VolumeCommand,
};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::tables;

type Result = std::result::Result<(), Failure>;

pub async fn run(arguments: Arguments, output: &mut Output) -> Result {
    let client = Client::new(arguments.endpoint)?;
    match arguments.command {
        Command::Device(command) => device(&client, command, output).await,
        Command::Pool(command) => pool(&client, command, output).await,
        Command::Volume(command) => volume(&client, command, output).await,
        Command::Export(command) => export(&client, command, output).await,
        Command::Status => output.answer(&client.status().await?, tables::status),
    }
}

async fn device(client: &Client, command: DeviceCommand, output: &mut Output) -> Result {
    let devices = match command {
        DeviceCommand::List => client.list_devices().await?,
        DeviceCommand::Scan => client.scan_devices().await?,
    };
    output.answer(&devices, |devices| tables::devices(devices))
}

async fn pool(client: &Client, command: PoolCommand, output: &mut Output) -> Result {
    match command {
        PoolCommand::Create(create) => {
            let pool = client.create_pool(&pool_request(create)?).await?;
            output.answer(&pool, tables::pool)
        }
        PoolCommand::List => output.answer(&client.list_pools().await?, |pools| tables::pools(pools)),
        PoolCommand::Show { name } => output.answer(&client.show_pool(&name).await?, tables::pool),
        PoolCommand::Delete { name } => {
            client.delete_pool(&name).await?;
            output.done(&format!("Pool {name} deleted; its devices are free."))
        }
    }
}

async fn volume(client: &Client, command: VolumeCommand, output: &mut Output) -> Result {
    match command {
        VolumeCommand::Create(create) => {
            let request = api::CreateVolume {
                name: create.name,
                pool: create.pool,
                size_bytes: create.size.0,
                durability: create.durability,
            };
            output.answer(&client.create_volume(&request).await?, tables::volume)
        }
        VolumeCommand::List => {
            output.answer(&client.list_volumes().await?, |volumes| tables::volumes(volumes))
        }
        VolumeCommand::Show { name } => output.answer(&client.show_volume(&name).await?, tables::volume),
        VolumeCommand::Resize { name, size } => {
            let request = api::ResizeVolume { size_bytes: size.0 };
            output.answer(&client.resize_volume(&name, &request).await?, tables::volume)
        }
        VolumeCommand::Delete { name } => {
            client.delete_volume(&name).await?;
            output.done(&format!("Volume {name} deleted."))
        }
    }
}

async fn export(client: &Client, command: ExportCommand, output: &mut Output) -> Result {
    match command {
        ExportCommand::Create { volume, protocol } => {
            let export = client.create_export(&api::CreateExport { volume, protocol }).await?;
            match export.uris.first() {
                Some(uri) => output.answer(&export, |_| uri.clone()),
                None => Err(no_address(&export)),
            }
        }
        ExportCommand::List => {
            output.answer(&client.list_exports().await?, |exports| tables::exports(exports))
        }
        ExportCommand::Delete { selector } => {
            client.delete_export(&selector).await?;
            output.done(&format!("Export {selector} deleted; the volume is untouched."))
        }
    }
}

/// A script that uses the URI must not go on with an empty one.
fn no_address(export: &api::Export) -> Failure {
    Failure {
        exit: Exit::Unavailable,
        message: format!("volume '{}' is exported, but clients cannot reach it now", export.volume),
        cause: Some(format!("the export is {}", export.state)),
        next_step: "See `quarry status`; once it serves, `quarry export list` shows the URI.".to_owned(),
    }
}

fn pool_request(create: CreatePool) -> std::result::Result<api::CreatePool, Failure> {
    let devices = create.devices.iter().map(|path| absolute(path)).collect::<std::result::Result<_, _>>()?;
    Ok(api::CreatePool { name: create.name, devices, copies: create.copies, force: create.force })
}

/// The path as the daemon must see it, whose working directory is another one. Links are kept: names such as
/// `/dev/disk/by-id/...` are chosen because they last.
fn absolute(path: &Path) -> std::result::Result<String, Failure> {
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
