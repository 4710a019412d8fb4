//! Submission and completion queue entries (NVMe Base 2.0, 3.3.3): what every command has, whatever it asks for.

use crate::bytes::{Page, u16_at, u32_at, u64_at};
use crate::constants::fabrics;
use crate::status::Status;

/// Bytes of a submission queue entry.
pub const COMMAND_BYTES: usize = 64;
/// Bytes of the data of Connect.
pub const CONNECT_DATA_BYTES: usize = 1024;
/// Bytes of a completion queue entry.
pub const COMPLETION_BYTES: usize = 16;

/// Byte of the SGL descriptor: its address, length and type.
const SGL: usize = 24;

/// SGL descriptor types with their subtypes (Base 2.0, 4.1.2.1).
mod sgl {
    /// Data block in the capsule, by its offset.
    pub const OFFSET: u8 = 0x01;
    /// Data block that the transport brings.
    pub const TRANSPORT: u8 = 0x5A;
}

/// A submission queue entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Command([u8; COMMAND_BYTES]);

/// What a command is to its neighbour (FUSE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fuse {
    /// Nothing.
    Alone,
    /// The next one belongs to it.
    First,
    /// It belongs to the one before.
    Second,
}

/// Where a command's data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataPointer {
    /// In the capsule of the command.
    Capsule {
        /// Bytes.
        length: u32,
    },
    /// With the host; the transport moves it.
    Host {
        /// Bytes.
        length: u32,
    },
}

impl DataPointer {
    /// Bytes.
    pub fn length(self) -> u32 {
        match self {
            Self::Capsule { length } | Self::Host { length } => length,
        }
    }
}

impl Command {
    /// The entry in `bytes`.
    pub fn new(bytes: [u8; COMMAND_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; COMMAND_BYTES] {
        &self.0
    }

    /// What is asked for.
    pub fn opcode(&self) -> u8 {
        self.0[0]
    }

    /// What is asked for, of a fabrics command.
    pub fn fabrics_type(&self) -> u8 {
        self.0[4]
    }

    /// Whether it is one of NVMe over Fabrics.
    pub fn is_fabrics(&self) -> bool {
        self.opcode() == fabrics::OPCODE
    }

    /// What it is to its neighbour; `None` for the reserved value.
    pub fn fuse(&self) -> Option<Fuse> {
        match self.0[1] & 3 {
            0 => Some(Fuse::Alone),
            1 => Some(Fuse::First),
            2 => Some(Fuse::Second),
            _ => None,
        }
    }

    /// The number by which the host knows it.
    pub fn id(&self) -> u16 {
        u16_at(&self.0, 2)
    }

    /// The namespace that it is for.
    pub fn namespace(&self) -> u32 {
        u32_at(&self.0, 4)
    }

    /// Command dword `index`, 0 to 15.
    pub fn dword(&self, index: usize) -> u32 {
        u32_at(&self.0, index * 4)
    }

    /// Command dwords `index` and the next one.
    pub fn double_dword(&self, index: usize) -> u64 {
        u64_at(&self.0, index * 4)
    }

    /// Where its data is: over fabrics always one SGL descriptor, never PRPs.
    pub fn data_pointer(&self) -> Result<DataPointer, Status> {
        // PSDT: 0 means PRPs, and 3 is reserved.
        if matches!(self.0[1] >> 6, 0 | 3) {
            return Err(Status::INVALID_FIELD);
        }
        let length = u32_at(&self.0, SGL + 8);
        match self.0[SGL + 15] {
            sgl::OFFSET if u64_at(&self.0, SGL) != 0 => Err(Status::SGL_OFFSET),
            sgl::OFFSET => Ok(DataPointer::Capsule { length }),
            sgl::TRANSPORT => Ok(DataPointer::Host { length }),
            _ => Err(Status::SGL_TYPE),
        }
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (opcode, id, namespace) = (self.opcode(), self.id(), self.namespace());
        write!(f, "Command({opcode:#04x}, id {id:#06x}, namespace {namespace})")
    }
}

/// Builds a submission queue entry, field by field: for initiators.
#[derive(Clone, Copy)]
pub struct CommandBuilder(Command);

impl CommandBuilder {
    /// A command without data.
    pub fn new(opcode: u8, id: u16) -> Self {
        let mut bytes = [0; COMMAND_BYTES];
        bytes[0] = opcode;
        bytes[1] = 1 << 6;
        bytes[2..4].copy_from_slice(&id.to_le_bytes());
        bytes[SGL + 15] = sgl::TRANSPORT;
        Self(Command(bytes))
    }

