//! Protocol data units of NVMe/TCP (NVMe TCP transport specification 1.0, 3.6): encode, decode and what is wrong with one.

mod encode;

use std::fmt;
use std::ops::Range;

pub use encode::{
    C2H_HEADER_BYTES_MAX, DataHeader, InitializeRequest, InitializeResponse, put_c2h_data, put_command,
    put_h2c_data, put_r2t, put_response, put_termination,
};

use crate::digest::{DIGEST_BYTES, digest};

/// Bytes that every PDU begins with.
pub const COMMON_BYTES: usize = 8;
/// Bytes of ICReq and ICResp.
pub const INITIALIZE_BYTES: usize = 128;
/// Bytes of the header of a command capsule.
pub const COMMAND_HEADER_BYTES: usize = 72;
/// Bytes of the header of every other PDU.
pub const HEADER_BYTES: usize = 24;
/// Most bytes of a wrong header that a termination request repeats.
pub const TERMINATION_DATA_BYTES_MAX: usize = 128;

/// What a PDU is.
pub mod kind {
    /// Initialize connection request.
    pub const INITIALIZE_REQUEST: u8 = 0x00;
    /// Initialize connection response.
    pub const INITIALIZE_RESPONSE: u8 = 0x01;
    /// The host ends the connection.
    pub const HOST_TERMINATION: u8 = 0x02;
    /// The controller ends the connection.
    pub const CONTROLLER_TERMINATION: u8 = 0x03;
    /// A command.
    pub const COMMAND: u8 = 0x04;
    /// A completion.
    pub const RESPONSE: u8 = 0x05;
    /// Data from the host.
    pub const HOST_DATA: u8 = 0x06;
    /// Data to the host.
    pub const CONTROLLER_DATA: u8 = 0x07;
    /// Ready to transfer: the host may send data.
    pub const READY_TO_TRANSFER: u8 = 0x09;
}

/// Flags of a PDU.
pub mod flag {
    /// A header digest follows the header.
    pub const HEADER_DIGEST: u8 = 1;
    /// A data digest follows the data.
    pub const DATA_DIGEST: u8 = 1 << 1;
    /// The last data of its transfer.
    pub const LAST: u8 = 1 << 2;
    /// The command has succeeded, and no completion follows.
    pub const SUCCESS: u8 = 1 << 3;
}

/// Why a connection cannot go on (FES, 3.6.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum FatalStatus {
    /// A field of a header.
    InvalidHeader = 1,
    /// A PDU that must not come now.
    Sequence = 2,
    /// The header digest.
    HeaderDigest = 3,
    /// Data outside of what was asked for.
    DataOutOfRange = 4,
    /// More data than a PDU may have.
    DataLimit = 5,
    /// A parameter of the initialization.
    Unsupported = 6,
}

/// What the controller tells a host before it closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fatal {
    /// Why.
    pub status: FatalStatus,
    /// Which field, by its offset, or the digest that came.
    pub information: u32,
}

impl Fatal {
    /// The field at `offset` of a header is wrong.
    pub fn field(offset: u32) -> Self {
        Self { status: FatalStatus::InvalidHeader, information: offset }
    }

    /// For another reason than a field.
    pub fn because(status: FatalStatus) -> Self {
        Self { status, information: 0 }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:#x})", self.status, self.information)
    }
}

/// What both sides have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Whether headers have digests.
    pub header_digest: bool,
    /// Whether data has digests.
    pub data_digest: bool,
    /// The alignment of data in PDUs to the host, in bytes beyond 4: HPDA.
    pub host_alignment: u8,
}

impl Link {
    /// Bytes of a header digest.
    pub fn header_digest_bytes(&self) -> usize {
        if self.header_digest { DIGEST_BYTES } else { 0 }
    }

    /// Bytes of a data digest.
    pub fn data_digest_bytes(&self) -> usize {
        if self.data_digest { DIGEST_BYTES } else { 0 }
    }

    /// Where data begins in a PDU to the host.
    pub fn c2h_data_offset(&self) -> usize {
        let alignment = (usize::from(self.host_alignment) + 1) * 4;
        (HEADER_BYTES + self.header_digest_bytes()).next_multiple_of(alignment)
    }
}

/// What every PDU begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Common {
    /// What it is: one of [`kind`].
    pub kind: u8,
    /// [`flag`]s.
    pub flags: u8,
    /// Bytes of the header without digest (HLEN).
    pub header_bytes: u8,
    /// Where data begins (PDO).
    pub data_offset: u8,
    /// Bytes of the whole PDU (PLEN).
    pub bytes: u32,
}

/// Offsets of the fields of [`Common`], which a termination points to.
mod field {
    pub const KIND: u32 = 0;
    pub const FLAGS: u32 = 1;
    pub const HEADER_BYTES: u32 = 2;
    pub const DATA_OFFSET: u32 = 3;
    pub const BYTES: u32 = 4;
}

