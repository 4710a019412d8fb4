//! What goes wrong between a client and a server.

use std::io;

use quarry_nbd_wire::option_replies;

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
    #[error("the server does not keep to the NBD protocol: {what}")]
    Protocol {
        /// What came.
        what: &'static str,
    },
    /// The server does not serve the export.
    #[error("the server refuses the export '{export}' ({}){}{message}", refusal(*.reply), if .message.is_empty() { "" } else { ": " })]
    Refused {
        /// Its name.
        export: String,
        /// The reply to `GO`.
        reply: u32,
        /// What the server says.
        message: String,
    },
    /// The export cannot be a device.
    #[error("the export '{export}' cannot be used as a device: {reason}")]
    Unfit {
        /// Its name.
        export: String,
        /// Why, and what to do.
        reason: String,
    },
}

fn refusal(reply: u32) -> &'static str {
    match reply {
        option_replies::ERR_UNKNOWN => "there is none of that name",
        option_replies::ERR_TLS_REQD => "it demands TLS, which this client does not speak",
        option_replies::ERR_POLICY => "by policy",
        option_replies::ERR_UNSUP => "it does not know the option GO",
        _ => "it gives no known reason",
    }
}

impl From<ConnectionError> for io::Error {
    fn from(error: ConnectionError) -> Self {
        let kind = match &error {
            ConnectionError::Io(source) => source.kind(),
            ConnectionError::Silent { .. } => io::ErrorKind::TimedOut,
            ConnectionError::Protocol { .. } => io::ErrorKind::InvalidData,
            ConnectionError::Refused { .. } => io::ErrorKind::NotFound,
            ConnectionError::Unfit { .. } => io::ErrorKind::Unsupported,
        };
        io::Error::new(kind, error)
    }
}

/// The server is going away: the request was not carried out, and another connection will do.
pub const ESHUTDOWN: u32 = 108;

/// What an error number of the protocol (proto.md, "Error values") is here.
pub fn server_error(errno: u32) -> io::Error {
    let kind = match errno {
        1 => io::ErrorKind::PermissionDenied,
        12 => io::ErrorKind::OutOfMemory,
        22 | 75 => io::ErrorKind::InvalidInput,
        28 => io::ErrorKind::StorageFull,
        95 => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("the NBD server answers with error {errno}"))
}
