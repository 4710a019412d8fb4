//! Errors of a volume in the words of SCSI.

use quarry_volume::ErrorKind;

use crate::sense::{Code, Key, Sense};

/// Status codes (SAM-6 5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Good = 0x00,
    /// Not done; sense data says why.
    CheckCondition = 0x02,
    /// Come back later.
    Busy = 0x08,
    /// Somebody else's reservation stands in the way.
    ReservationConflict = 0x18,
    /// The queue is full.
    TaskSetFull = 0x28,
}

/// What an initiator is told when a volume fails an operation that begins at block `lba`.
///
/// A full pool is not the initiator's fault and may pass, so it is what SBC-4 4.7.3.6 says of thin units without space. Damage
/// is named by the first block of the request: initiators repeat such requests block by block. [`ErrorKind::Unavailable`] and
/// [`ErrorKind::Fenced`] are conditions in which another path may serve.
pub fn sense_of(kind: ErrorKind, lba: u64) -> Sense {
    match kind {
        ErrorKind::Invalid => Sense::illegal(Code::INVALID_FIELD_IN_CDB),
        ErrorKind::ReadOnly => Sense::new(Key::DataProtect, Code::WRITE_PROTECTED),
        ErrorKind::NoSpace => Sense::new(Key::DataProtect, Code::SPACE_ALLOCATION_FAILED),
        ErrorKind::Corrupt => Sense::new(Key::MediumError, Code::UNRECOVERED_READ_ERROR).at(lba),
        ErrorKind::Unavailable => Sense::new(Key::NotReady, Code::BECOMING_READY),
        ErrorKind::Fenced => Sense::new(Key::NotReady, Code::NOT_READY),
        ErrorKind::Unsupported => Sense::illegal(Code::INVALID_OPCODE),
        ErrorKind::Internal => Sense::new(Key::HardwareError, Code::INTERNAL_FAILURE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_sense() {
        let table = [
            (ErrorKind::Invalid, 0x5, 0x24, 0x00),
            (ErrorKind::ReadOnly, 0x7, 0x27, 0x00),
            (ErrorKind::NoSpace, 0x7, 0x27, 0x07),
            (ErrorKind::Corrupt, 0x3, 0x11, 0x00),
            (ErrorKind::Unavailable, 0x2, 0x04, 0x01),
            (ErrorKind::Fenced, 0x2, 0x04, 0x00),
            (ErrorKind::Unsupported, 0x5, 0x20, 0x00),
            (ErrorKind::Internal, 0x4, 0x44, 0x00),
        ];
        assert_eq!(table.map(|(kind, ..)| kind), ErrorKind::ALL);
        for (kind, key, code, qualifier) in table {
            let sense = sense_of(kind, 77);
            assert_eq!((sense.key as u8, sense.code), (key, Code(code, qualifier)), "{kind:?}");
            assert_eq!(sense.information, (kind == ErrorKind::Corrupt).then_some(77), "{kind:?}");
        }
    }
}
