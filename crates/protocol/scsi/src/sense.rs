//! Sense data (SPC-5 4.4): why a command was not carried out, for programs.

/// Sense keys (SPC-5 table 49).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Key {
    /// Nothing to report.
    NoSense = 0x0,
    /// The unit cannot be used now.
    NotReady = 0x2,
    /// The data is damaged.
    MediumError = 0x3,
    /// A fault of ours.
    HardwareError = 0x4,
    /// The command is wrong.
    IllegalRequest = 0x5,
    /// Something that the initiator should know of has happened.
    UnitAttention = 0x6,
    /// The blocks may not be written.
    DataProtect = 0x7,
    /// A copy came to an end too early.
    CopyAborted = 0xA,
    /// The command was given up; it may be repeated.
    AbortedCommand = 0xB,
    /// The data is not what the initiator says that it is.
    Miscompare = 0xE,
}

/// An additional sense code and its qualifier (SPC-5 annex F).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code(pub u8, pub u8);

/// The codes that are in use here, by their names in SPC-5.
impl Code {
    /// NO ADDITIONAL SENSE INFORMATION
    pub const NONE: Self = Self(0x00, 0x00);
    /// LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE
    pub const NOT_READY: Self = Self(0x04, 0x00);
    /// LOGICAL UNIT IS IN PROCESS OF BECOMING READY
    pub const BECOMING_READY: Self = Self(0x04, 0x01);
    /// LOGICAL UNIT NOT READY, SANITIZE IN PROGRESS
    pub const SANITIZE_IN_PROGRESS: Self = Self(0x04, 0x1B);
    /// COPY TARGET DEVICE NOT REACHABLE
    pub const COPY_TARGET_NOT_REACHABLE: Self = Self(0x0D, 0x02);
    /// INVALID FIELD IN COMMAND INFORMATION UNIT
    pub const INVALID_FIELD_IN_COMMAND_UNIT: Self = Self(0x0E, 0x03);
    /// UNRECOVERED READ ERROR
    pub const UNRECOVERED_READ_ERROR: Self = Self(0x11, 0x00);
    /// PARAMETER LIST LENGTH ERROR
    pub const PARAMETER_LIST_LENGTH: Self = Self(0x1A, 0x00);
    /// MISCOMPARE DURING VERIFY OPERATION
    pub const MISCOMPARE: Self = Self(0x1D, 0x00);
    /// INVALID COMMAND OPERATION CODE
    pub const INVALID_OPCODE: Self = Self(0x20, 0x00);
    /// LOGICAL BLOCK ADDRESS OUT OF RANGE
    pub const OUT_OF_RANGE: Self = Self(0x21, 0x00);
    /// INVALID FIELD IN CDB
    pub const INVALID_FIELD_IN_CDB: Self = Self(0x24, 0x00);
    /// LOGICAL UNIT NOT SUPPORTED
    pub const UNIT_NOT_SUPPORTED: Self = Self(0x25, 0x00);
    /// INVALID FIELD IN PARAMETER LIST
    pub const INVALID_FIELD_IN_PARAMETERS: Self = Self(0x26, 0x00);
    /// INVALID RELEASE OF PERSISTENT RESERVATION
    pub const INVALID_RELEASE: Self = Self(0x26, 0x04);
    /// TOO MANY TARGET DESCRIPTORS
    pub const TOO_MANY_TARGETS: Self = Self(0x26, 0x06);
    /// UNSUPPORTED TARGET DESCRIPTOR TYPE CODE
    pub const UNSUPPORTED_TARGET: Self = Self(0x26, 0x07);
    /// TOO MANY SEGMENT DESCRIPTORS
    pub const TOO_MANY_SEGMENTS: Self = Self(0x26, 0x08);
    /// UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE
    pub const UNSUPPORTED_SEGMENT: Self = Self(0x26, 0x09);
    /// WRITE PROTECTED
    pub const WRITE_PROTECTED: Self = Self(0x27, 0x00);
    /// LOGICAL UNIT SOFTWARE WRITE PROTECTED
    pub const SOFTWARE_WRITE_PROTECTED: Self = Self(0x27, 0x02);
    /// SPACE ALLOCATION FAILED WRITE PROTECT
    pub const SPACE_ALLOCATION_FAILED: Self = Self(0x27, 0x07);
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED
    pub const POWER_ON: Self = Self(0x29, 0x00);
    /// BUS DEVICE RESET FUNCTION OCCURRED
    pub const RESET: Self = Self(0x29, 0x03);
    /// I_T NEXUS LOSS OCCURRED
    pub const NEXUS_LOST: Self = Self(0x29, 0x07);
    /// MODE PARAMETERS CHANGED
    pub const MODE_PARAMETERS_CHANGED: Self = Self(0x2A, 0x01);
    /// RESERVATIONS PREEMPTED
    pub const RESERVATIONS_PREEMPTED: Self = Self(0x2A, 0x03);
    /// RESERVATIONS RELEASED
    pub const RESERVATIONS_RELEASED: Self = Self(0x2A, 0x04);
    /// REGISTRATIONS PREEMPTED
    pub const REGISTRATIONS_PREEMPTED: Self = Self(0x2A, 0x05);
    /// CAPACITY DATA HAS CHANGED
    pub const CAPACITY_CHANGED: Self = Self(0x2A, 0x09);
    /// SANITIZE COMMAND FAILED
    pub const SANITIZE_FAILED: Self = Self(0x31, 0x03);
    /// THIN PROVISIONING SOFT THRESHOLD REACHED
    pub const SOFT_THRESHOLD_REACHED: Self = Self(0x38, 0x07);
    /// REPORTED LUNS DATA HAS CHANGED
    pub const LUNS_CHANGED: Self = Self(0x3F, 0x0E);
    /// INTERNAL TARGET FAILURE
    pub const INTERNAL_FAILURE: Self = Self(0x44, 0x00);
    /// PROTOCOL SERVICE CRC ERROR
    pub const CRC_ERROR: Self = Self(0x47, 0x05);
    /// DATA PHASE ERROR
    pub const DATA_PHASE_ERROR: Self = Self(0x4B, 0x00);
    /// INSUFFICIENT REGISTRATION RESOURCES
    pub const NO_REGISTRATION_RESOURCES: Self = Self(0x55, 0x04);
}

