//! Little-endian fields, one behind the other.

use crate::{FormatError, crc32c};

/// Bytes before the body of every structure: magic (8), version (2), zero (2), CRC-32C of all that follows (4).
pub(crate) const PREFIX_BYTES: usize = 16;

/// Writes a structure: its prefix, then its fields.
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts a structure.
    pub fn new(magic: u64, version: u16) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(512) };
        writer.u64(magic).u16(version).u16(0).u32(0);
        writer
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Writes over bytes that were appended before.
    pub(crate) fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Appends a length (two bytes) and the text.
    ///
    /// # Panics
    /// When the text is longer than 64 KiB; names are far shorter.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.u16(u16::try_from(text.len()).expect("a stored text is short")).raw(text.as_bytes())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing but the prefix was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == PREFIX_BYTES
    }

    /// The bytes of this writer with their start replaced by `start` and the checksum filled in.
    pub(crate) fn finish_with(&self, start: Writer) -> Vec<u8> {
        let mut whole = start;
        let begun = whole.bytes.len();
        whole.bytes.extend_from_slice(&self.bytes[begun..]);
        whole.finish()
    }

    /// Writes the checksum into the prefix and ends the structure.
    pub fn finish(mut self) -> Vec<u8> {
        let checksum = crc32c(&self.bytes[PREFIX_BYTES..]);
        self.bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        self.bytes
    }
}

/// Reads a structure that [`Writer`] wrote.
pub struct Reader<'a> {
    structure: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks magic, version and checksum of a structure that fills `bytes` exactly.
    pub fn new(
        structure: &'static str,
        magic: u64,
        version: u16,
        bytes: &'a [u8],
    ) -> Result<Self, FormatError> {
        Self::of_either(structure, magic, [version, version], bytes).map(|(reader, _)| reader)
    }

    /// The same for a structure that may have an older version, and its version.
    pub fn of_either(
        structure: &'static str,
        magic: u64,
        [older, version]: [u16; 2],
        bytes: &'a [u8],
    ) -> Result<(Self, u16), FormatError> {
        let mut reader = Self { structure, bytes };
        let found = reader.u64()?;
        if found != magic {
            return Err(FormatError::Magic { structure, found });
        }
        let found = reader.u16()?;
        if !(older..=version).contains(&found) {
            return Err(FormatError::Version { structure, found, supported: version });
        }
        let version = found;
        reader.zero("prefix padding", 2)?;
        let found = reader.u32()?;
        let computed = crc32c(reader.bytes);
        if found != computed {
            return Err(FormatError::Checksum { structure, found, computed });
        }
        Ok((reader, version))
    }

    /// The next `length` bytes.
    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(FormatError::Short {
                structure: self.structure,
                needed: length,
                available: self.bytes.len(),
            });
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        Ok(self.raw(N)?.try_into().expect("raw returns the length asked for"))
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next sixteen bytes, an id.
    pub fn id(&mut self) -> Result<[u8; 16], FormatError> {
        self.array()
    }

    /// A length and its text.
    pub fn text(&mut self) -> Result<String, FormatError> {
        let length = self.u16()?;
        let bytes = self.raw(usize::from(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.field("text", u64::from(length)))
    }

    /// A count of things of at least `bytes_each` bytes that must still fit into what is left.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, FormatError> {
        let count = self.u32()? as usize;
        let needed = count.saturating_mul(bytes_each);
        if needed > self.bytes.len() {
            return Err(FormatError::Short {
                structure: self.structure,
                needed,
                available: self.bytes.len(),
            });
        }
        Ok(count)
    }

    /// Skips `length` bytes that must be zero.
    pub fn zero(&mut self, field: &'static str, length: usize) -> Result<(), FormatError> {
        match self.raw(length)?.iter().find(|&&byte| byte != 0) {
            None => Ok(()),
            Some(&byte) => Err(self.field(field, u64::from(byte))),
        }
    }

    /// The error for a field with a value that no writer writes.
    pub fn field(&self, field: &'static str, found: u64) -> FormatError {
        FormatError::Field { structure: self.structure, field, found }
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Ends reading: nothing may be left.
    pub fn finish(self) -> Result<(), FormatError> {
        match self.bytes.len() {
            0 => Ok(()),
            rest => Err(self.field("trailing bytes", rest as u64)),
        }
    }
}
