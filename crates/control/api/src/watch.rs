//! What changes, told as it happens.
//!
//! A watch asks the handlers that list objects again and again, as its client could, and tells what differs. So it can tell nothing
//! that its client may not see, and a token that ends, ends it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use futures::{Stream, stream};
use quarry_api_types::{Events, ProblemCode, WatchQuery, WatchSort, Watched, WatchedKind};
use quarry_auth::Principal;
use serde_json::Value;
use tokio::time::Instant;

use crate::conventions::key_of;
use crate::guard::{Asked, Gate, Operation, operation};
use crate::problem::ApiError;
use crate::server::Stopping;
use crate::watches::Place;

/// How long after a look the next one comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look that takes long is followed by a pause that is so many times as long.
const PAUSE_PER_LOOK: u32 = 4;

/// What one client is told.
pub(crate) struct Watch {
    gate: Gate,
    asker: Principal,
    headers: HeaderMap,
    stopping: Option<Stopping>,
    objects: Vec<Objects>,
    /// The last event that was told, or was there before; `None` when none are wanted.
    since: Option<u64>,
    is_synced: bool,
    is_over: bool,
    messages: VecDeque<Watched>,
    next_look: Instant,
    _place: Place,
}

/// The objects of a sort, as they were told.
struct Objects {
    sort: WatchSort,
    operation: &'static Operation,
    told: BTreeMap<String, blake3::Hash>,
    is_troubled: bool,
}

impl Watch {
    /// Begins for somebody who may list all that the query names.
    pub(crate) async fn begin(
        gate: Gate,
        (asked, asker): (Asked, Principal),
        headers: HeaderMap,
        stopping: Option<Stopping>,
        query: WatchQuery,
    ) -> Result<Self, ApiError> {
        let place = gate.watches.begin(&asker)?;
        let sorts = sorts(&query.sorts)?;
        let mut watch = Self {
            gate,
            asker,
            headers,
            stopping,
            objects: Vec::new(),
            since: None,
            is_synced: false,
            is_over: false,
            messages: VecDeque::new(),
            next_look: Instant::now(),
            _place: place,
        };
        for sort in sorts {
            let operation = operation(listing(sort)).expect("every sort has a list");
            let gate = &watch.gate;
            let allowed = gate.guard.allow(&gate.node, &watch.asker, operation, &Vec::new(), None).await;
            if let Err(error) = allowed {
                return gate.refuse(&asked, error).await;
            }
            match sort {
                WatchSort::Events => watch.since = Some(watch.first_event(query.since).await?),
                _ => {
                    watch.objects.push(Objects { sort, operation, told: BTreeMap::new(), is_troubled: false })
                }
            }
        }
        Ok(watch)
    }

    /// The event behind which to begin.
    async fn first_event(&self, since: Option<u64>) -> Result<u64, ApiError> {
        let last_seen = self.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
        if let Some(since) = last_seen.or(since) {
            return Ok(since);
        }
        let mut last = 0;
        loop {
            let Events { events, next } = self.events(last).await?;
            last = events.last().map_or(last, |event| event.id);
            if next.is_none() {
                return Ok(last);
            }
        }
    }

    async fn events(&self, since: u64) -> Result<Events, ApiError> {
        let query = quarry_api_types::EventsQuery { since, ..Default::default() };
        Ok(self.gate.node.list_events(query).await?)
    }

