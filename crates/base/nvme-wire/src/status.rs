//! What a completion says about its command (NVMe Base 2.0, 3.3.3.2.1).

use std::fmt;

/// Set where repeating the command does not help.
const DO_NOT_RETRY: u16 = 1 << 14;

/// A status: code in bits 7:0, type in bits 10:8, "do not retry" in bit 14, as the status field has them above its phase.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u16);

const fn last(code: u16) -> Status {
    Status(code | DO_NOT_RETRY)
}

#[rustfmt::skip]
#[allow(missing_docs, reason = "the names are the standard's; what needs a word has one")]
impl Status {
    pub const SUCCESS: Status = Status(0);
    pub const INVALID_OPCODE: Status = last(0x001);
    pub const INVALID_FIELD: Status = last(0x002);
    pub const INTERNAL_ERROR: Status = last(0x006);
    pub const ABORT_REQUESTED: Status = last(0x007);
    pub const ABORTED_QUEUE_DELETED: Status = Status(0x008);
    pub const ABORTED_FAILED_FUSED: Status = last(0x009);
    pub const ABORTED_MISSING_FUSED: Status = last(0x00A);
    pub const INVALID_NAMESPACE: Status = last(0x00B);
    /// The id stands for another volume than before; the host has to identify it first.
    pub const NAMESPACE_REPLACED: Status = Status(0x00B);
    pub const COMMAND_SEQUENCE: Status = last(0x00C);
    pub const SGL_LENGTH: Status = last(0x00F);
    pub const SGL_TYPE: Status = last(0x011);
    pub const ATOMIC_UNIT_EXCEEDED: Status = last(0x014);
    pub const SGL_OFFSET: Status = last(0x016);
    pub const HOST_ID_INCONSISTENT: Status = last(0x018);
    pub const WRITE_PROTECTED: Status = last(0x020);
    pub const TRANSIENT_TRANSPORT_ERROR: Status = Status(0x022);
    pub const HOST_ID_NOT_INITIALIZED: Status = last(0x027);
    pub const LBA_OUT_OF_RANGE: Status = last(0x080);
    pub const CAPACITY_EXCEEDED: Status = last(0x081);
    pub const NAMESPACE_NOT_READY: Status = Status(0x082);
    pub const RESERVATION_CONFLICT: Status = last(0x083);
    pub const EVENT_LIMIT: Status = last(0x105);
    pub const INVALID_LOG_PAGE: Status = last(0x109);
    pub const NOT_SAVEABLE: Status = last(0x10D);
    pub const NOT_CHANGEABLE: Status = last(0x10E);
    pub const CONNECT_FORMAT: Status = last(0x180);
    /// As many controllers exist as may.
    pub const CONNECT_BUSY: Status = Status(0x181);
    pub const CONNECT_PARAMETERS: Status = last(0x182);
    pub const CONNECT_HOST: Status = last(0x184);
    pub const QUEUE_TYPE: Status = last(0x185);
    pub const COPY_LIMIT: Status = last(0x183);
    pub const READ_ERROR: Status = last(0x281);
    pub const COMPARE_FAILURE: Status = last(0x285);
    /// Another node serves the volume from now on. Not "do not retry": hosts would take that for the end, not for this path's.
    pub const PATH_LOST: Status = Status(0x301);
}

impl Status {
    /// As it stands in a completion, above the phase bit.
    pub fn to_field(self) -> u16 {
        self.0 << 1
    }

    /// What [`Self::to_field`] gave.
    pub fn from_field(field: u16) -> Self {
        Self(field >> 1)
    }

    /// Type and code, without the flags.
    pub fn code(self) -> u16 {
        self.0 & 0x7FF
    }

    /// Whether the host may repeat the command.
    pub fn may_retry(self) -> bool {
        self.0 & DO_NOT_RETRY == 0
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({:#05x}{})", self.code(), if self.may_retry() { "" } else { ", final" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_says_what_it_was_made_of() {
        for status in [Status::SUCCESS, Status::LBA_OUT_OF_RANGE, Status::NAMESPACE_NOT_READY] {
            assert_eq!(Status::from_field(status.to_field()), status);
            assert_eq!(status.to_field() & 1, 0, "the phase is not ours");
        }
        assert!(Status::NAMESPACE_NOT_READY.may_retry() && !Status::CAPACITY_EXCEEDED.may_retry());
    }
}
