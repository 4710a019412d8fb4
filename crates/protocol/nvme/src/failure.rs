//! The failures of volumes in the words of NVMe.

use quarry_nvme_wire::Status;
use quarry_volume::ErrorKind;

/// What a host is told when a volume fails.
///
/// No space and damage are final, as the host's file system must know at once; what a restart of something may mend is left
/// to the host to repeat.
pub fn status_of(kind: ErrorKind) -> Status {
    match kind {
        ErrorKind::Invalid => Status::INVALID_FIELD,
        ErrorKind::ReadOnly => Status::WRITE_PROTECTED,
        ErrorKind::NoSpace => Status::CAPACITY_EXCEEDED,
        ErrorKind::Corrupt => Status::READ_ERROR,
        ErrorKind::Unavailable => Status::NAMESPACE_NOT_READY,
        ErrorKind::Fenced => Status::PATH_LOST,
        ErrorKind::Unsupported => Status::INVALID_OPCODE,
        ErrorKind::Internal => Status::INTERNAL_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_of_a_volume_has_its_status() {
        let table = [
            (ErrorKind::Invalid, 0x4002),
            (ErrorKind::ReadOnly, 0x4020),
            (ErrorKind::NoSpace, 0x4081),
            (ErrorKind::Corrupt, 0x4281),
            (ErrorKind::Unavailable, 0x0082),
            (ErrorKind::Fenced, 0x0301),
            (ErrorKind::Unsupported, 0x4001),
            (ErrorKind::Internal, 0x4006),
        ];
        assert_eq!(table.map(|(kind, _)| kind), ErrorKind::ALL);
        for (kind, status) in table {
            assert_eq!(status_of(kind).to_field(), status << 1, "{kind:?}");
        }
    }
}
