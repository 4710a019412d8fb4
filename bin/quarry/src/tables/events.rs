//! Events, and what a watch tells.

use quarry_api_types::{Event, WatchSort, Watched};

use super::{number, state, style, table, text};
use crate::output::printable;

/// The headings of [`event_line`].
pub const EVENT_HEADING: &str =
    "ID      TIME                      SEVERITY  KIND                 OBJECT            MESSAGE";

pub fn events(events: &[Event]) -> String {
    let row = |event: &Event| {
        vec![
            number(event.id),
            text(event.time),
            state(event.severity),
            text(event.kind),
            text(&event.object),
            text(sentence(event)),
        ]
    };
    table(&[">ID", "TIME", "SEVERITY", "KIND", "OBJECT", "MESSAGE"], events.iter().map(row))
}

/// One event of those that come in one by one: the columns are as wide as most need.
pub fn event_line(event: &Event) -> String {
    let Event { id, time, severity, kind, object, .. } = event;
    let (time, object, sentence) = (time.to_string(), printable(object), printable(&sentence(event)));
    let blanks = " ".repeat(8_usize.saturating_sub(severity.as_str().len()));
    let severity = painted(severity.as_str());
    format!("{id:<6}  {time:<24}  {severity}{blanks}  {kind:<19}  {object:<16}  {sentence}")
}

/// A word that says how well something is, in its colour where there are colours.
fn painted(word: &str) -> String {
    match style::Grade::of(word) {
        Some(grade) if style::style().is_coloured => grade.paint(word),
        _ => word.to_owned(),
    }
}

/// What happened, why, and what to do.
fn sentence(event: &Event) -> String {
    let cause = event.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
    let next = event.next_step.as_ref().map_or_else(String::new, |next| format!(". {next}"));
    format!("{}{cause}{next}", event.message)
}

/// The headings of [`watch_line`].
pub const WATCH_HEADING: &str = "KIND      SORT         KEY               OBJECT";

/// One message of a watch. Objects are long, so of them as JSON as much as is said in one line.
pub fn watch_line(message: &Watched) -> String {
    let Watched { kind, sort, key, object } = message;
    let sort = sort.map_or("-", WatchSort::as_str);
    let key = printable(key.as_deref().unwrap_or("-"));
    let object = match object {
        Some(serde_json::Value::String(text)) => printable(text),
        Some(object) => printable(&object.to_string()),
        None => String::new(),
    };
    format!("{kind:<8}  {sort:<11}  {key:<16}  {object}").trim_end().to_owned()
}
