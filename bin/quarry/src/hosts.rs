//! Hosts and host groups: from a command to a call, and where their secrets come from.

use std::path::Path;

use quarry_api_types as api;
use quarry_client::Client;

use crate::arguments::{ChapOptions, HostCommand, HostGroupCommand};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::secrets;
use crate::tables::hosts as tables;

pub async fn run(client: &Client, command: HostCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        HostCommand::Create(create) => {
            let chap = chap(client, create.chap)?;
            let request = api::CreateHost {
                name: create.name,
                initiators: create.initiators,
                networks: create.networks,
                chap,
            };
            output.answer(&client.create_host(&request).await?, tables::host)
        }
        HostCommand::List => output.answer(&client.list_hosts().await?, |hosts| tables::hosts(hosts)),
        HostCommand::Show { name } => output.answer(&client.show_host(&name).await?, tables::host),
        HostCommand::Update(update) => {
            let request = api::ChangeHost {
                add_initiators: update.add_initiators,
                remove_initiators: update.remove_initiators,
                add_networks: update.add_networks,
                remove_networks: update.remove_networks,
                chap: chap(client, update.chap)?,
                remove_chap: update.no_chap,
            };
            output.answer(&client.change_host(&update.name, &request).await?, tables::host)
        }
        HostCommand::Delete { name } => {
            client.delete_host(&name).await?;
            output.done(&format!("Host {name} deleted."))
        }
        HostCommand::Group(command) => group(client, command, output).await,
    }
}

async fn group(client: &Client, command: HostGroupCommand, output: &mut Output) -> Result<(), Failure> {
    let (name, request) = match command {
        HostGroupCommand::Create { name, hosts } => {
            let request = api::CreateHostGroup { name, hosts };
            return output.answer(&client.create_host_group(&request).await?, tables::group);
        }
        HostGroupCommand::List => {
            return output.answer(&client.list_host_groups().await?, |groups| tables::groups(groups));
        }
        HostGroupCommand::Show { name } => {
            return output.answer(&client.show_host_group(&name).await?, tables::group);
        }
        HostGroupCommand::Delete { name } => {
            client.delete_host_group(&name).await?;
            return output.done(&format!("Host group {name} deleted; its hosts stay."));
        }
        HostGroupCommand::Add { name, hosts: add } => {
            (name, api::ChangeHostGroup { add, ..Default::default() })
        }
        HostGroupCommand::Remove { name, hosts: remove } => {
            (name, api::ChangeHostGroup { remove, ..Default::default() })
        }
    };
    output.answer(&client.change_host_group(&name, &request).await?, tables::group)
}

/// What is to be proved, if anything.
fn chap(client: &Client, options: ChapOptions) -> Result<Option<api::Chap>, Failure> {
    let ChapOptions { chap_user, chap_secret_file, mutual_user, mutual_secret_file } = options;
    let (Some(user), Some(file)) = (chap_user, chap_secret_file) else { return Ok(None) };
    secrets::check_endpoint(client, "a secret", "quarry host ...")?;
    let secret = secret(&file, "the secret of the initiator")?;
    let mutual = match (mutual_user, mutual_secret_file) {
        (Some(user), Some(file)) => {
            Some(api::ChapProof { user, secret: self::secret(&file, "the secret of the node")? })
        }
        _ => None,
    };
    Ok(Some(api::Chap { user, secret, mutual }))
}

fn secret(file: &Path, what: &str) -> Result<api::ChapSecret, Failure> {
    let bytes = secrets::read(Some(file), what)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(api::ChapSecret::new(text)),
        Err(_) => Err(Failure {
            exit: Exit::Usage,
            message: format!("{what} is not UTF-8"),
            cause: None,
            next_step: "Choose one of letters, digits and signs.".to_owned(),
        }),
    }
}
