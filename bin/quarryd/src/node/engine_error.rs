//! What an error of an engine means to the person who asked.

use quarry_api_types::Timestamp;
use quarry_engine::EngineError;
use quarry_node_api::{ErrorKind, NodeError};

/// `message` says what was not done, naming the thing.
pub(super) fn engine_error(message: String, error: &EngineError) -> NodeError {
    let (kind, next_step) = match error {
        EngineError::Shrink { .. } => {
            (ErrorKind::Unsupported, "Create a smaller volume and copy what you need.")
        }
        EngineError::Size { .. } => (ErrorKind::Contradictory, "Choose another size."),
        EngineError::NoVolume { .. } => (ErrorKind::NotFound, "`quarry volume list` shows what exists."),
        EngineError::NoSnapshot { .. } => (ErrorKind::NotFound, "`quarry snapshot list` shows what exists."),
        EngineError::SnapshotExists { .. } => {
            (ErrorKind::Conflict, "Choose another name, or rename or delete the snapshot that has it.")
        }
        EngineError::Locked { .. } => {
            (ErrorKind::Conflict, "Wait until then: a lock can be prolonged, but not shortened.")
        }
        EngineError::HasSnapshots { .. } => {
            (ErrorKind::InUse, "Add --with-snapshots to delete them too, or delete them first.")
        }
        EngineError::NoClone { .. } => (
            ErrorKind::Conflict,
            "Only a clone can be promoted: `quarry volume list` shows what stands on what.",
        ),
        EngineError::Missed { .. } => (
            ErrorKind::NotFound,
            "Choose a second before or after; `quarry volume show` has the last that were missed.",
        ),
        EngineError::NoSpace => (ErrorKind::NoSpace, "Delete what is no longer needed."),
        EngineError::Log(_) => {
            (ErrorKind::Unavailable, "`quarry pool show` says what is wrong with the pool.")
        }
        _ => (ErrorKind::Internal, "See the log of quarryd."),
    };
    let shown = NodeError::new(kind, message).with_next_step(next_step);
    match error {
        EngineError::Locked { name, until_s } => {
            let end = Timestamp::from_unix_ms(until_s.saturating_mul(1000));
            shown.with_cause(format!("snapshot '{name}' is locked until {end}"))
        }
        EngineError::Missed { from_s, until_s } => shown.with_cause(missed(*from_s, *until_s)),
        error => shown.caused_by(error),
    }
}

fn missed(from_s: u64, until_s: Option<u64>) -> String {
    let date = |s: u64| Timestamp::from_unix_ms(s.saturating_mul(1000));
    let end = until_s.map_or_else(
        || "no later second yet".to_owned(),
        |until_s| format!("no second before {}", date(until_s)),
    );
    format!(
        "it had changed, and what it held was not kept from {} on, and at {end}: the pool was full, or the node late or stopped",
        date(from_s)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_lock_is_a_date() {
        let locked = EngineError::Locked { name: "monday".to_owned(), until_s: 1_795_167_000 };
        let error = engine_error("snapshot 'vm@monday' was not deleted".to_owned(), &locked);
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert_eq!(
            error.to_string(),
            "snapshot 'vm@monday' was not deleted: snapshot 'monday' is locked until 2026-11-20T09:30:00Z"
        );
    }

    #[test]
    fn seconds_that_were_missed_are_dates_too() {
        let message = "volume 'vm' was not looked up".to_owned();
        let missed = EngineError::Missed { from_s: 1_795_167_000, until_s: Some(1_795_167_060) };
        let error = engine_error(message.clone(), &missed);
        assert_eq!(error.kind, ErrorKind::NotFound);
        let (from, until) = ("from 2026-11-20T09:30:00Z on", "no second before 2026-11-20T09:31:00Z");
        assert!(error.to_string().contains(from) && error.to_string().contains(until), "{error}");
        let error = engine_error(message, &EngineError::Missed { from_s: 1_795_167_000, until_s: None });
        assert!(error.to_string().contains("no later second yet"), "{error}");
    }

    #[test]
    fn a_volume_with_snapshots_tells_the_option() {
        let error = EngineError::HasSnapshots { volume: "vm".to_owned(), snapshots: 3 };
        let error = engine_error("volume 'vm' was not deleted".to_owned(), &error);
        assert_eq!(error.kind, ErrorKind::InUse);
        assert!(error.next_step.contains("--with-snapshots"), "{}", error.next_step);
        assert!(error.to_string().ends_with("volume vm has 3 snapshots"), "{error}");
    }
}
