//! `VOLUME@SNAPSHOT`: how people name a snapshot, and `VOLUME[@SNAPSHOT]` where a volume will do as well.

use std::fmt;
use std::str::FromStr;

use quarry_types::limits::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

use crate::{InvalidName, Name};

/// One snapshot of one volume: `VOLUME@SNAPSHOT`. No name has an `@`, so the text means one thing only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotPath {
    /// The volume.
    pub volume: Name,
    /// The snapshot's name in it.
    pub snapshot: Name,
}

/// A volume as it is now, or one of its snapshots: `VOLUME` or `VOLUME@SNAPSHOT`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumePath {
    /// The volume.
    pub volume: Name,
    /// The snapshot's name in it; `None` for the volume itself.
    pub snapshot: Option<Name>,
}

/// Why a text names neither a volume nor a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidPath {
    /// There is nothing behind the `@`, or no `@` where a snapshot must be named.
    #[error("'{text}' names no snapshot: write VOLUME@SNAPSHOT, for example vm-17@monday")]
    NoSnapshot {
        /// What was given, cut to a printable length.
        text: String,
    },
    /// There is nothing before the `@`.
    #[error("'{text}' names no volume: write VOLUME@SNAPSHOT, for example vm-17@monday")]
    NoVolume {
        /// What was given, cut to a printable length.
        text: String,
    },
    /// One of the two is not a name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

impl FromStr for VolumePath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('@') {
            None => Ok(Self { volume: text.parse()?, snapshot: None }),
            Some(("", _)) => Err(InvalidPath::NoVolume { text: printable(text) }),
            Some((_, "")) => Err(InvalidPath::NoSnapshot { text: printable(text) }),
            Some((volume, snapshot)) => {
                Ok(Self { volume: volume.parse()?, snapshot: Some(snapshot.parse()?) })
            }
        }
    }
}

impl FromStr for SnapshotPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let VolumePath { volume, snapshot } = text.parse()?;
        match snapshot {
            Some(snapshot) => Ok(Self { volume, snapshot }),
            None => Err(InvalidPath::NoSnapshot { text: printable(text) }),
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().take(4 * NAME_BYTES_MAX).flat_map(char::escape_default).collect()
}

impl From<SnapshotPath> for VolumePath {
    fn from(path: SnapshotPath) -> Self {
        Self { volume: path.volume, snapshot: Some(path.snapshot) }
    }
}

impl TryFrom<String> for VolumePath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for SnapshotPath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<VolumePath> for String {
    fn from(path: VolumePath) -> Self {
        path.to_string()
    }
}

impl From<SnapshotPath> for String {
    fn from(path: SnapshotPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for VolumePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.snapshot {
            Some(snapshot) => write!(f, "{}@{snapshot}", self.volume),
            None => self.volume.fmt(f),
        }
    }
}

impl fmt::Display for SnapshotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.volume, self.snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_it_was_read() {
        let snapshot: SnapshotPath = "vm-17@monday".parse().unwrap();
        assert_eq!((snapshot.volume.as_str(), snapshot.snapshot.as_str()), ("vm-17", "monday"));
        assert_eq!(snapshot.to_string(), "vm-17@monday");
        for text in ["vm-17", "vm-17@monday"] {
            let path: VolumePath = text.parse().unwrap();
            assert_eq!(path.snapshot.is_some(), text.contains('@'));
            assert_eq!(serde_json::to_value(&path).unwrap(), text);
        }
        assert_eq!(VolumePath::from(snapshot).to_string(), "vm-17@monday");
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, part) in [
            ("vm-17", "'vm-17' names no snapshot: write VOLUME@SNAPSHOT"),
            ("vm-17@", "'vm-17@' names no snapshot"),
            ("@monday", "'@monday' names no volume"),
            ("", "'' is not a valid name"),
            ("a b@c", "'a b' is not a valid name"),
            ("a@b@c", "'b@c' is not a valid name"),
            ("a@9f0c6d3e-3a5b-4c7d-8e9f-001122334455", "has the form of an id"),
        ] {
            let error = text.parse::<SnapshotPath>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
