//! Protocol data units (RFC 7143 section 11): the basic header segment, field by field, and nothing else. All big-endian.

/// Bytes of a basic header segment.
pub const HEADER_BYTES: usize = 48;
/// A tag that means none.
pub const NO_TAG: u32 = 0xFFFF_FFFF;

/// Operation codes (RFC 7143 section 11.2.1.2).
pub mod opcode {
    #![expect(missing_docs, reason = "the names are those of the standard")]
    pub const NOP_OUT: u8 = 0x00;
    pub const SCSI_COMMAND: u8 = 0x01;
    pub const TASK_MANAGEMENT: u8 = 0x02;
    pub const LOGIN: u8 = 0x03;
    pub const TEXT: u8 = 0x04;
    pub const DATA_OUT: u8 = 0x05;
    pub const LOGOUT: u8 = 0x06;
    pub const SNACK: u8 = 0x10;
    pub const NOP_IN: u8 = 0x20;
    pub const SCSI_RESPONSE: u8 = 0x21;
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    pub const LOGIN_RESPONSE: u8 = 0x23;
    pub const TEXT_RESPONSE: u8 = 0x24;
    pub const DATA_IN: u8 = 0x25;
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    pub const R2T: u8 = 0x31;
    pub const ASYNC_MESSAGE: u8 = 0x32;
    pub const REJECT: u8 = 0x3F;
}

/// Bits of the second byte.
pub mod flags {
    /// The last of a sequence, or alone (F); of a login: transit (T).
    pub const FINAL: u8 = 0x80;
    /// The text goes on (C).
    pub const CONTINUE: u8 = 0x40;
    /// A command reads.
    pub const READ: u8 = 0x40;
    /// A command writes.
    pub const WRITE: u8 = 0x20;
    /// More data than the initiator expects (O).
    pub const OVERFLOW: u8 = 0x04;
    /// Less data than the initiator expects (U).
    pub const UNDERFLOW: u8 = 0x02;
    /// A Data-In brings the status (S).
    pub const STATUS: u8 = 0x01;
}

/// Task management functions (RFC 7143 section 11.5.1; from 9 on RFC 7144 section 6.1).
pub mod function {
    #![expect(missing_docs, reason = "the names are those of the standard")]
    pub const ABORT_TASK: u8 = 1;
    pub const ABORT_TASK_SET: u8 = 2;
    pub const LUN_RESET: u8 = 5;
    pub const TARGET_WARM_RESET: u8 = 6;
    pub const TARGET_COLD_RESET: u8 = 7;
    pub const TASK_REASSIGN: u8 = 8;
    pub const QUERY_TASK: u8 = 9;
    pub const QUERY_TASK_SET: u8 = 10;
    pub const I_T_NEXUS_RESET: u8 = 11;
    pub const QUERY_ASYNCHRONOUS_EVENT: u8 = 12;
}

/// Answers to task management (RFC 7143 section 11.6.1; the success of a query is of RFC 7144 section 6.2).
pub mod function_response {
    #![expect(missing_docs, reason = "the names are those of the standard")]
    pub const COMPLETE: u8 = 0;
    pub const NO_TASK: u8 = 1;
    pub const NO_LUN: u8 = 2;
    pub const NO_REASSIGNMENT: u8 = 4;
    pub const NOT_SUPPORTED: u8 = 5;
    pub const SUCCEEDED: u8 = 7;
    pub const REJECTED: u8 = 255;
}

/// Reasons of a reject (RFC 7143 section 11.17.1).
pub mod reject {
    #![expect(missing_docs, reason = "the names are those of the standard")]
    pub const SNACK: u8 = 0x03;
    pub const PROTOCOL_ERROR: u8 = 0x04;
    pub const NOT_SUPPORTED: u8 = 0x05;
    pub const TOO_MANY_IMMEDIATE: u8 = 0x06;
    pub const INVALID_FIELD: u8 = 0x09;
}

