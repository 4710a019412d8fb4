//! `/v1/volumes/{name}/changes`.

use axum::Json;
use axum::extract::State;
use quarry_api_types::{Changes, ChangesQuery, Name};

use crate::call::{NodeState, complete};
use crate::extract::{Query, Segment};
use crate::problem::{ApiError, Problems};

/// List which bytes differ between two snapshots of a volume, or between a snapshot and the volume as it is now. The
/// answer is a part; ask again with `start` = `next` until there is no `next`.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}/changes",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume."), ChangesQuery),
    responses((status = 200, description = "A part of what differs.", body = Changes), Problems)
)]
pub(crate) async fn list_changes(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Query(query): Query<ChangesQuery>,
) -> Result<Json<Changes>, ApiError> {
    complete(async move { node.list_changes(&name, query).await }).await.map(Json)
}
