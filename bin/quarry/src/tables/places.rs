//! Where volumes are and where they go, for people.

use quarry_api_types::{ImageState, Volume, VolumeMigration};

use super::{Bytes, Value, optional, text};

/// Its pool, or what it is instead.
pub(super) fn place(volume: &Volume) -> String {
    volume.pool.as_ref().map_or_else(|| "(image)".to_owned(), ToString::to_string)
}

/// The device of a volume in image mode.
pub(super) fn device(volume: &Volume) -> Value {
    optional(volume.image.as_ref().map(|image| {
        let read_only = if image.read_only { ", read-only" } else { "" };
        let state = match (image.state, &image.reason) {
            (ImageState::Online, None) => String::new(),
            (state, reason) => format!(" ({state}: {})", reason.as_deref().unwrap_or("unknown")),
        };
        format!("{}{read_only}{state}", image.device)
    }))
}

/// How far a volume is that moves.
pub(super) fn migration(volume: &Volume) -> Value {
    match &volume.migration {
        None => optional(None::<String>),
        Some(migration) => text(line(migration, volume.size_bytes)),
    }
}

/// How a volume is kept, and whether that is its own.
pub(super) fn kept(how: Option<impl std::fmt::Display>, is_own: bool) -> Value {
    let whose = if is_own { "its own" } else { "as the pool" };
    optional(how.map(|how| format!("{how}, {whose}")))
}

fn line(migration: &VolumeMigration, size_bytes: u64) -> String {
    let to = match (&migration.to_pool, &migration.to_device) {
        (Some(pool), _) => format!("to pool {pool}"),
        (None, Some(device)) => format!("to {device}"),
        (None, None) => "to a pool that is gone".to_owned(),
    };
    let percent = |bytes: u64| 100 * bytes / size_bytes.max(1);
    let (copied, verified) = (percent(migration.copied_bytes), percent(migration.verified_bytes));
    let rate = match migration.left_s {
        Some(left_s) => format!(", {}/s, about {left_s} s left", Bytes(migration.bytes_per_s)),
        None => String::new(),
    };
    let reason = migration.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    format!("{to}, {}{reason}; {copied} % copied, {verified} % compared{rate}", migration.state)
}

#[cfg(test)]
mod tests {
    use quarry_api_types::MigrationState;

    use super::*;

    #[test]
    fn a_migration_is_one_line() {
        let migration = VolumeMigration {
            to_pool: Some("fast".parse().unwrap()),
            to_device: None,
            state: MigrationState::Copying,
            reason: None,
            copied_bytes: 5 << 30,
            verified_bytes: 0,
            repaired_bytes: 0,
            bytes_per_s: 100 << 20,
            left_s: Some(150),
            rate_bytes_per_s: None,
        };
        assert_eq!(
            line(&migration, 10 << 30),
            "to pool fast, copying; 50 % copied, 0 % compared, 100 MiB/s, about 150 s left"
        );
        let stopped = VolumeMigration {
            state: MigrationState::Stopped,
            reason: Some("no space".to_owned()),
            left_s: None,
            ..migration
        };
        assert_eq!(line(&stopped, 10 << 30), "to pool fast, stopped: no space; 50 % copied, 0 % compared");
    }
}