/// Events of asynchronous messages (RFC 7143 section 11.9.1).
pub mod event {
    #![expect(missing_docs, reason = "the names are those of the standard")]
    pub const SCSI: u8 = 0;
    pub const LOGOUT: u8 = 1;
    pub const DROP: u8 = 2;
}

/// A basic header segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header(pub [u8; HEADER_BYTES]);

impl Header {
    /// A header with an operation code and the final bit.
    pub fn new(opcode: u8) -> Self {
        let mut header = [0; HEADER_BYTES];
        (header[0], header[1]) = (opcode, flags::FINAL);
        Self(header)
    }

    /// The header at the beginning of `bytes`, which must have as many.
    pub fn decode(bytes: &[u8]) -> Self {
        Self(bytes[..HEADER_BYTES].try_into().expect("the slice has the length of the array"))
    }

    /// The operation code.
    pub fn opcode(&self) -> u8 {
        self.0[0] & 0x3F
    }

    /// Whether the command is outside the numbering of commands (I).
    pub fn is_immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// Whether the bits of `flag` are set.
    pub fn has(&self, flag: u8) -> bool {
        self.0[1] & flag != 0
    }

    /// Bytes of additional header segments.
    pub fn additional_bytes(&self) -> usize {
        usize::from(self.0[4]) * 4
    }

    /// Bytes of data, without padding.
    pub fn data_bytes(&self) -> usize {
        self.u32(4) as usize & 0xFF_FFFF
    }

    /// Sets the number of bytes of data.
    pub fn set_data_bytes(&mut self, bytes: usize) {
        self.set_u32(4, bytes as u32 & 0xFF_FFFF);
    }

    /// The unit.
    pub fn lun(&self) -> [u8; 8] {
        self.0[8..16].try_into().expect("eight bytes")
    }

    /// Sets the unit.
    pub fn set_lun(&mut self, lun: [u8; 8]) {
        self.0[8..16].copy_from_slice(&lun);
    }

    /// Initiator task tag.
    pub fn task_tag(&self) -> u32 {
        self.u32(16)
    }

    /// Target transfer tag, of those that have one; expected data transfer length of a command.
    pub fn transfer_tag(&self) -> u32 {
        self.u32(20)
    }

    /// The number of a command.
    pub fn command_number(&self) -> u32 {
        self.u32(24)
    }

    /// The descriptor block of a SCSI command.
    pub fn cdb(&self) -> [u8; 16] {
        self.0[32..48].try_into().expect("sixteen bytes")
    }

    /// 16 bits.
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// 32 bits.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    /// Sets 16 bits.
    pub fn set_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Sets 32 bits.
    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

/// Bytes of padding behind `bytes` of data.
pub fn padding(bytes: usize) -> usize {
    bytes.wrapping_neg() % 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_they_belong() {
        let mut header = Header::new(opcode::DATA_IN);
        header.0[0] |= 0x40;
        header.0[4] = 3;
        header.set_data_bytes(0x01_0203);
        header.set_lun([0, 7, 0, 0, 0, 0, 0, 0]);
        header.set_u32(16, 0xAABB_CCDD);
        assert_eq!((header.opcode(), header.is_immediate()), (opcode::DATA_IN, true));
        assert_eq!(header.0[4..8], [0, 1, 2, 3], "the length of data leaves no additional headers");
        assert_eq!(
            (header.data_bytes(), header.lun(), header.task_tag()),
            (0x01_0203, [0, 7, 0, 0, 0, 0, 0, 0], 0xAABB_CCDD)
        );
        assert!(header.has(flags::FINAL) && !header.has(flags::STATUS));
        header.0[4] = 2;
        assert_eq!((header.additional_bytes(), header.data_bytes()), (8, 0x01_0203));
    }

    #[test]
    fn data_is_filled_up_to_words() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(padding), [0, 3, 2, 1, 0, 3]);
    }
}
