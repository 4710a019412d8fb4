//! The audit log: from a command to calls.

use quarry_api_types::{AuditEntry, AuditQuery, VerifyAudit};
use quarry_client::Client;

use crate::arguments::{AuditCommand, AuditSelection};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::tables::access as tables;

pub async fn run(client: &Client, command: AuditCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        AuditCommand::List(selection) => {
            let entries = all(client, selection).await?;
            output.answer(&entries, |entries| tables::audit(entries))
        }
        AuditCommand::Export(selection) => {
            for entry in all(client, selection).await? {
                let json = serde_json::to_string(&entry);
                let json = json.map_err(|error| Failure::local("cannot print the entry as JSON", &error))?;
                if !output.line(&entry, |_| json)? {
                    break;
                }
            }
            Ok(())
        }
        AuditCommand::Verify { number, hash } => {
            let found = client.verify_audit(&VerifyAudit { number, hash }).await?;
            output.answer(&found, tables::verification)?;
            match found.problem {
                None => Ok(()),
                Some(problem) => Err(Failure {
                    exit: Exit::Failure,
                    message: "the audit log is not what was written".to_owned(),
                    cause: Some(problem),
                    next_step:
                        "Keep the file audit.redb and find out who could write to the node's data directory."
                            .to_owned(),
                }),
            }
        }
    }
}

/// All that is selected, part by part.
async fn all(client: &Client, selection: AuditSelection) -> Result<Vec<AuditEntry>, Failure> {
    let AuditSelection { since, user, kind } = selection;
    let mut query = AuditQuery { since, user, kind, limit: None };
    let mut entries = Vec::new();
    loop {
        let part = client.list_audit(&query).await?;
        entries.extend(part.entries);
        match part.next {
            Some(next) if next > query.since => query.since = next,
            _ => return Ok(entries),
        }
    }
}
