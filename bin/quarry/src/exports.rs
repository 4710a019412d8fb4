//! Exports: from a command to a call.

use quarry_api_types as api;
use quarry_client::Client;

use crate::arguments::{CreateExport, ExportCommand};
use crate::failure::{Exit, Failure};
use crate::output::{self, Output};
use crate::tables::exports as tables;

pub async fn run(client: &Client, command: ExportCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        ExportCommand::Create(create) => {
            let export = client.create_export(&request(create)?).await?;
            let Some(uri) = export.uris.first() else { return Err(no_address(&export)) };
            output.answer(&export, |_| uri.clone())?;
            let is_of_fabric = matches!(export.protocol, api::Protocol::Iscsi | api::Protocol::NvmeTcp);
            if is_of_fabric && tables::is_for_anybody(&export) {
                output::note("any initiator may use it; name one by --host or --host-group");
            }
            Ok(())
        }
        ExportCommand::List => {
            output.answer(&client.list_exports().await?, |exports| tables::exports(exports))
        }
        ExportCommand::Show { selector } => {
            output.answer(&client.show_exports(&selector).await?, |exports| tables::each(exports))
        }
        ExportCommand::Delete { selector, force } => {
            client.delete_export(&selector, &api::DeleteExport { force }).await?;
            output.done(&format!("Export {selector} deleted; what it served is untouched."))
        }
    }
}

fn request(create: CreateExport) -> Result<api::CreateExport, Failure> {
    let CreateExport { volume, protocol, host, host_group, lun, nsid, read_only } = create;
    let wrong = match (protocol, lun, nsid) {
        (api::Protocol::Nbd | api::Protocol::NvmeTcp | api::Protocol::VhostUser, Some(_), _) => {
            Some(("--lun", "iscsi"))
        }
        (api::Protocol::Nbd | api::Protocol::Iscsi | api::Protocol::VhostUser, _, Some(_)) => {
            Some(("--nsid", "nvme-tcp"))
        }
        _ => None,
    };
    if let Some((option, needed)) = wrong {
        return Err(Failure {
            exit: Exit::Usage,
            message: format!("{option} is for --protocol {needed}, not for {protocol}"),
            cause: None,
            next_step: format!("Leave {option} out, or export it over {needed}."),
        });
    }
    let request = api::CreateExport::new(volume, protocol);
    Ok(api::CreateExport { host, host_group, number: lun.or(nsid), read_only, ..request })
}

/// A script that uses the URI must not go on with an empty one.
fn no_address(export: &api::Export) -> Failure {
    Failure {
        exit: Exit::Unavailable,
        message: format!("'{}' is exported, but clients cannot reach it now", export.path()),
        cause: Some(format!("the export is {}", export.state)),
        next_step: "See `quarry status`; once it serves, `quarry export list` shows the URI.".to_owned(),
    }
}
