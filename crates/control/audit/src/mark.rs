//! The mark: number and hash of the last entry, in a small file beside the log. A log that was cut at its end, replaced or removed does
//! not have the entry that the mark names.
//!
//! It is written behind each entry, in place, as one line of one length. The disk has it at an open, at a stop, and at most once a second in
//! between; so it can only be behind the log.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use quarry_api_types::Timestamp;

use crate::chain::Place;
use crate::{AuditError, Result, files};

const FILE_NAME: &str = "audit.mark";
/// How long the disk may have an older one.
const SYNC_EVERY_MS: u64 = 1000;

/// What a file of a mark holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Nothing,
    Place(Place),
    Unreadable,
}

/// The file.
pub(crate) struct Mark {
    path: PathBuf,
    /// When the disk had the newest one, and the newest one where the disk does not have it.
    state: Mutex<(Timestamp, Option<Place>)>,
}

impl Mark {
    pub(crate) fn beside(directory: &std::path::Path) -> Self {
        Self { path: directory.join(FILE_NAME), state: Mutex::new((Timestamp::from_unix_ms(0), None)) }
    }

    pub(crate) fn read(&self) -> Result<Found> {
        let Some(content) = files::content(&self.path).map_err(|error| self.failed(error))? else {
            return Ok(Found::Nothing);
        };
        Ok(parse(&content).map_or(Found::Unreadable, Found::Place))
    }

    /// Writes it; the disk has it on return when it had the one before long ago.
    pub(crate) fn write(&self, place: &Place, time: Timestamp) -> Result<()> {
        let mut state = self.state.lock().expect("nobody panics with this lock");
        // A clock that was set back must not keep it from the disk.
        let is_due = time.unix_ms().abs_diff(state.0.unix_ms()) >= SYNC_EVERY_MS;
        let written = files::write_over(&self.path, line(place).as_bytes(), is_due);
        written.map_err(|error| self.failed(error))?;
        *state = match is_due {
            true => (time, None),
            false => (state.0, Some(place.clone())),
        };
        Ok(())
    }

    fn failed(&self, source: io::Error) -> AuditError {
        AuditError::Io { path: self.path.clone(), source }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let state = self.state.get_mut().map_or(None, |state| state.1.take());
        if let Some(place) = state {
            // Nobody is left who could be told; the file has it, the disk will.
            let _ = files::write_over(&self.path, line(&place).as_bytes(), true);
        }
    }
}

fn line(place: &Place) -> String {
    format!("{:020} {:64}\n", place.number, place.hash)
}

fn parse(content: &[u8]) -> Option<Place> {
    let text = std::str::from_utf8(content).ok()?;
    let (number, hash) = text.strip_suffix('\n')?.split_once(' ')?;
    let place = Place { number: number.parse().ok()?, hash: hash.trim_end().to_owned() };
    (line(&place) == text).then_some(place)
}
