//! Consistency groups: from a command to a call.

use quarry_api_types as api;
use quarry_client::Client;

use crate::arguments::GroupCommand;
use crate::failure::Failure;
use crate::freeing;
use crate::output::Output;
use crate::tables::groups as tables;

pub async fn run(client: &Client, command: GroupCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        GroupCommand::Create { name, volumes, qos } => {
            let request = api::CreateGroup { name, volumes, qos: crate::qos::changed(None, &qos) };
            output.answer(&client.create_group(&request).await?, tables::group)
        }
        GroupCommand::List => output.answer(&client.list_groups().await?, |groups| tables::groups(groups)),
        GroupCommand::Show { name } => output.answer(&client.show_group(&name).await?, tables::group),
        GroupCommand::Add { name, volumes: add } => {
            change(client, &name, api::ChangeGroup { add, ..Default::default() }, output).await
        }
        GroupCommand::Remove { name, volumes: remove } => {
            change(client, &name, api::ChangeGroup { remove, ..Default::default() }, output).await
        }
        GroupCommand::Set { name, qos } => {
            let before = client.show_group(&name).await?.qos;
            let qos = crate::qos::changed(before, &qos);
            change(client, &name, api::ChangeGroup { qos, ..Default::default() }, output).await
        }
        GroupCommand::Rename { name, new_name } => {
            change(client, &name, api::ChangeGroup { name: Some(new_name), ..Default::default() }, output)
                .await
        }
        GroupCommand::Delete { name } => {
            client.delete_group(&name).await?;
            output.done(&format!("Group {name} deleted; its volumes and their snapshots stay."))
        }
        GroupCommand::Snapshot { group, name, lock_until: locked_until } => {
            let request = api::CreateSnapshot { name, locked_until };
            let taken = client.create_group_snapshot(&group, &request).await?;
            output.answer(&taken, |taken| tables::snapshots(std::slice::from_ref(taken)))
        }
        GroupCommand::SnapshotList { group } => {
            output.answer(&client.list_group_snapshots(&group).await?, |all| tables::snapshots(all))
        }
        GroupCommand::SnapshotDelete { group, name, wait } => {
            let volumes = client.show_group(&group).await?.volumes;
            let pools = freeing::pools_of(client, &wait, &volumes).await?;
            client.delete_group_snapshot(&group, &name).await?;
            freeing::wait(client, &pools, &wait).await?;
            output.done(&format!("Snapshot {name} of group {group} deleted."))
        }
        GroupCommand::Rollback { group, snapshot } => {
            let request = api::RollBackGroup { snapshot };
            output.answer(&client.roll_back_group(&group, &request).await?, tables::group)
        }
    }
}

async fn change(
    client: &Client,
    name: &api::Name,
    request: api::ChangeGroup,
    output: &mut Output,
) -> Result<(), Failure> {
    output.answer(&client.change_group(name, &request).await?, tables::group)
}
