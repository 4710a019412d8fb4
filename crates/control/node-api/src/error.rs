//! Why a node did not do what it was asked for.

use std::error::Error;
use std::fmt;

/// The answer of a node.
pub type Result<T> = std::result::Result<T, NodeError>;

/// What an error tells the caller to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ErrorKind {
    /// Change the request: it can never succeed as it is.
    Invalid,
    /// The same, where each part of it is right by itself and they contradict each other.
    Contradictory,
    /// Name something that exists.
    NotFound,
    /// Look at what exists: a name is taken, a device belongs to someone, a precondition does not hold.
    Conflict,
    /// End the use first: the pool has volumes, the volume has exports, the export has clients.
    InUse,
    /// Make space first.
    NoSpace,
    /// Try again later: a pool is offline, the node starts or stops.
    Unavailable,
    /// Do not try again: this node never does that.
    Unsupported,
    /// Look into the node's log: a defect, or a failing device underneath.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables and tests that must be complete.
    pub const ALL: &'static [Self] = &[
        Self::Invalid,
        Self::Contradictory,
        Self::NotFound,
        Self::Conflict,
        Self::InUse,
        Self::NoSpace,
        Self::Unavailable,
        Self::Unsupported,
        Self::Internal,
    ];

    /// What to do when the place of the error knows nothing better.
    fn default_next_step(self) -> &'static str {
        match self {
            Self::Invalid | Self::Contradictory => "Correct the request.",
            Self::NotFound => "List what exists and check the name.",
            Self::Conflict => "List what exists, then choose another name or target.",
            Self::InUse => "End its use first.",
            Self::NoSpace => "Delete what is no longer needed, or use a pool with more space.",
            Self::Unavailable => "Try again; `quarry status` shows what is wrong.",
            Self::Unsupported => "Use another way; this node cannot do it.",
            Self::Internal => "See the log of quarryd.",
        }
    }
}

/// An error of a node, complete enough to be shown to the person who asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeError {
    /// What the caller should do, for programs.
    pub kind: ErrorKind,
    /// What did not work, naming the thing.
    pub message: String,
    /// Why, where more is known.
    pub cause: Option<String>,
    /// What to do next, for people.
    pub next_step: String,
}

impl NodeError {
    /// An error of `kind`; `message` names the thing. The next step is the kind's own until
    /// [`Self::with_next_step`] gives a better one.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None, next_step: kind.default_next_step().to_owned() }
    }

    /// `sort` (`pool`, `volume`, `snapshot`, `export`) `name` does not exist.
    pub fn not_found(sort: &str, name: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("{sort} '{name}' does not exist"))
            .with_next_step(format!("`quarry {sort} list` shows what exists."))
    }

    /// The name of a new `sort` (`pool`, `volume`, `snapshot`) is taken.
    pub fn name_taken(sort: &str, name: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Conflict, format!("{sort} '{name}' exists already"))
            .with_next_step("Choose another name.")
    }

    /// Says why, in words.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Says why, from an error and all of its sources.
    #[must_use]
    pub fn caused_by(self, error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let part = error.to_string();
            // Some errors repeat their source in their own text.
            if !text.ends_with(&part) {
                text = format!("{text}: {part}");
            }
            source = error.source();
        }
        self.with_cause(text)
    }

    /// Says what to do.
    #[must_use]
    pub fn with_next_step(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = next_step.into();
        self
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl Error for NodeError {}

impl From<quarry_api_types::InvalidRequest> for NodeError {
    fn from(invalid: quarry_api_types::InvalidRequest) -> Self {
        let kind = if invalid.is_contradiction { ErrorKind::Contradictory } else { ErrorKind::Invalid };
        Self::new(kind, invalid.to_string()).with_next_step("Correct the request.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_thing_the_cause_and_the_next_step() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open /dev/sdb")]
        struct Outer(#[source] std::io::Error);

        let outer = Outer(std::io::Error::other("Permission denied"));
        let error = NodeError::new(ErrorKind::Internal, "pool 'p' cannot be made").caused_by(&outer);
        assert_eq!(error.to_string(), "pool 'p' cannot be made: cannot open /dev/sdb: Permission denied");
        assert_eq!(error.next_step, "See the log of quarryd.");

        let error = NodeError::not_found("volume", "v");
        assert_eq!(error.to_string(), "volume 'v' does not exist");
        assert_eq!(error.next_step, "`quarry volume list` shows what exists.");
    }

    #[test]
    fn every_kind_says_what_to_do() {
        for &kind in ErrorKind::ALL {
            assert!(!NodeError::new(kind, "x").next_step.is_empty());
        }
    }
}
