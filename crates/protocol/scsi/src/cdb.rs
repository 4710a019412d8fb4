//! Command descriptor blocks as bytes: fields by position, numbers big-endian.

/// Bytes of the longest command that is understood here.
pub const CDB_BYTES: usize = 16;

/// A command descriptor block, padded with zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cdb(pub [u8; CDB_BYTES]);

impl Cdb {
    /// The operation code.
    pub fn opcode(&self) -> u8 {
        self.0[0]
    }

    /// The service action in the usual place, of commands that have one.
    pub fn service_action(&self) -> u8 {
        self.0[1] & 0x1F
    }

    /// Where the control byte is, by the group of the operation code (SPC-4 4.2.5.1); byte 1 where the length varies.
    pub fn control_at(&self) -> usize {
        match self.opcode() {
            0x7E | 0x7F => 1,
            code => match code >> 5 {
                0 => 5,
                1 | 2 => 9,
                4 => 15,
                _ => 11,
            },
        }
    }

    /// Byte `at`.
    pub fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    /// Whether the bits of `mask` in byte `at` are not all zero.
    pub fn has(&self, at: usize, mask: u8) -> bool {
        self.0[at] & mask != 0
    }

    /// 16 bits.
    pub fn u16(&self, at: usize) -> u16 {
        u16_at(&self.0, at)
    }

    /// 32 bits.
    pub fn u32(&self, at: usize) -> u32 {
        u32_at(&self.0, at)
    }

    /// 64 bits.
    pub fn u64(&self, at: usize) -> u64 {
        u64_at(&self.0, at)
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has the length of the array")
}

/// 16 bits at `at`, which must lie inside.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

/// 32 bits at `at`, which must lie inside.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

/// 64 bits at `at`, which must lie inside.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}
