//! What a status and its sense data mean (SPC-5, 4.4; SAM-5, 5.3).

use std::io;

use crate::error::ConnectionError;

/// Statuses of SAM-5.
pub mod status {
    pub const GOOD: u8 = 0x00;
    pub const CHECK_CONDITION: u8 = 0x02;
    pub const BUSY: u8 = 0x08;
    pub const RESERVATION_CONFLICT: u8 = 0x18;
    pub const TASK_SET_FULL: u8 = 0x28;
    pub const TASK_ABORTED: u8 = 0x40;
}

/// Sense keys of SPC-5.
pub mod key {
    pub const RECOVERED: u8 = 0x1;
    pub const NOT_READY: u8 = 0x2;
    pub const MEDIUM_ERROR: u8 = 0x3;
    pub const ILLEGAL_REQUEST: u8 = 0x5;
    pub const UNIT_ATTENTION: u8 = 0x6;
    pub const DATA_PROTECT: u8 = 0x7;
    pub const ABORTED_COMMAND: u8 = 0xB;
}

/// Space allocation failed write protect: a thin unit is full (SBC-4).
const NO_SPACE: (u8, u8) = (0x27, 0x07);

/// How a command has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    pub status: u8,
    pub key: u8,
    pub code: (u8, u8),
    /// It is about a command before, which was answered well.
    pub is_deferred: bool,
}

impl Ending {
    /// From a status, and the data of a SCSI Response: two bytes of length, then sense data, fixed or of descriptors.
    pub fn new(status: u8, data: &[u8]) -> Self {
        let sense = data.get(2..).unwrap_or_default();
        let byte = |at: usize| sense.get(at).copied().unwrap_or_default();
        let (key, code) = match byte(0) & 0x7F {
            0x72 | 0x73 => (byte(1) & 0xF, (byte(2), byte(3))),
            _ => (byte(2) & 0xF, (byte(12), byte(13))),
        };
        Self { status, key, code, is_deferred: matches!(byte(0) & 0x7F, 0x71 | 0x73) }
    }

    /// Whether it went well.
    pub fn is_good(self) -> bool {
        // RECOVERED ERROR: it was done, and there is something to say about it.
        let is_recovered = self.status == status::CHECK_CONDITION && self.key == key::RECOVERED;
        self.status == status::GOOD || is_recovered && !self.is_deferred
    }

    /// Whether the unit has only something to say, and the command can be sent again at once.
    pub fn is_attention(self) -> bool {
        self.status == status::CHECK_CONDITION && self.key == key::UNIT_ATTENTION
    }

    /// Whether the unit does not know the command, or a field of it.
    pub fn is_illegal(self) -> bool {
        self.status == status::CHECK_CONDITION && self.key == key::ILLEGAL_REQUEST
    }

    /// What it is here: an error of the request, or of the connection when another one may do better.
    pub fn failure(self) -> Result<io::Error, ConnectionError> {
        let Self { status, key, code: (code, qualifier), is_deferred } = self;
        let said = match status {
            status::CHECK_CONDITION => format!("sense {key:x}/{code:02x}/{qualifier:02x}"),
            _ => format!("status {status:#04x}"),
        };
        if is_deferred {
            // What was answered may be lost: another connection writes again all that no flush has covered.
            return Err(ConnectionError::Transient { what: format!("{said}, about a command before") });
        }
        let (kind, what) = match (status, key) {
            (status::BUSY | status::TASK_SET_FULL | status::TASK_ABORTED, _) => {
                return Err(ConnectionError::Transient { what: said });
            }
            (status::CHECK_CONDITION, key::UNIT_ATTENTION | key::NOT_READY | key::ABORTED_COMMAND) => {
                return Err(ConnectionError::Transient { what: said });
            }
            (status::RESERVATION_CONFLICT, _) => {
                (io::ErrorKind::PermissionDenied, "another initiator has reserved it")
            }
            (status::CHECK_CONDITION, key::DATA_PROTECT) if self.code == NO_SPACE => {
                (io::ErrorKind::StorageFull, "it has no space left")
            }
            (status::CHECK_CONDITION, key::DATA_PROTECT) => {
                (io::ErrorKind::ReadOnlyFilesystem, "it is write-protected")
            }
            (status::CHECK_CONDITION, key::ILLEGAL_REQUEST) => {
                (io::ErrorKind::InvalidInput, "it does not take the command")
            }
            (status::CHECK_CONDITION, key::MEDIUM_ERROR) => {
                (io::ErrorKind::Other, "it cannot read or write there any more")
            }
            _ => (io::ErrorKind::Other, "it cannot do it"),
        };
        Ok(io::Error::new(kind, format!("the iSCSI unit answers {said}: {what}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(key: u8, code: (u8, u8)) -> Vec<u8> {
        let mut data = vec![0, 18, 0x70, 0, key];
        data.resize(2 + 18, 0);
        (data[2 + 12], data[2 + 13]) = code;
        data
    }

    #[test]
    fn sense_is_understood() {
        let full = Ending::new(2, &fixed(7, (0x27, 7)));
        assert_eq!(full.failure().unwrap().kind(), io::ErrorKind::StorageFull);
        let descriptors = Ending::new(2, &[0, 8, 0x72, 3, 0x11, 0, 0, 0, 0, 0]);
        assert_eq!((descriptors.key, descriptors.code), (3, (0x11, 0)));
        assert!(descriptors.failure().unwrap().to_string().contains("3/11/00"));
        let attention = Ending::new(2, &fixed(6, (0x29, 0)));
        assert!(attention.is_attention() && attention.failure().is_err());
        assert!(Ending::new(8, &[]).failure().is_err(), "another time it may go");
        assert!(Ending::new(2, &[]).failure().is_ok(), "without sense data it is an error");
        assert!(Ending::new(0, &[]).is_good());
        assert!(Ending::new(2, &fixed(1, (0x17, 1))).is_good(), "recovered: it was done");
        let mut deferred = fixed(3, (0x0C, 0));
        deferred[2] = 0x71;
        assert!(
            Ending::new(2, &deferred).failure().is_err(),
            "an earlier write is lost: all are written again"
        );
        deferred[4] = 1;
        assert!(!Ending::new(2, &deferred).is_good());
    }
}