/// The field of a command or its parameters that is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Whether it is one of the command descriptor block, not of its parameters.
    pub in_cdb: bool,
    /// Its first byte.
    pub byte: u16,
}

/// Sense data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sense {
    /// What kind of trouble.
    pub key: Key,
    /// What trouble.
    pub code: Code,
    /// A block address, or the offset of the first byte that differs.
    pub information: Option<u64>,
    /// What is wrong with an illegal request.
    pub field: Option<Field>,
    /// How far something has come that the initiator has to wait for, in 65536ths.
    pub progress: Option<u16>,
}

/// Bytes of sense data in the fixed format.
pub const FIXED_BYTES: usize = 18;
const CURRENT_FIXED: u8 = 0x70;
const CURRENT_DESCRIPTORS: u8 = 0x72;
const VALID: u8 = 0x80;

impl Sense {
    /// Sense data with nothing but a key and a code.
    pub const fn new(key: Key, code: Code) -> Self {
        Self { key, code, information: None, field: None, progress: None }
    }

    /// Nothing to report.
    pub const NONE: Self = Self::new(Key::NoSense, Code::NONE);

    /// An illegal request.
    pub const fn illegal(code: Code) -> Self {
        Self::new(Key::IllegalRequest, code)
    }

    /// A field of the command, at `byte`, is wrong.
    pub const fn field_in_cdb(byte: u16) -> Self {
        let field = Some(Field { in_cdb: true, byte });
        Self { field, ..Self::illegal(Code::INVALID_FIELD_IN_CDB) }
    }

    /// A field of the parameters, at `byte`, is wrong.
    pub const fn field_in_parameters(byte: u16) -> Self {
        let field = Some(Field { in_cdb: false, byte });
        Self { field, ..Self::illegal(Code::INVALID_FIELD_IN_PARAMETERS) }
    }

    /// Something has happened.
    pub const fn attention(code: Code) -> Self {
        Self::new(Key::UnitAttention, code)
    }

