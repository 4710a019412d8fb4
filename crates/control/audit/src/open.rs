//! The log is opened, and compared with its mark.

use std::fmt;
use std::path::{Path, PathBuf};

use quarry_api_types::{AuditEntry, Timestamp};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::chain::Place;
use crate::log::{ENTRIES, META_DROPPED, META_GONE, META_LAST, place};
use crate::mark::{Found, Mark};
use crate::{AuditError, AuditLog, NewEntry, Result, files};

const FILE_NAME: &str = "audit.redb";
pub(crate) const META_REPLACED: &str = "replaced";
/// Set where a mark was made beside the log.
const META_MARKED: &str = "marked";

/// How a log is to be opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Whether the node had a log before, as what else it keeps tells. A log that is not there then was removed.
    pub had_one: bool,
    /// Where the log's file was moved by who found it damaged.
    pub moved: Option<PathBuf>,
}

/// What was opened.
pub struct Opened {
    /// The log.
    pub log: AuditLog,
    /// What is missing of the log from before, when that was found just now.
    pub replaced: Option<Replaced>,
}

/// A log took the place of another one, of which entries are missing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replaced {
    /// The number of the last entry that was written before; 0 when it is not known.
    pub last: u64,
    /// When the new one was begun.
    pub time: Timestamp,
    /// The name of the file to which what there was of the old one was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
}

impl Replaced {
    pub(crate) fn parse(text: &str) -> Self {
        let unreadable = || Self { last: 0, time: Timestamp::from_unix_ms(0), aside: None };
        serde_json::from_str(text).unwrap_or_else(|_| unreadable())
    }
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            0 => write!(f, "all entries from before {} are missing, nobody knows how many: ", self.time)?,
            last => write!(f, "entries up to {last} are missing: ")?,
        }
        write!(f, "the log was replaced at {}; ", self.time)?;
        match &self.aside {
            Some(aside) => write!(f, "what was there is in {aside}"),
            None => f.write_str("nothing was there"),
        }
    }
}

/// Moves the log's file in `directory` aside, for somebody who has found it damaged without opening it here.
pub fn set_aside(directory: &Path) -> Result<PathBuf> {
    let path = directory.join(FILE_NAME);
    files::move_aside(&path).map_err(|source| AuditError::Io { path, source })
}

impl AuditLog {
    /// Opens the log in `directory`, which exists; makes it when there is none. A file that is no database any more, or that does not
    /// have the entry which the mark names, is moved to `audit.redb.damaged`, and a log takes its place that goes on behind the mark and
    /// whose first entry says so; entries that were changed are for [`Self::verify`] to find.
    ///
    /// # Errors
    /// [`AuditError::InUse`], [`AuditError::Newer`], [`AuditError::Io`], [`AuditError::Storage`].
    pub fn open(directory: &Path, opening: Opening, now: Timestamp) -> Result<Opened> {
        let path = directory.join(FILE_NAME);
        let mark = Mark::beside(directory);
        let found = mark.read()?;
        let named = match &found {
            Found::Place(place) if place.number > 0 => Some(place.clone()),
            _ => None,
        };
        let mut aside = opening.moved;
        let (mut log, mut is_new) = match Self::open_file(&path) {
            Ok(opened) => opened,
            Err(error @ (AuditError::InUse { .. } | AuditError::Newer { .. } | AuditError::Io { .. })) => {
                return Err(error);
            }
            Err(error) => {
                aside = Some(files::move_aside(&path).map_err(|_| error)?);
                Self::open_file(&path)?
            }
        };
        if !is_new
            && let Some(named) = &named
            && !log.has(named)?
        {
            drop(log);
            let moved =
                files::move_aside(&path).map_err(|source| AuditError::Io { path: path.clone(), source })?;
            aside = Some(moved);
            (log, is_new) = Self::open_file(&path)?;
        }
        log.kept = Some((directory.to_owned(), mark));
        let was_there = named.is_some() || aside.is_some() || opening.had_one || found == Found::Unreadable;
        let replaced = (is_new && was_there).then(|| Replaced {
            last: named.as_ref().map_or(0, |named| named.number),
            time: now,
            aside: aside.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()),
        });
        log.begin(replaced.as_ref(), named, &found, now)?;
        Ok(Opened { log, replaced })
    }

    /// Writes what there is to say of the log itself, and the mark.
    fn begin(
        &self,
        replaced: Option<&Replaced>,
        named: Option<Place>,
        found: &Found,
        now: Timestamp,
    ) -> Result<()> {
        let (was_marked, last) = self.write(|transaction| {
            let marked = transaction.open_table(crate::log::META)?.insert(META_MARKED, "")?.is_some();
            if let Some(replaced) = replaced {
                let text = serde_json::to_string(replaced).expect("it holds texts and numbers only");
                Self::set_meta(transaction, META_REPLACED, &text)?;
                let begins_at = named.unwrap_or_else(Place::beginning).text();
                for key in [META_GONE, META_DROPPED, META_LAST] {
                    Self::set_meta(transaction, key, &begins_at)?;
                }
            }
            let last =
                transaction.open_table(crate::log::META)?.get(META_LAST)?.map(|text| text.value().to_owned());
            Ok((marked, place(last)))
        })?;
        if let Some(replaced) = replaced {
            self.append(now, NewEntry::of_node("audit_replaced", replaced.to_string()))?;
            return Ok(());
        }
        if let Some((_, mark)) = &self.kept {
            mark.write(&last, now)?;
        }
        let is_lost = match found {
            Found::Nothing => was_marked,
            Found::Unreadable => true,
            Found::Place(_) => false,
        };
        if is_lost {
            let reason = "the mark beside the log was missing or cannot be read: whether entries are missing behind \
                          the one before this is not known";
            self.append(now, NewEntry::of_node("audit_mark_lost", reason))?;
        }
        Ok(())
    }

    /// Whether the log has the entry which a mark names, as far as it still has entries so old.
    fn has(&self, named: &Place) -> Result<bool> {
        self.read(|transaction| {
            let [last, dropped] =
                [Self::meta(transaction, META_LAST)?, Self::meta(transaction, META_DROPPED)?];
            let (last, dropped) = (place(last), place(dropped));
            if named.number >= last.number {
                return Ok(*named == last);
            }
            if named.number <= dropped.number {
                return Ok(named.number < dropped.number || *named == dropped);
            }
            let found = transaction.open_table(ENTRIES)?.get(named.number)?;
            let entry = found.and_then(|json| serde_json::from_slice::<AuditEntry>(json.value()).ok());
            Ok(entry.is_some_and(|entry| entry.hash == named.hash))
        })
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "they damage real files")]
mod tests;