/// Where the parts of a valid PDU are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes of the header with its digest.
    pub header: usize,
    /// The data, which may be none.
    pub data: Range<usize>,
    /// Whether a data digest follows.
    pub has_data_digest: bool,
    /// Bytes of all of it.
    pub bytes: usize,
}

impl Common {
    /// The fields in the first [`COMMON_BYTES`] of `bytes`, which must be there.
    pub fn decode(bytes: &[u8]) -> Self {
        let length = bytes[4..8].try_into().expect("four bytes");
        Self {
            kind: bytes[0],
            flags: bytes[1],
            header_bytes: bytes[2],
            data_offset: bytes[3],
            bytes: u32::from_le_bytes(length),
        }
    }

    /// The layout of a PDU of a host, whose data has at most `data_max` bytes.
    pub fn check_from_host(&self, link: &Link, data_max: u32) -> Result<Layout, Fatal> {
        match self.kind {
            kind::COMMAND => self.check(COMMAND_HEADER_BYTES, link, data_max, false),
            kind::HOST_DATA => self.check(HEADER_BYTES, link, data_max, true),
            kind::HOST_TERMINATION => self.check_termination(),
            kind::INITIALIZE_REQUEST => Err(Fatal::because(FatalStatus::Sequence)),
            _ => Err(Fatal::field(field::KIND)),
        }
    }

    /// The layout of a PDU of a controller, for initiators.
    pub fn check_from_controller(&self, link: &Link, data_max: u32) -> Result<Layout, Fatal> {
        match self.kind {
            kind::CONTROLLER_DATA => self.check(HEADER_BYTES, link, data_max, true),
            kind::RESPONSE | kind::READY_TO_TRANSFER => self.check(HEADER_BYTES, link, 0, false),
            kind::CONTROLLER_TERMINATION => self.check_termination(),
            kind::INITIALIZE_RESPONSE => Err(Fatal::because(FatalStatus::Sequence)),
            _ => Err(Fatal::field(field::KIND)),
        }
    }

    fn check_termination(&self) -> Result<Layout, Fatal> {
        let bytes = self.bytes as usize;
        if usize::from(self.header_bytes) != HEADER_BYTES {
            return Err(Fatal::field(field::HEADER_BYTES));
        }
        if !(HEADER_BYTES..=HEADER_BYTES + TERMINATION_DATA_BYTES_MAX).contains(&bytes) {
            return Err(Fatal::field(field::BYTES));
        }
        Ok(Layout { header: HEADER_BYTES, data: HEADER_BYTES..bytes, has_data_digest: false, bytes })
    }

    fn check(
        &self,
        header_bytes: usize,
        link: &Link,
        data_max: u32,
        needs_data: bool,
    ) -> Result<Layout, Fatal> {
        if usize::from(self.header_bytes) != header_bytes {
            return Err(Fatal::field(field::HEADER_BYTES));
        }
        if (self.flags & flag::HEADER_DIGEST != 0) != link.header_digest {
            return Err(Fatal::field(field::FLAGS));
        }
        let header = header_bytes + link.header_digest_bytes();
        let bytes = self.bytes as usize;
        if bytes == header && !needs_data {
            return Ok(Layout { header, data: header..header, has_data_digest: false, bytes });
        }
        let start = usize::from(self.data_offset);
        if start < header || !start.is_multiple_of(4) {
            return Err(Fatal::field(field::DATA_OFFSET));
        }
        if (self.flags & flag::DATA_DIGEST != 0) != link.data_digest {
            return Err(Fatal::field(field::FLAGS));
        }
        let end = bytes.checked_sub(link.data_digest_bytes()).filter(|&end| end > start);
        let end = end.ok_or(Fatal::field(field::BYTES))?;
        if end - start > data_max as usize {
            return Err(Fatal { status: FatalStatus::DataLimit, information: field::BYTES });
        }
        Ok(Layout { header, data: start..end, has_data_digest: link.data_digest, bytes })
    }
}

/// Checks the digest behind a header, which must be there with it if there is one.
pub fn check_header_digest(bytes: &[u8], layout: &Layout, link: &Link) -> Result<(), Fatal> {
    if !link.header_digest || bytes[0] == kind::HOST_TERMINATION || bytes[0] == kind::CONTROLLER_TERMINATION {
        return Ok(());
    }
    let (header, found) = bytes[..layout.header].split_at(layout.header - DIGEST_BYTES);
    let found = u32::from_le_bytes(found.try_into().expect("four bytes"));
    match found == digest(header) {
        true => Ok(()),
        false => Err(Fatal { status: FatalStatus::HeaderDigest, information: found }),
    }
}

#[cfg(test)]
mod tests;
