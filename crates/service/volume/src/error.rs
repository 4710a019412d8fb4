//! Errors that tell the caller what to do.

use std::error::Error;
use std::fmt;

/// What a caller can do about an error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ErrorKind {
    /// The request itself is wrong: outside the volume, not aligned, too long. Do not repeat it.
    Invalid,
    /// The volume refuses writes.
    ReadOnly,
    /// The pool is full. Free something, then repeat.
    NoSpace,
    /// What is stored there is damaged on every copy. Other blocks are not concerned.
    Corrupt,
    /// The volume or its pool cannot serve now: too few devices, shutting down. Repeat later.
    Unavailable,
    /// Another owner has taken over. Never repeat here.
    Fenced,
    /// This volume cannot do that.
    Unsupported,
    /// A fault of ours or an unclassified one below.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables that map all of them.
    pub const ALL: [ErrorKind; 8] = [
        ErrorKind::Invalid,
        ErrorKind::ReadOnly,
        ErrorKind::NoSpace,
        ErrorKind::Corrupt,
        ErrorKind::Unavailable,
        ErrorKind::Fenced,
        ErrorKind::Unsupported,
        ErrorKind::Internal,
    ];
}

/// An error of a volume: its kind, the operation, the circumstances and the cause.
#[derive(Debug)]
pub struct VolumeError {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// The verb that failed, for example `read`.
    pub operation: &'static str,
    /// Which bytes, which volume: what a person needs to find the place.
    pub context: String,
    /// The error below, where there is one.
    pub source: Option<Box<dyn Error + 'static>>,
}

impl VolumeError {
    /// An error without a cause below it.
    pub fn new(kind: ErrorKind, operation: &'static str, context: impl Into<String>) -> Self {
        Self { kind, operation, context: context.into(), source: None }
    }

    /// The same with the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.operation, self.context)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for VolumeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref()
    }
}