    /// The same with an address or offset.
    #[must_use]
    pub const fn at(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// The same with a progress indication.
    #[must_use]
    pub const fn progressed(mut self, progress: u16) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Bytes 15 to 17 of the fixed format (SPC-5 table 54).
    fn key_specific(&self) -> Option<[u8; 3]> {
        const VALID: u8 = 0x80;
        let (flags, [high, low]) = match (self.field, self.progress) {
            (Some(Field { in_cdb, byte }), _) => (u8::from(in_cdb) << 6, byte.to_be_bytes()),
            (None, Some(progress)) => (0, progress.to_be_bytes()),
            (None, None) => return None,
        };
        Some([VALID | flags, high, low])
    }

    /// The fixed format (SPC-5 4.4.3). Information that has no room in 32 bits is left out.
    pub fn fixed(&self) -> [u8; FIXED_BYTES] {
        let mut bytes = [0; FIXED_BYTES];
        bytes[0] = CURRENT_FIXED;
        if let Some(information) = self.information.and_then(|information| u32::try_from(information).ok()) {
            bytes[0] |= VALID;
            bytes[3..7].copy_from_slice(&information.to_be_bytes());
        }
        bytes[2] = self.key as u8;
        bytes[7] = (FIXED_BYTES - 8) as u8;
        (bytes[12], bytes[13]) = (self.code.0, self.code.1);
        bytes[15..18].copy_from_slice(&self.key_specific().unwrap_or_default());
        bytes
    }

    /// The descriptor format (SPC-5 4.4.2).
    pub fn descriptors(&self) -> Vec<u8> {
        let mut bytes = vec![CURRENT_DESCRIPTORS, self.key as u8, self.code.0, self.code.1, 0, 0, 0, 0];
        if let Some(information) = self.information {
            bytes.extend_from_slice(&[0x00, 0x0A, VALID, 0]);
            bytes.extend_from_slice(&information.to_be_bytes());
        }
        if let Some(specific) = self.key_specific() {
            bytes.extend_from_slice(&[0x02, 0x06, 0, 0]);
            bytes.extend_from_slice(&specific);
            bytes.push(0);
        }
        bytes[7] = (bytes.len() - 8) as u8;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let sense = Sense::new(Key::MediumError, Code::UNRECOVERED_READ_ERROR).at(0x1234_5678);
        let mut fixed = [0; FIXED_BYTES];
        fixed[..8].copy_from_slice(&[0xF0, 0, 3, 0x12, 0x34, 0x56, 0x78, 10]);
        fixed[12] = 0x11;
        assert_eq!(sense.fixed(), fixed);
        let descriptors =
            [0x72, 3, 0x11, 0, 0, 0, 0, 12, 0, 0x0A, 0x80, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78];
        assert_eq!(sense.descriptors(), descriptors);
    }

    #[test]
    fn a_wrong_field_is_pointed_to() {
        let sense = Sense::field_in_cdb(0x0102);
        assert_eq!(sense.fixed()[12..], [0x24, 0, 0, 0xC0, 1, 2]);
        assert_eq!(sense.descriptors()[8..], [2, 6, 0, 0, 0xC0, 1, 2, 0]);
        assert_eq!(Sense::field_in_parameters(4).fixed()[12..], [0x26, 0, 0, 0x80, 0, 4]);
    }

    #[test]
    fn progress_is_told_in_both_formats() {
        let sense = Sense::new(Key::NotReady, Code::SANITIZE_IN_PROGRESS).progressed(0x1234);
        assert_eq!(sense.fixed()[12..], [0x04, 0x1B, 0, 0x80, 0x12, 0x34]);
        assert_eq!(sense.descriptors()[7..], [8, 2, 6, 0, 0, 0x80, 0x12, 0x34, 0]);
    }

    #[test]
    fn an_address_that_has_no_room_is_left_out() {
        let sense = Sense::illegal(Code::OUT_OF_RANGE).at(1 << 32);
        assert_eq!(sense.fixed()[..8], [0x70, 0, 5, 0, 0, 0, 0, 10]);
        assert_eq!(sense.descriptors()[12..20], (1u64 << 32).to_be_bytes());
    }
}