    /// A fabrics command.
    pub fn fabrics(kind: u8, id: u16) -> Self {
        Self::new(fabrics::OPCODE, id).byte(4, kind)
    }

    /// Sets one byte.
    pub fn byte(mut self, at: usize, value: u8) -> Self {
        self.0.0[at] = value;
        self
    }

    /// Sets what it is to its neighbour: the two bits of FUSE.
    pub fn fuse(self, bits: u8) -> Self {
        let flags = self.0.0[1];
        self.byte(1, flags & !3 | bits)
    }

    /// Sets the namespace.
    pub fn namespace(self, namespace: u32) -> Self {
        self.dword(1, namespace)
    }

    /// Sets command dword `index`.
    pub fn dword(mut self, index: usize, value: u32) -> Self {
        self.0.0[index * 4..index * 4 + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Sets command dwords `index` and the next one.
    pub fn double_dword(self, index: usize, value: u64) -> Self {
        self.dword(index, value as u32).dword(index + 1, (value >> 32) as u32)
    }

    /// Says where the data is.
    pub fn data(self, pointer: DataPointer) -> Self {
        let kind = match pointer {
            DataPointer::Capsule { .. } => sgl::OFFSET,
            DataPointer::Host { .. } => sgl::TRANSPORT,
        };
        self.dword(SGL / 4 + 2, pointer.length()).byte(SGL + 15, kind)
    }

    /// The command.
    pub fn build(self) -> Command {
        self.0
    }
}

/// A completion queue entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletionEntry {
    /// Dwords 0 and 1: what the command returns beside its data.
    pub result: u64,
    /// How far the submission queue was read (SQHD).
    pub submission_head: u16,
    /// The queue.
    pub queue: u16,
    /// The command.
    pub command: u16,
    /// How it went.
    pub status: Status,
}

impl CompletionEntry {
    /// Its bytes.
    pub fn encode(&self) -> [u8; COMPLETION_BYTES] {
        let mut page = [0; COMPLETION_BYTES];
        page[..8].copy_from_slice(&self.result.to_le_bytes());
        page[8..10].copy_from_slice(&self.submission_head.to_le_bytes());
        page[10..12].copy_from_slice(&self.queue.to_le_bytes());
        page[12..14].copy_from_slice(&self.command.to_le_bytes());
        page[14..].copy_from_slice(&self.status.to_field().to_le_bytes());
        page
    }

    /// The entry in `bytes`, of which there are [`COMPLETION_BYTES`].
    pub fn decode(bytes: &[u8]) -> Self {
        Self {
            result: u64_at(bytes, 0),
            submission_head: u16_at(bytes, 8),
            queue: u16_at(bytes, 10),
            command: u16_at(bytes, 12),
            status: Status::from_field(u16_at(bytes, 14)),
        }
    }
}

/// A text of `length` bytes that ends at its first zero; `None` where it is not UTF-8 or has no zero.
pub fn text_at(bytes: &[u8], at: usize, length: usize) -> Option<&str> {
    let bytes = &bytes[at..at + length];
    let end = bytes.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(&bytes[..end]).ok()
}

/// The data of Connect, for initiators (Base 2.0, figure 380).
pub fn connect_data(host_id: [u8; 16], controller: u16, subsystem: &str, host: &str) -> Vec<u8> {
    let mut page = Page::new(CONNECT_DATA_BYTES);
    page.bytes(0, &host_id).u16(16, controller).text(256, 256, 0, subsystem).text(512, 256, 0, host);
    page.into_vec()
}
