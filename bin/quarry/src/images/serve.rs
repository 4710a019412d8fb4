//! The export through which an image travels: made for it, or one that was there before.

use std::time::Duration;

use quarry_api_types::{
    CreateExport, DeleteExport, Export, ExportSelector, ProblemCode, Protocol, VolumePath,
};
use quarry_client::{Client, ClientError};

use super::reach::reach;
use crate::failure::Failure;

/// How long, and how often, to try to end an export: the node sees the end of a session a moment after us.
const END: (Duration, u32) = (Duration::from_millis(100), 100);

/// An export that this machine reaches.
pub struct Served {
    /// Where.
    pub uri: String,
    /// It is ours to end.
    made: Option<Export>,
}

impl Served {
    /// Serves `path`, or takes the export of it that exists.
    pub async fn begin(client: &Client, path: &VolumePath) -> Result<Self, Failure> {
        let request = CreateExport::new(path.clone(), Protocol::Nbd);
        let (export, made) = match client.create_export(&request).await {
            Ok(export) => (export.clone(), Some(export)),
            Err(error) => match existing(client, path, &error).await {
                Some(export) => (export, None),
                None => return Err(error.into()),
            },
        };
        match reach(client, &export).await {
            Ok(uri) => Ok(Self { uri, made }),
            Err(failure) => {
                let unreached = Self { uri: String::new(), made };
                Err(match unreached.end(client).await {
                    Ok(()) => failure,
                    Err(also) => failure.and(also),
                })
            }
        }
    }

    /// Ends the export, if this command made it.
    pub async fn end(self, client: &Client) -> Result<(), Failure> {
        let Some(export) = self.made else { return Ok(()) };
        let selector = ExportSelector::Id(export.id);
        let mut attempts = END.1;
        loop {
            attempts -= 1;
            match client.delete_export(&selector, &DeleteExport::default()).await {
                Ok(()) => return Ok(()),
                Err(error) if is(&error, ProblemCode::NotFound) => return Ok(()),
                Err(error) if is(&error, ProblemCode::InUse) && attempts > 0 => {
                    tokio::time::sleep(END.0).await;
                }
                Err(error) => {
                    return Err(Failure {
                        next_step: format!("End it by hand: `quarry export delete {}`.", export.path()),
                        message: format!("the export of '{}' could not be ended", export.path()),
                        cause: Some(error.to_string()),
                        ..Failure::from(error)
                    });
                }
            }
        }
    }
}

/// The export that is there already, when that is why none could be made.
async fn existing(client: &Client, path: &VolumePath, error: &ClientError) -> Option<Export> {
    if !is(error, ProblemCode::Conflict) {
        return None;
    }
    let is_ours = |export: &Export| export.path() == *path && export.protocol == Protocol::Nbd;
    client.list_exports().await.ok()?.into_iter().find(is_ours)
}

/// Whether the node has answered with this problem.
pub fn is(error: &ClientError, code: ProblemCode) -> bool {
    matches!(error, ClientError::Problem(problem) if problem.code == code)
}
