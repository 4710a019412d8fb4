//! `/v1/events`.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use quarry_api_types::{Events, EventsQuery};

use crate::call::{NodeState, complete};
use crate::conventions::{check_limit, part};
use crate::extract::Query;
use crate::problem::{ApiError, Problems};

/// List what has happened, the oldest first. The answer is a part; ask again with `since` = `next` until there is no `next`, or
/// follow the header `Link`. To follow the log, go on with the last id that was seen.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "node",
    params(EventsQuery),
    responses((status = 200, description = "A part of the events.", body = Events), Problems)
)]
pub(crate) async fn list_events(
    State(node): NodeState,
    uri: Uri,
    Query(query): Query<EventsQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit;
    check_limit(limit)?;
    let events = complete(async move { node.list_events(query).await }).await?;
    Ok(part(events, limit, &uri))
}
