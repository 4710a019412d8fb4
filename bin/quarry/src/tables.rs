//! Answers of the API for people.

pub mod access;
mod devices;
mod events;
pub mod exports;
pub mod forecasts;
pub mod groups;
pub mod hosts;
pub mod jobs;
mod layout;
pub mod observe;
mod places;
pub mod policies;
mod pools;
mod status;
pub mod style;
pub mod tiers;
mod volumes;

use quarry_api_types::{Cause, Health, Keyring};

pub use devices::{devices, member};
pub use events::{EVENT_HEADING, WATCH_HEADING, event_line, events, watch_line};
pub use pools::{pool, pools};
pub use status::status;
pub use volumes::{changes, snapshot, snapshots, throttled, volume, volumes};

pub(crate) use layout::Value;
use layout::{Columns, number, optional, optional_size, properties, size, state, state_and, table, text};
use style::Bytes;

fn health(health: &Health) -> Value {
    let causes: Vec<_> = health.causes.iter().map(|cause| cause.message.as_str()).collect();
    match causes.is_empty() {
        true => state(health.level),
        false => state_and(health.level, &format!(": {}", causes.join("; "))),
    }
}

pub fn keyring(keyring: &Keyring) -> String {
    let mut rows = vec![("Keyring", state(keyring.state))];
    rows.extend(keyring.reason.as_ref().map(|reason| ("Reason", text(reason))));
    rows.push(("Locked volumes", number(keyring.locked_volumes)));
    properties(rows)
}

fn yes_or_no(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

fn in_words(cause: &Cause) -> String {
    format!("{}: {}. {}", cause.level, cause.message.trim_end_matches('.'), cause.next_step)
}
