//! The event log of the node: what is recorded, and what is listed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use quarry_api_types::{EventKind, EventSeverity, Events, EventsQuery, ObjectKind};
use quarry_events::{ConditionChange, EventLogError, NewEvent};
use quarry_node_api::{ErrorKind, NodeError, Result};

use super::{DataNode, now};

/// Events since the start, by severity.
#[derive(Default)]
pub(super) struct EventCounts([AtomicU64; EventSeverity::ALL.len()]);

impl EventCounts {
    fn count(&self, severity: EventSeverity) {
        self.0[severity as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each severity and how many events of it there were.
    pub(super) fn all(&self) -> impl Iterator<Item = (EventSeverity, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        EventSeverity::ALL.iter().copied().zip(counts)
    }
}

/// Brings what stands, by key, to what it is after `changes`.
pub(super) fn apply_changes(standing: &mut BTreeMap<String, String>, changes: &[ConditionChange]) {
    for ConditionChange { key, state } in changes {
        match state {
            Some(state) => _ = standing.insert(key.clone(), state.clone()),
            None => _ = standing.remove(key),
        }
    }
}

impl DataNode {
    /// Conditions that stood before the start, by key, of those that `is_meant` says are looked after by the one who asks.
    pub(super) fn conditions_before(&self, is_meant: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let mut standing = self.events.conditions().unwrap_or_else(|error| {
            tracing::error!(%error, "what was wrong before the start cannot be read");
            BTreeMap::new()
        });
        standing.retain(|key, _| is_meant(key));
        standing
    }

    /// Records events, in the log of the process too. What cannot be kept was said there at least.
    pub(super) async fn record(&self, events: Vec<NewEvent>, conditions: Vec<ConditionChange>) {
        events.iter().for_each(say);
        events.iter().for_each(|event| self.event_counts.count(event.severity));
        let log = self.events.clone();
        let recorded = tokio::task::spawn_blocking(move || log.record(now(), events, &conditions)).await;
        match recorded {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "events were not kept"),
            Err(error) => tracing::error!(%error, "events were not kept"),
        }
    }

    pub(super) async fn find_events(&self, query: EventsQuery) -> Result<Events> {
        let log = self.events.clone();
        let listed = tokio::task::spawn_blocking(move || log.list(&query)).await;
        let stopping = |_| NodeError::new(ErrorKind::Unavailable, "the node is stopping");
        listed.map_err(stopping)?.map_err(|error| event_log_error(&error))
    }

    /// Tells that the node serves, and whether it had ended in order before.
    pub async fn record_start(&self) {
        let is_surprising = match self.events.last() {
            Ok(last) => last.is_some_and(|last| last.kind != EventKind::NodeStopped),
            Err(error) => {
                tracing::error!(%error, "the event log cannot be read");
                false
            }
        };
        let (severity, cause) = match is_surprising {
            true => {
                (EventSeverity::Warning, Some("before, it had ended without being told to stop".to_owned()))
            }
            false => (EventSeverity::Info, None),
        };
        let message = format!("quarryd {} serves on node {}", env!("CARGO_PKG_VERSION"), self.id);
        self.record(vec![self.of_node(severity, EventKind::NodeStarted, message, cause)], Vec::new()).await;
    }

    /// Tells what the node does not know any more, because a file of its own was damaged or removed.
    pub async fn record_losses(&self, losses: Vec<String>) {
        let next_step = "Look for a fault of the data directory's disk, and keep what was moved aside until nobody needs it.";
        let told = losses.into_iter().map(|message| NewEvent {
            next_step: Some(next_step.to_owned()),
            ..self.of_node(EventSeverity::Critical, EventKind::NodeRecordsLost, message, None)
        });
        self.record(told.collect(), Vec::new()).await;
    }

    /// Tells that the node has stopped in order.
    pub async fn record_stop(&self) {
        let message = format!("quarryd stopped on node {}", self.id);
        let event = self.of_node(EventSeverity::Info, EventKind::NodeStopped, message, None);
        self.record(vec![event], Vec::new()).await;
    }

    fn of_node(
        &self,
        severity: EventSeverity,
        kind: EventKind,
        message: String,
        cause: Option<String>,
    ) -> NewEvent {
        let object = self.id.to_string();
        NewEvent { severity, kind, object_kind: ObjectKind::Node, object, message, cause, next_step: None }
    }
}

fn event_log_error(error: &EventLogError) -> NodeError {
    NodeError::new(ErrorKind::Internal, "the event log cannot be read").caused_by(error)
}

fn say(event: &NewEvent) {
    let NewEvent { severity, kind, object, message, cause, next_step, .. } = event;
    let (cause, next) = (cause.as_deref().unwrap_or("-"), next_step.as_deref().unwrap_or("-"));
    match severity {
        EventSeverity::Info => tracing::info!(event = %kind, %object, cause, next, "{message}"),
        EventSeverity::Warning => tracing::warn!(event = %kind, %object, cause, next, "{message}"),
        EventSeverity::Critical => tracing::error!(event = %kind, %object, cause, next, "{message}"),
    }
}
