//! `quarry event`: the log of the node, once or as it grows.

use std::time::Duration;

use quarry_api_types::{Event, EventsQuery};
use quarry_client::Client;

use crate::arguments::EventCommand;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables;

/// How often a command that follows the log asks for more.
const FOLLOW_POLL: Duration = Duration::from_secs(1);

pub async fn run(client: &Client, command: EventCommand, output: &mut Output) -> Result<(), Failure> {
    let EventCommand::List { severity, object, since, follow } = command;
    let mut query = EventsQuery { since, severity, object, limit: None };
    let events = all(client, &mut query).await?;
    if !follow {
        return output.answer(&events, |events| tables::events(events));
    }
    output.heading(tables::EVENT_HEADING)?;
    let mut more = events;
    loop {
        for event in &more {
            if !output.line(event, tables::event_line)? {
                return Ok(());
            }
        }
        tokio::time::sleep(FOLLOW_POLL).await;
        more = all(client, &mut query).await?;
    }
}

/// All that there is now, part by part; the query goes on behind it.
async fn all(client: &Client, query: &mut EventsQuery) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::new();
    loop {
        let part = client.list_events(query).await?;
        events.extend(part.events);
        query.since = events.last().map_or(query.since, |event| event.id.max(query.since));
        match part.next {
            Some(next) if next >= query.since => query.since = next,
            _ => return Ok(events),
        }
    }
}