    /// The messages, until the token or the node ends.
    pub(crate) fn messages(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut watch| async move {
            loop {
                if let Some(message) = watch.messages.pop_front() {
                    return Some((Ok(event(&message)), watch));
                }
                if watch.is_over {
                    return None;
                }
                watch.look().await;
            }
        })
    }

    /// Waits until it is time, and looks at everything once.
    async fn look(&mut self) {
        let stopped = async {
            match &mut self.stopping {
                Some(stopping) => stopping.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(self.next_look) => {}
            () = stopped => return self.end("the node stops"),
        }
        match self.gate.guard.knows(&self.headers) {
            Some(asker) if asker == self.asker => {}
            _ => return self.end("the token has ended, or may do something else now"),
        }
        let began = Instant::now();
        for at in 0..self.objects.len() {
            self.look_at(at).await;
        }
        self.look_at_events().await;
        if !std::mem::replace(&mut self.is_synced, true) {
            self.tell(WatchedKind::Synced, None, None, None);
        }
        self.next_look = Instant::now() + LOOK_EVERY.max(began.elapsed() * PAUSE_PER_LOOK);
    }

    async fn look_at(&mut self, at: usize) {
        let Objects { sort, operation, .. } = self.objects[at];
        let listed = self.list(operation).await;
        let items = match listed {
            Ok(items) => items,
            Err(error) => {
                if !std::mem::replace(&mut self.objects[at].is_troubled, true) {
                    let why = Value::String(error.detail().to_owned());
                    self.tell(WatchedKind::Trouble, Some(sort), None, Some(why));
                }
                return;
            }
        };
        self.objects[at].is_troubled = false;
        let mut told = std::mem::take(&mut self.objects[at].told);
        let mut there = BTreeMap::new();
        for item in items {
            let (key, hash) = (key_of(&item), blake3::hash(item.to_string().as_bytes()));
            if told.remove(&key) != Some(hash) {
                self.tell(WatchedKind::Put, Some(sort), Some(key.clone()), Some(item));
            }
            there.insert(key, hash);
        }
        for key in told.into_keys().collect::<BTreeSet<_>>() {
            self.tell(WatchedKind::Deleted, Some(sort), Some(key), None);
        }
        self.objects[at].told = there;
    }

    async fn list(&self, operation: &Operation) -> Result<Vec<Value>, ApiError> {
        let response = self.gate.look(operation, &self.asker, operation.path).await?;
        let status = response.status();
        let bytes = crate::guard::whole(response.into_body()).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Array(items)) if status == StatusCode::OK => Ok(items),
            Ok(problem) => Err(ApiError::new(
                ProblemCode::Unavailable,
                StatusCode::SERVICE_UNAVAILABLE,
                problem["detail"].as_str().unwrap_or("the list cannot be had").to_owned(),
                "Wait.",
            )),
            Err(error) => Err(crate::guard::broken(&error)),
        }
    }

    async fn look_at_events(&mut self) {
        let Some(since) = self.since else { return };
        // What does not fit into one part is told at the next look.
        let Ok(Events { events, .. }) = self.events(since).await else { return };
        for event in events {
            self.since = Some(event.id);
            let (id, event) = (event.id.to_string(), serde_json::to_value(event).unwrap_or_default());
            self.tell(WatchedKind::Happened, Some(WatchSort::Events), Some(id), Some(event));
        }
    }

    fn tell(
        &mut self,
        kind: WatchedKind,
        sort: Option<WatchSort>,
        key: Option<String>,
        object: Option<Value>,
    ) {
        self.messages.push_back(Watched { kind, sort, key, object });
    }

    fn end(&mut self, why: &str) {
        self.is_over = true;
        self.tell(WatchedKind::Ended, None, None, Some(Value::String(why.to_owned())));
    }
}

/// A message as it is sent. That of an event has its id, with which a client that lost the connection goes on.
fn event(message: &Watched) -> Event {
    let data = serde_json::to_string(message).unwrap_or_default();
    let event = Event::default().event(message.kind.as_str()).data(data);
    match (message.kind, &message.key) {
        (WatchedKind::Happened, Some(id)) => event.id(id),
        _ => event,
    }
}

fn sorts(text: &str) -> Result<BTreeSet<WatchSort>, ApiError> {
    let parsed: Result<BTreeSet<WatchSort>, _> = text.split(',').map(str::parse).collect();
    parsed.map_err(|error| {
        let next_step = "Name sorts of objects, separated by commas: `?sorts=volumes,jobs`.";
        ApiError::new(ProblemCode::Invalid, StatusCode::BAD_REQUEST, error.to_string(), next_step)
    })
}

/// The operation that lists the objects of a sort.
fn listing(sort: WatchSort) -> &'static str {
    match sort {
        WatchSort::Devices => "list_devices",
        WatchSort::Pools => "list_pools",
        WatchSort::Volumes => "list_volumes",
        WatchSort::Snapshots => "list_all_snapshots",
        WatchSort::Groups => "list_groups",
        WatchSort::Policies => "list_policies",
        WatchSort::Exports => "list_exports",
        WatchSort::Hosts => "list_hosts",
        WatchSort::HostGroups => "list_host_groups",
        WatchSort::Tenants => "list_tenants",
        WatchSort::Users => "list_users",
        WatchSort::Jobs => "list_jobs",
        WatchSort::Events => "list_events",
    }
}
