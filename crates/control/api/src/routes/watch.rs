//! `/v1/watch`.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use quarry_api_types::{WatchEvent, WatchQuery};

use crate::access::Asker;
use crate::extract::Query;
use crate::guard::{Asked, Gate};
use crate::problem::{ApiError, Problems};
use crate::server::Stopping;
use crate::watch::Watch;

/// How often a client hears something when nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Watch objects, jobs and events: server-sent events, each with a `Watched` as its data. At first everything that is there is told,
/// then `synced`, then each change within a second or two. What may not be listed may not be watched.
#[utoipa::path(
    get,
    path = "/v1/watch",
    tag = "node",
    params(WatchQuery),
    responses(
        (status = 200, description = "Events without end; comments between them say that the node is there. The schema is that of one event, by its fields.", body = WatchEvent, content_type = "text/event-stream"),
        Problems,
    )
)]
pub(crate) async fn watch(
    Extension(gate): Extension<Gate>,
    Extension(asked): Extension<Asked>,
    Extension(asker): Asker,
    stopping: Option<Extension<Stopping>>,
    headers: HeaderMap,
    Query(query): Query<WatchQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let stopping = stopping.map(|Extension(stopping)| stopping);
    let watch = Watch::begin(gate, (asked, asker), headers, stopping, query).await?;
    Ok(Sse::new(watch.messages()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
