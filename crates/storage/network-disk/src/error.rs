//! What goes wrong between a client and a server.

use std::io;

/// Why there is no connection, or why it has ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The network or the peer.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Nothing came in time.
    #[error("no answer within {seconds} s")]
    Silent {
        /// How long was waited.
        seconds: u64,
    },
    /// The peer speaks something else, or has lost step.
    #[error("the server does not keep to the protocol: {what}")]
    Protocol {
        /// What came.
        what: &'static str,
    },
    /// The server cannot do it now, and says that it may later.
    #[error("the server cannot do it now: {what}")]
    Transient {
        /// What it has answered.
        what: String,
    },
    /// The server does not serve the disk, or not to us.
    #[error("the server refuses {what} ({reason})")]
    Refused {
        /// What was asked for.
        what: String,
        /// Why, in its words or ours.
        reason: String,
    },
    /// It cannot be a device.
    #[error("{address} cannot be used as a device: {reason}")]
    Unfit {
        /// Where it is.
        address: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// The peer does not keep to the protocol.
pub const fn wrong(what: &'static str) -> ConnectionError {
    ConnectionError::Protocol { what }
}

impl From<ConnectionError> for io::Error {
    fn from(error: ConnectionError) -> Self {
        let kind = match &error {
            ConnectionError::Io(source) => source.kind(),
            ConnectionError::Silent { .. } => io::ErrorKind::TimedOut,
            ConnectionError::Protocol { .. } => io::ErrorKind::InvalidData,
            ConnectionError::Transient { .. } => io::ErrorKind::ResourceBusy,
            ConnectionError::Refused { .. } => io::ErrorKind::NotFound,
            ConnectionError::Unfit { .. } => io::ErrorKind::Unsupported,
        };
        io::Error::new(kind, error)
    }
}
